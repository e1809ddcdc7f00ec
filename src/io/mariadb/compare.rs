//! Both servers compared exactly, and the peer's server fenced by SQL: what reaches over to the peer.

use super::ledger::{epoch_of, newest_epoch};
use super::replica::read_replica;
use super::session::{Failure, Fields, Session};
use super::statement::{quote, statement};
use super::writes::read_only_value;
use super::{Database, Positions, clients};
use crate::decision::action::{Comparison, StepOutput, StepResult};
use crate::decision::gtid::{Gtid, GtidState, Missing};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// MariaDB's number for a privilege that is missing.
const ACCESS_DENIED: u16 = 1227;

/// Events asked for at a time while the binary log is looked through.
const PAGE: u64 = 20_000;

/// What transactions that only this node has turned out to be.
#[derive(Clone, Debug, Default)]
pub(super) struct Inspected {
    /// Runs that touch data, as `domain-server-first..last`.
    pub data: Vec<String>,
    /// How many touch only apd's schema.
    pub notes: u64,
}

impl Database {
    pub(super) async fn compare(&self, until: Instant) -> Result<Comparison, Failure> {
        let mut peer = Session::open(self.settings.remote(), until).await?;
        let my_ledger = newest_epoch(&self.control, &self.settings.schema, until).await?;
        let rows = self.say(statement!("probe"), until).await?;
        let row = rows.first().cloned().unwrap_or_default();
        let positions = Positions::read(&row)?;
        let mine = positions.everything();
        let server: u32 = row.number("server_id").unwrap_or(0);
        // The peer is read last: what is replicated between the two readings must not look like ours alone.
        let rows = peer.rows(&statement!("position"), until).await?;
        let theirs = Positions::read(rows.first().unwrap_or(&Fields::default()))?.everything();
        let ledger = statement!("newest_epoch", schema = self.schema());
        let peer_ledger = epoch_of(peer.rows(&ledger, until).await)?;
        let beyond = positions.state.beyond(&theirs);
        // The numbers of what is under way over there must not be used again.
        let arrived = match beyond.is_empty() {
            true => theirs.clone(),
            false => theirs.with_received(&about_to_be_applied(&mut peer, until).await?),
        };
        let inspected = self.inspect(&beyond, until).await?;
        let own_notes = match arrived == theirs {
            true => inspected.notes,
            false => self.inspect(&positions.state.beyond(&arrived), until).await?.notes,
        };
        Ok(Comparison {
            errant: inspected.data,
            own_notes,
            own_tail_lost: lost_tail(&mine, &theirs, server),
            common: common(&mine, &arrived),
            mine,
            theirs,
            peer_ledger,
            my_ledger,
        })
    }

    /// Looks the runs of `beyond` up in this server's binary log, newest file first.
    pub(super) async fn inspect(&self, beyond: &[Missing], until: Instant) -> Result<Inspected, Failure> {
        let mut inspected = Inspected::default();
        if beyond.is_empty() {
            return Ok(inspected);
        }
        let mut found: BTreeMap<Gtid, bool> = BTreeMap::new();
        let files = self.say(statement!("binary_logs"), until).await?;
        for file in files.iter().rev().map(|row| row.text("log_name")) {
            let before = self.read_events(file, beyond, &mut found, until).await?;
            if before.is_some_and(|before| starts_early_enough(&before, beyond)) {
                break;
            }
        }
        for run in beyond {
            inspected.judge(run, &found);
        }
        Ok(inspected)
    }

    /// Notes for each wanted transaction in `file` whether it touches only apd's schema. Ends with the state
    /// before this file.
    async fn read_events(
        &self,
        file: &str,
        beyond: &[Missing],
        found: &mut BTreeMap<Gtid, bool>,
        until: Instant,
    ) -> Result<Option<GtidState>, Failure> {
        let (mut position, mut before, mut current) = (4_u64, None, None);
        loop {
            let page = statement!("binlog_events", file = quote(file), position = position, limit = PAGE);
            let rows = self.say(page, until).await?;
            for row in &rows {
                let info = row.text("info");
                match row.text("event_type") {
                    "Gtid_list" => before = info.trim_matches(['[', ']']).parse().ok(),
                    "Gtid" => {
                        current = gtid_of(info).filter(|gtid| is_wanted(*gtid, beyond));
                        current.into_iter().for_each(|gtid| {
                            found.insert(gtid, true);
                        });
                    }
                    kind => {
                        if let Some(note) = current.as_ref().and_then(|gtid| found.get_mut(gtid)) {
                            *note &= is_note(kind, info, &self.settings.schema);
                        }
                    }
                }
                position = row.number("end_log_pos").unwrap_or(position);
            }
            if (rows.len() as u64) < PAGE {
                return Ok(before);
            }
        }
    }

