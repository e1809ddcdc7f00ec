//! The order of a takeover's steps, for each way in which it comes about.

use super::{Code, Node, Place, ROWS, RowNumber, State, To};
use crate::decision::action::{
    Action, AddressStep, Comparison, DatabaseStep, RecordStep, RemoteStep, Step, StepOutput, StepResult,
    Ticket,
};
use crate::decision::course::{Prepared, Right, TAKE_OVER, TakeoverKind, TakeoverStep};
use crate::decision::event::{Event, ReplicaReport};
use crate::decision::peer::Released;
use crate::decision::settings::tests::settings;
use crate::decision::time::Instant;
use crate::decision::words::{Epoch, Mode};

const NOW: Instant = Instant::from_millis(60_000);

/// A standby whose replica runs, with the right in its hand.
fn taking_over(kind: TakeoverKind, prepared: Prepared, tail: bool) -> Node {
    let mut node = Node::new(settings());
    node.now = NOW;
    node.started = Some(NOW);
    node.mode.mode = Mode::Ap;
    node.gateway.answered_at = Some(NOW);
    node.gate.connected = true;
    node.database.report.reachable = true;
    node.database.report.replica =
        Some(ReplicaReport { receiving: true, applying: true, ..Default::default() });
    let epoch = Epoch::default();
    let reason = "database".to_owned();
    node.peer.released = Some(Released { epoch, operation: None, read_only: true, tail, reason });
    let row = ROWS.iter().position(|row| row.code == Some(Code::TakeoverStarted)).unwrap();
    node.course.firing = Some(RowNumber(row as u16));
    let phase = node.take_over(kind, Right::Eligible, prepared, None);
    node.phase = Place(phase);
    node.course.firing = None;
    // What the peer acknowledged, where the lease does not rest on the solo record.
    node.lease.end = NOW + std::time::Duration::from_secs(10);
    while node.poll_action().is_some() {}
    node
}

fn name(step: &Step) -> &'static str {
    match step {
        Step::Record(RecordStep::Persist(_)) => "epoch on disk",
        Step::Remote(RemoteStep::FenceServer) => "peer's server fenced",
        Step::Remote(RemoteStep::Compare) => "peer's server asked",
        Step::Remote(RemoteStep::FetchTail { .. }) => "tail fetched",
        Step::Address(AddressStep::CutStream) => "stream cut",
        Step::Address(AddressStep::Open { .. }) => "gate open",
        Step::Database(DatabaseStep::WaitFor { .. }) => "caught up",
        Step::Database(DatabaseStep::Drain) => "drained",
        Step::Database(DatabaseStep::StopApplying) => "applying stopped",
        Step::Database(DatabaseStep::ApplyTail) => "tail applied",
        Step::Database(DatabaseStep::AllowWrites) => "writes allowed and verified",
        Step::Database(DatabaseStep::WriteEpoch { .. }) => "epoch in the ledger",
        other => panic!("no step of a takeover: {other:?}"),
    }
}

fn output(step: &Step) -> StepOutput {
    match step {
        Step::Remote(RemoteStep::Compare) => StepOutput::Comparison(Comparison::default()),
        Step::Remote(RemoteStep::FetchTail { .. }) => StepOutput::Tail { transactions: 3 },
        Step::Database(DatabaseStep::Drain) => StepOutput::Position(Default::default()),
        _ => StepOutput::Done,
    }
}

/// Steps that were started by what the node does now.
fn started(node: &mut Node) -> Vec<(Ticket, Step)> {
    let actions: Vec<Action> = std::iter::from_fn(|| node.poll_action()).collect();
    let starts = actions.into_iter().filter_map(|action| match action {
        Action::Start { ticket, step, .. } => Some((ticket, step)),
        _ => None,
    });
    starts.collect()
}

/// Each step ends well; the order in which they were begun, up to service.
fn steps(kind: TakeoverKind, prepared: Prepared, tail: bool) -> Vec<&'static str> {
    let mut node = taking_over(kind, prepared, tail);
    let mut names = Vec::new();
    node.handle(Event::Deadline, NOW);
    while node.phase.state() == State::TakingOver {
        let begun = started(&mut node);
        assert_eq!(begun.len(), 1, "one step at a time: {begun:?}");
        let (ticket, step) = &begun[0];
        names.push(name(step));
        let result = StepResult::Ok(output(step));
        node.handle(Event::StepEnded { ticket: *ticket, result }, NOW);
    }
    assert_eq!(node.phase.state(), State::Active, "{kind:?}: {names:?}");
    names
}

