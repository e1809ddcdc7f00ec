//! Finding and removing pairs whose owner is gone: their machines and their folders.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::boot;

/// Data folders lie in memory: a shared disk stalls for hundreds of milliseconds and would be what is measured.
const MEMORY: &str = "/dev/shm";
const PREFIX: &str = "apd-lab-";

/// The folder of the pair of this name; `APD_LAB_FOLDER` moves all of them elsewhere.
pub fn folder(name: &str) -> PathBuf {
    base().join(format!("{PREFIX}{name}"))
}

fn base() -> PathBuf {
    std::env::var_os("APD_LAB_FOLDER").map_or_else(|| PathBuf::from(MEMORY), PathBuf::from)
}

/// Records who owns a folder: a process (number and start time), or nobody for a pair that persists.
pub fn write_owner(folder: &Path, persist: bool) -> Result<()> {
    let owner = std::process::id();
    let text =
        if persist { String::new() } else { format!("{owner} {}", start_time(owner).unwrap_or_default()) };
    fs::write(folder.join("owner"), text).with_context(|| folder.display().to_string())
}

/// Field 22 of `/proc/PID/stat`: with the number it tells one process from a later one.
fn start_time(process: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    text.rsplit_once(") ")?.1.split(' ').nth(19).map(str::to_owned)
}

fn is_stale(folder: &Path) -> bool {
    let Ok(text) = fs::read_to_string(folder.join("owner")) else { return false };
    match text.split_once(' ') {
        None => false,
        Some((process, started)) => {
            process.parse().ok().and_then(start_time).is_none_or(|present| present != started)
        }
    }
}

/// Removes every pair whose owner is gone; returns their names.
pub fn stale() -> Vec<String> {
    let Ok(entries) = fs::read_dir(base()) else { return Vec::new() };
    let folders = entries.flatten().map(|entry| entry.path()).filter(|path| is_stale(path));
    let names = folders.filter_map(|path| Some(path.file_name()?.to_str()?.strip_prefix(PREFIX)?.to_owned()));
    names.filter(|name| down(name).is_ok()).collect()
}

/// The names of all pairs on this machine.
pub fn names() -> Vec<String> {
    let Ok(entries) = fs::read_dir(base()) else { return Vec::new() };
    let files = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    files.filter_map(|name| Some(name.strip_prefix(PREFIX)?.to_owned())).collect()
}

/// The machines of a pair by name, with the numbers of their first processes.
pub fn machines(name: &str) -> Result<Vec<(String, i32)>> {
    let path = folder(name).join("lab.json");
    let text = fs::read_to_string(&path).with_context(|| format!("there is no pair named {name}"))?;
    let state: Value = serde_json::from_str(&text)?;
    let Some(machines) = state["machines"].as_object() else { bail!("{} is damaged", path.display()) };
    Ok(machines.iter().filter_map(|(name, process)| Some((name.clone(), process.as_i64()? as i32))).collect())
}

/// Ends a pair, whoever made it: kills the first process of each machine and removes the folder.
pub fn down(name: &str) -> Result<()> {
    let folder = folder(name);
    for (_, process) in machines(name).unwrap_or_default() {
        // The number may belong to somebody else by now: only a machine of this pair is killed.
        let command = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&command).contains(&format!("apd-lab\0machine\0--pair\0{name}\0")) {
            kill(Pid::from_raw(process), Signal::SIGKILL).with_context(|| format!("cannot end {process}"))?;
        }
    }
    boot::remove_groups(name);
    for _ in 0..40 {
        match fs::remove_dir_all(&folder) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(50)),
        }
    }
    bail!("cannot remove {}", folder.display())
}
