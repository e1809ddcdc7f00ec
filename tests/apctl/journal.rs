//! The journal on real files: bounds, disks that fail and recover, kills, and the timeline that it tells.

use apd::decision::action::{AddressStep, DatabaseStep, Step, StepOutput, StepResult, Ticket};
use apd::decision::code::Code;
use apd::decision::time::Instant;
use apd::decision::why::Why;
use apd::decision::words::Epoch;
use apd::io::journal::{Entry, HistoryQuery, Journal, JournalHandle, Limits};
use apd::wire::control::EntryKind;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use sqlx::{ConnectOptions, Connection};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn entry(number: u64) -> Entry {
    Entry::event(Instant::from_millis(number), 3, "test.event", format!("event number {number}"))
}

fn all() -> HistoryQuery {
    HistoryQuery { kinds: Vec::new(), limit: 10_000, ..HistoryQuery::default() }
}

fn decision(at: u64, epoch: u64, code: &str, text: &str) -> Entry {
    Entry::decision(Instant::from_millis(at), epoch, &Why::new(Code::of_word(code).expect(code), text))
}

/// Waits for a condition on the journal, at most [`SOON`].
async fn until(what: &str, journal: &JournalHandle, condition: impl Fn(&JournalHandle) -> bool) {
    let begun = std::time::Instant::now();
    while !condition(journal) {
        assert!(begun.elapsed() < SOON, "not in time: {what}; {:?}", journal.health());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn entries_come_back_as_they_were_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::spawn(folder.path().join("journal.db"));
    let why = Why::new(Code::PeerSilent, "db2 silent for 300 ms").resolved_by("look at db2");
    journal.record(Entry::decision(Instant(1_234_567_890), 7, &why).with("silent_ms", 300));
    journal.record(entry(2));
    journal.record(decision(3, 8, "takeover.done", "served"));
    assert!(journal.flush(SOON).await);

    let history = journal.history(&HistoryQuery::default()).await;
    assert_eq!(history.problem, None);
    let codes: Vec<&str> = history.entries.iter().map(|entry| entry.code.as_str()).collect();
    assert_eq!(codes, ["peer.silent", "takeover.done"], "decisions only, oldest first");
    let first = &history.entries[0];
    assert_eq!((first.boot_ns, first.epoch, first.kind), (1_234_567_890, 7, EntryKind::Decision));
    assert_eq!(first.details["silent_ms"], 300);
    assert_eq!(first.details["remedy"], "look at db2");
    assert!(first.at.ends_with('Z') && first.unix_ms > 1_700_000_000_000);

    let of = |epoch| HistoryQuery { epoch: Some(epoch), ..all() };
    assert_eq!(journal.history(&of(3)).await.entries.len(), 1);
    assert_eq!(journal.history(&of(99)).await.entries.len(), 0);
    let newest = journal.history(&HistoryQuery { limit: 1, ..all() }).await;
    assert_eq!(newest.entries[0].code, "takeover.done");
}

#[tokio::test]
async fn rows_and_bytes_are_bounded_and_the_newest_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let journal = Journal::spawn_with(&path, Limits { rows: 500, bytes: 1 << 30 });
    for number in 0..3_000 {
        journal.record(entry(number));
        if number % 500 == 0 {
            assert!(journal.flush(SOON).await);
        }
    }
    assert!(journal.flush(SOON).await);
    let entries = journal.history(&all()).await.entries;
    assert!((500..=1012).contains(&entries.len()), "{} entries", entries.len());
    assert_eq!(entries.last().unwrap().text, "event number 2999");

    let path = folder.path().join("small.db");
    let journal = Journal::spawn_with(&path, Limits { rows: 1 << 40, bytes: 256 * 1024 });
    let long = "x".repeat(4_000);
    for number in 0..2_000 {
        journal.record(entry(number).with("long", long.clone()));
        if number % 100 == 0 {
            assert!(journal.flush(SOON).await);
        }
    }
    assert!(journal.flush(SOON).await);
    let size = std::fs::metadata(&path).unwrap().len();
    // 2000 entries of 4 kB are 8 MB; one batch between two looks may stand above the bound.
    assert!(size < 3 << 20, "{size} bytes");
    assert_eq!(journal.history(&all()).await.entries.last().unwrap().text, "event number 1999");
    assert_eq!(journal.health().dropped, 0);
}