#[test]
fn each_kind_of_takeover_has_its_steps_in_order() {
    const LAST: [&str; 3] = ["writes allowed and verified", "epoch in the ledger", "gate open"];
    let bare = Prepared::default();
    let reachable = Prepared { server_reachable: true, ..bare };
    let stopped = Prepared { stopped: true, ..bare };
    let drained = ["epoch on disk", "stream cut", "drained", "applying stopped"];
    let table: &[(TakeoverKind, Prepared, bool, &[&str])] = &[
        (TakeoverKind::Silence, bare, false, &drained),
        (TakeoverKind::Silence, stopped, false, &["epoch on disk", "stream cut", "drained"]),
        (
            TakeoverKind::Silence,
            reachable,
            false,
            &[
                "epoch on disk",
                "peer's server fenced",
                "peer's server asked",
                "caught up",
                "stream cut",
                "drained",
                "applying stopped",
            ],
        ),
        (
            TakeoverKind::Released,
            bare,
            true,
            &["epoch on disk", "stream cut", "drained", "tail fetched", "applying stopped", "tail applied"],
        ),
        // Its daemon has gone: the server may live all the same.
        (
            TakeoverKind::Released,
            bare,
            false,
            &[
                "epoch on disk",
                "peer's server asked",
                "caught up",
                "stream cut",
                "drained",
                "applying stopped",
            ],
        ),
        (TakeoverKind::Contact, bare, false, &drained),
        (TakeoverKind::Forced, bare, false, &drained),
        (TakeoverKind::Planned, bare, false, &["epoch on disk"]),
        (TakeoverKind::Handover, bare, false, &["epoch on disk"]),
    ];
    for (kind, prepared, tail, first) in table {
        let expected: Vec<&str> = first.iter().chain(&LAST).copied().collect();
        assert_eq!(steps(*kind, *prepared, *tail), expected, "{kind:?} {prepared:?}");
    }
}

#[test]
fn a_step_that_fails_never_leads_to_service() {
    for kind in [TakeoverKind::Silence, TakeoverKind::Contact, TakeoverKind::Planned] {
        for failing in ["epoch on disk", "writes allowed and verified", "epoch in the ledger", "gate open"] {
            let mut node = taking_over(kind, Prepared::default(), false);
            node.handle(Event::Deadline, NOW);
            while node.phase.state() == State::TakingOver {
                let begun = started(&mut node);
                let (ticket, step) = &begun[0];
                let fails = name(step) == failing;
                let result =
                    if fails { StepResult::Failed("no".into()) } else { StepResult::Ok(output(step)) };
                node.handle(Event::StepEnded { ticket: *ticket, result }, NOW);
            }
            assert_eq!(node.phase.state(), State::SteppingDown, "{kind:?}: {failing} failed");
        }
    }
}

#[test]
fn the_order_is_the_promise() {
    let place = |step: TakeoverStep| TAKE_OVER.iter().position(|one| *one == step).unwrap();
    let before = |first: TakeoverStep, then: TakeoverStep| {
        assert!(place(first) < place(then), "{first:?} comes before {then:?}");
    };
    assert_eq!(place(TakeoverStep::PersistEpoch), 0, "nothing has an effect before the epoch is on disk");
    assert_eq!(place(TakeoverStep::HoldLease), 1, "... and before a lease is held");
    before(TakeoverStep::FenceServer, TakeoverStep::AskPeer);
    before(TakeoverStep::CutStream, TakeoverStep::Drain);
    before(TakeoverStep::Drain, TakeoverStep::FetchTail);
    before(TakeoverStep::Drain, TakeoverStep::StopApplying);
    before(TakeoverStep::ApplyTail, TakeoverStep::AllowWrites);
    before(TakeoverStep::AllowWrites, TakeoverStep::WriteEpoch);
    assert_eq!(place(TakeoverStep::OpenGate), TAKE_OVER.len() - 1, "clients come last");
}

/// A move that names another state than it enters would end the daemon.
#[test]
fn rows_say_what_they_do() {
    for row in ROWS {
        let enters = matches!(row.run, super::Run::Enter(_));
        assert_eq!(enters, matches!(row.to, To::Move(_)), "{row:?}");
        let State::Stopped = row.from else { continue };
        assert!(row.code.is_some() || row.to == To::Stay, "{row:?}");
    }
}
