//! The lanes of slow work: nothing overtakes within one, what only waits gives way to what forbids, steps end
//! late, and a step that timed out may still take effect (as `src/driver/lanes.rs` and the servers behind it).

use super::bugs::Bug;
use super::database::Health;
use super::world::{Happening, MS, World};
use crate::decision::action::{DatabaseStep, RecordStep, RemoteStep, Step, StepOutput, StepResult, Ticket};
use crate::decision::event::Event;
use std::collections::VecDeque;
use std::time::Duration;

/// A server that needs longer to answer is taken for gone; what it has is named when it is back.
const LONGER_THAN_A_BID: u64 = 50 * MS;

/// The lanes that end late; the address lane is the gate process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneName {
    Record,
    Database,
    Remote,
    Units,
}

/// One step in its lane.
#[derive(Clone, Debug)]
pub struct Job {
    pub ticket: Ticket,
    pub step: Step,
    deadline: u64,
    serial: u64,
    begun: bool,
    /// Its end was told; its effect may still come.
    reported: bool,
}

/// One queue.
#[derive(Clone, Debug, Default)]
pub struct Lane {
    pub jobs: VecDeque<Job>,
    serial: u64,
}

/// What came of trying.
pub enum Tried {
    Ended(StepResult),
    /// Not yet: look again after this long.
    Wait(u64),
}

pub fn ok(output: StepOutput) -> Tried {
    Tried::Ended(StepResult::Ok(output))
}

pub fn failed(text: impl Into<String>) -> Tried {
    Tried::Ended(StepResult::Failed(text.into()))
}

fn yields(running: &Step, next: &Step) -> bool {
    match (running, next) {
        (Step::Database(running), Step::Database(next)) => running.gives_way_to(next),
        (Step::Units(running), Step::Units(next)) => running.gives_way_to(next),
        _ => false,
    }
}

impl World {
    fn lane(&mut self, host: usize, name: LaneName) -> Option<&mut Lane> {
        let daemon = self.hosts[host].daemon.as_mut()?;
        Some(match name {
            LaneName::Record => &mut daemon.record,
            LaneName::Database => &mut daemon.database,
            LaneName::Remote => &mut daemon.remote,
            LaneName::Units => &mut daemon.units,
        })
    }

    pub fn start_step(&mut self, host: usize, ticket: Ticket, step: Step, deadline: Duration) {
        let name = match &step {
            Step::Record(_) => LaneName::Record,
            Step::Remote(_) => LaneName::Remote,
            Step::Database(_) => LaneName::Database,
            Step::Units(_) => LaneName::Units,
            Step::Address(_) => return self.start_address(host, ticket, step, deadline),
        };
        if self.bug == Some(Bug::ForgottenForbid) && step == Step::Database(DatabaseStep::ForbidWrites) {
            let result = StepResult::Ok(StepOutput::Done);
            let run = self.hosts[host].run;
            self.tell(MS, host, run, Event::StepEnded { ticket, result });
            return;
        }
        let Some(lane) = self.lane(host, name) else { return };
        lane.serial += 1;
        let deadline = Self::nanos(deadline);
        let job = Job { ticket, step, deadline, serial: lane.serial, begun: false, reported: false };
        let running = lane.jobs.iter().position(|other| other.begun && !other.reported);
        let gives_way = running.is_some_and(|index| yields(&lane.jobs[index].step, &job.step));
        lane.jobs.push_back(job);
        if gives_way && let Some(dropped) = running.and_then(|index| lane.jobs.remove(index)) {
            self.mark("a waiting step gave way");
            self.end_job(host, dropped.ticket, StepResult::TimedOut);
        }
        self.next_job(host, name);
    }

    fn end_job(&mut self, host: usize, ticket: Ticket, result: StepResult) {
        let run = self.hosts[host].run;
        self.tell(1, host, run, Event::StepEnded { ticket, result });
    }

