//! Bugs put into the harness on purpose: each must be caught, or the checkers do not bite.

use super::database::{Content, Server};
use super::world::{MS, World};
use crate::decision::action::{Comparison, DatabaseStep, Step};
use crate::decision::event::{Command, Event};
use crate::decision::peer::{PeerMessage, Released};
use crate::decision::words::Role;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bug {
    /// The takeover wait is not honoured: a `Released` that nobody sent reaches the standby.
    FalseRelease,
    /// `Close` says that it was done, and the gate stays open.
    CloseLies,
    /// What was persisted is gone after a crash, and no row of the ledger tells of it.
    EpochLost,
    /// `ForbidWrites` says that it was done and does nothing.
    ForgottenForbid,
    /// The kernel's element does not end with the lease (the one of the address does).
    GateStaysOpen,
    /// Promoted before the relay log is drained: `Drain` says that all is applied while it is not.
    DrainLies,
    /// The drain stops and starts the replica, which deletes the relay log.
    DrainRestarts,
    /// A seal does not end the commits that the freeze paused: they are acknowledged later.
    FreezeLeaks,
    /// The lease is counted from the receipt of an acknowledgement instead of the heartbeat's send time.
    LeaseFromReceipt,
    /// A newer epoch of the peer is not noticed, and acknowledgements of any epoch count.
    NoEpochCheck,
    /// Orders to the gate overtake each other, and a step that timed out takes effect after those that came later.
    UnorderedSteps,
    /// `init_rpl_role=SLAVE` for good: each start of the server cuts its newest transactions off.
    StaticRole,
    /// The gate process that starts opens again what it finds noted, without looking at its end.
    AdoptsEndedLease,
    /// A renewal adds the element where it is gone, and nobody says that it was lost.
    RenewalAdds,
    /// The second host's clock runs far outside of the drift that the waits allow for, and asks nobody for the address.
    ClockRuns,
    /// What was paused goes on with a fresh lease and looks at nothing.
    ResumeUnchecked,
    /// Nobody's answer for the address is heard: no proof of life.
    ArpUnheard,
    /// Own transactions that the peer has are passed over in silence after a lost tail.
    OwnTailSkipped,
    /// The comparison calls data a note, and what only this server has is forgotten.
    DataForgotten,
    /// The mode file is never written.
    ModeUnwritten,
    /// A node with a higher priority asks for its role back.
    Preempts,
    /// The server's `read_only=0` is not verified: it says that it was done.
    AllowLies,
    /// A stop of a service says that it was done, and the service runs on.
    ServiceStopLies,
    /// A start of a service says that it was done, and nothing runs.
    ServiceStartLies,
    /// A service is started although the peer's still runs.
    ServiceUnawaited,
    /// A commit is acknowledged when it is in the log here, before the replica has received it.
    AcknowledgedUnreceived,
    /// A seal leaves alone who waits for an acknowledgement: they are told later that all is well.
    SealSparesWaiting,
    /// KILL QUERY instead of KILL CONNECTION: who waited is told that all is well.
    KillAcknowledges,
}

/// All, with the number of seeds within which each is caught.
pub const ALL: &[(Bug, u64)] = &[
    (Bug::FalseRelease, 50),
    (Bug::CloseLies, 1_000),
    (Bug::EpochLost, 400),
    (Bug::ForgottenForbid, 400),
    (Bug::GateStaysOpen, 400),
    (Bug::DrainLies, 1_000),
    (Bug::DrainRestarts, 1_000),
    (Bug::FreezeLeaks, 400),
    (Bug::LeaseFromReceipt, 1_000),
    (Bug::NoEpochCheck, 1_000),
    (Bug::UnorderedSteps, 1_000),
    (Bug::StaticRole, 400),
    (Bug::AdoptsEndedLease, 1_000),
    (Bug::RenewalAdds, 1_000),
    (Bug::ClockRuns, 1_000),
    (Bug::ResumeUnchecked, 1_000),
    (Bug::ArpUnheard, 1_000),
    (Bug::OwnTailSkipped, 1_000),
    (Bug::DataForgotten, 1_000),
    (Bug::ModeUnwritten, 1_000),
    (Bug::Preempts, 400),
    (Bug::AllowLies, 50),
    (Bug::ServiceStopLies, 400),
    (Bug::ServiceStartLies, 400),
    (Bug::ServiceUnawaited, 1_000),
    (Bug::AcknowledgedUnreceived, 1_000),
    (Bug::SealSparesWaiting, 300),
    (Bug::KillAcknowledges, 300),
];

