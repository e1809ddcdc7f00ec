//! Programs that an operator configured: checks and hooks. No shell, no right of apd's own, nothing of its
//! environment; whoever does not wait for the end ends the program, and all that it started in its process group.

use super::sys::{self, Identity};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, User, geteuid, getgrouplist};
use std::ffi::CString;
use std::future::Future;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::{Instant, timeout_at};

/// Where programs look for others.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What is kept of each output: more than one line for people.
const KEPT: usize = 4096;
/// The longest line that is shown.
const LINE: usize = 200;
/// What a program printed just before its end is in the pipe; something that it left behind may hold the pipe open.
const LEFT_IN_PIPE: Duration = Duration::from_millis(20);

/// Why a program was not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not start.
    #[error("cannot run {program}: {source}")]
    Start {
        /// Which; its arguments may hold a password.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// There is no such user.
    #[error("there is no user {0:?} on this host")]
    NoUser(String),
    /// The list of users cannot be read.
    #[error("user {user:?} cannot be looked up: {source}")]
    Lookup {
        /// Who.
        user: String,
        /// What the system says.
        source: io::Error,
    },
}

/// What becomes of that which a program started and left behind when it ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survivors {
    /// It is killed.
    Killed,
    /// It goes on.
    Left,
}

/// A program to run.
#[derive(Clone, Debug)]
pub struct Program {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// As whom, where this daemon may switch; otherwise as itself.
    pub user: String,
    /// What it is told besides its arguments.
    pub environment: Vec<(String, String)>,
    /// What becomes of what it leaves behind.
    pub survivors: Survivors,
}

/// How a program ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Exit code, or signal.
    pub status: ExitStatus,
    /// First line of standard output, shortened.
    pub output: String,
    /// First line of standard error, shortened.
    pub complaint: String,
}

impl Ended {
    /// How, in words.
    pub fn how(&self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => "ended in an unknown way".into(),
        }
    }
}

impl Program {
    /// Runs it to its end, with `input` on its standard input. Whoever drops the future kills the process group.
    ///
    /// # Errors
    /// When it cannot be started as configured.
    pub async fn run(&self, input: Vec<u8>) -> Result<Ended, Error> {
        let identity = identity(&self.user).await?;
        let program = self.argv.first().cloned().unwrap_or_default();
        let failed = |source| Error::Start { program: program.clone(), source };
        let mut command = std::process::Command::new(&program);
        command.args(self.argv.get(1..).unwrap_or_default());
        command.env_clear().env("PATH", PATH).env("LANG", "C.UTF-8").current_dir("/");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        sys::make_ordinary(&mut command, identity);
        let mut command = Command::from(command);
        let input_from = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
        command.stdin(input_from).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(failed)?;
        let mut group = Group::of(child.id());
        let mut output = Kept::default();
        let mut complaint = Kept::default();
        let status = {
            let mut fed = pin!(feed(child.stdin.take(), input));
            let mut printed = pin!(output.read(child.stdout.take()));
            let mut complained = pin!(complaint.read(child.stderr.take()));
            let mut open = (true, true, true);
            let status = loop {
                tokio::select! {
                    status = child.wait() => break status.map_err(failed)?,
                    () = &mut fed, if open.0 => open.0 = false,
                    () = &mut printed, if open.1 => open.1 = false,
                    () = &mut complained, if open.2 => open.2 = false,
                }
            };
            let until = Instant::now() + LEFT_IN_PIPE;
            finish(printed, open.1, until).await;
            finish(complained, open.2, until).await;
            status
        };
        if self.survivors == Survivors::Left {
            group.0 = None;
        }
        Ok(Ended { status, output: output.line(), complaint: complaint.line() })
    }
}

async fn finish(reading: impl Future<Output = ()>, open: bool, until: Instant) {
    if open {
        // Not at its end: something that was left behind holds the pipe.
        let _ = timeout_at(until, reading).await;
    }
}

async fn feed(stdin: Option<tokio::process::ChildStdin>, input: Vec<u8>) {
    if let Some(mut stdin) = stdin {
        // A program that does not read its input does not want it.
        let _ = stdin.write_all(&input).await;
    }
}

/// The begin of what a program prints; the rest is read and thrown away, or the program would wait.
#[derive(Default)]
struct Kept(Vec<u8>);

impl Kept {
    async fn read(&mut self, stream: Option<impl AsyncRead + Unpin>) {
        let Some(mut stream) = stream else { return };
        let mut part = [0; 1024];
        while let Ok(length @ 1..) = stream.read(&mut part).await {
            let room = KEPT.saturating_sub(self.0.len()).min(length);
            self.0.extend_from_slice(&part[..room]);
        }
    }

    fn line(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        let line = text.lines().next().unwrap_or_default().trim_end();
        line.chars().map(|char| if char.is_control() { ' ' } else { char }).take(LINE).collect()
    }
}

/// The processes that a program is, killed when this is dropped.
struct Group(Option<Pid>);

impl Group {
    fn of(leader: Option<u32>) -> Self {
        Self(leader.and_then(|leader| i32::try_from(leader).ok()).map(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // ESRCH: all of it has ended already.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

/// As whom a program runs: as `user` where this process is root and may switch, else as whom it is.
async fn identity(user: &str) -> Result<Option<Identity>, Error> {
    if !geteuid().is_root() || user.is_empty() {
        return Ok(None);
    }
    let name = user.to_owned();
    let lookup = |user: &str, source| Error::Lookup { user: user.to_owned(), source };
    // A directory service may take its time.
    let found = tokio::task::spawn_blocking(move || look_up(&name)).await;
    match found {
        Ok(Ok(Some(identity))) => Ok(Some(identity)),
        Ok(Ok(None)) => Err(Error::NoUser(user.to_owned())),
        Ok(Err(error)) => Err(lookup(user, error)),
        Err(_ended) => Err(lookup(user, io::ErrorKind::Interrupted.into())),
    }
}

fn look_up(name: &str) -> io::Result<Option<Identity>> {
    let Some(user) = User::from_name(name)? else { return Ok(None) };
    let c_name = CString::new(name)?;
    let groups = getgrouplist(&c_name, user.gid)?;
    Ok(Some(Identity {
        user: user.uid.as_raw(),
        group: user.gid.as_raw(),
        groups: groups.into_iter().map(nix::unistd::Gid::as_raw).collect(),
    }))
}
