//! `apctl replay` on recordings that the recorder wrote: the same again, tampered with, cut off, and garbage.

use super::golden::every_form;
use super::pages::golden;
use super::{code, err, json, out};
use crate::control::apctl_command;
use crate::settings::settings;
use apd::decision::event::{Advert, Event, Found, GateState};
use apd::decision::node::Node;
use apd::decision::settings::Settings;
use apd::decision::time::Instant;
use apd::decision::words::InstanceId;
use apd::io::mode_file;
use apd::io::recording::{Members, Recording, files};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

/// Ten seconds of a standby, recorded below `state`; the file.
fn recorded(state: &Path) -> PathBuf {
    let folder = state.join("recording");
    let mut recording = Recording::start(folder.clone());
    let mut node = Node::new(Settings { checks: Vec::new(), ..settings(1) });
    let found = Found {
        instance: InstanceId(7),
        durable: None,
        mode: mode_file::read(&state.join("no such file")),
        gate: GateState::default(),
        started: None,
    };
    let mut event = Event::Started(found);
    for step in 0..100_u64 {
        let now = Instant::from_millis(5_000 + 100 * step);
        recording.event(&node, &event, now);
        node.handle(event, now);
        while let Some(action) = node.poll_action() {
            recording.action(&action);
        }
        event = Event::Advert(Advert {
            source: [10, 0, 0, 2].into(),
            from_peer: true,
            priority: 100,
            interval: Duration::from_millis(100),
        });
    }
    recording.end(Duration::from_secs(10));
    files(&folder).unwrap().pop().unwrap()
}

fn replay(arguments: &[&str]) -> Output {
    apctl_command().arg("replay").args(arguments).output().unwrap()
}

fn replay_file(path: &Path) -> Output {
    replay(&[path.to_str().unwrap()])
}

/// The lines of a recording, changed and packed again.
fn rewrite(path: &Path, change: impl Fn(String) -> String) {
    let bytes = std::fs::read(path).unwrap();
    let mut text = Vec::new();
    for member in Members::of(&bytes) {
        text.extend(member.unwrap().1);
    }
    let text = change(String::from_utf8(text).unwrap());
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    std::fs::write(path, encoder.finish().unwrap()).unwrap();
}

#[test]
fn a_recording_is_the_same_again() {
    let state = tempfile::tempdir().unwrap();
    let path = recorded(state.path());
    for output in [replay_file(&path), replay(&["--state-dir", state.path().to_str().unwrap()])] {
        assert_eq!(code(&output), 0, "{output:?}");
        let said = out(&output);
        assert!(said.starts_with("100 events, ") && said.ends_with(" actions: the same\n"), "{said}");
    }
    let file = path.to_str().unwrap();
    let value = json(&replay(&["-o", "json", file]));
    // When it was recorded differs from run to run.
    let pages = every_form(apctl_command, &[&["replay", file]], state.path());
    golden("replay.txt", &pages.replace(value["from"].as_str().unwrap(), "WALL CLOCK"));
    assert_eq!((&value["same"], &value["events"], &value["files"]), (&true.into(), &100.into(), &1.into()));
    assert!(value["actions"].as_u64().unwrap() > 50, "{value}");
    assert_eq!(value["recorded_by"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn two_runs_are_replayed_one_after_the_other() {
    let state = tempfile::tempdir().unwrap();
    recorded(state.path());
    recorded(state.path());
    let output = replay(&["--state-dir", state.path().to_str().unwrap()]);
    assert!(out(&output).starts_with("200 events, "), "{output:?}");
}

#[test]
fn a_tampered_recording_is_caught() {
    let state = tempfile::tempdir().unwrap();
    let path = recorded(state.path());
    let whole = std::fs::read(&path).unwrap();
    // Another answer than the decision gave.
    rewrite(&path, |text| text.replacen(r#""role":"out""#, r#""role":"standby""#, 40));
    let output = replay_file(&path);
    assert_eq!(code(&output), 1, "{output:?}");
    let said = err(&output);
    for part in [
        "byte 0, line ",
        "the first difference is at 5.000000000 s",
        "event:    Started",
        "expected: SendPeer",
        "role: Standby",
        "got:      SendPeer",
        "role: Out",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // Something done is missing.
    std::fs::write(&path, &whole).unwrap();
    rewrite(&path, |text| {
        text.lines()
            .filter(|line| !line.starts_with(r#"{"action":"#))
            .map(|line| format!("{line}\n"))
            .collect()
    });
    let said = err(&replay_file(&path));
    assert!(said.contains("expected: nothing more"), "{said}");
    // The program's word for it.
    let value = json(&replay(&["-o", "json", path.to_str().unwrap()]));
    assert_eq!(value["code"], "E_REPLAY_DIFFERS");
}

#[test]
fn what_is_no_recording_is_refused_with_its_place() {
    let state = tempfile::tempdir().unwrap();
    let path = recorded(state.path());
    let whole = std::fs::read(&path).unwrap();
    let members: Vec<usize> = Members::of(&whole).map(|member| member.unwrap().0).collect();
    assert!(members.len() >= 3, "one for each two seconds: {members:?}");
    std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    let output = replay_file(&path);
    assert_eq!(code(&output), 1);
    let said = err(&output);
    let place = format!("byte {}: it is cut off; up to there: ", members.last().unwrap());
    assert!(said.contains(&place) && said.contains("actions: the same"), "{said}");
    let mut flipped = whole.clone();
    flipped[members[1] + 40] ^= 1;
    std::fs::write(&path, &flipped).unwrap();
    let said = err(&replay_file(&path));
    assert!(said.contains(&format!("byte {}: ", members[1])), "{said}");
    for (garbage, expected) in [(&b"garbage, and nothing but"[..], "byte 0: "), (b"", "it is empty")] {
        std::fs::write(&path, garbage).unwrap();
        let said = err(&replay_file(&path));
        assert!(said.contains(expected), "{said}");
    }
    rewrite_as(&path, "{\"event\":{\"at\":1,\"event\":\"stop\"}}\n");
    assert!(err(&replay_file(&path)).contains("before any state"));
    rewrite_as(&path, "{\"event\":{\"at\":1,\"event\":\"party\"}}\n");
    assert!(err(&replay_file(&path)).contains("byte 0, line 1: column "));
    std::fs::remove_file(&path).unwrap();
    let output = replay(&["-o", "json", "--state-dir", state.path().to_str().unwrap()]);
    assert_eq!((code(&output), &json(&output)["code"]), (1, &"E_RECORDING".into()));
}

fn rewrite_as(path: &Path, text: &str) {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    std::fs::write(path, encoder.finish().unwrap()).unwrap();
}