#[tokio::test]
async fn details_and_texts_that_are_too_long_are_cut() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::spawn(folder.path().join("journal.db"));
    journal.record(
        Entry::event(Instant(1), 1, "test.long", "ä".repeat(100_000)).with("long", "x".repeat(100_000)),
    );
    assert!(journal.flush(SOON).await);
    let entries = journal.history(&all()).await.entries;
    assert_eq!(entries[0].text.len(), 8 * 1024);
    assert!(entries[0].details["cut"].as_u64().unwrap() > 100_000);
}

/// Runs `work` on a thread in a mount namespace of its own, with a tmpfs of `size` on a fresh folder.
fn on_a_small_disk<F: Future<Output = ()>>(
    size: &str,
    work: impl FnOnce(std::path::PathBuf) -> F + Send + 'static,
) {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().to_owned();
    let size = format!("size={size}");
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).expect("root may make a mount namespace");
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("tmpfs"), &disk, Some("tmpfs"), MsFlags::empty(), Some(size.as_str())).unwrap();
        // SQLite's own threads are children of this one and see the same mounts.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work(disk));
    });
    thread.join().unwrap();
}

fn remount(disk: &Path, flags: MsFlags) {
    let none: Option<&str> = None;
    mount(none, disk, none, MsFlags::MS_REMOUNT | flags, none).unwrap();
}

#[test]
fn a_full_disk_is_reported_holds_nobody_up_and_is_survived() {
    on_a_small_disk("4m", |disk| async move {
        let journal = Journal::spawn(disk.join("journal.db"));
        journal.record(decision(1, 1, "solo", "before"));
        assert!(journal.flush(SOON).await);
        assert_eq!(journal.health().problem, None);

        // Someone else fills the disk.
        let ballast = disk.join("ballast");
        let mut file = std::fs::File::create(&ballast).unwrap();
        let block = vec![0_u8; 4096];
        while std::io::Write::write_all(&mut file, &block).is_ok() {}

        let begun = std::time::Instant::now();
        for number in 0..600 {
            journal.record(entry(number).with("long", "x".repeat(1000)));
        }
        journal.record(decision(2, 1, "eligible", "during"));
        assert!(begun.elapsed() < SOON, "recording waited {:?}", begun.elapsed());
        // A slow machine may first report that the disk takes long.
        let full = |problem: String| problem.contains("full") && problem.contains("journal.db");
        until("the full disk is reported", &journal, |journal| journal.health().problem.is_some_and(full))
            .await;
        assert!(!journal.flush(Duration::from_millis(300)).await, "nothing can be on disk");
        // What waits in memory can be read all the same.
        let history = journal.history(&HistoryQuery::default()).await;
        assert_eq!(history.entries.last().unwrap().code, "eligible");
        assert!(history.problem.is_some());

        drop(file);
        std::fs::remove_file(&ballast).unwrap();
        until("it recovers", &journal, |journal| journal.health().problem.is_none()).await;
        assert!(journal.flush(SOON).await);
        let entries = journal.history(&all()).await.entries;
        assert_eq!((entries.len(), entries.last().unwrap().code.as_str()), (602, "eligible"));
        assert_eq!(journal.health().dropped, 0);
    });
}

#[test]
fn a_read_only_disk_is_reported_at_start_and_later_and_is_survived() {
    on_a_small_disk("4m", |disk| async move {
        remount(&disk, MsFlags::MS_RDONLY);
        let journal = Journal::spawn(disk.join("journal.db"));
        until("it is reported", &journal, |journal| journal.health().problem.is_some()).await;
        journal.record(decision(1, 1, "cleared", "recorded while the disk is read-only"));
        remount(&disk, MsFlags::empty());
        until("it recovers", &journal, |journal| journal.health().problem.is_none()).await;
        assert!(journal.flush(SOON).await);
        assert_eq!(journal.history(&HistoryQuery::default()).await.entries[0].code, "cleared");
    });
}

#[tokio::test]
async fn more_than_memory_holds_is_dropped_oldest_first_counted_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let journal = Journal::spawn(&path);
    journal.record(entry(0));
    assert!(journal.flush(SOON).await);
    // Another process holds the file: every write fails with `locked`.
    let mut other = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let begun = std::time::Instant::now();
    for number in 1..=20_000 {
        journal.record(entry(number));
    }
    assert!(begun.elapsed() < SOON, "recording waited {:?}", begun.elapsed());
    until("the lock is reported", &journal, |journal| journal.health().problem.is_some()).await;
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    until("it recovers", &journal, |journal| journal.health().problem.is_none()).await;
    assert!(journal.flush(SOON).await);
    let dropped = journal.health().dropped;
    assert!(dropped > 0);
    let entries = journal.history(&all()).await.entries;
    let told: u64 = entries
        .iter()
        .filter(|entry| entry.code == "journal.lost")
        .map(|entry| entry.details["count"].as_u64().unwrap())
        .sum();
    assert_eq!(told, dropped, "what was lost is told");
    let kept = entries.iter().filter(|entry| entry.code == "test.event").count() as u64;
    assert_eq!(kept + dropped, 20_001);
}