    /// The daemon is writing the mode file: what it reads there means nothing now.
    pub fn writing_mode(&self, host: usize) -> bool {
        let writes =
            |job: &Job| !job.reported && matches!(job.step, Step::Record(RecordStep::SetMode { .. }));
        self.hosts[host].daemon.as_ref().is_some_and(|daemon| daemon.record.jobs.iter().any(writes))
    }

    /// Begins the next step if none runs.
    fn next_job(&mut self, host: usize, name: LaneName) {
        let run = self.hosts[host].run;
        let Some(lane) = self.lane(host, name) else { return };
        if lane.jobs.iter().any(|job| job.begun && !job.reported) {
            return;
        }
        let Some(index) = lane.jobs.iter().position(|job| !job.begun) else { return };
        let job = &mut lane.jobs[index];
        job.begun = true;
        let (serial, deadline, step) = (job.serial, job.deadline, job.step.clone());
        self.at(deadline, Happening::LaneDeadline { host, run, lane: name, serial });
        if index == 0 {
            let duration = self.duration(host, &step);
            if step == Step::Remote(RemoteStep::ReachServer) && duration > LONGER_THAN_A_BID {
                self.checkers.not_reached(host);
            }
            self.at(duration, Happening::LaneReady { host, run, lane: name, serial });
        }
    }

    /// How long a step takes when nothing holds it up.
    fn duration(&mut self, host: usize, step: &Step) -> u64 {
        let slow = self.hosts[host].slow_disk > 0;
        self.pace.step(step, slow, &mut self.random)
    }

    pub fn lane_ready(&mut self, host: usize, run: u64, name: LaneName, serial: u64) {
        if !self.running(host, run) {
            return;
        }
        let Some(job) = self.lane(host, name).and_then(|lane| lane.jobs.front()).cloned() else { return };
        if job.serial != serial {
            return;
        }
        match self.perform(host, &job.step) {
            Tried::Wait(delay) => self.at(delay, Happening::LaneReady { host, run, lane: name, serial }),
            Tried::Ended(result) => {
                self.trace_step(host, &job, &result);
                let done = matches!(result, StepResult::Ok(_));
                if done && matches!(job.step, Step::Record(RecordStep::SetMode { .. })) {
                    // Read once more: a hand may have written beside it.
                    self.at(2, Happening::ModeFile { host, run });
                }
                if !job.reported {
                    self.end_job(host, job.ticket, result);
                } else {
                    self.mark("a step took effect after it had timed out");
                    if name == LaneName::Units {
                        // systemd's word of the unit comes all the same.
                        self.report_service(host, MS);
                    }
                }
                self.drop_front(host, run, name);
            }
        }
    }

    /// What servers did, for whoever reads a story.
    fn trace_step(&mut self, host: usize, job: &Job, result: &StepResult) {
        let late = if job.reported { ", late" } else { "" };
        let ended = match (&job.step, result) {
            (Step::Record(_) | Step::Units(_) | Step::Address(_), _) => return,
            (_, StepResult::Ok(_)) => "done",
            (_, StepResult::Failed(text)) => text.as_str(),
            (_, StepResult::TimedOut) => "no answer",
        };
        self.trace(|| format!("db{} {:?}: {ended}{late}", host + 1, job.step));
    }

    fn drop_front(&mut self, host: usize, run: u64, name: LaneName) {
        let Some(lane) = self.lane(host, name) else { return };
        lane.jobs.pop_front();
        if let Some(front) = lane.jobs.front().filter(|job| job.begun).cloned() {
            let duration = self.duration(host, &front.step);
            self.at(duration, Happening::LaneReady { host, run, lane: name, serial: front.serial });
        }
        self.next_job(host, name);
    }

