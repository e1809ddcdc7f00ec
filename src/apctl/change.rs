//! Verbs that change something: the plan, the confirmation, the operation, its end.

use super::answers::{Operations, Plan};
use super::arguments::{Common, Verb};
use super::client::Client;
use super::exit::{Exit, Failure};
use super::output::{Output, Tone};
use super::view::{painted, wrapped};
use crate::decision::words::{Mode, Role};
use crate::wire::control::{Operation, Outcome, RequestBody, SCHEMA_VERSION, Status};
use std::io::{self, BufRead, IsTerminal, Write};
use std::time::{Duration, Instant};

/// One question to the daemon waits this long for news.
const LISTEN: Duration = Duration::from_secs(5);
/// The daemon is told to give up after `--timeout`; its word about that may take this much longer.
const GRACE: Duration = Duration::from_secs(5);
/// Between tries when the daemon stops answering in the middle.
const AGAIN: Duration = Duration::from_millis(200);

/// What is asked, and how long its end is waited for.
struct Request {
    name: &'static str,
    body: RequestBody,
    timeout: Duration,
    /// Only look. Where the daemon itself can look, it is asked to.
    dry_run: bool,
    daemon_looks: bool,
}

/// Carries a changing verb out.
pub(super) fn change(
    client: &Client,
    output: &Output,
    common: &Common,
    verb: &Verb,
) -> Result<Exit, Failure> {
    let request = request(verb)?;
    let status = client.status()?;
    let plan = plan(&request, &status);
    if request.dry_run && !request.daemon_looks {
        let value =
            Plan { schema_version: SCHEMA_VERSION, dry_run: true, command: request.name, plan: &plan };
        output.show(&value, |output| plan.iter().map(|line| wrapped(line, "", output.width())).collect())?;
        return Ok(Exit::OK);
    }
    if !request.dry_run && !confirmed(common, &plan)? {
        return Err(Failure::failed("not confirmed; nothing was changed"));
    }
    // What was confirmed was planned for this epoch.
    let operation = client.begin(request.name, &request.body, Some(status.node.epoch))?;
    follow(client, output, common, operation, request.timeout)
}

/// `reload`. No epoch goes with it: it changes no role.
pub(super) fn reload(
    client: &Client,
    output: &Output,
    common: &Common,
    timeout: Duration,
) -> Result<Exit, Failure> {
    let operation = client.begin("reload", &RequestBody::default(), None)?;
    follow(client, output, common, operation, timeout)
}

/// `operation [ID]`.
pub(super) fn operation(
    client: &Client,
    output: &Output,
    common: &Common,
    id: Option<&str>,
    wait: Option<Duration>,
) -> Result<Exit, Failure> {
    let Some(id) = id else {
        let known = Operations { schema_version: SCHEMA_VERSION, operations: client.get("/operations")? };
        output.show(&known, |output| {
            known.operations.iter().map(|one| wrapped(&one_line(one), "", output.width())).collect()
        })?;
        return Ok(Exit::OK);
    };
    if !id.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-') {
        return Err(Failure::usage(format!("`{id}` is no operation: its number looks like 3f2a-1")));
    }
    let operation: Operation = client.get(&format!("/operations/{id}"))?;
    follow(client, output, common, operation, wait.unwrap_or(Duration::ZERO))
}

fn one_line(operation: &Operation) -> String {
    let Operation { id, command, actor, started_at, outcome, text, .. } = operation;
    let outcome = format!("{outcome:?}").to_lowercase();
    format!("{id}  {started_at}  {command}  by {actor}: {outcome} {text}")
}

