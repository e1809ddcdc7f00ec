//! The arithmetic of the lease: how long the active may serve, and how long a standby must wait.
//!
//! DESIGN.md section 3, "Lease rules" and "Takeover wait". Everything here is counted on one host's own
//! clock; drift between two hosts is covered by [`DRIFT_PARTS_PER_MILLION`].

use super::peer::Acknowledge;
use super::settings::Settings;
use super::time::Instant;
use super::words::{Epoch, InstanceId};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Two clocks may drift apart by this much each way.
pub const DRIFT_PARTS_PER_MILLION: u32 = 500;

/// The lease as its holder sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LeaseKeeper {
    /// Counts heartbeats of this run.
    pub sequence: u64,
    /// The newest end that was earned; the gate never outlives it by more than a slice.
    pub end: Instant,
    /// When the last acknowledgement came.
    pub last_acknowledged: Instant,
}

impl LeaseKeeper {
    /// Takes an acknowledgement; returns the new lease end if it moved. The end counts from the *send* time
    /// of the heartbeat, so that a slow network shortens a lease and never lengthens one.
    pub fn acknowledged(
        &mut self,
        acknowledge: &Acknowledge,
        instance: InstanceId,
        epoch: Epoch,
        now: Instant,
    ) -> Option<Instant> {
        let current = acknowledge.instance == instance
            && acknowledge.epoch == epoch
            && acknowledge.sequence <= self.sequence
            && acknowledge.sent <= now;
        if !current {
            return None;
        }
        self.last_acknowledged = now;
        self.extend(acknowledge.sent + acknowledge.lease)
    }

    /// Moves the end forward; never back.
    pub fn extend(&mut self, end: Instant) -> Option<Instant> {
        (end > self.end).then(|| {
            self.end = end;
            end
        })
    }

    /// Forgets the lease of an activity that ended.
    pub fn forget(&mut self) {
        self.end = Instant::ZERO;
        self.last_acknowledged = Instant::ZERO;
    }
}

/// How long a lease of `lease` may live on the other host after this host acknowledged it: drift both ways
/// and one slice of the gate process.
pub fn lease_life(lease: Duration) -> Duration {
    lease + lease * (2 * DRIFT_PARTS_PER_MILLION) / 1_000_000 + lease / 8
}

/// The takeover wait after a sign of life that was sent under a lease of `lease`, at the levels `vrrp` and
/// `gateway`, which add one heartbeat.
pub fn takeover_wait(settings: &Settings, lease: Duration, peer_advert_interval: Duration) -> Duration {
    let margin = (lease / 16).max(Duration::from_millis(10));
    let lease_wait = lease_life(lease) + margin;
    master_down_interval(settings.priority, peer_advert_interval).max(lease_wait) + settings.heartbeat
}

/// RFC 9568 section 6.1: `3 * Active_Adver_Interval + Skew_Time`.
pub fn master_down_interval(priority: u8, active_advert_interval: Duration) -> Duration {
    3 * active_advert_interval + active_advert_interval * (256 - u32::from(priority)) / 256
}

/// What a standby must wait out before it may take over, built from every sign of life of the active.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TakeoverWait {
    /// No takeover before this.
    pub not_before: Instant,
    /// An orderly lease of the active is dead from here on: what answers for it later is a proof of life.
    pub lease_dead: Instant,
}

impl TakeoverWait {
    /// A sign of life at `now` under a lease of `lease` (also one's own start or resume).
    pub fn sign_of_life(&mut self, settings: &Settings, lease: Duration, advert: Duration, now: Instant) {
        self.not_before = self.not_before.max(now + takeover_wait(settings, lease, advert));
        self.lease_dead = self.lease_dead.max(now + lease_life(lease));
    }

    /// A proof of life at `now`, after the lease should have been dead: wait anew.
    pub fn proof_of_life(&mut self, settings: &Settings, now: Instant) {
        let wait = takeover_wait(settings, settings.lease, settings.advert_interval);
        self.not_before = self.not_before.max(now + wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::settings::tests::settings;

    #[test]
    fn the_lease_bound_is_what_the_design_promises() {
        let mut lan_fast = settings();
        (lan_fast.advert_interval, lan_fast.heartbeat, lan_fast.lease) =
            (Duration::from_millis(20), Duration::from_millis(20), Duration::from_millis(80));
        let wait = |settings: &Settings| {
            takeover_wait(settings, settings.lease, settings.advert_interval).as_micros()
        };
        assert_eq!(wait(&lan_fast), 120_080, "lan-fast: about 0.12 s");
        assert_eq!(wait(&settings()), 515_975, "default: about 0.52 s");
    }

    #[test]
    fn an_acknowledgement_counts_from_the_send_time_and_only_for_this_run_and_epoch() {
        let mut keeper = LeaseKeeper { sequence: 7, ..Default::default() };
        let epoch = Epoch { number: 3, node: super::super::words::NodeId(1) };
        let acknowledge = Acknowledge {
            instance: InstanceId(9),
            epoch,
            sequence: 7,
            sent: Instant::from_millis(1_000),
            lease: Duration::from_millis(350),
        };
        let now = Instant::from_millis(1_200);
        assert_eq!(
            keeper.acknowledged(&acknowledge, InstanceId(9), epoch, now),
            Some(Instant::from_millis(1_350))
        );
        // Each of these would move the end, were it believed.
        let longer = Acknowledge { sent: now, ..acknowledge };
        let other_run = Acknowledge { instance: InstanceId(8), ..longer };
        assert_eq!(keeper.acknowledged(&other_run, InstanceId(9), epoch, now), None);
        let other_epoch = Acknowledge { epoch: epoch.next_for(epoch.node), ..longer };
        assert_eq!(keeper.acknowledged(&other_epoch, InstanceId(9), epoch, now), None);
        let never_sent = Acknowledge { sequence: 8, ..longer };
        assert_eq!(keeper.acknowledged(&never_sent, InstanceId(9), epoch, now), None);
        let from_the_future = Acknowledge { sent: Instant::from_millis(1_300), ..acknowledge };
        assert_eq!(keeper.acknowledged(&from_the_future, InstanceId(9), epoch, now), None);
        let end = keeper.acknowledged(&longer, InstanceId(9), epoch, now);
        assert_eq!(end, Some(Instant::from_millis(1_550)), "at once is not too early");
    }

    #[test]
    fn every_sign_of_life_moves_the_wait_and_none_moves_it_back() {
        let settings = settings();
        let mut wait = TakeoverWait::default();
        let advert = settings.advert_interval;
        wait.sign_of_life(&settings, Duration::from_secs(5), advert, Instant::from_millis(1_000));
        let granted = wait.not_before;
        assert!(granted > Instant::from_millis(6_000), "a long lease that was acknowledged is waited out");
        wait.sign_of_life(&settings, settings.lease, advert, Instant::from_millis(1_100));
        assert_eq!(wait.not_before, granted);
    }
}
