//! Back to (ap, ap): prove the data, follow, catch up, compare again, and only then change both modes.

use super::action::{
    Action, Answer, CommandId, Comparison, DatabaseStep, RemoteStep, Step, StepOutput, StepResult,
};
use super::code::Code;
use super::gtid::GtidState;
use super::node::Node;
use super::peer::{PeerMessage, Rejoin};
use super::phase::{Phase, Purpose, outcome};
use super::time::Instant;
use super::why::Why;
use super::words::{Mode, Role};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a replica may stand still during a rejoin.
const STANDSTILL: Duration = Duration::from_secs(10);

/// How long a rejoin waits, at its end, until the active has granted the right to take over.
const GRANT: Duration = Duration::from_secs(3);

/// A rejoin under way on the node that comes back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RejoinState {
    stage: Stage,
    asked: Asked,
    actor: String,
    dry_run: bool,
    comparison: Comparison,
    target: GtidState,
    said_at: Instant,
    began: Instant,
    operation: u64,
}

/// Who wants to know how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Asked {
    Operator(CommandId),
    Peer(u64),
    Policy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    Comparing,
    Forgetting,
    Following,
    CatchingUp,
    Verifying,
    Requesting,
    Granting,
}

/// Steps of a rejoin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum RejoinStep {
    Compare,
    Forget,
    Follow,
    Verify,
}

impl Node {
    /// An operator on this node asks.
    pub(super) fn command_rejoin(&mut self, id: CommandId, actor: &str, dry_run: bool) {
        if matches!(self.phase.now(), Phase::Active(_)) {
            self.ask_peer_to_rejoin(id, dry_run);
            return;
        }
        if let Some(answer) = self.rejoin_refused() {
            self.act(Action::Answer { id, answer });
            return;
        }
        self.begin_rejoin(Asked::Operator(id), actor, dry_run);
    }

    fn ask_peer_to_rejoin(&mut self, id: CommandId, dry_run: bool) {
        let answer = match self.fresh_facts() {
            None => Answer::PeerUnreachable("the peer is not reachable: start it first".into()),
            Some(facts) if facts.mode == Mode::Ap && self.mode.mode == Mode::Ap && facts.replica_running => {
                Answer::Already("the pair is (ap, ap) and the peer follows".into())
            }
            Some(_) if dry_run => Answer::Refused {
                code: "E_WRONG_NODE".into(),
                reason: "the comparison is made by the node that comes back".into(),
                remedy: format!("on {}: apctl rejoin --dry-run", self.settings.peer_name),
            },
            Some(_) => {
                let operation = self.next_operation();
                self.requests.insert(operation, id);
                self.send(PeerMessage::Rejoin(Rejoin::Ask { operation }));
                Answer::Progress(format!("asked {} to rejoin", self.settings.peer_name))
            }
        };
        self.act(Action::Answer { id, answer });
    }

    fn rejoin_refused(&self) -> Option<Answer> {
        let Some(facts) = self.fresh_facts() else {
            return Some(Answer::PeerUnreachable("the peer is not reachable: nothing to rejoin".into()));
        };
        if self.rejoin.is_some() {
            return Some(Answer::Already("a rejoin is under way".into()));
        }
        let healthy = self.follow.problem.is_none() && self.replica_well();
        if self.mode.mode == Mode::Ap && facts.mode == Mode::Ap && facts.role == Role::Active && healthy {
            return Some(Answer::Already("the pair is (ap, ap) and this node follows".into()));
        }
        let refused = |code: &str, reason: &str, remedy: &str| {
            Some(Answer::Refused { code: code.into(), reason: reason.into(), remedy: remedy.into() })
        };
        if !matches!(self.phase.now(), Phase::Out | Phase::Standby) {
            return refused("E_BUSY", "this node is in the middle of a change of role", "apctl status");
        }
        if facts.role != Role::Active || !facts.serving {
            return refused(
                "E_NO_ACTIVE",
                "the peer does not serve: there is nobody to follow",
                "apctl explain",
            );
        }
        if !self.database.report.reachable {
            return refused("E_DATABASE", "the local database does not answer", "start it, then rejoin");
        }
        None
    }

