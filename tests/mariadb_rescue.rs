//! Comparison of two real servers, and the rescue of what a dead one did not send.
#![allow(clippy::unwrap_used)]

#[path = "support/mariadb.rs"]
mod mariadb;

use apd::decision::action::{Comparison, DatabaseStep, RemoteStep, StepOutput, StepResult};
use apd::decision::gtid::GtidState;
use apd::decision::words::{Epoch, NodeId};
use apd::io::binlog::{Bookmark, Tail, TailError, read_tail};
use apd::io::mariadb::Database;
use mariadb::{LONG, Pair, Server, eventually, fails, ok, run};
use std::time::Instant;

async fn compare(database: &Database) -> Comparison {
    match database.perform_remote(&RemoteStep::Compare, LONG).await {
        StepResult::Ok(StepOutput::Comparison(comparison)) => comparison,
        other => panic!("{other:?}"),
    }
}

async fn insert(server: &Server, text: &str) {
    server.sql(&format!("INSERT INTO shop.orders (text) VALUES ('{text}')")).await;
}

/// Every row of every table that the tests write, in order.
async fn content(server: &Server) -> String {
    let orders =
        server.value("SELECT COALESCE(GROUP_CONCAT(id, text ORDER BY id), '') FROM shop.orders").await;
    let tables = server.value("SELECT GROUP_CONCAT(TABLE_NAME ORDER BY TABLE_NAME) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'shop'").await;
    format!("{orders} {tables}")
}

