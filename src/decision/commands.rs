//! What operators ask for, by command or by an edited mode file, and what is refused with which remedy.

use super::action::{Action, Answer, CommandId};
use super::code::Code;
use super::event::{Command, ModeReading};
use super::node::Node;
use super::peer::{PeerMessage, Switchover};
use super::phase::{Phase, Purpose};
use super::table::{Matter, Request};
use super::why::{Severity, Why};
use super::words::Mode;
use std::time::Duration;

/// Key under which a local operator's switchover waits in `requests`.
const LOCAL: u64 = u64::MAX;

pub(super) fn refused(code: &str, reason: impl Into<String>, remedy: impl Into<String>) -> Answer {
    Answer::Refused { code: code.into(), reason: reason.into(), remedy: remedy.into() }
}

impl Node {
    pub(super) fn on_command(&mut self, id: CommandId, command: Command, actor: &str) {
        let answer = match command {
            Command::SetMode { mode, reason, peer_is_off, nag_after } => {
                Some(self.command_mode(mode, actor, &reason, peer_is_off, nag_after))
            }
            Command::Switchover { reason, dry_run, .. } => self.command_switchover(id, reason, dry_run),
            Command::Failover { force, accept_data_loss, peer_is_off, reason } => {
                Some(self.command_failover(force, accept_data_loss, peer_is_off, &reason))
            }
            Command::Rejoin { dry_run, .. } => {
                self.command_rejoin(id, actor, dry_run);
                None
            }
            Command::Clear => Some(self.command_clear()),
            Command::Start { reason, dry_run } => Some(self.command_start(actor, &reason, dry_run)),
            Command::Stop { reason, dry_run } => Some(self.command_stop(actor, &reason, dry_run)),
        };
        if let Some(answer) = answer {
            self.act(Action::Answer { id, answer });
        }
    }

    fn command_mode(
        &mut self,
        mode: Mode,
        actor: &str,
        reason: &str,
        peer_is_off: bool,
        nag_after: Option<Duration>,
    ) -> Answer {
        if self.mode.mode == mode && self.mode.problem.is_none() {
            return Answer::Already(format!("the mode is {mode}"));
        }
        if let Some(answer) = self.mode_refused(mode, peer_is_off) {
            return answer;
        }
        if mode != Mode::Maintenance && self.durable.maintenance_by_apd {
            self.durable.maintenance_by_apd = false;
            self.persist(Purpose::Record);
        }
        self.untell("mode.refused");
        self.write_mode(mode, actor, reason);
        self.mode.nag_at = nag_after.map(|after| self.now + after);
        self.tell(Why::new(Code::ModeSet, format!("mode {mode}, set by {actor}: {reason}")));
        if mode == Mode::Maintenance && matches!(self.phase.now(), Phase::Active(_)) {
            return Answer::Done("mode maintenance: switching over first".into());
        }
        Answer::Done(format!("mode {mode}"))
    }

    /// Why a mode may not be set now.
    fn mode_refused(&self, mode: Mode, peer_is_off: bool) -> Option<Answer> {
        let active =
            matches!(self.phase.now(), Phase::Active(_) | Phase::HandingOver(_) | Phase::TakingOver(_));
        match mode {
            Mode::Maintenance if active && !self.peer_can_serve() => Some(refused(
                "E_LAST_ONE",
                format!("this node serves and {}", self.why_peer_cannot_serve()),
                "bring the peer up first (apctl rejoin)",
            )),
            Mode::Standalone if !active && self.peer_is_active() => Some(refused(
                "E_PEER_ACTIVE",
                "the peer serves: two nodes would take writes",
                "apctl switchover, then apctl mode standalone",
            )),
            Mode::Standalone if !active && !self.contact() && !peer_is_off => Some(refused(
                "E_PEER_UNSEEN",
                "the peer is not seen, and it may serve",
                "make sure that it is off, then add --peer-is-off",
            )),
            _ => None,
        }
    }