    fn begin_rejoin(&mut self, asked: Asked, actor: &str, dry_run: bool) {
        let operation = self.next_operation();
        self.rejoin = Some(RejoinState {
            stage: Stage::Comparing,
            asked,
            actor: actor.to_owned(),
            dry_run,
            comparison: Comparison::default(),
            target: GtidState::default(),
            said_at: self.now,
            began: self.now,
            operation,
        });
        self.tell(Why::new(Code::RejoinStarted, "rejoin: comparing both servers exactly"));
        self.progress("comparing both servers, per domain and server");
        let step = Step::Remote(RemoteStep::Compare);
        self.start(step, Duration::from_secs(10), Purpose::Rejoin(RejoinStep::Compare));
    }

    fn progress(&mut self, text: &str) {
        if let Some(RejoinState { asked: Asked::Operator(id), .. }) = self.rejoin {
            self.act(Action::Answer { id, answer: Answer::Progress(text.to_owned()) });
        }
    }

    fn end_rejoin(&mut self, answer: Answer) {
        let Some(rejoin) = self.rejoin.take() else { return };
        let (ok, text) = match &answer {
            Answer::Done(text) | Answer::Already(text) => (true, text.clone()),
            Answer::Refused { reason, remedy, .. } => (false, format!("{reason}; {remedy}")),
            Answer::Progress(text) | Answer::Degraded(text) | Answer::Failed(text) => (false, text.clone()),
            Answer::PeerUnreachable(text) => (false, text.clone()),
        };
        let why = if ok {
            Why::new(Code::RejoinDone, text.clone())
        } else {
            Why::new(Code::RejoinFailed, text.clone())
        };
        self.tell(why);
        match rejoin.asked {
            Asked::Operator(id) => self.act(Action::Answer { id, answer }),
            Asked::Peer(operation) => {
                self.send(PeerMessage::Rejoin(Rejoin::Ended { operation, ok, text }));
            }
            Asked::Policy => {}
        }
    }

    /// A change of role ends it.
    pub(super) fn interrupt_rejoin(&mut self) {
        self.end_rejoin(Answer::Failed("this node changed its role during the rejoin".into()));
    }

    pub(super) fn on_rejoin_step(&mut self, step: RejoinStep, result: StepResult) {
        if self.rejoin.is_none() {
            return;
        }
        match (step, outcome(result)) {
            (RejoinStep::Compare, Ok(StepOutput::Comparison(comparison))) => self.rejoin_compared(comparison),
            (RejoinStep::Forget, Ok(_)) => self.rejoin_follow(),
            (RejoinStep::Follow, Ok(_)) => self.rejoin_catch_up(),
            (RejoinStep::Verify, Ok(StepOutput::Comparison(comparison))) => self.rejoin_verified(&comparison),
            (step, Ok(other)) => self.end_rejoin(Answer::Failed(format!("{step:?} brought {other:?}"))),
            (step, Err(text)) => self.end_rejoin(Answer::Failed(format!("{step:?}: {text}"))),
        }
    }

    fn rejoin_compared(&mut self, comparison: Comparison) {
        if !comparison.errant.is_empty() {
            self.end_rejoin(Answer::Refused {
                code: "E_ERRANT".into(),
                reason: format!("only this node has the transactions {}", comparison.errant.join(", ")),
                remedy: "save what they hold (mariadb-binlog), then rebuild this node's data: apctl rejoin --reclone"
                    .into(),
            });
            return;
        }
        let Some(rejoin) = &mut self.rejoin else { return };
        let own_notes = comparison.own_notes;
        let behind = comparison.theirs.distance_from(&comparison.mine);
        let common = comparison.common.clone();
        rejoin.comparison = comparison;
        if rejoin.dry_run {
            let text = format!(
                "clean: nothing but {own_notes} rows of apd's own is only here; {behind} transactions to catch up"
            );
            self.end_rejoin(Answer::Done(text));
            return;
        }
        self.progress(&format!("clean; {behind} transactions to catch up"));
        let follows = self.replica_well();
        let Some(rejoin) = &mut self.rejoin else { return };
        if own_notes > 0 {
            rejoin.stage = Stage::Forgetting;
            let step = Step::Database(DatabaseStep::ForgetOwnTail { common });
            self.start(step, Duration::from_secs(10), Purpose::Rejoin(RejoinStep::Forget));
        } else if follows && !rejoin.comparison.own_tail_lost {
            self.rejoin_catch_up();
        } else {
            self.rejoin_follow();
        }
    }

