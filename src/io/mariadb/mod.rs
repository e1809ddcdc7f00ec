//! The local MariaDB server, and the peer's where a step reaches over: what `decision::action::DatabaseStep`
//! and `RemoteStep` ask for, and the watch over the server's health. No decisions.
//!
//! Connections are kept and opened beforehand: `control` for steps, `spare` for what must go beside a step
//! (KILL, polling), `fence` for `read_only=1` alone, `probe`, `rows` for heartbeat rows and for watching the peer's, and one more that is
//! parked so that its end tells of the server's death.

pub mod accounts;
mod clients;
pub mod clone;
mod compare;
mod connection;
mod files;
mod freeze;
mod heartbeat;
mod ledger;
mod life;
mod probe;
mod replica;
pub mod session;
mod settings;
mod settings_look;
pub mod statement;
mod tail;
mod watch;
mod writes;

pub use settings::{DatabaseSettings, endpoint_options};

use crate::decision::action::{DatabaseStep, RemoteStep, StepOutput, StepResult};
use crate::decision::gtid::GtidState;
use crate::io::binlog::{Bookmark, Tail};
use connection::{Connection, kill_abandoned};
use session::{Failure, Fields};
use statement::{Statement, statement};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// How writes are held up by a freeze.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frozen {
    /// BACKUP STAGE BLOCK_COMMIT on the control connection.
    Stage,
    /// `read_only=1`, because the stage was refused.
    ReadOnly,
}

/// What is remembered between steps.
#[derive(Debug, Default)]
struct Memory {
    frozen: Option<Frozen>,
    /// `gtid_binlog_pos` at the freeze.
    frozen_at: GtidState,
    tail: Option<Tail>,
    basename: Option<PathBuf>,
    /// Newest last.
    bookmarks: VecDeque<Bookmark>,
    /// apd itself started the replica threads of the present server run.
    started_replica: bool,
}

/// The local server. Never fails to exist: it connects in the background, again and again.
#[derive(Debug)]
pub struct Database {
    settings: DatabaseSettings,
    control: Connection,
    spare: Connection,
    fence: Connection,
    probe: Connection,
    rows: Connection,
    /// No heartbeat row may be written: writes are being forbidden.
    quiet: AtomicBool,
    memory: Mutex<Memory>,
}

impl Database {
    /// Starts the kept connections. Must be called within a tokio runtime, whose tasks then own them.
    pub fn connect(settings: DatabaseSettings) -> Database {
        let (kills, abandoned) = mpsc::unbounded_channel();
        let start = || Connection::start(settings.local(), kills.clone());
        let (control, spare, fence, probe, rows) = (start(), start(), start(), start(), start());
        tokio::spawn(kill_abandoned(abandoned, [spare.clone(), control.clone()]));
        let memory = Mutex::default();
        Database { control, spare, fence, probe, rows, quiet: AtomicBool::new(false), memory, settings }
    }

    /// Carries out one step on the local server.
    pub async fn perform(&self, step: &DatabaseStep, deadline: Duration) -> StepResult {
        let until = Instant::now() + deadline;
        conclude(timeout_at(until, self.step(step, until)).await)
    }

    async fn step(&self, step: &DatabaseStep, until: Instant) -> Result<StepOutput, Failure> {
        match step {
            DatabaseStep::Drain => self.drain(until).await.map(StepOutput::Position),
            DatabaseStep::StopApplying => self.stop_applying(until).await.map(done),
            DatabaseStep::ResumeApplying => self.resume_applying(until).await.map(done),
            DatabaseStep::AllowWrites => self.allow_writes(until).await.map(done),
            DatabaseStep::WriteEpoch { epoch, reason } => {
                self.write_epoch(*epoch, reason, until).await.map(done)
            }
            DatabaseStep::ForbidWrites => self.forbid_writes(until).await.map(done),
            DatabaseStep::Freeze => self.freeze(until).await.map(StepOutput::Position),
            DatabaseStep::Thaw => self.thaw(until).await.map(done),
            DatabaseStep::Seal => self.seal(until).await.map(StepOutput::Position),
            DatabaseStep::WaitFor { position } => self.wait_for(position, until).await.map(done),
            DatabaseStep::ForgetPrimary => self.forget_primary(until).await.map(done),
            DatabaseStep::Follow { position, own_tail_lost } => {
                self.follow(position.as_ref(), *own_tail_lost, until).await.map(done)
            }
            DatabaseStep::ForgetOwnTail { common } => self.forget_own_tail(common, until).await.map(done),
            DatabaseStep::ApplyTail => self.apply_tail(until).await.map(tail_output),
        }
    }

