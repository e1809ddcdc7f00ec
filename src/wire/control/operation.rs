//! Commands over HTTP and how they ended: `POST /switchover` and the like, `GET /operations/ID`.

use super::SCHEMA_VERSION;
use super::words;
use crate::decision::action::Answer;
use crate::decision::event::Command;
use crate::decision::words::Mode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Body of a changing request. Which fields count depends on the path; unknown ones are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RequestBody {
    /// Why, for journal and history.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// `/mode`: to what.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<words::Mode>")]
    pub mode: Option<Mode>,
    /// `/mode`: nag after this long in maintenance, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nag_after_ms: Option<u64>,
    /// `/switchover`: give up after this long, milliseconds; 30 s if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Only look.
    #[serde(skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// `/failover`: must be given.
    #[serde(skip_serializing_if = "is_false")]
    pub force: bool,
    /// `/failover`: what only the peer has may be left behind.
    #[serde(skip_serializing_if = "is_false")]
    pub accept_data_loss: bool,
    /// `/log-level`: to what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// `/failover`, `/mode`: the operator vouches that the unseen peer is off.
    #[serde(skip_serializing_if = "is_false")]
    pub peer_is_off: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Longest time that an operator may give a switchover.
pub const SWITCHOVER_TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// Time that a switchover has if nothing is said.
pub const SWITCHOVER_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// A request that names no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// `/mode` without a mode.
    #[error("the body names no mode: send {{\"mode\":\"ap\"}}, \"maintenance\" or \"standalone\"")]
    NoMode,
    /// Nothing to command under this path.
    #[error(
        "`{0}` is no command: the commands are switchover, failover, mode, rejoin, clear, start and stop"
    )]
    UnknownCommand(String),
    /// A timeout of zero or of more than [`SWITCHOVER_TIMEOUT_MAX`].
    #[error("timeout_ms is {0}: it must be between 1 and 600000")]
    Timeout(u64),
}

/// The command that `POST /NAME` with this body means.
///
/// # Errors
/// When the name is no command or the body lacks what the command needs.
pub fn command(name: &str, body: RequestBody) -> Result<Command, BadRequest> {
    let reason = body.reason;
    match name {
        "switchover" => {
            let timeout = match body.timeout_ms {
                None => SWITCHOVER_TIMEOUT_DEFAULT,
                Some(milliseconds) => {
                    let timeout = Duration::from_millis(milliseconds);
                    if timeout.is_zero() || timeout > SWITCHOVER_TIMEOUT_MAX {
                        return Err(BadRequest::Timeout(milliseconds));
                    }
                    timeout
                }
            };
            Ok(Command::Switchover { reason, timeout, dry_run: body.dry_run })
        }
        "failover" => Ok(Command::Failover {
            reason,
            force: body.force,
            accept_data_loss: body.accept_data_loss,
            peer_is_off: body.peer_is_off,
        }),
        "mode" => Ok(Command::SetMode {
            mode: body.mode.ok_or(BadRequest::NoMode)?,
            reason,
            peer_is_off: body.peer_is_off,
            nag_after: body.nag_after_ms.map(Duration::from_millis),
        }),
        "rejoin" => Ok(Command::Rejoin { reason, dry_run: body.dry_run }),
        "clear" => Ok(Command::Clear),
        "start" => Ok(Command::Start { reason, dry_run: body.dry_run }),
        "stop" => Ok(Command::Stop { reason, dry_run: body.dry_run }),
        other => Err(BadRequest::UnknownCommand(other.to_owned())),
    }
}

/// How an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Still going on.
    Running,
    /// Done.
    Done,
    /// Done, but degraded.
    Degraded,
    /// It was so already.
    Already,
    /// Refused because unsafe.
    Refused,
    /// Failed.
    Failed,
    /// The peer is needed and not reachable.
    PeerUnreachable,
}

/// One command of an operator, from its start to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Operation {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Names it in `GET /operations/ID`.
    pub id: String,
    /// `switchover`, `mode`, ...
    pub command: String,
    /// Who asked.
    pub actor: String,
    /// When, RFC 3339.
    pub started_at: String,
    /// Lines told on the way, oldest first.
    pub progress: Vec<String>,
    /// How it stands.
    pub outcome: Outcome,
    /// One line: how it ended; empty while running.
    pub text: String,
    /// Stable code of a refusal or failure: `E_...`; empty otherwise.
    pub code: String,
    /// What resolves a refusal; empty otherwise.
    pub remedy: String,
}

/// Most lines of progress that are kept of one operation.
const PROGRESS_MAX: usize = 256;

impl Operation {
    /// One that has just begun.
    pub fn begun(id: String, command: &str, actor: &str, started_at: String) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            id,
            command: command.to_owned(),
            actor: actor.to_owned(),
            started_at,
            progress: Vec::new(),
            outcome: Outcome::Running,
            text: String::new(),
            code: String::new(),
            remedy: String::new(),
        }
    }

    /// Takes one answer of the daemon in. What comes after the last one is not heard.
    pub fn take(&mut self, answer: Answer) {
        if self.outcome != Outcome::Running {
            return;
        }
        let (outcome, code, text, remedy) = match answer {
            Answer::Progress(line) => {
                if self.progress.len() < PROGRESS_MAX {
                    self.progress.push(line);
                }
                return;
            }
            Answer::Done(text) => (Outcome::Done, "", text, String::new()),
            Answer::Degraded(text) => (Outcome::Degraded, "", text, String::new()),
            Answer::Already(text) => (Outcome::Already, "", text, String::new()),
            Answer::Failed(text) => (Outcome::Failed, "E_FAILED", text, String::new()),
            Answer::PeerUnreachable(text) => {
                (Outcome::PeerUnreachable, "E_PEER_UNREACHABLE", text, String::new())
            }
            Answer::Refused { code, reason, remedy } => {
                self.code = code;
                (Outcome::Refused, "", reason, remedy)
            }
        };
        self.outcome = outcome;
        self.text = text;
        self.remedy = remedy;
        if !code.is_empty() {
            code.clone_into(&mut self.code);
        }
    }
}

/// An answer other than success (RFC 9457), `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Always `about:blank`: the status and `code` say what it is.
    pub r#type: String,
    /// Phrase of the status.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What happened here, in one sentence.
    pub detail: String,
    /// Stable code: `E_...`.
    pub code: String,
    /// What resolves it; empty if nothing is known.
    #[serde(default)]
    pub remedy: String,
    /// The operation that it is about, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
}
