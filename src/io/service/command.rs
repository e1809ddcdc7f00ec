//! Services that are run by commands: an argument list, no shell, no input, a process group of its own. A command that
//! does not end in time is killed with all that it started.

use super::Outcome;
use crate::decision::service::ServiceState;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How long a status may take.
const STATUS: Duration = Duration::from_secs(2);
/// How long a kill may take, and then the end of the service.
const DEATH: Duration = Duration::from_secs(5);
/// Between two questions for an end that nobody tells.
const AGAIN: Duration = Duration::from_millis(50);

/// Whether the words of a command are for the journal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Words {
    Kept,
    Dropped,
}

/// Starts a service; done once the command has ended well and the status says that it runs.
pub async fn start(argv: &[String], status: Option<&[String]>, deadline: Instant) -> Outcome<()> {
    if runs(status).await? == Some(true) {
        return Ok(());
    }
    match timeout_at(deadline, run(argv, Words::Kept)).await {
        Ok(ended) => judge(argv, ended?)?,
        Err(_) => return Err(format!("{} did not end in time and was killed", argv[0])),
    }
    let Some(status) = status else { return Ok(()) };
    until(Some(status), true, deadline).await.map_err(|()| format!("{} says that it does not run", status[0]))
}

/// Stops a service; runs `kill` when it takes longer than that.
pub async fn stop(
    argv: &[String],
    kill_argv: Option<&[String]>,
    status: Option<&[String]>,
    patience: Duration,
) -> Outcome<()> {
    if runs(status).await? == Some(false) {
        return Ok(());
    }
    let end = Instant::now() + patience;
    let ended = timeout_at(end, run(argv, Words::Kept)).await;
    let complaint = match ended {
        Ok(ended) => judge(argv, ended?).err(),
        Err(_) => Some(format!("{} did not end in time and was killed", argv[0])),
    };
    // Without a status the command's own word is all that there is.
    if status.is_none() && complaint.is_none() {
        return Ok(());
    }
    if status.is_some() && until(status, false, end).await.is_ok() {
        return Ok(());
    }
    let complaint = complaint.unwrap_or_else(|| format!("it still runs after {}", argv[0]));
    if kill_argv.is_none() {
        return Err(format!("{complaint}; no `kill` is configured"));
    }
    tracing::warn!(code = "service.killed", "the service did not stop in time and is killed: {complaint}");
    kill("it", kill_argv, status).await
}

/// Ends a service at once.
pub async fn kill(name: &str, argv: Option<&[String]>, status: Option<&[String]>) -> Outcome<()> {
    if runs(status).await? == Some(false) {
        return Ok(());
    }
    let Some(argv) = argv else { return Err(format!("{name} has no `kill`")) };
    let late = |_| format!("{} did not end in time and was killed", argv[0]);
    let ended = timeout(DEATH, run(argv, Words::Kept)).await.map_err(late)??;
    judge(argv, ended)?;
    if status.is_none() {
        return Ok(());
    }
    until(status, false, Instant::now() + DEATH).await.map_err(|()| format!("it outlives {}", argv[0]))
}

/// How a service is doing, by its status command.
pub async fn state(status: Option<&[String]>) -> Outcome<(ServiceState, String)> {
    let Some(argv) = status else {
        return Ok((ServiceState::Unknown, "no `status` is configured".into()));
    };
    let ended = ask(argv).await?;
    let detail = format!("{} ended with {}", argv[0], word(ended));
    Ok((if ended.success() { ServiceState::Running } else { ServiceState::Stopped }, detail))
}

/// Whether it runs; `None` where nobody can say.
async fn runs(status: Option<&[String]>) -> Outcome<Option<bool>> {
    match status {
        Some(argv) => ask(argv).await.map(|ended| Some(ended.success())),
        None => Ok(None),
    }
}

async fn ask(argv: &[String]) -> Outcome<ExitStatus> {
    let late = |_| format!("{} did not end in time and was killed", argv[0]);
    timeout(STATUS, run(argv, Words::Dropped)).await.map_err(late)?
}

/// Asks until the answer is the wanted one.
async fn until(status: Option<&[String]>, wanted: bool, deadline: Instant) -> Result<(), ()> {
    loop {
        if runs(status).await == Ok(Some(wanted)) {
            return Ok(());
        }
        if Instant::now() + AGAIN > deadline {
            return Err(());
        }
        sleep(AGAIN).await;
    }
}

fn judge(argv: &[String], ended: ExitStatus) -> Outcome<()> {
    if ended.success() { Ok(()) } else { Err(format!("{} ended with {}", argv[0], word(ended))) }
}

fn word(ended: ExitStatus) -> String {
    ended.code().map_or_else(|| ended.to_string(), |code| code.to_string())
}

/// Runs a command to its end. What it leaves running outlives it; given up, all of its group dies.
async fn run(argv: &[String], words: Words) -> Outcome<ExitStatus> {
    let [program, arguments @ ..] = argv else { return Err("an empty command".into()) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    if words == Words::Dropped {
        command.stdout(Stdio::null()).stderr(Stdio::null());
    }
    let child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
    let mut running = Running { group: child.id(), child };
    let ended = running.child.wait().await.map_err(|error| format!("{program}: {error}"))?;
    running.group = None;
    Ok(ended)
}

struct Running {
    group: Option<u32>,
    child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.group.and_then(|group| i32::try_from(group).ok()) {
            // One that has just ended needs no kill.
            let _ended = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }
}
