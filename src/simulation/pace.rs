//! How long things take: harsh, to find what breaks, or as measured, to predict an outage.

use super::random::Random;
use crate::decision::action::{DatabaseStep, RecordStep, Step};

/// How long things take in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Mostly quick, now and then longer than any deadline.
    Harsh,
    /// As on the reference laboratory (docs/performance.md).
    Measured,
}

impl Pace {
    /// One way over the wire, in ns.
    pub fn wire(self, random: &mut Random) -> u64 {
        match self {
            Self::Harsh => random.micros(50, 1_500),
            Self::Measured => 60_000,
        }
    }

    /// Between two attempts of the clients, in ns.
    pub fn client(self, connected: bool, serves: bool, refused: bool, random: &mut Random) -> u64 {
        match self {
            Self::Harsh => random.micros(20_000, 120_000),
            // A write that hangs is raced every 10 ms by another on a new connection.
            Self::Measured if !serves && !refused => random.micros(9_500, 10_500),
            // Address resolution, TCP, the server's greeting.
            Self::Measured if !connected => random.micros(2_000, 5_000),
            Self::Measured => random.micros(4_500, 5_500),
        }
    }

    /// One step of a lane, in ns.
    pub fn step(self, step: &Step, slow_disk: bool, random: &mut Random) -> u64 {
        match step {
            Step::Record(_) if slow_disk => random.micros(100_000, 700_000),
            _ if self == Self::Measured => measured(step, random),
            Step::Record(RecordStep::SetMode { .. }) if random.percent(50) => random.micros(20_000, 400_000),
            Step::Record(_) => random.micros(200, 5_000),
            _ => match random.below(100) {
                0..=88 => random.micros(200, 3_000),
                89..=97 => random.micros(3_000, 60_000),
                _ => random.micros(100_000, 2_500_000),
            },
        }
    }
}

/// Microseconds from and to, measured on MariaDB 10.11 with its data on a disk that syncs in 0.15 to 5 ms, each step
/// alone and under 1,800 writes a second: the positions of MASTER_GTID_WAIT and a drain 0.2 to 8 ms, STOP SLAVE
/// SQL_THREAD 2 to 16 after a drain (20 to 30 while it applies), read_only=1 with KILL beside it 5 to 7, BACKUP STAGE to BLOCK_COMMIT 0.4 to 12, STOP and
/// RESET SLAVE 6 to 11, SET gtid_slave_pos with CHANGE MASTER and START SLAVE 18 to 36. One way over the wire and the
/// orders to the gate process: from the laboratory's packets. Against the laboratory's outages (docs/performance.md,
/// medians) the whole is within a tenth for power-off and db-kill and within a third for a switchover.
fn measured(step: &Step, random: &mut Random) -> u64 {
    let (low, high) = match step {
        Step::Record(RecordStep::Persist(_)) => (150, 5_000),
        Step::Record(RecordStep::SetMode { .. } | RecordStep::SetPart { .. }) => (300, 8_000),
        Step::Database(step) => match step {
            DatabaseStep::Drain | DatabaseStep::WaitFor { .. } => (200, 8_000),
            DatabaseStep::StopApplying => (2_000, 16_000),
            DatabaseStep::ForbidWrites | DatabaseStep::Seal => (5_000, 7_000),
            DatabaseStep::Freeze => (400, 12_000),
            DatabaseStep::ForgetPrimary => (6_000, 11_000),
            DatabaseStep::Follow { .. } => (18_000, 36_000),
            _ => (100, 1_000),
        },
        Step::Remote(_) => (1_000, 9_000),
        Step::Units(_) => (10_000, 200_000),
        Step::Address(_) => (50, 600),
    };
    random.micros(low, high)
}