    fn rejoin_follow(&mut self) {
        let Some(rejoin) = &mut self.rejoin else { return };
        rejoin.stage = Stage::Following;
        let position = Some(rejoin.comparison.common.position());
        let step = DatabaseStep::Follow { position, own_tail_lost: rejoin.comparison.own_tail_lost };
        self.start(Step::Database(step), Duration::from_secs(15), Purpose::Rejoin(RejoinStep::Follow));
    }

    fn rejoin_catch_up(&mut self) {
        let target = self.fresh_facts().map(|facts| facts.gtid.clone()).unwrap_or_default();
        if let Some(rejoin) = &mut self.rejoin {
            rejoin.stage = Stage::CatchingUp;
            rejoin.target = target;
        }
        self.progress("following; catching up");
    }

    /// What moves a rejoin on without a step's end.
    pub(super) fn rejoin_rules(&mut self) {
        self.rejoin_by_policy();
        let contact = self.contact();
        let flowed_at = self.follow.flowed_at;
        let Some(rejoin) = &mut self.rejoin else { return };
        if !contact {
            self.end_rejoin(Answer::PeerUnreachable("the peer fell silent during the rejoin".into()));
            return;
        }
        if rejoin.stage == Stage::Requesting && self.now >= rejoin.said_at + Duration::from_secs(1) {
            // The request or its answer was lost with a connection; granting twice changes nothing.
            rejoin.said_at = self.now;
            let operation = rejoin.operation;
            self.send(PeerMessage::Rejoin(Rejoin::Request { operation }));
            return;
        }
        let written = !self.mode.left_unwritten;
        if rejoin.stage == Stage::Granting && written && self.now >= rejoin.said_at + GRANT {
            self.finish_rejoin();
            return;
        }
        if rejoin.stage != Stage::CatchingUp {
            return;
        }
        let report = &self.database.report;
        let left = rejoin.target.distance_from(&report.gtid);
        let error = report.replica.as_ref().map(|replica| replica.error.clone()).unwrap_or_default();
        if !error.is_empty() {
            self.end_rejoin(Answer::Failed(format!("the replica stopped: {error}")));
        } else if self.now >= flowed_at.unwrap_or_default().max(rejoin.began) + STANDSTILL {
            // The server was started anew, or the stream does not come: the way begins again with a comparison.
            self.end_rejoin(Answer::Failed("the replica does not run: see why, then rejoin again".into()));
        } else if left == 0 && !rejoin.target.is_empty() {
            rejoin.stage = Stage::Verifying;
            let step = Step::Remote(RemoteStep::Compare);
            self.start(step, Duration::from_secs(10), Purpose::Rejoin(RejoinStep::Verify));
        } else if self.now >= rejoin.said_at + Duration::from_secs(1) {
            rejoin.said_at = self.now;
            if rejoin.target.is_empty()
                && let Some(facts) = self.peer.facts.as_ref()
            {
                rejoin.target = facts.gtid.clone();
            }
            self.progress(&format!("{left} transactions to catch up"));
        }
    }

    /// `rejoin = "auto"`: by itself, and only from a maintenance that apd entered itself.
    fn rejoin_by_policy(&mut self) {
        let auto = self.settings.rejoin_auto && self.durable.maintenance_by_apd;
        let due = self.now >= self.follow.next_rejoin && self.rejoin.is_none();
        if auto && due && matches!(self.phase.now(), Phase::Out) && self.rejoin_refused().is_none() {
            // Of its own: what this rejoin leaves undone, following puts right without waiting for the next one.
            self.follow.next_rejoin = self.now + Duration::from_secs(30);
            self.begin_rejoin(Asked::Policy, "apd", false);
        }
    }

