//! What arrives from the peer, and what follows from it at once: acknowledgements, newer epochs, the automatic
//! edge to (maintenance, standalone).

use super::action::StepResult;
use super::code::Code;
use super::event::Advert;
use super::node::Node;
use super::peer::{Acknowledge, Heartbeat, PeerFacts, PeerMessage, Released};
use super::phase::{Cause, Phase, Purpose};
use super::table::Matter;
use super::why::Why;
use super::words::{Epoch, Mode, Role};

impl Node {
    pub(super) fn on_advert(&mut self, advert: Advert) {
        if !advert.from_peer {
            let text = format!("another router, {}, uses this virtual router id", advert.source);
            let why = Why::new(Code::VrrpForeign, text);
            self.tell_once("foreign", why);
            return;
        }
        self.peer.advert = Some(advert);
        self.peer.advert_at = Some(self.now);
        if advert.priority == 0 {
            return;
        }
        let lease = self.peer.lease.unwrap_or(self.settings.lease);
        self.sign_of_life(lease);
        self.consider(Matter::Nothing);
    }

    /// The peer advertises while its link is silent: the tie decides.
    pub(super) fn loses_election(&self) -> bool {
        let now = self.peer.advert_at == Some(self.now);
        let silent_link = self.peer.heartbeat_at.is_none_or(|at| self.now >= at + 4 * self.settings.lease);
        now && silent_link && self.peer.advert.is_some_and(|advert| self.loses_tie(advert))
    }

    pub(super) fn yield_to_election(&mut self) -> Phase {
        let text = "the peer advertises too while its link is silent, and wins the election";
        self.step_down(Cause::NewerEpoch, text.into())
    }

    pub(super) fn yield_to_newer_epoch(&mut self) -> Phase {
        let text = match self.course.matter {
            Matter::NewerEpoch { before, epoch } => {
                format!("the peer knows epoch {epoch}, newer than {before}")
            }
            _ => "the peer knows a newer epoch".into(),
        };
        self.step_down(Cause::NewerEpoch, text)
    }

    /// RFC 9568 section 6.4.3: higher priority, then higher address.
    fn loses_tie(&self, advert: Advert) -> bool {
        let mine = self.priority();
        (advert.priority, self.peer_id()) > (mine, self.settings.me)
    }

    fn sign_of_life(&mut self, lease: std::time::Duration) {
        let interval = self.peer.advert.map_or(self.settings.advert_interval, |advert| advert.interval);
        self.wait.sign_of_life(&self.settings, lease, interval, self.now);
    }

    pub(super) fn on_peer_message(&mut self, message: PeerMessage) {
        match message {
            PeerMessage::Heartbeat(heartbeat) => self.on_heartbeat(heartbeat),
            PeerMessage::Acknowledge(acknowledge) => self.on_acknowledge(&acknowledge),
            PeerMessage::Eligible { epoch, granted } => self.on_eligible(epoch, granted),
            PeerMessage::Switchover(part) => self.on_switchover(part),
            PeerMessage::Released(released) => self.on_released(released),
            PeerMessage::Rejoin(part) => self.on_rejoin(part),
        }
    }

    fn on_heartbeat(&mut self, heartbeat: Heartbeat) {
        if !self.contact() {
            self.peer.contact_since = Some(self.now);
        }
        self.peer.heartbeat_at = Some(self.now);
        self.peer.proof_of_life = None;
        self.peer.lease = heartbeat.lease.or(self.peer.lease);
        self.untell("life");
        self.untell("life.stream");
        if let Some(lease) = heartbeat.lease {
            self.sign_of_life(lease);
        }
        let known = self.durable.epoch;
        if heartbeat.facts.epoch > known {
            self.learn_epoch(&heartbeat.facts);
        }
        self.notice_mismatch(&heartbeat.facts);
        if self.peer.released.as_ref().is_some_and(|released| released.epoch < heartbeat.facts.epoch) {
            self.peer.released = None;
        }
        self.acknowledge(&heartbeat);
        self.peer.facts = Some(heartbeat.facts);
    }

    /// A standby acknowledges only while it does not bid; nobody acknowledges an older epoch than its own.
    fn acknowledge(&mut self, heartbeat: &Heartbeat) {
        let Some(lease) = heartbeat.lease else { return };
        let listens = matches!(
            self.phase.now(),
            Phase::Out | Phase::Standby | Phase::Receiving(_) | Phase::SteppingDown(_)
        ) || self.handed_over_to(heartbeat.facts.epoch);
        let gate_closed = !self.gate.state.open;
        if listens && gate_closed && heartbeat.facts.epoch >= self.durable.epoch {
            self.send(PeerMessage::Acknowledge(Acknowledge {
                instance: heartbeat.instance,
                epoch: heartbeat.facts.epoch,
                sequence: heartbeat.sequence,
                sent: heartbeat.sent,
                lease,
            }));
        }
    }

