//! Every step of the database lane on real servers.
#![allow(clippy::unwrap_used)]

#[path = "support/mariadb.rs"]
mod mariadb;

use apd::decision::action::{DatabaseStep, RemoteStep, StepOutput, StepResult};
use apd::decision::gtid::GtidState;
use apd::decision::words::{Epoch, NodeId};
use mariadb::{LONG, Pair, Server, attempt, eventually, fails, ok, run};
use std::sync::Arc;
use std::time::{Duration, Instant};

const MANY: &str = "INSERT INTO shop.orders (text) SELECT seq FROM shop.seq_1_to_1000";
/// On those rows it runs for a minute, three times as long as any step here may: who waits for it, fails. No step is held to
/// less, because a KILL that meets a session just as it enters SLEEP takes two seconds: the server waits for a mutex that the
/// session holds, which waits for one of the KILL (10.11, `THD::abort_current_cond_wait` and `Interruptible_wait::wait`).
const ENDLESS: &str = "UPDATE shop.orders SET text = CONCAT(SLEEP(0.06), text)";

async fn alone(id: u32) -> (Server, Arc<apd::io::mariadb::Database>) {
    let server = Server::start(id).await;
    server.install().await;
    let nobody = std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 9);
    let database = Arc::new(apd::io::mariadb::Database::connect(server.settings(id as u8, nobody)));
    (server, database)
}