    fn rejoin_verified(&mut self, comparison: &Comparison) {
        let clean = comparison.errant.is_empty() && comparison.own_notes == 0;
        let Some(rejoin) = &mut self.rejoin else { return };
        if !clean || comparison.own_tail_lost {
            let text = "after catching up the two servers still differ: this node's data is not proven";
            self.end_rejoin(Answer::Failed(text.into()));
            return;
        }
        rejoin.stage = Stage::Requesting;
        rejoin.said_at = self.now;
        let operation = rejoin.operation;
        self.send(PeerMessage::Rejoin(Rejoin::Request { operation }));
    }

    pub(super) fn on_rejoin(&mut self, part: Rejoin) {
        match part {
            Rejoin::Request { operation } => {
                let refused = if matches!(self.phase.now(), Phase::Active(_)) {
                    if self.mode.mode != Mode::Ap {
                        self.write_mode(Mode::Ap, "apd", "the peer rejoined");
                    }
                    self.tell(Why::new(Code::RejoinGranted, "the peer rejoined: the pair is (ap, ap)"));
                    None
                } else {
                    Some("it is not active".to_owned())
                };
                self.send(PeerMessage::Rejoin(Rejoin::Answered { operation, refused }));
            }
            Rejoin::Answered { operation, refused } => self.rejoin_answered(operation, refused),
            Rejoin::Ask { operation } => match self.rejoin_refused() {
                None => self.begin_rejoin(Asked::Peer(operation), "the peer's operator", false),
                Some(answer) => {
                    let ok = matches!(answer, Answer::Already(_));
                    let text = format!("{answer:?}");
                    self.send(PeerMessage::Rejoin(Rejoin::Ended { operation, ok, text }));
                }
            },
            Rejoin::Ended { operation, ok, text } => {
                if let Some(id) = self.requests.remove(&operation) {
                    let answer = if ok { Answer::Done(text) } else { Answer::Failed(text) };
                    self.act(Action::Answer { id, answer });
                }
            }
        }
    }

    fn rejoin_answered(&mut self, operation: u64, refused: Option<String>) {
        let Some(rejoin) = self.rejoin.as_ref().filter(|rejoin| rejoin.operation == operation) else {
            return;
        };
        let actor = rejoin.actor.clone();
        if let Some(text) = refused {
            self.end_rejoin(Answer::Failed(format!("the peer refused: {text}")));
            return;
        }
        self.durable.maintenance_by_apd = false;
        self.persist(Purpose::Record);
        if self.mode.mode != Mode::Ap {
            self.write_mode(Mode::Ap, &actor, "rejoined");
        }
        self.follow.problem = None;
        if let Some(rejoin) = &mut self.rejoin {
            rejoin.stage = Stage::Granting;
            rejoin.said_at = self.now;
        }
        self.progress("caught up; waiting for the right to take over");
        if self.durable.eligible == Some(self.durable.epoch) {
            self.rejoin_granted();
        }
    }

    /// The right to take over is on disk. The active hears of it before anybody hears that the rejoin is over: a
    /// switchover that is asked for at that very moment finds a peer that can serve.
    pub(super) fn rejoin_granted(&mut self) {
        self.next_heartbeat = self.now;
        self.send_on_time();
        let granting = self.rejoin.as_ref().is_some_and(|rejoin| rejoin.stage == Stage::Granting);
        if granting && !self.mode.left_unwritten {
            self.finish_rejoin();
        }
    }

    fn finish_rejoin(&mut self) {
        let Some(rejoin) = &self.rejoin else { return };
        let took = self.now.since(rejoin.began).as_millis();
        self.end_rejoin(Answer::Done(format!("rejoined in {took} ms: the pair is (ap, ap)")));
    }
}
