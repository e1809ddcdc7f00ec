//! The transition table as a whole: total, without idle rows, and with no way from standby to serving that leaves
//! something out. `docs/transitions.md` is written from it: `APD_RECORD=1 cargo nextest run -E 'binary(transitions)'`.

#![allow(clippy::unwrap_used, reason = "a table that cannot be read fails")]

use apd::decision::table::{Class, Guard, On, ROWS, Row, State, To};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

fn rows_of(state: State) -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(move |row| row.from == state)
}

/// The rows that are tried when this happens in this state, in their order.
fn tried(state: State, class: Class) -> Vec<&'static Row> {
    let named =
        rows_of(state).filter(|row| matches!(row.on, On::Events(classes) if classes.contains(&class)));
    named.chain(rows_of(state).filter(|row| row.on == On::Any)).collect()
}

/// The moves into a state.
fn into(state: State) -> Vec<&'static Row> {
    ROWS.iter().filter(|row| row.to == To::Move(state)).collect()
}

/// Everywhere that a node can get to from a state, through rows that pass a filter.
fn reached(from: State, through: impl Fn(&Row) -> bool) -> BTreeSet<State> {
    let mut reached = BTreeSet::from([from]);
    loop {
        let before = reached.len();
        for row in ROWS.iter().filter(|row| through(row)) {
            if let To::Move(to) = row.to
                && reached.contains(&row.from)
            {
                reached.insert(to);
            }
        }
        if reached.len() == before {
            return reached;
        }
    }
}

#[test]
fn every_state_has_an_answer_to_everything_that_can_happen() {
    for state in State::ALL {
        for class in Class::ALL {
            let rows = tried(*state, *class);
            let last = rows.last().unwrap_or_else(|| panic!("{state:?} has no row for {class:?}"));
            assert!(last.to == To::Stay && last.when == [Guard::Always], "{state:?} and {class:?}: {last:?}");
        }
    }
}

#[test]
fn a_state_is_read_from_top_to_bottom() {
    for state in State::ALL {
        let places: Vec<usize> = (0..ROWS.len()).filter(|place| ROWS[*place].from == *state).collect();
        let together = places.windows(2).all(|pair| pair[1] == pair[0] + 1);
        assert!(together, "the rows of {state:?} stand together");
        let mut any = false;
        for row in rows_of(*state) {
            any |= row.on == On::Any;
            assert!(!any || row.on == On::Any, "what is tried first stands first: {row:?}");
        }
    }
}

#[test]
fn no_row_is_hidden_by_one_before_it() {
    for (place, row) in ROWS.iter().enumerate() {
        for earlier in &ROWS[..place] {
            let covers = earlier.from == row.from
                && match (earlier.on, row.on) {
                    (On::Any, On::Any) => true,
                    (On::Events(one), On::Events(other)) => other.iter().all(|class| one.contains(class)),
                    _ => false,
                };
            let weaker = earlier.when.iter().all(|guard| *guard == Guard::Always || row.when.contains(guard));
            assert!(earlier.to == To::GoOn || !covers || !weaker, "{row:?} is never tried: {earlier:?}");
        }
    }
}

#[test]
fn every_condition_and_every_state_is_used() {
    let used: BTreeSet<Guard> = ROWS.iter().flat_map(|row| row.when).copied().collect();
    let idle: Vec<&Guard> = Guard::ALL.iter().filter(|guard| !used.contains(guard)).collect();
    assert!(idle.is_empty(), "conditions of no row: {idle:?}");
    let meanings: BTreeSet<&str> = Guard::ALL.iter().map(|guard| guard.meaning()).collect();
    assert_eq!(meanings.len(), Guard::ALL.len(), "two conditions say the same");
    assert_eq!(reached(State::Stopped, |_| true).len(), State::ALL.len(), "every state can be reached");
    for state in State::ALL.iter().filter(|state| **state != State::Stopped) {
        let ends = reached(*state, |_| true).contains(&State::Stopped) || *state == State::Active;
        assert!(ends, "{state:?} is left again");
    }
}