    fn command_switchover(&mut self, id: CommandId, reason: String, dry_run: bool) -> Option<Answer> {
        if !self.contact() {
            return Some(Answer::PeerUnreachable("the peer is not reachable".into()));
        }
        if matches!(self.phase.now(), Phase::Active(_)) {
            if !self.peer_can_serve() {
                let remedy = "apctl status; apctl rejoin if the peer is in maintenance";
                return Some(refused("E_PEER_UNFIT", self.why_peer_cannot_serve(), remedy));
            }
            let behind = self.peer_behind();
            if behind > 0 {
                let reason = format!("the peer is {behind} transactions behind");
                return Some(refused("E_LAG", reason, "wait until it has caught up"));
            }
            if dry_run {
                let text = format!(
                    "{} would take over; the freeze and the swap take some 10 to 40 ms",
                    self.settings.peer_name
                );
                return Some(Answer::Done(text));
            }
            self.requests.insert(LOCAL, id);
            self.consider(Matter::Request(Request { reason, ..Request::default() }));
            return None;
        }
        if !self.peer_is_active() {
            return Some(refused("E_NO_ACTIVE", "neither node is active", "apctl explain"));
        }
        let unfit = self.unfit_for_standby();
        if !unfit.is_empty() || self.mode.mode != Mode::Ap {
            let reason = if unfit.is_empty() {
                format!("this node's mode is {}", self.mode.mode)
            } else {
                unfit.join("; ")
            };
            return Some(refused("E_UNFIT", reason, "apctl explain --why-not active"));
        }
        if dry_run {
            return Some(Answer::Done(
                "this node would take over; the freeze and the swap take some 10 to 40 ms".into(),
            ));
        }
        let operation = self.next_operation();
        self.requests.insert(operation, id);
        self.send(PeerMessage::Switchover(Switchover::Request { operation, reason }));
        None
    }

    /// Answers the local operator who waits for a switchover, if one does.
    pub(super) fn answer_waiting_switchover(&mut self, ok: bool, text: &str) {
        if let Some(id) = self.requests.remove(&LOCAL) {
            let text = text.to_owned();
            let answer = if ok { Answer::Done(text) } else { Answer::Failed(text) };
            self.act(Action::Answer { id, answer });
        }
    }

    /// What operators have asked of a peer that will not answer any more: it may have been begun.
    pub(super) fn answer_without_peer(&mut self, what: &str) {
        let asked = self.requests.iter().filter(|(operation, _)| **operation != LOCAL);
        let ids: Vec<CommandId> = asked.map(|(_, id)| *id).collect();
        self.requests.retain(|operation, _| *operation == LOCAL);
        for id in ids {
            let text = format!("the peer {what} before it answered: apctl status shows what became of it");
            self.act(Action::Answer { id, answer: Answer::PeerUnreachable(text) });
        }
    }