    pub fn lane_late(&mut self, host: usize, run: u64, name: LaneName, serial: u64) {
        if !self.running(host, run) {
            return;
        }
        let killed = self.random.percent(40);
        let Some(lane) = self.lane(host, name) else { return };
        let Some(index) = lane.jobs.iter().position(|job| job.serial == serial && !job.reported) else {
            return;
        };
        lane.jobs[index].reported = true;
        let job = lane.jobs[index].clone();
        self.mark("a step timed out");
        self.end_job(host, job.ticket, StepResult::TimedOut);
        if self.bug == Some(Bug::UnorderedSteps) {
            self.strays(host, job.step.clone());
        }
        if killed || matches!(&job.step, Step::Database(step) if step.waits()) {
            if index == 0 {
                self.drop_front(host, run, name);
            } else if let Some(lane) = self.lane(host, name) {
                lane.jobs.remove(index);
            }
        }
        self.next_job(host, name);
    }

    pub fn stray(&mut self, host: usize, step: &Step) {
        if self.hosts[host].powered {
            self.perform(host, step);
        }
    }

    fn perform(&mut self, host: usize, step: &Step) -> Tried {
        match step {
            Step::Record(_) if self.hosts[host].disk_fails > 0 => failed("EIO"),
            Step::Record(RecordStep::Persist(facts)) => {
                self.hosts[host].disk = Some(*facts);
                if self.bug == Some(Bug::EpochLost) {
                    self.hosts[host].disk = None;
                }
                ok(StepOutput::Done)
            }
            Step::Record(RecordStep::SetMode { .. }) if self.bug == Some(Bug::ModeUnwritten) => {
                ok(StepOutput::Done)
            }
            Step::Record(RecordStep::SetPart { started }) => {
                self.hosts[host].part = Some(*started);
                ok(StepOutput::Done)
            }
            Step::Record(RecordStep::SetMode { mode, .. }) => {
                let mode = *mode;
                self.trace(|| format!("db{} mode file: {mode}", host + 1));
                self.hosts[host].set_mode(mode, self.now);
                self.hosts[host].garbage = None;
                self.mode_file_changes(host);
                ok(StepOutput::Done)
            }
            Step::Database(_) if self.hosts[host].connection_hangs > 0 => Tried::Wait(20 * MS),
            Step::Database(step) => match self.hosts[host].server.health {
                Health::Hung => Tried::Wait(20 * MS),
                Health::Dead => failed("the server is gone"),
                Health::Up => self.perform_database(host, step),
            },
            Step::Remote(step) => self.perform_remote(host, step),
            Step::Units(step) => self.perform_service(host, step),
            Step::Address(_) => failed("not a lane of its own"),
        }
    }

    /// The daemon is gone: what it had begun may still happen, or happen by half.
    pub fn abandon_lanes(&mut self, host: usize) {
        let half = self.random.percent(50);
        let front =
            |world: &mut Self, name| world.lane(host, name).and_then(|lane| lane.jobs.front()).cloned();
        if let Some(job) = front(self, LaneName::Database)
            && half
            && job.begun
            && short(&job.step)
        {
            self.perform(host, &job.step);
        }
        let Some(job) = front(self, LaneName::Record).filter(|job| job.begun) else { return };
        match (&job.step, self.random.below(3)) {
            // Two slots: the new facts are there, or the old ones.
            (_, 0) => {}
            (Step::Record(RecordStep::SetMode { mode, .. }), 1) => {
                let (mode, now) = (*mode, self.now);
                self.hosts[host].set_mode(mode, now);
                self.hosts[host].interrupted = true;
                self.mark("a change of the mode was cut in the middle");
            }
            (step, _) => {
                self.perform(host, step);
            }
        }
    }
}

/// One statement, that the server carries out whoever still listens.
fn short(step: &Step) -> bool {
    matches!(
        step,
        Step::Database(DatabaseStep::AllowWrites | DatabaseStep::ForbidWrites | DatabaseStep::StopApplying)
    )
}

impl World {
    fn perform_remote(&mut self, host: usize, step: &RemoteStep) -> Tried {
        self.remote_step(host, step)
    }
}