    /// `read_only=1` and KILL CONNECTION on the peer's server. That it cannot be reached is an answer.
    pub(super) async fn fence_server(&self, until: Instant) -> StepResult {
        match self.fence(until).await {
            Ok(()) => StepResult::Ok(StepOutput::Done),
            Err(Failure::Refused(_) | Failure::TimedOut(_) | Failure::Lost { .. }) => {
                StepResult::Ok(StepOutput::Unreachable)
            }
            Err(failure) => StepResult::Failed(failure.to_string()),
        }
    }

    /// Whether the peer's server answers; changes nothing there.
    pub(super) async fn reach_server(&self, until: Instant) -> StepResult {
        let reached = Session::open(self.settings.remote(), until).await.is_ok();
        StepResult::Ok(if reached { StepOutput::Done } else { StepOutput::Unreachable })
    }

    async fn fence(&self, until: Instant) -> Result<(), Failure> {
        // Both connections before the first statement, which may already hold everybody else up.
        let open = || Session::open(self.settings.remote(), until);
        let (forbidding, killing) = tokio::join!(open(), open());
        let (mut forbidding, mut killing) = (forbidding?, killing?);
        let forbid = statement!("forbid_writes");
        let kills = async {
            loop {
                if let Err(failure) = self.end_clients_over_there(&mut killing, until).await {
                    break failure;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::select! {
            outcome = forbidding.rows(&forbid, until) => outcome.map(|_| ())?,
            failure = kills => return Err(failure),
        }
        self.end_clients_over_there(&mut forbidding, until).await?;
        let rows = forbidding.rows(&statement!("read_only"), until).await?;
        if !rows.first().is_some_and(read_only_value) {
            return Err(Failure::Other("the peer's server is not read-only after `read_only=1`".into()));
        }
        Ok(())
    }

    async fn end_clients_over_there(&self, session: &mut Session, until: Instant) -> Result<(), Failure> {
        let rows = session.rows(&clients::sessions(), until).await?;
        match clients::kill(&clients::to_end(&self.settings, &rows)) {
            Some(kill) => session.rows(&kill, until).await.map(|_| ()),
            None => Ok(()),
        }
    }
}

/// What the peer's server has received from this one, while it applies. An account from before this was asked may not
/// look: then nothing is known of it.
async fn about_to_be_applied(peer: &mut Session, until: Instant) -> Result<GtidState, Failure> {
    let rows = match peer.rows(&statement!("replica_status"), until).await {
        Err(failure) if failure.code() == Some(ACCESS_DENIED) => return Ok(GtidState::default()),
        rows => rows?,
    };
    let replica = read_replica(&rows)?.filter(|replica| replica.applying);
    Ok(replica.map(|replica| replica.received).unwrap_or_default())
}

impl Inspected {
    /// Sorts one run into data and notes. What the log does not show any more counts as data.
    fn judge(&mut self, run: &Missing, found: &BTreeMap<Gtid, bool>) {
        let mut data: Option<Missing> = None;
        let Missing { domain, server, .. } = *run;
        let shown =
            Gtid { domain, server, sequence: run.after + 1 }..=Gtid { domain, server, sequence: run.last };
        let mut expected_first = run.after;
        let mut push = |data: &mut Option<Missing>, first: u64, last: u64| match data {
            Some(run) if run.last >= first.saturating_sub(1) => run.last = last,
            _ => {
                self.data.extend(
                    data.replace(Missing { domain, server, after: first - 1, last })
                        .map(|run| run.to_string()),
                );
            }
        };
        for (gtid, note) in found.range(shown) {
            if *note {
                self.notes += 1;
            } else {
                push(&mut data, gtid.sequence, gtid.sequence);
            }
            expected_first = expected_first.max(gtid.sequence);
        }
        // Sequence numbers of one server may have gaps (the other server's lie between), so only what is
        // missing at the end is known to be unseen.
        if expected_first < run.last {
            push(&mut data, expected_first + 1, run.last);
        }
        self.data.extend(data.map(|run| run.to_string()));
    }
}

/// The file's beginning lies before all that is looked for.
fn starts_early_enough(before: &GtidState, beyond: &[Missing]) -> bool {
    beyond.iter().all(|run| before.sequence(run.domain, run.server).unwrap_or(0) <= run.after)
}

fn is_wanted(gtid: Gtid, beyond: &[Missing]) -> bool {
    beyond.iter().any(|run| {
        run.domain == gtid.domain
            && run.server == gtid.server
            && (run.after + 1..=run.last).contains(&gtid.sequence)
    })
}

/// `BEGIN GTID 0-1-5 cid=7` or `GTID 0-1-4`.
fn gtid_of(info: &str) -> Option<Gtid> {
    info.split_once("GTID ")?.1.split_whitespace().next()?.parse().ok()
}

/// Whether an event of a transaction leaves it one that touches only apd's schema. `Annotate_rows` is the
/// statement's text beside its rows; a `Query` other than COMMIT is a statement of its own: data.
fn is_note(kind: &str, info: &str, schema: &str) -> bool {
    match kind {
        "Table_map" => info
            .split_once('(')
            .and_then(|(_, table)| table.split_once('.'))
            .is_some_and(|(database, _)| database == schema),
        "Query" => matches!(info.trim(), "COMMIT" | "ROLLBACK" | "BEGIN"),
        _ => !kind.contains("Load") && !kind.starts_with("Incident") && !kind.starts_with("Intvar"),
    }
}

/// For each (domain, server) that both have, what both have.
fn common(mine: &GtidState, theirs: &GtidState) -> GtidState {
    mine.iter()
        .filter_map(|gtid| {
            let sequence = theirs.sequence(gtid.domain, gtid.server)?.min(gtid.sequence);
            Some(Gtid { sequence, ..gtid })
        })
        .collect()
}

/// The peer has transactions of this very server that this server lacks. A clone never wrote them itself and
/// is past them by position.
fn lost_tail(mine: &GtidState, theirs: &GtidState, server: u32) -> bool {
    let position = mine.position();
    theirs.beyond(mine).iter().filter(|missing| missing.server == server).any(|missing| {
        position
            .iter()
            .find(|gtid| gtid.domain == missing.domain)
            .is_none_or(|gtid| gtid.sequence < missing.last)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(text: &str) -> GtidState {
        text.parse().expect("a list")
    }

    fn gtid(text: &str) -> Gtid {
        text.parse().expect("a GTID")
    }

    #[test]
    fn a_lost_tail_is_one_that_no_later_position_covers() {
        assert!(lost_tail(&state("0-1-18"), &state("0-1-26,0-2-30"), 1));
        assert!(!lost_tail(&state("0-1-100"), &state("0-1-100,0-2-50"), 2), "a clone made later");
        assert!(!lost_tail(&state("0-1-18"), &state("0-1-18,0-2-30"), 1), "merely behind");
    }

    #[test]
    fn common_is_what_both_have() {
        assert_eq!(common(&state("0-1-26"), &state("0-1-18,0-2-27")), state("0-1-18"));
        assert_eq!(common(&state("0-1-26"), &state("0-2-27")), state(""));
    }

    #[test]
    fn notes_and_data_are_told_apart_and_the_unseen_is_data() {
        let run = Missing { domain: 0, server: 1, after: 10, last: 20 };
        let found = [("0-1-11", true), ("0-1-13", false), ("0-1-14", false), ("0-1-17", true)];
        let found = found.into_iter().map(|(text, note)| (gtid(text), note)).collect();
        let mut inspected = Inspected::default();
        inspected.judge(&run, &found);
        assert_eq!(inspected.data, ["0-1-13..14", "0-1-18..20"]);
        assert_eq!(inspected.notes, 2);
    }

    #[test]
    fn events_are_understood() {
        assert_eq!(gtid_of("BEGIN GTID 0-1-5 cid=7"), Some(gtid("0-1-5")));
        assert!(is_note("Table_map", "table_id: 21 (apd.heartbeat)", "apd"));
        assert!(!is_note("Table_map", "table_id: 21 (apdx.heartbeat)", "apd"));
        assert!(is_note("Annotate_rows", "DROP TABLE x", "apd"));
        assert!(!is_note("Query", "create table apd.t(x int)", "apd"));
    }
}
