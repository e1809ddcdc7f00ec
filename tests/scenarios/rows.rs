//! Every row of the transition table is carried out by a story or by the simulator: a row that nothing ever needs
//! is a row that nobody has thought through.

use apd::decision::table::{ROWS, Row, RowNumber, To};
use std::collections::BTreeSet;

/// Seeds of the simulator that are run for rows that no story goes through.
const SEEDS: u64 = 4_000;

/// Rows that neither goes through, and what it takes: narrow windows, for which a story is still to be written.
const NOT_MET: &[(&str, &str)] = &[
    (
        "receiving | Events([Released]) | [Always] | Move(Standby)",
        "the active ends in another way between its question and its release",
    ),
    (
        "taking_over | Events([StepEnded]) | [PeerLedgerNewer] | Move(SteppingDown)",
        "the peer's server has served in an epoch that neither node remembers, and this one has a right all the same",
    ),
    (
        "handing_over | Events([Heartbeat]) | [NewerEpoch, BeforeRelease] | Move(SteppingDown)",
        "a newer epoch is heard of within a switchover",
    ),
    (
        "handing_over | Any | [BeforeSealing, LeaseOver, MayNotGoSolo] | Move(SteppingDown)",
        "acknowledgements stop within a switchover while heartbeats go on",
    ),
    (
        "handing_over | Any | [Late] | Move(Active)",
        "an answer of the peer is lost while its heartbeats arrive",
    ),
    (
        "handing_over | Any | [BeforeSealing, LeaseLongOver] | Move(SteppingDown)",
        "the loop is late by a slice within a switchover",
    ),
    (
        "stepping_down | Any | [GateShut, ToldToStop, PatienceOver] | Move(Standby)",
        "a stop, and a server that neither dies nor obeys",
    ),
    (
        "taking_over | Any | [PeerServesInContact] | Move(SteppingDown)",
        "both take over by consent at the same moment",
    ),
];

/// A row in one line.
fn line(number: usize, row: &Row) -> String {
    format!("{number:>3} {} | {:?} | {:?} | {:?}", row.from.word(), row.on, row.when, row.to)
}

/// Does something, or says something: a plain `Stay` is only the end of a search.
fn matters(row: &Row) -> bool {
    row.to != To::Stay || row.code.is_some()
}

#[test]
fn every_row_is_carried_out() {
    let mut met: BTreeSet<RowNumber> = BTreeSet::new();
    for path in super::stories() {
        met.extend(super::told(&std::fs::read_to_string(path).unwrap()).1);
    }
    let by_stories = met.len();
    for (number, row) in ROWS.iter().enumerate() {
        let told = met.contains(&RowNumber(u16::try_from(number).unwrap()));
        let listed = NOT_MET.iter().any(|(text, _)| line(number, row).ends_with(text));
        assert!(!(told && listed), "a story goes through it: take it off the list\n{}", line(number, row));
    }
    let missing = |met: &BTreeSet<RowNumber>| -> Vec<String> {
        let rows = ROWS.iter().enumerate().filter(|(number, row)| {
            matters(row) && !met.contains(&RowNumber(u16::try_from(*number).unwrap()))
        });
        rows.map(|(number, row)| line(number, row)).collect()
    };
    let mut seed = 0;
    let listed = |line: &String| NOT_MET.iter().any(|(row, _)| line.ends_with(row));
    while seed < SEEDS && missing(&met).iter().any(|line| !listed(line)) {
        seed += 1;
        // The same decision, compiled once more to be quick: its rows have the same numbers.
        let outcome = apd_simulator::simulation::run(seed, None, false);
        assert_eq!(outcome.violation, None, "seed {seed}");
        met.extend(outcome.rows.into_iter().map(|row| RowNumber(row.0)));
    }
    println!(
        "{} of {} rows were carried out: {by_stories} by stories, the rest by {seed} seeds",
        met.len(),
        ROWS.len()
    );
    let missing = missing(&met);
    let unmet: Vec<&String> = missing.iter().filter(|line| !listed(line)).collect();
    for line in missing.iter().filter(|line| listed(line)) {
        println!("not met: {line}");
    }
    assert!(unmet.is_empty(), "no story and no seed of {SEEDS} goes through\n{unmet:#?}");
}