#[test]
fn what_speaks_of_an_event_stands_in_rows_of_events() {
    for row in ROWS.iter().filter(|row| row.on == On::Any) {
        assert!(row.when.iter().all(|guard| !guard.of_event()), "{row:?} can never hold");
    }
}

#[test]
fn every_move_carries_a_reason() {
    let silent: Vec<&Row> =
        ROWS.iter().filter(|row| matches!(row.to, To::Move(_)) && row.code.is_none()).collect();
    assert!(silent.is_empty(), "{silent:#?}");
}

/// The promise: no path from standby to serving without the epoch on disk, the right proved and its wait over, and
/// the database verified. The first row below stands for the order of the steps (`decision/table/tests.rs`).
#[test]
fn nobody_serves_without_right_wait_epoch_and_database() {
    let conditions = |row: &Row| row.when.iter().copied().collect::<BTreeSet<Guard>>();
    // Into service: a takeover of which every step has ended; a lease of one's own that still lives; or back from a
    // handover that was called off, before the gate was touched.
    for row in into(State::Active) {
        match row.from {
            State::TakingOver => assert_eq!(row.when, [Guard::AllStepsDone]),
            State::Stopped => assert_eq!(row.when, [Guard::OwnLeaseLives]),
            State::HandingOver => {
                // Rows are tried in order: one with the same condition and `Sealing` stands before each.
                let before = ROWS.iter().take_while(|one| !std::ptr::eq(*one, row));
                let sealed = |one: &Row| {
                    one.from == row.from
                        && one.to == To::Move(State::SteppingDown)
                        && conditions(one).contains(&Guard::Sealing)
                        && conditions(one).is_superset(&conditions(row))
                };
                let open = conditions(row).contains(&Guard::BeforeSealing) || before.into_iter().any(sealed);
                assert!(open, "a gate that is being closed is never counted as open: {row:?}");
            }
            other => panic!("{other:?} leads into service: {row:?}"),
        }
    }
    // ... and nothing but a takeover leads there from standby.
    let around =
        reached(State::Standby, |row| row.to != To::Move(State::TakingOver) && row.from != State::Stopped);
    assert!(!around.contains(&State::Active) && !around.contains(&State::HandingOver), "{around:?}");
    // Into a takeover: a right that is proved, and its wait over where it has one.
    let ways: BTreeMap<(State, On2), BTreeSet<Guard>> =
        into(State::TakingOver).iter().map(|row| ((row.from, On2::of(row)), conditions(row))).collect();
    let of = |guards: &[Guard]| guards.iter().copied().collect::<BTreeSet<Guard>>();
    let rights: BTreeSet<BTreeSet<Guard>> =
        into(State::TakingOver).iter().map(|row| conditions(row)).collect();
    assert_eq!(
        rights,
        BTreeSet::from([
            of(&[Guard::Prepared, Guard::WaitOver, Guard::TargetsAnswered]),
            of(&[Guard::PeerReleased, Guard::NothingBlocks]),
            of(&[Guard::Contact, Guard::BetterHere]),
            of(&[Guard::PositionReached, Guard::SealedReadOnly]),
            of(&[Guard::Granted, Guard::Contact]),
        ]),
        "{ways:#?}"
    );
    // Into a bid: a right that is held, after silence, with nothing against it; or the operator's word.
    let bids: BTreeSet<BTreeSet<Guard>> = into(State::Bidding).iter().map(|row| conditions(row)).collect();
    let by_right = of(&[Guard::RightHeld, Guard::SilentLongEnough, Guard::NothingBlocks]);
    assert_eq!(bids, BTreeSet::from([by_right, of(&[Guard::Granted])]));
    for row in into(State::Bidding).into_iter().chain(into(State::TakingOver)) {
        let forced = row.when.contains(&Guard::Granted);
        assert!(!forced || row.on == On::Events(&[Class::FailoverCommand]), "force is a command: {row:?}");
    }
}

/// What a row waits for, in an order for maps.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum On2 {
    Any,
    Events(Vec<Class>),
}

impl On2 {
    fn of(row: &Row) -> Self {
        match row.on {
            On::Any => On2::Any,
            On::Events(classes) => On2::Events(classes.to_vec()),
        }
    }
}