fn request(verb: &Verb) -> Result<Request, Failure> {
    let mut daemon_looks = false;
    let (name, body, timeout, dry_run) = match verb {
        Verb::Switchover { dry_run, timeout, reason } => {
            daemon_looks = true;
            let timeout_ms = u64::try_from(timeout.as_millis()).ok();
            let body = RequestBody {
                reason: reason.clone(),
                timeout_ms,
                dry_run: *dry_run,
                ..RequestBody::default()
            };
            ("switchover", body, *timeout + GRACE, *dry_run)
        }
        Verb::Failover { force, accept_data_loss, peer_is_off, dry_run, timeout, reason } => {
            let body = RequestBody {
                reason: reason.clone(),
                force: *force,
                accept_data_loss: *accept_data_loss,
                peer_is_off: *peer_is_off,
                ..RequestBody::default()
            };
            if !force {
                return Err(Failure::new(Exit::REFUSED, "E_FORCE", "a failover is not a planned swap")
                    .resolved_by(
                        "apctl switchover swaps without loss; apctl failover --force takes over all the same",
                    ));
            }
            ("failover", body, *timeout, *dry_run)
        }
        Verb::Rejoin { reclone: true, .. } => return Err(Failure::not_yet("apctl rejoin --reclone")),
        Verb::Rejoin { dry_run, timeout, reason, .. } => {
            daemon_looks = true;
            let body = RequestBody { reason: reason.clone(), dry_run: *dry_run, ..RequestBody::default() };
            ("rejoin", body, *timeout, *dry_run)
        }
        Verb::Mode(change) => {
            if change.nag_after.is_some() && change.mode != Some(Mode::Maintenance) {
                return Err(Failure::usage("--for goes with maintenance only: it is when to remind of it"));
            }
            let body = RequestBody {
                reason: change.reason.clone(),
                mode: change.mode,
                nag_after_ms: change.nag_after.and_then(|after| u64::try_from(after.as_millis()).ok()),
                peer_is_off: change.peer_is_off,
                ..RequestBody::default()
            };
            ("mode", body, change.timeout, change.dry_run)
        }
        Verb::Start(part) => {
            daemon_looks = true;
            ("start", part.body(), part.timeout, part.dry_run)
        }
        Verb::Stop(part) => {
            daemon_looks = true;
            ("stop", part.body(), part.timeout, part.dry_run)
        }
        Verb::Clear { dry_run } => ("clear", RequestBody::default(), Duration::from_secs(10), *dry_run),
        _ => return Err(Failure::usage("this verb changes nothing")),
    };
    Ok(Request { name, body, timeout, dry_run, daemon_looks })
}

/// What will happen, as far as the status tells; the daemon decides.
fn plan(request: &Request, status: &Status) -> Vec<String> {
    let (node, peer) = (&status.node, &status.peer);
    let now = format!(
        "now: {} is {} (mode {}, epoch {}); {} is {}",
        node.name,
        node.role,
        node.mode,
        node.epoch,
        peer.name,
        peer.role.map_or_else(|| peer.state.word().to_lowercase(), |role| role.to_string()),
    );
    let (from, to) =
        if node.role == Role::Active { (&node.name, &peer.name) } else { (&peer.name, &node.name) };
    let then = match (request.name, request.body.mode) {
        ("switchover", _) => {
            format!("planned swap: {from} pauses commits, {to} catches up and takes over; no write is lost")
        }
        ("failover", _) => format!(
            "forced takeover by {}: what {} has not sent {}",
            node.name,
            peer.name,
            if request.body.accept_data_loss { "is left behind" } else { "stands in the way" },
        ),
        ("rejoin", _) => {
            "the data of both nodes is compared, the one in maintenance follows and catches up, \
                          and both modes become ap"
                .to_owned()
        }
        ("mode", Some(Mode::Maintenance)) if node.role == Role::Active => {
            format!("{from} hands over to {to} first, then enters maintenance: it serves nothing")
        }
        ("mode", Some(Mode::Maintenance)) => format!("{} enters maintenance: it serves nothing", node.name),
        ("mode", Some(Mode::Standalone)) => {
            format!("{} serves alone, and becomes active if nobody is", node.name)
        }
        ("mode", _) => format!("{} takes part in the election", node.name),
        ("start", _) => format!("{} starts its services and comes up as standby", node.name),
        ("stop", _) if node.role == Role::Active => {
            format!("{from} hands over to {to}, then stops its services and stays out until apctl start")
        }
        ("stop", _) => format!("{} stops its services and stays out until apctl start", node.name),
        _ => format!("a latched fault and the guarded state of {} are cleared", node.name),
    };
    vec![now, then]
}