#[tokio::test]
async fn a_file_that_was_deleted_or_damaged_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let journal = Journal::spawn(&path);
    journal.record(entry(1));
    assert!(journal.flush(SOON).await);
    for file in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        std::fs::remove_file(folder.path().join(file)).ok();
    }
    journal.record(entry(2));
    assert!(journal.flush(SOON).await);
    let texts = |entries: Vec<apd::wire::control::HistoryEntry>| -> Vec<String> {
        entries.into_iter().map(|entry| entry.text).collect()
    };
    assert_eq!(texts(journal.history(&all()).await.entries), ["event number 2"]);

    drop(journal);
    let damaged = folder.path().join("damaged.db");
    std::fs::write(&damaged, "this is no database, and it is long enough to be looked at ".repeat(200))
        .unwrap();
    let journal = Journal::spawn(&damaged);
    journal.record(entry(3));
    assert!(journal.flush(SOON).await);
    assert_eq!(texts(journal.history(&all()).await.entries), ["event number 3"]);
    assert!(folder.path().join("damaged.db.broken").exists(), "what it was is kept");
}

/// Not a test by itself: the process that the next test kills.
#[tokio::test]
async fn child_that_writes_until_it_is_killed() {
    let Ok(path) = std::env::var("APD_TEST_JOURNAL") else { return };
    let journal = Journal::spawn(path);
    for number in 0.. {
        journal.record(entry(number).durable());
        assert!(journal.flush(SOON).await);
        println!("written {number}");
    }
}