    /// The peer knows a newer epoch than this node.
    fn learn_epoch(&mut self, facts: &PeerFacts) {
        let before = self.durable.epoch;
        let was_mine = before.number > 0 && before.node == self.settings.me;
        let handed_over = self.durable.handed_over == Some(facts.epoch);
        self.durable.epoch = facts.epoch;
        self.durable.eligible = None;
        self.durable.solo = None;
        self.latched = None;
        self.consider(Matter::NewerEpoch { before, epoch: facts.epoch });
        // A newer epoch whose node never served makes no loser: the better data will serve next.
        let served = facts.role == Role::Active || facts.mode == Mode::Standalone;
        let taken = served && was_mine && !handed_over;
        if taken && self.mode.mode != Mode::Maintenance {
            self.enter_maintenance_as_loser(facts.epoch);
        }
        self.persist(Purpose::Record);
    }

    /// The automatic edge, loser's side: (ap, ap) -> (maintenance, standalone).
    pub(super) fn enter_maintenance_as_loser(&mut self, epoch: Epoch) {
        self.durable.maintenance_by_apd = true;
        let reason = format!("{} took over into epoch {epoch}", self.settings.peer_name);
        self.write_mode(Mode::Maintenance, "apd", &reason);
        let why = Why::new(Code::ModeLoser, format!("mode maintenance: {reason}"));
        self.tell(why);
    }

    fn notice_mismatch(&mut self, facts: &PeerFacts) {
        if facts.config_hash == self.settings.config_hash {
            self.untell("config");
        } else {
            let why =
                Why::new(Code::ConfigMismatch, "the nodes' configurations differ in what they must share");
            self.tell_once("config", why);
        }
        if facts.mode == Mode::Standalone && self.mode.mode == Mode::Standalone {
            let text = "both nodes are in mode standalone: only the active one serves";
            self.tell_once("pair", Why::new(Code::ModePair, text));
        } else {
            self.untell("pair");
        }
    }

    fn on_acknowledge(&mut self, acknowledge: &Acknowledge) {
        let epoch = self.durable.epoch;
        let before = self.lease.end;
        let serves =
            matches!(self.phase.now(), Phase::Active(_) | Phase::HandingOver(_) | Phase::TakingOver(_));
        if !serves {
            return;
        }
        let mut keeper = self.lease;
        let moved = keeper.acknowledged(acknowledge, self.instance, epoch, self.now);
        self.lease.last_acknowledged = keeper.last_acknowledged;
        if let Some(end) = moved {
            debug_assert!(end > before);
            self.extend_lease(end);
        }
    }

    fn on_eligible(&mut self, epoch: Epoch, granted: bool) {
        let standby = matches!(self.phase.now(), Phase::Standby | Phase::Receiving(_) | Phase::Out);
        if !standby || epoch != self.durable.epoch {
            return;
        }
        let wanted = (granted && self.mode.mode == Mode::Ap).then_some(epoch);
        if self.durable.eligible != wanted {
            self.durable.eligible = wanted;
            self.durable.handed_over = None;
            self.persist(Purpose::Eligible);
            let text =
                if granted { "caught up: this node may take over" } else { "this node may not take over" };
            self.tell(Why::new(Code::Eligible, text));
        }
    }

    pub(super) fn on_eligible_recorded(&mut self, result: &StepResult) {
        if !matches!(result, StepResult::Ok(_)) {
            // A grant that is not on disk is no grant.
            self.durable.eligible = None;
        }
        self.on_recorded(result);
        if self.durable.eligible.is_some() {
            self.rejoin_granted();
        }
    }

    fn on_released(&mut self, released: Released) {
        if released.epoch < self.durable.epoch {
            return;
        }
        if let Some(operation) = released.operation {
            self.on_handed_over_here(operation, &released);
            return;
        }
        // The active gave up in another way than by a switchover that it had begun.
        self.consider(Matter::Nothing);
        if let Some(facts) = &mut self.peer.facts {
            // The heartbeat that says so is on its way; the release is the newer fact.
            facts.role = Role::Fault;
            facts.serving = false;
        }
        let text = format!("the peer closed its gate in epoch {}: {}", released.epoch, released.reason);
        self.tell(Why::new(Code::PeerReleased, text));
        self.peer.released = Some(released);
    }

    /// Contact that was lost is noted once, for the record.
    pub(super) fn forget_lost_contact(&mut self) {
        if self.peer.contact_since.is_some() && !self.contact() {
            self.peer.contact_since = None;
            let path = if self.peer.up { "the peer link is up but silent" } else { "the peer link is down" };
            self.tell(Why::new(Code::PeerSilent, format!("no heartbeat for three intervals: {path}")));
            self.answer_without_peer("fell silent");
        }
    }
}
