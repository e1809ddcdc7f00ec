//! One machine of the laboratory: a set of namespaces held by a process 1 of its own. Power-off is the death of
//! that process: the kernel then kills everything in the machine without a word to the network.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::tools::{Tools, run};

/// How a machine is made.
pub struct Blueprint<'a> {
    /// Its host name.
    pub name: &'a str,
    /// The pair it belongs to.
    pub pair: &'a str,
    /// Its disk, which outlives a power-off.
    pub disk: Option<PathBuf>,
    /// Whether it outlives the process that makes it.
    pub persist: bool,
    /// A folder that it removes when its owner is gone without a farewell.
    pub remove: Option<PathBuf>,
}

/// A machine that is powered on.
pub struct Machine {
    /// Its host name.
    pub name: String,
    /// Its process 1, as numbered outside.
    pub process: i32,
    tools: Tools,
    /// The `unshare` that made it; its standard input is the machine's life line.
    holder: Option<Child>,
    /// With a real systemd inside: the plain machine that it runs in, and ends with.
    pub(super) beneath: Option<Box<Machine>>,
}

/// A process inside a machine.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its number as seen from outside.
    pub number: i32,
    /// Its command line, arguments separated by spaces.
    pub command: String,
}

impl Machine {
    /// Powers a machine on. It has its own processes, mounts, name and network, the latter with a loopback only.
    pub fn power_on(tools: &Tools, blueprint: &Blueprint<'_>) -> Result<Self> {
        let mut command = tools.command("unshare");
        command
            .args(["--pid", "--mount", "--uts", "--ipc", "--net", "--propagation", "private", "--fork"])
            .arg("--kill-child")
            .arg(tools.program("apd-lab"))
            .args(["machine", "--pair", blueprint.pair, "--name", blueprint.name]);
        if let Some(disk) = &blueprint.disk {
            fs::create_dir_all(disk)?;
            command.arg("--disk").arg(disk);
            if let Some(tree) = tools.overlay() {
                command.arg("--overlay").arg(tree);
            }
        }
        if let Some(folder) = &blueprint.remove {
            command.arg("--remove").arg(folder);
        }
        if blueprint.persist {
            command.arg("--persist").stdin(Stdio::null());
        } else {
            command.stdin(Stdio::piped());
        }
        // Its child comes to this process when it dies; the host's process 1 may take a second to reap an orphan.
        nix::sys::prctl::set_child_subreaper(true).context("cannot reap orphans")?;
        let mut holder = command.stdout(Stdio::piped()).spawn().context("cannot run unshare")?;
        let mut line = String::new();
        let output = holder.stdout.take().context("unshare has no standard output")?;
        BufReader::new(output).read_line(&mut line)?;
        let Some(process) = line.trim().strip_prefix("ready ").and_then(|text| text.parse().ok()) else {
            let status = holder.wait()?;
            bail!("machine {} did not start ({status}); is this root with CAP_SYS_ADMIN?", blueprint.name);
        };
        Ok(Self {
            name: blueprint.name.to_owned(),
            process,
            tools: tools.clone(),
            holder: Some(holder),
            beneath: None,
        })
    }

    /// A machine that another process powered on.
    pub fn attach(tools: &Tools, name: &str, process: i32) -> Self {
        Self { name: name.to_owned(), process, tools: tools.clone(), holder: None, beneath: None }
    }

    /// Whether systemd is its process 1.
    pub fn has_systemd(&self) -> bool {
        self.beneath.is_some()
    }

    /// The path inside the machine of one program of this build.
    pub fn program(&self, tools: &Tools, name: &str) -> String {
        // Where `make install` put them, or where they were built.
        if self.has_systemd() { name.to_owned() } else { tools.program(name).display().to_string() }
    }

