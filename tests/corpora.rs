//! Every input that was ever kept goes through the same functions as in the fuzzer, on the stable toolchain.
//!
//! `fuzz/corpus/TARGET` holds seeds (real packets, logs and files, and one of each message) and what a fuzzer found,
//! minimised. After a change of a message record the seeds anew with `APD_RECORD=1 cargo test --test corpora`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use apd::decision::action::{Action, DatabaseStep, DurableFacts, Step, StepOutput, StepResult, Ticket};
use apd::decision::event::{Event, GateReport, GateState};
use apd::decision::peer::{Acknowledge, Heartbeat, PeerFacts, PeerMessage, Rejoin, Released, Switchover};
use apd::decision::time::Instant;
use apd::decision::words::{Epoch, InstanceId, Mode, NodeId, Protection, Role};
use apd::fuzz::TARGETS;
use apd::wire::control::{Operation, RequestBody, Status};
use apd::wire::gate::{FromGate, ToGate};
use apd::wire::peer::{BulkHeader, Hello, PROTOCOL, Purpose, Welcome};
use apd::wire::{gate, peer, recording, state};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const EPOCH: Epoch = Epoch { number: 7, node: NodeId(2) };

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_kept_input_keeps_its_promise() {
    for (name, target) in TARGETS {
        let folder = corpus().join(name);
        let inputs = names(&folder);
        assert!(inputs.len() >= 3, "{name}: {} inputs", inputs.len());
        for input in inputs {
            let bytes = fs::read(folder.join(&input)).unwrap();
            assert!(bytes.len() <= 64 * 1024, "{name}/{input} is too large to keep");
            let kept = std::panic::catch_unwind(|| target(&bytes));
            assert!(kept.is_ok(), "fuzz/corpus/{name}/{input} breaks a promise of apd::fuzz::{name}");
        }
    }
}

#[test]
fn each_reader_has_a_fuzzer_and_a_corpus() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&corpus()), targets);
    let fuzzers = corpus().parent().unwrap().join("fuzz_targets");
    let files: BTreeSet<String> = targets.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names(&fuzzers), files);
    let manifest = fs::read_to_string(fuzzers.parent().unwrap().join("Cargo.toml")).unwrap();
    for name in &targets {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
        let text = fs::read_to_string(fuzzers.join(format!("{name}.rs"))).unwrap();
        assert!(text.contains(&format!("apd::fuzz::{name}(bytes)")), "{text}");
    }
}

/// One of each message, under the name of its file.
fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let mut seeds = vec![
        ("state", "slot", state::encode(&facts(), 5).to_vec()),
        ("state", "content", serde_json::to_vec(&facts()).unwrap()),
        ("state", "nothing", Vec::new()),
    ];
    seeds.extend(peer_seeds());
    seeds.extend(gate_seeds());
    seeds.extend(control_seeds());
    seeds.extend(recording_seeds());
    seeds
}

fn facts() -> DurableFacts {
    DurableFacts { epoch: EPOCH, solo: Some(EPOCH), rebuilding: true, ..DurableFacts::default() }
}

fn heartbeat() -> PeerMessage {
    PeerMessage::Heartbeat(Heartbeat {
        instance: InstanceId(9),
        sequence: 12,
        sent: Instant::from_millis(5_000),
        lease: Some(Duration::from_millis(350)),
        facts: PeerFacts {
            role: Role::Active,
            mode: Mode::Ap,
            epoch: EPOCH,
            serving: true,
            fit: true,
            solo: false,
            eligible: Some(EPOCH),
            database_reachable: true,
            database_writable: true,
            replica_running: false,
            gtid: "0-1-42,0-2-7".parse().unwrap(),
            priority: None,
            role_services: false,
            config_hash: 7,
            why: "clients are served".into(),
        },
    })
}