    /// Carries out one step that reaches over to the peer's server. `FetchTail` goes over the peer link and
    /// is the driver's: see [`Database::hold_tail`] and [`crate::io::binlog::read_tail`].
    pub async fn perform_remote(&self, step: &RemoteStep, deadline: Duration) -> StepResult {
        let until = Instant::now() + deadline;
        match step {
            RemoteStep::ReachServer => self.reach_server(until).await,
            RemoteStep::FenceServer => self.fence_server(until).await,
            RemoteStep::Compare => conclude(
                timeout_at(until, async { self.compare(until).await.map(StepOutput::Comparison) }).await,
            ),
            RemoteStep::FetchTail { .. } => StepResult::Failed(
                "a tail is fetched over the peer link, not from the peer's server".to_owned(),
            ),
        }
    }

    /// Keeps what was fetched from the dead server's binary log for the next [`DatabaseStep::ApplyTail`].
    pub fn hold_tail(&self, tail: Tail) {
        self.remember(|memory| memory.tail = Some(tail));
    }

    /// Path of the binary logs without their number, as learned while the server lived.
    pub fn binlog_basename(&self) -> Option<PathBuf> {
        self.remember(|memory| memory.basename.clone())
    }

    /// The latest place in the binary log, as seen while the server lived, before which `have` lacks nothing:
    /// a rescue need not read what lies before.
    pub fn bookmark(&self, have: &GtidState) -> Option<Bookmark> {
        self.remember(|memory| memory.bookmarks.iter().rev().find(|mark| have.covers(&mark.state)).cloned())
    }

    fn remember<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        // A panic while the lock was held cannot leave these plain fields half changed.
        change(&mut self.memory.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// apd's own writes stop here first, because read_only does not stop them.
    fn hush(&self, quiet: bool) {
        self.quiet.store(quiet, Ordering::Release);
    }

    fn schema(&self) -> String {
        statement::identifier(&self.settings.schema)
    }

    /// Sends one statement on the control connection.
    async fn say(&self, statement: Statement, until: Instant) -> Result<Vec<Fields>, Failure> {
        self.control.ask(statement, until).await
    }

    /// `gtid_binlog_pos`, `gtid_binlog_state`, `gtid_slave_pos`.
    async fn positions(&self, connection: &Connection, until: Instant) -> Result<Positions, Failure> {
        let rows = connection.ask(statement!("position"), until).await?;
        Positions::read(rows.first().unwrap_or(&Fields::default()))
    }
}

/// A server's three positions.
#[derive(Clone, Debug, Default)]
struct Positions {
    binlog: GtidState,
    state: GtidState,
    applied: GtidState,
}

impl Positions {
    fn read(row: &Fields) -> Result<Positions, Failure> {
        Ok(Positions {
            binlog: gtids(row.text("gtid_binlog_pos"))?,
            state: gtids(row.text("gtid_binlog_state"))?,
            applied: gtids(row.text("gtid_slave_pos"))?,
        })
    }

    /// All that this server has: its binary log, and what a clone brought.
    fn everything(&self) -> GtidState {
        self.state.union(&self.applied)
    }
}

fn gtids(text: &str) -> Result<GtidState, Failure> {
    text.parse().map_err(|error| Failure::Other(format!("the server gave a position: {error}")))
}

fn done((): ()) -> StepOutput {
    StepOutput::Done
}

fn tail_output(transactions: u64) -> StepOutput {
    StepOutput::Tail { transactions }
}

fn conclude(outcome: Result<Result<StepOutput, Failure>, tokio::time::error::Elapsed>) -> StepResult {
    match outcome {
        Ok(Ok(output)) => StepResult::Ok(output),
        Ok(Err(Failure::TimedOut(_))) | Err(_) => StepResult::TimedOut,
        // 1969: the statement's bound in the server, which lies a little before the step's deadline.
        Ok(Err(failure)) if failure.code() == Some(1969) => StepResult::TimedOut,
        Ok(Err(failure)) => StepResult::Failed(failure.to_string()),
    }
}