    /// A command that runs inside the machine, in all its namespaces.
    pub fn enter(&self, program: &str) -> Command {
        let mut command = self.tools.command("nsenter");
        command
            .arg(format!("--target={}", self.process))
            .args(["--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd=/", "--", program])
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// A command that runs outside but in the machine's network.
    pub fn in_network(&self, program: &str) -> Command {
        let mut command = self.tools.command("nsenter");
        command.arg(format!("--target={}", self.process)).args(["--net", "--"]).arg(self.tools.find(program));
        command
    }

    /// Starts a daemon inside the machine: a child of its process 1, with its output appended to `log`.
    pub fn start(&self, log: &Path, program: &str, arguments: &[&str]) -> Result<()> {
        let log =
            File::options().create(true).append(true).open(log).with_context(|| log.display().to_string())?;
        let mut command = self.enter("setsid");
        command.arg("--fork").arg(program).args(arguments);
        command.stdout(log.try_clone()?).stderr(log);
        let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
        if !status.success() {
            bail!("{command:?} ended with {status}");
        }
        Ok(())
    }

    /// Runs a shell line inside the machine to its end.
    pub fn shell(&self, line: &str) -> Result<String> {
        run(self.enter("sh").args(["-ec", line]))
    }

    /// The path, seen from outside, of a file inside the machine.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.process))
    }

    /// Every process in the machine except its process 1.
    pub fn processes(&self) -> Vec<Process> {
        let Ok(own) = fs::read_link(format!("/proc/{}/ns/pid", self.process)) else { return Vec::new() };
        let Ok(folder) = fs::read_dir("/proc") else { return Vec::new() };
        let mut found = Vec::new();
        for entry in folder.flatten() {
            let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            let space = fs::read_link(entry.path().join("ns/pid"));
            if number == self.process || !space.is_ok_and(|space| space == own) {
                continue;
            }
            let Ok(words) = fs::read(entry.path().join("cmdline")) else { continue };
            let command = String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ");
            if !command.is_empty() {
                found.push(Process { number, command });
            }
        }
        found.sort_by_key(|process| process.number);
        found
    }

    /// The processes whose program (the last part of the first word) is `program` and whose command line holds `word`.
    pub fn find(&self, program: &str, word: &str) -> Vec<Process> {
        self.processes()
            .into_iter()
            .filter(|process| {
                let first = process.command.split(' ').next().unwrap_or_default();
                first.rsplit('/').next() == Some(program) && process.command.contains(word)
            })
            .collect()
    }

    /// Sends a signal to each of these processes.
    pub fn signal(&self, processes: &[Process], signal: Signal) -> Result<()> {
        for process in processes {
            kill(Pid::from_raw(process.number), signal)
                .with_context(|| format!("cannot signal {process:?}"))?;
        }
        Ok(())
    }

    /// Whether its process 1 lives.
    pub fn is_on(&self) -> bool {
        lives(self.process)
    }

    /// Stops every process at (nearly) the same instant, as a loss of power does. Without this the server would go
    /// on for the milliseconds between the loss of the carrier and its end, and commit what can never leave.
    pub fn freeze(&self) {
        for process in self.processes() {
            // One that has just ended needs no stop.
            let _ended = kill(Pid::from_raw(process.number), Signal::SIGSTOP);
        }
    }

    /// Kills process 1, and so everything in the machine, and waits until the kernel has cleared it away.
    pub fn power_off(&mut self) {
        let processes = self.processes();
        if let Some(mut beneath) = self.beneath.take() {
            // Its process 1 takes this one along.
            beneath.power_off();
            return await_end(&processes);
        }
        let process = Pid::from_raw(self.process);
        if let Some(mut holder) = self.holder.take() {
            // First, or it would complain about the death of its child, which then is this process's.
            let _already_gone = holder.kill();
            let _status = holder.wait();
            // ESRCH means that it is off already, which is what is wanted.
            let _already_off = kill(process, Signal::SIGKILL);
            let _already_reaped = waitpid(process, None);
        } else {
            let _already_off = kill(process, Signal::SIGKILL);
        }
        let mut all = processes;
        all.push(Process { number: self.process, command: String::new() });
        await_end(&all);
    }

    /// Leaves the machine on when this value is dropped.
    pub fn leave(&mut self) {
        if let Some(beneath) = &mut self.beneath {
            beneath.leave();
        }
        if let Some(holder) = self.holder.take() {
            std::mem::forget(holder);
        }
    }
}

/// Waits until the kernel has cleared these processes away, for ten seconds at most.
fn await_end(processes: &[Process]) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline
        && processes.iter().any(|process| kill(Pid::from_raw(process.number), None).is_ok())
    {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a process runs or still holds files; one that is dead and only waits to be reaped does not.
pub fn lives(process: i32) -> bool {
    let state = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    state.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.holder.is_some() || self.beneath.is_some() {
            self.power_off();
        }
    }
}