fn peer_seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let gtid: apd::decision::gtid::GtidState = "0-1-42".parse().unwrap();
    let acknowledge = Acknowledge {
        instance: InstanceId(9),
        epoch: EPOCH,
        sequence: 12,
        sent: Instant::from_millis(5_000),
        lease: Duration::from_millis(350),
    };
    let released =
        Released { epoch: EPOCH, operation: Some(3), read_only: true, tail: false, reason: "stop".into() };
    let hello = Hello {
        protocol: PROTOCOL,
        cluster: "shop".into(),
        node: "db1".into(),
        address: [10, 0, 0, 1].into(),
        instance: InstanceId(9),
        version: "0.1.0".into(),
        purpose: Purpose::Tail { have: gtid.clone() },
    };
    let both: Vec<u8> =
        [heartbeat(), PeerMessage::Acknowledge(acknowledge)].iter().flat_map(peer::encode).collect();
    let message = |message: PeerMessage| peer::encode(&message);
    vec![
        ("peer", "heartbeat-and-acknowledge", both),
        ("peer", "eligible", message(PeerMessage::Eligible { epoch: EPOCH, granted: true })),
        (
            "peer",
            "reach",
            message(PeerMessage::Switchover(Switchover::Reach { operation: 3, position: gtid })),
        ),
        ("peer", "released", message(PeerMessage::Released(released))),
        (
            "peer",
            "rejoin",
            message(PeerMessage::Rejoin(Rejoin::Answered { operation: 4, refused: Some("no".into()) })),
        ),
        ("peer", "hello", peer::encode(&hello)),
        ("peer", "welcome", peer::encode(&Welcome::Refused { reason: "another cluster".into() })),
        ("peer", "tail", peer::encode(&BulkHeader::Follows { bytes: 1 << 20 })),
        ("peer", "too-long", u32::MAX.to_be_bytes().to_vec()),
    ]
}

fn gate_seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let open = ToGate::Open {
        ticket: 1,
        epoch: EPOCH,
        lease_end: Instant(u64::MAX),
        lease: Duration::from_millis(350),
    };
    let renew = ToGate::Renew { epoch: EPOCH, lease_end: Instant(3) };
    let to: Vec<u8> = [open, renew, ToGate::Query].iter().flat_map(gate::encode).collect();
    let state = GateState { open: true, epoch: EPOCH, ..GateState::default() };
    let lost = GateReport::LeaseLost { epoch: EPOCH, reason: "the lease ran out".into() };
    let from: Vec<u8> = [
        FromGate::State(state),
        FromGate::Report(lost),
        FromGate::Failed { ticket: 1, reason: "a\nb \u{1f512}".into() },
        FromGate::DatabaseFenced { epoch: EPOCH, error: None },
    ]
    .iter()
    .flat_map(gate::encode)
    .collect();
    vec![("gate", "to", to), ("gate", "from", from), ("gate", "half", b"{\"close\":{".to_vec())]
}

fn control_seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let body = RequestBody {
        reason: "kernel update".into(),
        mode: Some(Mode::Maintenance),
        nag_after_ms: Some(7_200_000),
        timeout_ms: Some(30_000),
        dry_run: true,
        force: true,
        accept_data_loss: true,
        level: Some("debug".into()),
        peer_is_off: true,
    };
    let status = Status::starting("shop", "db1", "db2", Protection::Gateway);
    let operation =
        Operation::begun("7-1".into(), "switchover", "operator root", "2026-01-01T00:00:00Z".into());
    let json = |value: serde_json::Result<Vec<u8>>| value.unwrap();
    vec![
        ("control", "body", json(serde_json::to_vec(&body))),
        ("control", "status", json(serde_json::to_vec(&status))),
        ("control", "operation", json(serde_json::to_vec(&operation))),
        ("control", "unknown-field", b"{\"reason\":\"x\",\"sudo\":true}".to_vec()),
    ]
}

fn recording_seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let mut lines = Vec::new();
    recording::event(&mut lines, Instant::from_millis(5_000), &Event::Peer(heartbeat()));
    let result = StepResult::Ok(StepOutput::Position("0-1-42".parse().unwrap()));
    recording::event(
        &mut lines,
        Instant::from_millis(5_001),
        &Event::StepEnded { ticket: Ticket(4), result },
    );
    recording::action(&mut lines, &Action::SendPeer(heartbeat()));
    let step = Step::Database(DatabaseStep::WaitFor { position: "0-1-42".parse().unwrap() });
    let start = Action::Start { ticket: Ticket(4), step, deadline: Duration::from_secs(2) };
    let mut actions = Vec::new();
    recording::action(&mut actions, &start);
    // One gzip member with nothing in it, and one that is cut off.
    let member = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    vec![
        ("recording", "events", lines),
        ("recording", "start", actions),
        ("recording", "member", member.to_vec()),
        ("recording", "member-cut-off", [&member[..], &member[..14]].concat()),
    ]
}

#[test]
fn the_seeds_are_what_is_said_today() {
    for (target, name, bytes) in seeds() {
        let path = corpus().join(target).join(name);
        if std::env::var_os("APD_RECORD").is_some() {
            fs::write(&path, &bytes).unwrap();
        }
        let kept = fs::read(&path).unwrap_or_default();
        assert!(
            kept == bytes,
            "{}: another message than before; if this is meant: APD_RECORD=1",
            path.display()
        );
    }
}