async fn rows_of(server: &Server) -> u64 {
    server.value("SELECT COUNT(*) FROM shop.orders").await.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_are_allowed_and_forbidden() {
    let (server, database) = alone(1).await;
    ok(&database, DatabaseStep::AllowWrites).await;
    assert_eq!(server.value("@@global.read_only").await, "0");
    ok(&database, DatabaseStep::ForbidWrites).await;
    assert_eq!(server.value("@@global.read_only").await, "1");
    ok(&database, DatabaseStep::ForbidWrites).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forbidding_does_not_wait_behind_a_long_statement_and_ends_every_client() {
    let pair = Pair::start().await;
    pair.a.sql(MANY).await;
    let mut idle = pair.a.session("app", "app").await;
    run(&mut idle, "BEGIN; INSERT INTO shop.orders (text) VALUES ('never committed')").await;
    let mut busy = pair.a.session("app", "app").await;
    let long = tokio::spawn(async move { attempt(&mut busy, ENDLESS).await });
    eventually("the long statement runs", || async {
        pair.a.value("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'app' AND TIME_MS > 100 AND STATE = 'User sleep'").await == "1"
    })
    .await;
    let r = pair.on_a.perform(&DatabaseStep::ForbidWrites, LONG).await;
    assert_eq!(r, StepResult::Ok(StepOutput::Done), "{}", pair.a.error_log());
    assert!(long.await.unwrap().is_err(), "the client must not be told that it succeeded");
    assert!(attempt(&mut idle, "COMMIT").await.is_err());
    assert_eq!(pair.a.value("@@global.read_only").await, "1");
    assert_eq!(rows_of(&pair.a).await, 1000);
    assert_eq!(
        pair.a.value("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'app'").await,
        "0"
    );
    pair.caught_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_statement_is_killed_in_the_server() {
    let pair = Pair::start().await;
    let mut client = pair.a.session("app", "app").await;
    // apd's own statement waits here: the position cannot come.
    run(&mut client, "SELECT 1").await;
    let step = DatabaseStep::WaitFor { position: "0-1-999999".parse().unwrap() };
    let begun = Instant::now();
    let result = pair.on_b.perform(&step, Duration::from_millis(300)).await;
    assert_eq!(result, StepResult::TimedOut);
    assert!(begun.elapsed() < LONG, "its own limit is not what ended it");
    let abandoned =
        tokio::time::timeout(Duration::from_millis(50), pair.on_b.perform(&step, Duration::from_secs(60)));
    assert!(abandoned.await.is_err());
    eventually("nothing of it is left in the server", || async {
        pair.b.value("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE '%MASTER_GTID_WAIT%' AND ID <> CONNECTION_ID()").await == "0"
    })
    .await;
    ok(&pair.on_b, DatabaseStep::WaitFor { position: pair.a.state().await }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_proves_that_everything_received_is_applied() {
    let pair = Pair::start().await;
    ok(&pair.on_b, DatabaseStep::StopApplying).await;
    for _ in 0..20 {
        pair.a.sql(MANY).await;
    }
    let all = pair.a.state().await;
    eventually("everything was received", || async { received(&pair.b).await.covers(&all.position()) }).await;
    assert_eq!(rows_of(&pair.b).await, 0);
    let reason = fails(&pair.on_b, DatabaseStep::Drain).await;
    assert!(reason.contains("stopped"), "{reason}");
    ok(&pair.on_b, DatabaseStep::ResumeApplying).await;
    let StepOutput::Position(applied) = ok(&pair.on_b, DatabaseStep::Drain).await else { panic!() };
    assert!(applied.covers(&all));
    assert_eq!(rows_of(&pair.b).await, 20_000, "the relay log was kept over the stop");
}

async fn received(server: &Server) -> GtidState {
    server.sql("SHOW ALL SLAVES STATUS").await[0].text("gtid_io_pos").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn applying_is_never_resumed_once_both_threads_are_stopped() {
    let pair = Pair::start().await;
    pair.b.sql("STOP SLAVE").await;
    let reason = fails(&pair.on_b, DatabaseStep::ResumeApplying).await;
    assert!(reason.contains("relay log"), "{reason}");
    let reason = fails(&pair.on_b, DatabaseStep::Drain).await;
    assert!(reason.contains("stopped"), "{reason}");
    ok(&pair.on_b, DatabaseStep::Follow { position: None, own_tail_lost: false }).await;
    pair.a.sql(MANY).await;
    pair.caught_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_forgets_the_primary_and_writes_its_epoch() {
    let pair = Pair::start().await;
    let epoch = Epoch { number: 7, node: NodeId(2) };
    ok(&pair.on_b, DatabaseStep::Drain).await;
    ok(&pair.on_b, DatabaseStep::StopApplying).await;
    ok(&pair.on_a, DatabaseStep::ForbidWrites).await;
    ok(&pair.on_b, DatabaseStep::AllowWrites).await;
    let write = DatabaseStep::WriteEpoch { epoch, reason: "the peer's silence".into() };
    ok(&pair.on_b, write.clone()).await;
    ok(&pair.on_b, write).await;
    ok(&pair.on_b, DatabaseStep::ForgetPrimary).await;
    ok(&pair.on_b, DatabaseStep::ForgetPrimary).await;
    assert!(pair.b.sql("SHOW ALL SLAVES STATUS").await.is_empty());
    assert_eq!(
        pair.b.value("SELECT CONCAT(number, '-', node, ' ', reason) FROM apd.epoch").await,
        "7-2 the peer's silence"
    );
    let position = pair.a.state().await;
    ok(&pair.on_a, DatabaseStep::Follow { position: Some(position), own_tail_lost: false }).await;
    pair.b.sql("INSERT INTO shop.orders (text) VALUES ('new primary')").await;
    pair.caught_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_writes_does_not_follow() {
    let pair = Pair::start().await;
    let reason = fails(&pair.on_a, DatabaseStep::Follow { position: None, own_tail_lost: false }).await;
    assert!(reason.contains("read_only"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freeze_pauses_commits_and_a_thaw_leaves_clients_unharmed() {
    let pair = Pair::start().await;
    let mut client = pair.a.session("app", "app").await;
    let StepOutput::Position(frozen) = ok(&pair.on_a, DatabaseStep::Freeze).await else { panic!() };
    let writing =
        tokio::spawn(
            async move { attempt(&mut client, "INSERT INTO shop.orders (text) VALUES ('x')").await },
        );
    eventually("the commit waits", || async {
        pair.a
            .value(
                "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE = 'Waiting for backup lock'",
            )
            .await
            == "1"
    })
    .await;
    assert_eq!(pair.a.value("@@global.gtid_binlog_pos").await, frozen.to_string());
    ok(&pair.on_a, DatabaseStep::Thaw).await;
    writing.await.unwrap().expect("the client only saw a pause");
    assert_eq!(rows_of(&pair.a).await, 1);
    let reason = fails(&pair.on_a, DatabaseStep::Seal).await;
    assert!(reason.contains("freeze"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freeze_is_fast_beside_a_long_statement_and_a_seal_keeps_the_position() {
    let pair = Pair::start().await;
    pair.a.sql(MANY).await;
    let mut busy = pair.a.session("app", "app").await;
    let long = tokio::spawn(async move { attempt(&mut busy, ENDLESS).await });
    eventually("the long statement runs", || async {
        pair.a.value("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'app' AND TIME_MS > 100 AND STATE = 'User sleep'").await == "1"
    })
    .await;
    let StepOutput::Position(frozen) = ok(&pair.on_a, DatabaseStep::Freeze).await else { panic!() };
    assert!(!long.is_finished(), "a freeze neither waits for a statement nor ends it");
    ok(&pair.on_b, DatabaseStep::WaitFor { position: frozen.clone() }).await;
    let StepOutput::Position(sealed) = ok(&pair.on_a, DatabaseStep::Seal).await else { panic!() };
    assert_eq!(sealed, frozen);
    assert!(long.await.unwrap().is_err());
    assert_eq!(pair.a.value("@@global.read_only").await, "1");
    assert_eq!(pair.a.state().await, pair.b.state().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freeze_beside_a_backup_falls_back_and_is_undone() {
    let pair = Pair::start().await;
    let mut backup = pair.a.root().await;
    run(&mut backup, "BACKUP STAGE START").await;
    ok(&pair.on_a, DatabaseStep::Freeze).await;
    assert_eq!(pair.a.value("@@global.read_only").await, "1");
    ok(&pair.on_a, DatabaseStep::Thaw).await;
    assert_eq!(pair.a.value("@@global.read_only").await, "0");
    ok(&pair.on_a, DatabaseStep::Freeze).await;
    ok(&pair.on_a, DatabaseStep::Seal).await;
    assert_eq!(pair.a.value("@@global.read_only").await, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_peers_server_is_fenced_by_sql() {
    let pair = Pair::start().await;
    let mut client = pair.a.session("app", "app").await;
    run(&mut client, "BEGIN; INSERT INTO shop.orders (text) VALUES ('x')").await;
    let result = pair.on_b.perform_remote(&RemoteStep::FenceServer, LONG).await;
    assert_eq!(result, StepResult::Ok(StepOutput::Done));
    assert!(attempt(&mut client, "COMMIT").await.is_err());
    assert_eq!(pair.a.value("@@global.read_only").await, "1");
    pair.a.signal(nix::sys::signal::Signal::SIGSTOP);
    let result = pair.on_b.perform_remote(&RemoteStep::FenceServer, Duration::from_millis(300)).await;
    pair.a.signal(nix::sys::signal::Signal::SIGCONT);
    assert_eq!(result, StepResult::Ok(StepOutput::Unreachable));
    let Pair { mut a, on_b, .. } = pair;
    a.kill9();
    let result = on_b.perform_remote(&RemoteStep::FenceServer, Duration::from_millis(300)).await;
    assert_eq!(result, StepResult::Ok(StepOutput::Unreachable));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_stay_out_of_what_people_read() {
    let pair = Pair::start_with(&["--log-warnings=9"]).await;
    pair.b.sql("STOP SLAVE").await;
    ok(&pair.on_b, DatabaseStep::Follow { position: None, own_tail_lost: true }).await;
    let shown = format!("{:?} {:?} {:?}", pair.on_a, pair.on_b, mariadb::accounts());
    let logs = format!("{}{}{shown}", pair.a.error_log(), pair.b.error_log());
    for password in [mariadb::PASSWORD, mariadb::REPLICATION_PASSWORD] {
        assert!(!logs.contains(password), "{logs}");
    }
}