/// Down is a state of its own: nothing that served is a standby before its gate is shut.
#[test]
fn nobody_stops_serving_without_a_closed_gate() {
    for row in ROWS.iter().filter(|row| row.from == State::Active) {
        if let To::Move(to) = row.to {
            assert!(matches!(to, State::SteppingDown | State::HandingOver), "{row:?}");
        }
    }
    for row in into(State::Standby).iter().filter(|row| row.from == State::SteppingDown) {
        assert!(row.when.contains(&Guard::GateShut), "{row:?}");
    }
    for row in into(State::Standby).iter().filter(|row| row.from == State::HandingOver) {
        let released = row.when.contains(&Guard::AfterRelease) || row.on == On::Events(&[Class::Opened]);
        assert!(released, "{row:?}");
    }
}

#[test]
fn one_seed_goes_through_the_same_rows_twice() {
    for seed in 1..6 {
        let rows = || apd::simulation::run(seed, None, false).rows;
        assert_eq!(rows(), rows(), "seed {seed}");
    }
}

fn word(state: State) -> String {
    format!("`{}`", state.word())
}

/// What happens, as the page says it.
fn event(row: &Row) -> String {
    match row.on {
        On::Any => "anything".to_owned(),
        On::Events(classes) => classes.iter().map(|class| class.meaning()).collect::<Vec<_>>().join("; or "),
    }
}

fn conditions(row: &Row) -> String {
    row.when.iter().map(|guard| guard.meaning()).collect::<Vec<_>>().join(", and ")
}

/// One arrow for each pair of states, with the reasons for which it is gone along.
fn diagram() -> String {
    let mut arrows: BTreeMap<(State, State), BTreeSet<&str>> = BTreeMap::new();
    for row in ROWS {
        if let To::Move(to) = row.to {
            arrows.entry((row.from, to)).or_default().extend(row.code.map(|code| code.word()));
        }
    }
    let mut text = "```mermaid\nstateDiagram-v2\n    [*] --> stopped\n".to_owned();
    for ((from, to), codes) in arrows {
        let codes = codes.into_iter().collect::<Vec<_>>().join(", ");
        writeln!(text, "    {} --> {}: {codes}", from.word(), to.word()).unwrap();
    }
    text + "```\n"
}

fn page() -> String {
    let moves = ROWS.iter().filter(|row| matches!(row.to, To::Move(_))).count();
    let mut page = format!(
        "# What moves a node from one state to another\n\n\
         Written from the transition table (`decision/table/rows.rs`), which is what the daemon executes: nothing else\n\
         changes the state. {} rows, {moves} of them moves, {} conditions, {} states, {} classes of events.\n\n\
         An event is noted first. Then the rows that name it are tried, then the rows of *anything*, from top to\n\
         bottom: the first whose conditions all hold is carried out. *stays* ends the search; *goes on* does the\n\
         daily work of the state and lets the next rows be tried. After a move the rows of the new state follow at\n\
         once. The reason is the code in log, journal and `apctl history`; docs/operating.md says what to do about it.\n\
         `apctl explain` shows which rows could come next on a node, and which of their conditions hold now.\n\n{}",
        ROWS.len(),
        Guard::ALL.len(),
        State::ALL.len(),
        Class::ALL.len(),
        diagram()
    );
    for state in State::ALL {
        write!(page, "\n## {}\n\n{}.\n\n", word(*state), state.meaning()).unwrap();
        page.push_str("| when | and if | then | reason |\n|---|---|---|---|\n");
        for row in rows_of(*state) {
            let to = match row.to {
                To::Move(to) => format!("**{}**", to.word()),
                To::Stay => "stays".to_owned(),
                To::GoOn => "goes on".to_owned(),
            };
            let code = row.code.map(|code| format!("`{}`", code.word())).unwrap_or_default();
            writeln!(page, "| {} | {} | {to} | {code} |", event(row), conditions(row)).unwrap();
        }
    }
    page
}

#[test]
fn the_page_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/transitions.md");
    if std::env::var_os("APD_RECORD").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "docs/transitions.md is out of date: APD_RECORD=1 writes it");
}