#[tokio::test]
async fn what_was_flushed_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "journal::child_that_writes_until_it_is_killed", "--nocapture"])
        .env("APD_TEST_JOURNAL", &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut written = 0;
    while written < 50 {
        let line = lines.next().expect("the child goes on writing").unwrap();
        if let Some((_, number)) = line.split_once("written ") {
            written = number.parse().unwrap();
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines.map_while(Result::ok) {
        if let Some((_, number)) = line.split_once("written ") {
            written = number.parse().unwrap();
        }
    }
    let journal = Journal::spawn(&path);
    journal.record(entry(1_000_000));
    assert!(journal.flush(SOON).await);
    let texts: Vec<String> =
        journal.history(&all()).await.entries.into_iter().map(|entry| entry.text).collect();
    for (number, text) in texts.iter().take(written + 1).enumerate() {
        assert_eq!(*text, format!("event number {number}"));
    }
    assert!(texts.len() > written);
    assert_eq!(texts.last().unwrap(), "event number 1000000");
}

#[tokio::test]
async fn the_timeline_of_a_takeover_is_told_step_by_step() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::spawn(folder.path().join("journal.db"));
    let at = |milliseconds: u64| Instant::from_millis(10_000 + milliseconds);
    let allow = Step::Database(DatabaseStep::AllowWrites);
    let open = Step::Address(AddressStep::Open { epoch: Epoch::default(), lease_end: Instant::ZERO });
    let done = StepResult::Ok(StepOutput::Done);
    let decide = |milliseconds: u64, epoch, code: &str| decision(10_000 + milliseconds, epoch, code, code);
    // An older story, and noise, that must not be told.
    journal.record(decide(0, 6, "takeover.done"));
    journal.record(decide(500, 6, "mode.set"));
    journal.record(Entry::event(at(900), 6, "peer.heartbeat", "noise"));
    journal.record(decide(1_000, 6, "peer.silent").with("silent_ms", 300));
    journal.record(decide(1_001, 6, "bid.started"));
    journal.record(decide(1_220, 7, "takeover.started"));
    journal.record(Entry::step_started(at(1_221), 7, Ticket(5), &allow));
    journal.record(Entry::step_ended(at(1_224), 7, Ticket(5), &allow, Duration::from_micros(2_500), &done));
    journal.record(Entry::step_started(at(1_224), 7, Ticket(6), &open));
    journal.record(Entry::step_ended(at(1_230), 7, Ticket(6), &open, Duration::from_millis(5), &done));
    journal.record(decide(1_231, 7, "takeover.done").with("lost_transactions", 0));
    let forget = Step::Database(DatabaseStep::ForgetPrimary);
    journal.record(Entry::step_started(at(1_232), 7, Ticket(7), &forget));
    let failed = StepResult::Failed("STOP SLAVE: timeout".to_owned());
    journal.record(Entry::step_ended(at(1_300), 7, Ticket(7), &forget, Duration::from_millis(68), &failed));
    journal.record(decide(2_000, 7, "switchover.started"));
    assert!(journal.flush(SOON).await);

    let timeline = journal.timeline(None).await.unwrap().unwrap();
    assert_eq!(
        (timeline.epoch, timeline.kind.as_str(), timeline.reason.as_str()),
        (7, "takeover", "peer.silent")
    );
    let told: Vec<(f64, &str, Option<f64>, &str)> = timeline
        .steps
        .iter()
        .map(|step| (step.at_ms, step.name.as_str(), step.took_ms, step.result.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (0.0, "peer.silent", None, "decided"),
            (1.0, "bid.started", None, "decided"),
            (220.0, "takeover.started", None, "decided"),
            (221.0, "database.allow_writes", Some(2.5), "ok"),
            (224.0, "address.open", Some(5.0), "ok"),
            (231.0, "takeover.done", None, "decided"),
            (232.0, "database.forget_primary", Some(68.0), "failed"),
        ]
    );
    assert!(timeline.complete);
    assert_eq!(timeline.total_ms, 231.0);
    // Silent since 300 ms when it was noticed; open 229 ms later.
    assert_eq!(timeline.client_outage_ms, Some(529.0));
    assert_eq!(timeline.lost, Some(0));
    assert_eq!(journal.timeline(Some(7)).await.unwrap().unwrap(), timeline);
    assert!(journal.timeline(Some(5)).await.unwrap().is_none());
}

#[tokio::test]
async fn the_timeline_of_a_switchover_counts_the_outage_from_the_freeze() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::spawn(folder.path().join("journal.db"));
    let freeze = Step::Database(DatabaseStep::Freeze);
    let step = |at: u64, epoch, ticket, step: &Step, took: u64| {
        journal.record(Entry::step_started(Instant::from_millis(at), epoch, Ticket(ticket), step));
        let (end, took) = (Instant::from_millis(at + took), Duration::from_millis(took));
        journal.record(Entry::step_ended(
            end,
            epoch,
            Ticket(ticket),
            step,
            took,
            &StepResult::Ok(StepOutput::Done),
        ));
    };
    journal.record(decision(100, 7, "switchover.started", "operator root: kernel update"));
    step(110, 7, 1, &freeze, 4);
    step(120, 7, 2, &Step::Address(AddressStep::Close), 3);
    journal.record(decision(140, 8, "switchover.done", "db2 serves epoch 8"));
    assert!(journal.flush(SOON).await);
    let told = journal.timeline(None).await.unwrap().unwrap();
    assert_eq!((told.epoch, told.kind.as_str(), told.steps.len()), (8, "switchover", 4));
    assert_eq!(told.client_outage_ms, Some(30.0));

    // What goes on is told too, and a step-down without an heir after it.
    journal.record(decision(900_000, 8, "lease.lost", "the lease of epoch 8 is lost"));
    journal.record(decision(900_001, 8, "step_down", "stepping down"));
    assert!(journal.flush(SOON).await);
    assert_eq!(journal.timeline(Some(8)).await.unwrap().unwrap(), told, "the opening of an epoch goes first");
    step(900_002, 8, 3, &Step::Address(AddressStep::Close), 3);
    journal.record(decision(900_010, 8, "step_down.done", "the gate is closed"));
    assert!(journal.flush(SOON).await);
    let told = journal.timeline(None).await.unwrap().unwrap();
    let names: Vec<&str> = told.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["lease.lost", "step_down", "address.close", "step_down.done"]);
    assert_eq!((told.kind.as_str(), told.total_ms, told.client_outage_ms), ("step-down", 10.0, None));
    let begun_in_7 = journal.timeline(Some(7)).await.unwrap().unwrap();
    assert_eq!((begun_in_7.epoch, begun_in_7.kind.as_str()), (8, "switchover"));
    journal.record(decision(2_000_000, 9, "takeover.started", "takeover into epoch 9"));
    assert!(journal.flush(SOON).await);
    assert!(!journal.timeline(Some(9)).await.unwrap().unwrap().complete, "it still goes on");
}
