//! Where the programs are that the laboratory runs, and how it runs them.
//!
//! What the machine has is used; what `lab/fetch-tools` unpacked below `target/tools` fills the gaps. Inside a
//! node that tree is laid over `/usr`, outside its wrappers come last in `PATH`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use nix::time::{ClockId, clock_gettime};

/// The folders that the laboratory takes its programs from.
#[derive(Clone, Debug)]
pub struct Tools {
    /// `target/tools`, made by `lab/fetch-tools`; it may be absent where everything is installed.
    pub unpacked: PathBuf,
    /// The folder with `apd`, `apctl` and `apd-lab` of one build.
    pub programs: PathBuf,
    /// The folder `lab/keepalived` with the set-ups to compare with.
    pub keepalived: PathBuf,
}

impl Tools {
    /// Finds the folders from the path of an `apd-lab` program, which lies in `target/PROFILE/`.
    pub fn beside(lab_program: &Path) -> Result<Self> {
        let programs = lab_program.parent().context("apd-lab has no folder")?.to_path_buf();
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => PathBuf::from(folder),
            None => programs.parent().context("apd-lab is not below target/")?.to_path_buf(),
        };
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        Ok(Self { unpacked: target.join("tools"), programs, keepalived: source.join("lab/keepalived") })
    }

    /// The unpacked tree that nodes lay over `/usr`, if there is one.
    pub fn overlay(&self) -> Option<PathBuf> {
        let usr = self.unpacked.join("root/usr");
        usr.is_dir().then_some(usr)
    }

    /// The path of one program of this build.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// `PATH` for every command: the machine's own, the administrator's folders, and the wrappers last.
    pub fn search_path(&self) -> String {
        let own = std::env::var("PATH").unwrap_or_default();
        format!("{own}:/usr/sbin:/sbin:{}", self.unpacked.join("bin").display())
    }

    /// A command that finds programs where the laboratory looks for them.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.find(program));
        command.env("PATH", self.search_path()).stdin(Stdio::null());
        command
    }

    /// The full path of `program` along the search path, or its bare name when there is none.
    pub fn find(&self, program: &str) -> PathBuf {
        self.search_path()
            .split(':')
            .map(|folder| Path::new(folder).join(program))
            .find(|path| path.is_file())
            .unwrap_or_else(|| PathBuf::from(program))
    }

    /// Fails, with the remedy, if a program is in none of the folders.
    pub fn require(&self, programs: &[&str]) -> Result<()> {
        for program in programs {
            if !self.find(program).is_file() {
                bail!("`{program}` is missing: run `make tools`, or install it");
            }
        }
        Ok(())
    }
}

/// Runs a command to its end and returns what it wrote; a failure carries the command line and its complaint.
pub fn run(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        bail!(
            "{command:?} ended with {}: {}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim(),
            String::from_utf8_lossy(&output.stdout).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command to its end whatever its exit code.
pub fn output(command: &mut Command) -> Result<Output> {
    command.output().with_context(|| format!("cannot run {command:?}"))
}

/// Nanoseconds on CLOCK_BOOTTIME, the one clock of all records of a laboratory.
pub fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("CLOCK_BOOTTIME exists since Linux 2.6.39");
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}
