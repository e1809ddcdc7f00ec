//! Sets of MariaDB global transaction identifiers and their exact comparison.
//!
//! A GTID is `domain-server_id-sequence`. Three server variables speak in lists of them
//! (<https://mariadb.com/kb/en/gtid/>): `gtid_binlog_state` holds the last sequence for each
//! (domain, server) and is what an exact comparison needs; `gtid_slave_pos` and `gtid_binlog_pos`
//! hold one GTID for each domain and serve as positions to wait for or to start from.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// One transaction's identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Gtid {
    /// Replication domain.
    pub domain: u32,
    /// `server_id` of the server that wrote it first.
    pub server: u32,
    /// Counts within the domain.
    pub sequence: u64,
}

impl fmt::Display for Gtid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}-{}", self.domain, self.server, self.sequence)
    }
}

/// Text that is no GTID list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no GTID: expected domain-server-sequence, for example 0-1-42")]
pub struct GtidError(pub String);

impl FromStr for Gtid {
    type Err = GtidError;
    fn from_str(text: &str) -> Result<Self, GtidError> {
        let bad = || GtidError(text.to_owned());
        let mut parts = text.trim().split('-');
        let mut next = || parts.next().ok_or_else(bad);
        let (domain, server, sequence) = (next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(bad());
        }
        Ok(Gtid {
            domain: domain.parse().map_err(|_| bad())?,
            server: server.parse().map_err(|_| bad())?,
            sequence: sequence.parse().map_err(|_| bad())?,
        })
    }
}

/// The last sequence known for each (domain, server).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GtidState(BTreeMap<(u32, u32), u64>);

impl GtidState {
    /// No transaction at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The last sequence of `server` in `domain`.
    pub fn sequence(&self, domain: u32, server: u32) -> Option<u64> {
        self.0.get(&(domain, server)).copied()
    }

    /// Every (domain, server) with its last sequence, in order.
    pub fn iter(&self) -> impl Iterator<Item = Gtid> + '_ {
        self.0.iter().map(|(&(domain, server), &sequence)| Gtid { domain, server, sequence })
    }

    /// Notes `gtid`; keeps the higher sequence.
    pub fn insert(&mut self, gtid: Gtid) {
        let last = self.0.entry((gtid.domain, gtid.server)).or_insert(gtid.sequence);
        *last = (*last).max(gtid.sequence);
    }

    /// Both sets in one, the higher sequence for each (domain, server).
    pub fn union(&self, other: &GtidState) -> GtidState {
        let mut all = self.clone();
        other.iter().for_each(|gtid| all.insert(gtid));
        all
    }

    /// `self` with what its server received from another one and is about to apply: what lies beyond the newest number of
    /// the domain. Where the two histories have parted, it never will.
    pub fn with_received(&self, received: &GtidState) -> GtidState {
        let position = self.position();
        let newest =
            |domain| position.iter().find(|gtid| gtid.domain == domain).map_or(0, |gtid| gtid.sequence);
        let mut all = self.clone();
        received.iter().filter(|gtid| gtid.sequence > newest(gtid.domain)).for_each(|gtid| all.insert(gtid));
        all
    }

    /// What `self` has and `other` lacks: for each (domain, server) the last sequence that `other`
    /// has (0 if none) and the last that `self` has.
    pub fn beyond(&self, other: &GtidState) -> Vec<Missing> {
        self.iter()
            .filter_map(|gtid| {
                let after = other.sequence(gtid.domain, gtid.server).unwrap_or(0);
                (gtid.sequence > after).then_some(Missing {
                    domain: gtid.domain,
                    server: gtid.server,
                    after,
                    last: gtid.sequence,
                })
            })
            .collect()
    }

    /// Whether everything in `other` is in `self`, per (domain, server).
    pub fn covers(&self, other: &GtidState) -> bool {
        other.beyond(self).is_empty()
    }

    /// The position that `self` stands for: per domain the GTID with the highest sequence.
    pub fn position(&self) -> GtidState {
        let mut last: BTreeMap<u32, Gtid> = BTreeMap::new();
        for gtid in self.iter() {
            let entry = last.entry(gtid.domain).or_insert(gtid);
            if gtid.sequence > entry.sequence {
                *entry = gtid;
            }
        }
        GtidState(last.into_values().map(|gtid| ((gtid.domain, gtid.server), gtid.sequence)).collect())
    }

    /// Whether `self`, read as a position, is at or past `position` in every domain (sequence
    /// numbers within a domain only grow in `gtid_strict_mode`).
    pub fn reaches(&self, position: &GtidState) -> bool {
        let mine = self.position();
        position.position().iter().all(|wanted| {
            mine.iter().any(|gtid| gtid.domain == wanted.domain && gtid.sequence >= wanted.sequence)
        })
    }

    /// How many sequence numbers `self` is ahead of `other`, over all domains: the distance that a
    /// replica at `other` still has to go, or the greatest number where they are more.
    pub fn distance_from(&self, other: &GtidState) -> u64 {
        let theirs = other.position();
        self.position()
            .iter()
            .map(|gtid| {
                let reached =
                    theirs.iter().find(|other| other.domain == gtid.domain).map_or(0, |other| other.sequence);
                gtid.sequence.saturating_sub(reached)
            })
            .fold(0, u64::saturating_add)
    }
}