/// Asks on a terminal; elsewhere, and with `--yes`, the command line itself is the confirmation.
pub(super) fn confirmed(common: &Common, plan: &[String]) -> Result<bool, Failure> {
    if common.yes || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(true);
    }
    let mut terminal = io::stderr().lock();
    let asked = plan
        .iter()
        .try_for_each(|line| writeln!(terminal, "{line}"))
        .and_then(|()| write!(terminal, "Go on? [y/N] "))
        .and_then(|()| terminal.flush());
    asked.map_err(|error| Failure::failed(format!("cannot ask: {error}")))?;
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::failed(format!("cannot read: {error}")))?;
    Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}

/// Tells what goes on until the operation ends or `timeout` passes.
fn follow(
    client: &Client,
    output: &Output,
    common: &Common,
    mut operation: Operation,
    timeout: Duration,
) -> Result<Exit, Failure> {
    let begun = Instant::now();
    let mut told = 0;
    loop {
        for line in operation.progress.iter().skip(told) {
            output.note(&output.paint(Tone::Faint, &format!("... {line}")));
        }
        told = operation.progress.len();
        let left = timeout.saturating_sub(begun.elapsed());
        if operation.outcome != Outcome::Running || left.is_zero() {
            return ended(output, common, &operation);
        }
        let wait = left.min(LISTEN);
        let path = format!("/operations/{}?wait={}ms&seen={told}", operation.id, wait.as_millis().max(1));
        match client.get_slowly(&path, wait) {
            Ok(news) => operation = news,
            // It may be restarting; the operation goes on or is found in its history.
            Err(failure) if failure.exit == Exit::UNREACHABLE && begun.elapsed() < timeout.min(GRACE) => {
                std::thread::sleep(AGAIN);
            }
            Err(failure) => {
                let id = &operation.id;
                let message = format!("{} (operation {id} had begun)", failure.message);
                return Err(Failure {
                    message,
                    remedy: "apctl history shows what became of it".to_owned(),
                    ..failure
                });
            }
        }
    }
}

fn ended(output: &Output, common: &Common, operation: &Operation) -> Result<Exit, Failure> {
    let exit = match operation.outcome {
        Outcome::Done => Exit::OK,
        Outcome::Already if common.exit_code => Exit::ALREADY,
        Outcome::Already => Exit::OK,
        Outcome::Degraded => Exit::DEGRADED,
        Outcome::Running => Exit::TIMED_OUT,
        Outcome::Refused if operation.code == "E_CONFIG_INVALID" => Exit::CONFIG,
        Outcome::Refused => Exit::REFUSED,
        Outcome::Failed => Exit::FAILED,
        Outcome::PeerUnreachable => Exit::PEER_UNREACHABLE,
    };
    if output.is_table() {
        let id = &operation.id;
        let failure = |code: &str, message: String, remedy: String| {
            Err(Failure { exit, code: code.to_owned(), message, remedy })
        };
        match operation.outcome {
            Outcome::Done | Outcome::Degraded | Outcome::Already => {}
            Outcome::Running => {
                let message = format!("operation {id} is still running");
                return failure(
                    "E_TIMED_OUT",
                    message,
                    format!("apctl operation {id} --wait 60s goes on waiting"),
                );
            }
            _ => return failure(&operation.code, operation.text.clone(), operation.remedy.clone()),
        }
    }
    // Programs get the operation itself: it carries code, text, remedy and how it ended.
    output.show(operation, |output| {
        let tone = if operation.outcome == Outcome::Degraded { Tone::Warning } else { Tone::Good };
        operation.text.lines().map(|line| painted(tone, line, output)).collect()
    })?;
    Ok(exit)
}