/// `b` has promoted itself and `a` was fenced: `a` compares.
async fn promote_b(pair: &Pair) {
    ok(&pair.on_b, DatabaseStep::StopApplying).await;
    ok(&pair.on_b, DatabaseStep::AllowWrites).await;
    let epoch = Epoch { number: 2, node: NodeId(2) };
    ok(&pair.on_b, DatabaseStep::WriteEpoch { epoch, reason: "test".into() }).await;
    ok(&pair.on_b, DatabaseStep::ForgetPrimary).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_servers_and_one_that_is_behind_compare_clean() {
    let pair = Pair::start().await;
    let equal = compare(&pair.on_b).await;
    assert_eq!(equal.mine, equal.theirs);
    assert!(equal.errant.is_empty() && equal.own_notes == 0 && !equal.own_tail_lost);
    pair.b.sql("STOP SLAVE").await;
    insert(&pair.a, "later").await;
    let behind = compare(&pair.on_b).await;
    assert!(behind.errant.is_empty() && !behind.own_tail_lost, "{behind:?}");
    assert_eq!(behind.common, behind.mine);
    ok(&pair.on_b, DatabaseStep::Follow { position: Some(behind.common), own_tail_lost: false }).await;
    pair.caught_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errant_transactions_are_listed_and_notes_are_not_data() {
    let pair = Pair::start().await;
    pair.b.sql("STOP SLAVE IO_THREAD").await;
    let first = pair.a.state().await;
    insert(&pair.a, "only here").await;
    pair.a.sql("REPLACE INTO apd.epoch VALUES (1, 1, 'note', NOW(6), '')").await;
    insert(&pair.a, "only here too").await;
    pair.a.sql("CREATE TABLE shop.more (id INT PRIMARY KEY)").await;
    promote_b(&pair).await;
    ok(&pair.on_a, DatabaseStep::ForbidWrites).await;
    let last = first.sequence(0, 1).unwrap();
    let found = compare(&pair.on_a).await;
    assert_eq!(found.errant, [format!("0-1-{}", last + 1), format!("0-1-{}..{}", last + 3, last + 4)]);
    assert_eq!(found.own_notes, 1);
    assert_eq!(found.common, first);
    assert_eq!((found.my_ledger.number, found.peer_ledger.number), (1, 2));
    let reason = fails(&pair.on_a, DatabaseStep::ForgetOwnTail { common: found.common }).await;
    assert!(reason.contains("only this node has"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_of_notes_is_forgotten_and_the_server_follows_again() {
    let pair = Pair::start().await;
    pair.b.sql("STOP SLAVE IO_THREAD").await;
    for number in 1..4 {
        pair.a.sql(&format!("REPLACE INTO apd.epoch VALUES ({number}, 1, 'note', NOW(6), '')")).await;
    }
    promote_b(&pair).await;
    insert(&pair.b, "served on").await;
    ok(&pair.on_a, DatabaseStep::ForbidWrites).await;
    let found = compare(&pair.on_a).await;
    assert!(found.errant.is_empty(), "{found:?}");
    assert_eq!(found.own_notes, 3);
    ok(&pair.on_a, DatabaseStep::ForgetOwnTail { common: found.common.clone() }).await;
    // The notes' rows are still in this server's tables: the new primary's rows replace or join them.
    ok(&pair.on_a, DatabaseStep::Follow { position: Some(found.common), own_tail_lost: false }).await;
    pair.caught_up().await;
    assert_eq!(content(&pair.a).await, content(&pair.b).await);
}

/// Their numbers must not be used again: the peer will have used them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notes_that_the_peer_is_about_to_apply_are_not_only_here() {
    let pair = Pair::start().await;
    let first = pair.a.state().await;
    ok(&pair.on_b, DatabaseStep::StopApplying).await;
    for number in 1..4 {
        pair.a.sql(&format!("REPLACE INTO apd.epoch VALUES ({number}, 1, 'note', NOW(6), '')")).await;
    }
    let all = pair.a.state().await;
    eventually("the peer has received them", || async {
        let rows = pair.b.sql("SHOW ALL SLAVES STATUS").await;
        rows[0].text("gtid_io_pos").parse::<GtidState>().unwrap().covers(&all.position())
    })
    .await;
    ok(&pair.on_a, DatabaseStep::ForbidWrites).await;
    // What nothing applies may be deleted with the relay log.
    let found = compare(&pair.on_a).await;
    assert_eq!((found.own_notes, &found.common), (3, &first));
    let mut holder = pair.b.root().await;
    run(&mut holder, "LOCK TABLES apd.epoch READ").await;
    ok(&pair.on_b, DatabaseStep::ResumeApplying).await;
    let found = compare(&pair.on_a).await;
    assert!(found.errant.is_empty() && found.own_notes == 0, "{found:?}");
    assert_eq!((&found.theirs, &found.common), (&first, &all));
    run(&mut holder, "UNLOCK TABLES").await;
    pair.caught_up().await;
    assert_eq!(compare(&pair.on_a).await.own_notes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lost_its_own_tail_gets_it_back() {
    let pair = Pair::start().await;
    let before = pair.a.state().await;
    insert(&pair.a, "lost at home").await;
    pair.caught_up().await;
    promote_b(&pair).await;
    insert(&pair.b, "new").await;
    // What a power loss without sync_binlog leaves: neither the row nor its transaction.
    ok(&pair.on_a, DatabaseStep::ForbidWrites).await;
    pair.a
        .sql(&format!(
            "SET sql_log_bin = 0; DELETE FROM shop.orders; SET sql_log_bin = 1;
             RESET MASTER; SET GLOBAL gtid_binlog_state = '{before}'"
        ))
        .await;
    let found = compare(&pair.on_a).await;
    assert!(found.own_tail_lost && found.errant.is_empty(), "{found:?}");
    ok(&pair.on_a, DatabaseStep::Follow { position: Some(found.common), own_tail_lost: true }).await;
    pair.caught_up().await;
    assert_eq!(content(&pair.a).await, content(&pair.b).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_primary_did_not_send_is_rescued_and_it_rejoins() {
    let mut pair = Pair::start().await;
    let basename = std::path::PathBuf::from(pair.a.value("@@global.log_bin_basename").await);
    pair.b.sql("STOP SLAVE IO_THREAD").await;
    let have = pair.b.state().await;
    let (_beat, heartbeat) = tokio::sync::watch::channel(None);
    let (reports, mut seen) = tokio::sync::mpsc::channel(16);
    let every = std::time::Duration::from_millis(20);
    let watching =
        tokio::spawn(pair.on_a.clone().watch(mariadb::timing(every, LONG), reports, heartbeat, every));
    seen.recv().await.unwrap();
    let mark: Bookmark = pair.on_a.bookmark(&have).unwrap();
    watching.abort();
    for number in 0..25 {
        insert(&pair.a, &format!("unsent {number}")).await;
    }
    pair.a.sql("FLUSH BINARY LOGS").await;
    for number in 25..48 {
        insert(&pair.a, &format!("unsent {number}")).await;
    }
    pair.a.sql("CREATE TABLE shop.late (id INT PRIMARY KEY) COMMENT 'größer'").await;
    pair.a.sql("SET binlog_format = 'STATEMENT'; INSERT INTO shop.late VALUES (1)").await;
    let state = pair.a.state().await;
    let rows = content(&pair.a).await;
    pair.a.kill9();
    let tail = read_tail(&basename, &have, 1 << 30, None).unwrap();
    assert_eq!(tail.transactions(), 50);
    assert!(tail.is_complete());
    assert_eq!(tail, read_tail(&basename, &have, 1 << 30, Some(&mark)).unwrap(), "from the bookmark alike");
    let travelled = Tail::from_bytes(&tail.to_bytes()).unwrap();
    assert_eq!(travelled, tail);
    ok(&pair.on_b, DatabaseStep::StopApplying).await;
    pair.on_b.hold_tail(travelled);
    let begun = Instant::now();
    assert_eq!(ok(&pair.on_b, DatabaseStep::ApplyTail).await, StepOutput::Tail { transactions: 50 });
    println!("50 transactions applied in {:?}", begun.elapsed());
    promote_b(&pair).await;
    insert(&pair.b, "after the takeover").await;
    pair.a.begin().await;
    assert_eq!(pair.a.state().await, state);
    let found = compare(&pair.on_a).await;
    assert!(found.errant.is_empty() && !found.own_tail_lost, "{found:?}");
    ok(&pair.on_a, DatabaseStep::Follow { position: Some(found.common), own_tail_lost: false }).await;
    pair.caught_up().await;
    assert!(content(&pair.b).await.starts_with(rows.split(' ').next().unwrap()));
    assert_eq!(content(&pair.a).await, content(&pair.b).await);
    let status = pair.a.sql("SHOW ALL SLAVES STATUS").await;
    assert_eq!((status[0].text("last_sql_errno"), status[0].text("last_io_errno")), ("0", "0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_stops_at_its_first_error_and_goes_on_from_there() {
    let mut pair = Pair::start().await;
    let basename = std::path::PathBuf::from(pair.a.value("@@global.log_bin_basename").await);
    pair.b.sql("STOP SLAVE IO_THREAD").await;
    for text in ["one", "two", "three"] {
        insert(&pair.a, text).await;
    }
    pair.a.kill9();
    pair.b.sql("SET sql_log_bin = 0; INSERT INTO shop.orders VALUES (2, 'in the way')").await;
    let have = pair.b.state().await;
    let tail = read_tail(&basename, &have, 1 << 30, None).unwrap();
    pair.on_b.hold_tail(tail);
    let reason = fails(&pair.on_b, DatabaseStep::ApplyTail).await;
    assert!(reason.contains("after 1 of 3") && reason.contains("1062"), "{reason}");
    pair.b.sql("SET sql_log_bin = 0; DELETE FROM shop.orders WHERE text = 'in the way'").await;
    assert_eq!(ok(&pair.on_b, DatabaseStep::ApplyTail).await, StepOutput::Tail { transactions: 2 });
    assert_eq!(pair.b.value("SELECT GROUP_CONCAT(text ORDER BY id) FROM shop.orders").await, "one,two,three");
    let reason = fails(&pair.on_b, DatabaseStep::ApplyTail).await;
    assert!(reason.contains("no tail"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_ends_at_the_limit_or_the_tear_and_is_refused_when_purged_or_no_log() {
    let pair = Pair::start().await;
    let basename = std::path::PathBuf::from(pair.a.value("@@global.log_bin_basename").await);
    let have = pair.a.state().await;
    for _ in 0..4 {
        pair.a.sql("INSERT INTO shop.orders (text) VALUES (REPEAT('x', 50)); FLUSH BINARY LOGS").await;
    }
    let short = read_tail(&basename, &have, 700, None).unwrap();
    assert!(!short.is_complete() && (1..4).contains(&short.transactions()), "{}", short.transactions());
    // A copy of the files, torn within the last transaction as a crash of the host may leave it.
    let folder = tempfile::tempdir().unwrap();
    for number in 1..=4 {
        let name = format!("bin.00000{number}");
        std::fs::copy(basename.with_file_name(&name), folder.path().join(&name)).unwrap();
    }
    let whole = read_tail(&folder.path().join("bin"), &have, 1 << 30, None).unwrap();
    assert_eq!(whole.transactions(), 4);
    let last = folder.path().join("bin.000004");
    let bytes = std::fs::read(&last).unwrap();
    // The rotation and checkpoints at its end are about 40 bytes each, the end of the transaction is before.
    std::fs::write(&last, &bytes[..bytes.len() - 130]).unwrap();
    let torn = read_tail(&folder.path().join("bin"), &have, 1 << 30, None).unwrap();
    assert_eq!(torn.transactions(), 3);
    let nothing = apd::decision::gtid::GtidState::default();
    pair.caught_up().await;
    eventually("the old logs are purged", || async {
        // A log that the replica still reads is passed over.
        pair.a.sql("PURGE BINARY LOGS TO 'bin.000004'").await;
        pair.a.sql("SHOW BINARY LOGS").await[0].text("log_name") == "bin.000004"
    })
    .await;
    let refused = read_tail(&basename, &nothing, 1 << 30, None);
    assert!(matches!(refused, Err(TailError::Purged(_))), "{refused:?}");
    let nowhere = read_tail(std::path::Path::new("/nonexistent/bin"), &have, 1, None);
    assert!(matches!(nowhere, Err(TailError::File { .. })));
    std::fs::write(&last, b"no binary log").unwrap();
    let garbage = read_tail(&folder.path().join("bin"), &have, 1 << 30, None);
    assert!(matches!(garbage, Err(TailError::Content { .. })), "{garbage:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_is_alive_only_when_a_fresh_row_arrives() {
    let pair = Pair::start().await;
    let epoch = Epoch { number: 1, node: NodeId(1) };
    let (beat, heartbeat) = tokio::sync::watch::channel(Some(epoch));
    let (reports, mut seen) = tokio::sync::mpsc::channel(16);
    let every = std::time::Duration::from_millis(20);
    let watch = pair.on_a.clone().watch(mariadb::timing(every * 10, LONG), reports, heartbeat, every);
    let watching = tokio::spawn(watch);
    tokio::spawn(async move { while seen.recv().await.is_some() {} });
    let (want, wanted) = tokio::sync::watch::channel(Some(epoch));
    let (signal, mut alive) = tokio::sync::mpsc::channel(1);
    let on_b = pair.on_b.clone();
    tokio::spawn(async move { on_b.stream_alive(wanted, signal).await });
    tokio::time::timeout(LONG, alive.recv()).await.unwrap().unwrap();
    beat.send(None).unwrap();
    eventually("the last row has arrived", || async {
        let before = pair.b.value("SELECT sequence FROM apd.heartbeat").await;
        tokio::time::sleep(every * 5).await;
        before == pair.b.value("SELECT sequence FROM apd.heartbeat").await
    })
    .await;
    while alive.try_recv().is_ok() {}
    // Other writes are no sign of the active's life, and neither is a row of another activity.
    insert(&pair.a, "not a heartbeat").await;
    beat.send(Some(Epoch { number: 9, node: NodeId(1) })).unwrap();
    pair.caught_up_soon().await;
    assert!(alive.try_recv().is_err());
    // Rows that waited in the relay log when the look began are none either, also if other writes arrive meanwhile.
    want.send(None).unwrap();
    pair.b.sql("STOP SLAVE SQL_THREAD").await;
    beat.send(Some(epoch)).unwrap();
    let row = "SELECT COALESCE(MAX(sequence), 0) FROM apd.heartbeat WHERE epoch_number = 1";
    let before = pair.a.value(row).await;
    eventually("rows are written", || async { pair.a.value(row).await != before }).await;
    beat.send(None).unwrap();
    eventually("all is received and waits", || async {
        let sent = pair.a.value("@@gtid_binlog_pos").await;
        tokio::time::sleep(every * 5).await;
        let status = pair.b.sql("SHOW ALL SLAVES STATUS").await;
        sent == pair.a.value("@@gtid_binlog_pos").await && status[0].text("gtid_io_pos") == sent
    })
    .await;
    want.send(Some(epoch)).unwrap();
    // Time for it to begin.
    tokio::time::sleep(every * 10).await;
    insert(&pair.a, "meanwhile").await;
    pair.b.sql("START SLAVE SQL_THREAD").await;
    pair.caught_up_soon().await;
    tokio::time::sleep(every * 5).await;
    assert!(alive.try_recv().is_err(), "a row that had waited is taken for life");
    beat.send(Some(epoch)).unwrap();
    tokio::time::timeout(LONG, alive.recv()).await.unwrap().unwrap();
    want.send(None).unwrap();
    watching.abort();
}