    fn command_failover(
        &mut self,
        force: bool,
        accept_data_loss: bool,
        peer_is_off: bool,
        reason: &str,
    ) -> Answer {
        let epoch = self.durable.epoch;
        let has_right = self.durable.eligible == Some(epoch) || self.solo_is_proof();
        if matches!(self.phase.now(), Phase::Active(_) | Phase::TakingOver(_) | Phase::HandingOver(_)) {
            return Answer::Already("this node is active".into());
        }
        if !force {
            return refused(
                "E_FORCE",
                "a failover leaves the peer behind",
                "apctl switchover, or add --force",
            );
        }
        if self.mode.mode == Mode::Maintenance {
            return refused("E_MAINTENANCE", "the mode is maintenance", "apctl mode ap");
        }
        if self.peer_is_active() {
            return refused("E_PEER_ACTIVE", "the peer serves", "apctl switchover");
        }
        if !self.contact() && !peer_is_off {
            let remedy = "make sure that it is off, then add --peer-is-off";
            return refused("E_PEER_UNSEEN", "the peer is not seen, and it may serve", remedy);
        }
        self.latched = None;
        self.clear_service_faults();
        let unfit = self.unfit();
        if !unfit.is_empty() {
            return refused("E_UNFIT", unfit.join("; "), "apctl explain --why-not active");
        }
        if !has_right && epoch.number > 0 && !accept_data_loss {
            let reason = "nothing proves that this node has the newest data";
            return refused("E_DATA_LOSS", reason, "add --accept-data-loss");
        }
        if let Some(reason) = self.known_to_be_missing().filter(|_| !accept_data_loss) {
            return refused("E_DATA_LOSS", reason, "apctl rejoin --dry-run, or add --accept-data-loss");
        }
        if !matches!(self.phase.now(), Phase::Standby) {
            return refused("E_BUSY", "this node is in the middle of a change", "apctl status");
        }
        self.tell(Why::new(Code::FailoverForced, format!("an operator forces a takeover: {reason}")));
        self.retry_at = self.now;
        self.consider(Matter::Request(Request::default()));
        Answer::Done("taking over; apctl status --watch shows it".into())
    }

    /// What this node received, or the peer tells of, and is not here, where no replica runs that would bring it.
    fn known_to_be_missing(&self) -> Option<String> {
        let here = &self.database.report.gtid;
        let there = self.fresh_facts().map(|facts| facts.gtid.clone()).unwrap_or_default();
        let known = self.arrived().union(&there);
        let missing = !here.covers(&known) && !self.database.may_apply();
        let (here, known) = (here.position(), known.position());
        missing
            .then(|| format!("this node is at {here}, of {known} it knows, and no replica applies the rest"))
    }

    fn command_clear(&mut self) -> Answer {
        let services = self.clear_service_faults();
        if !services && self.latched.is_none() && !self.guarded() && self.failures == 0 {
            return Answer::Already("nothing is latched or guarded".into());
        }
        self.latched = None;
        self.failures = 0;
        self.retry_at = self.now;
        self.failovers.clear();
        self.untell("blocked");
        self.tell(Why::new(Code::Cleared, "an operator cleared the latched fault and the guard"));
        Answer::Done("cleared".into())
    }

    /// The mode file changed under us, or is our own writing seen again.
    pub(super) fn on_mode_file(&mut self, reading: ModeReading) {
        if let Some(problem) = reading.problem {
            if self.mode.problem.as_ref() != Some(&problem) {
                let why = Why::new(Code::ModeGarbage, format!("{problem}: read as maintenance"));
                self.tell(why);
            }
            self.mode_is(Mode::Maintenance, "a hand", "the mode file is not readable as a mode");
            self.mode.problem = Some(problem);
            return;
        }
        if reading.mode == self.mode.mode {
            self.mode.left_unwritten &= reading.interrupted;
            return;
        }
        if reading.interrupted {
            return;
        }
        // An edit by hand is obeyed like the command, and carries no force.
        let mode = reading.mode;
        if let Some(Answer::Refused { reason, remedy, .. }) = self.mode_refused(mode, false) {
            let text = format!("the mode file was set to {mode} by hand; not obeyed: {reason}");
            self.untell("mode.refused");
            self.tell_once("mode.refused", Why::new(Code::ModeRefused, text).resolved_by(remedy));
            let (mode, actor) = (self.mode.mode, self.mode.actor.clone());
            self.write_mode(mode, &actor, "restored after an edit that could not be obeyed");
            return;
        }
        self.mode_is(mode, &reading.actor, &reading.reason);
        if mode != Mode::Maintenance && self.durable.maintenance_by_apd {
            self.durable.maintenance_by_apd = false;
            self.persist(Purpose::Record);
        }
        let why = Why::new(Code::ModeSet, format!("mode {mode}, set by {}", reading.actor));
        self.tell(why.weighing(Severity::Warning));
    }
}