/// A run of transactions that one side has and the other lacks: `after < sequence <= last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Missing {
    /// Replication domain.
    pub domain: u32,
    /// Server that wrote them.
    pub server: u32,
    /// Last sequence that both have; 0 if none.
    pub after: u64,
    /// Last sequence that one side has.
    pub last: u64,
}

impl fmt::Display for Missing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.after + 1;
        write!(formatter, "{}-{}-{}", self.domain, self.server, first)?;
        if self.last > first {
            write!(formatter, "..{}", self.last)?;
        }
        Ok(())
    }
}

impl FromStr for GtidState {
    type Err = GtidError;
    fn from_str(text: &str) -> Result<Self, GtidError> {
        let mut state = GtidState::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            state.insert(part.parse()?);
        }
        Ok(state)
    }
}

impl TryFrom<String> for GtidState {
    type Error = GtidError;
    fn try_from(text: String) -> Result<Self, GtidError> {
        text.parse()
    }
}

impl From<GtidState> for String {
    fn from(state: GtidState) -> String {
        state.to_string()
    }
}

impl FromIterator<Gtid> for GtidState {
    fn from_iter<I: IntoIterator<Item = Gtid>>(gtids: I) -> Self {
        let mut state = GtidState::default();
        gtids.into_iter().for_each(|gtid| state.insert(gtid));
        state
    }
}

impl fmt::Display for GtidState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, gtid) in self.iter().enumerate() {
            if index > 0 {
                formatter.write_str(",")?;
            }
            write!(formatter, "{gtid}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(text: &str) -> GtidState {
        text.parse().expect("a valid list")
    }

    #[test]
    fn a_list_is_read_and_written_in_order() {
        assert_eq!(state("0-2-7, 0-1-5").to_string(), "0-1-5,0-2-7");
        assert_eq!(state("").to_string(), "");
        assert!("0-1".parse::<GtidState>().is_err());
        assert!("0-1-2-3".parse::<GtidState>().is_err());
        assert!("0-1-x".parse::<GtidState>().is_err());
    }

    #[test]
    fn only_the_comparison_by_server_sees_a_fork() {
        let (a, b) = (state("0-1-26"), state("0-1-18,0-2-27"));
        assert!(b.reaches(&a), "by position alone b looks ahead of a");
        assert!(!b.covers(&a));
        assert_eq!(a.beyond(&b).iter().map(ToString::to_string).collect::<Vec<_>>(), ["0-1-19..26"]);
        assert_eq!(b.beyond(&a).iter().map(ToString::to_string).collect::<Vec<_>>(), ["0-2-1..27"]);
    }

    #[test]
    fn what_is_received_counts_where_it_will_be_applied() {
        let received = state("0-2-454,1-2-7");
        assert_eq!(state("0-1-453,0-2-204,1-2-5").with_received(&received), state("0-1-453,0-2-454,1-2-7"));
        assert_eq!(state("0-1-462,0-2-204,1-2-5").with_received(&received), state("0-1-462,0-2-204,1-2-7"));
    }

    #[test]
    fn distance_counts_per_domain() {
        assert_eq!(state("0-1-10,1-1-4").distance_from(&state("0-1-7")), 7);
        assert_eq!(state("0-1-10").distance_from(&state("0-2-12")), 0);
        assert_eq!(state("0-1-10,0-2-12").position(), state("0-2-12"));
    }
}