impl World {
    /// In the place of the real network: now and then a release that the active never sent.
    pub fn forge_release(&mut self, from: usize, run: u64, message: &PeerMessage) {
        let PeerMessage::Heartbeat(heartbeat) = message else { return };
        if heartbeat.facts.role != Role::Active || !self.random.percent(2) {
            return;
        }
        let released = Released {
            epoch: heartbeat.facts.epoch,
            operation: None,
            read_only: true,
            tail: false,
            reason: "forged".into(),
        };
        let message = Event::Peer(PeerMessage::Released(released));
        self.tell(2 * MS, 1 - from, run, message);
    }

    /// What a buggy node makes of a message.
    pub fn misread(&self, to: usize, mut message: PeerMessage) -> PeerMessage {
        let Some(daemon) = &self.hosts[to].daemon else { return message };
        match (self.bug, &mut message) {
            (Some(Bug::LeaseFromReceipt), PeerMessage::Acknowledge(acknowledge)) => {
                acknowledge.sent = self.local(to);
            }
            (Some(Bug::NoEpochCheck), PeerMessage::Acknowledge(acknowledge)) => {
                acknowledge.epoch = daemon.node.epoch();
                acknowledge.instance = daemon.instance;
            }
            (Some(Bug::NoEpochCheck), PeerMessage::Heartbeat(heartbeat)) => {
                heartbeat.facts.epoch = heartbeat.facts.epoch.min(daemon.node.epoch());
            }
            (Some(Bug::ServiceUnawaited), PeerMessage::Heartbeat(heartbeat)) => {
                heartbeat.facts.role_services = false;
            }
            _ => {}
        }
        message
    }

    /// A fresh lease for whoever had one.
    pub fn goes_on_unchecked(&mut self, host: usize) {
        let local = self.local(host);
        let lease = self.hosts[host].settings.lease;
        if let Some((epoch, _)) = self.hosts[host].gate.lease {
            let solo = self.solo_on_disk(host, epoch);
            self.look_at_lease(host, epoch, local + lease, solo);
            self.write_element(host, epoch, local + lease, false);
        }
    }

    /// Asks for the role although nothing is wrong.
    pub fn preempts(&mut self) {
        let calm = self.now > self.checkers.disturbed_at + 10_500 * MS;
        if calm && self.accepts(0) && self.random.percent(30) {
            let timeout = Duration::from_secs(10);
            let command = Command::Switchover { reason: "priority".into(), timeout, dry_run: false };
            let id = crate::decision::action::CommandId(u64::MAX);
            let run = self.hosts[1].run;
            self.tell(1, 1, run, Event::Command { id, command, actor: "apd".into() });
        }
    }

    /// A step that its deadline has dropped, done later all the same.
    pub fn strays(&mut self, host: usize, step: Step) {
        let plain = matches!(
            step,
            Step::Database(
                DatabaseStep::AllowWrites
                    | DatabaseStep::ForbidWrites
                    | DatabaseStep::StopApplying
                    | DatabaseStep::Follow { .. }
                    | DatabaseStep::Thaw
            )
        );
        if plain {
            let delay = self.random.micros(20_000, 1_500_000);
            self.at(delay, super::world::Happening::Stray { host, step: Box::new(step) });
        }
    }
}

/// Data is called a note.
pub fn call_notes(comparison: &mut Comparison) {
    comparison.own_notes += comparison.errant.len() as u64;
    comparison.errant.clear();
}

/// Stops and starts the replica.
pub fn restart_replica(server: &mut Server) {
    if let Some(replica) = &mut server.replica {
        replica.relay.clear();
        replica.received = None;
        (replica.receiving, replica.applying) = (true, true);
    }
}

/// The newest transactions that are data, cut off.
pub fn cut_tail(server: &mut Server) {
    let data = server.binlog.iter().rev().take(3).any(|one| matches!(one.content, Content::Data(_)));
    if data {
        server.lose_newest(3);
    }
}
