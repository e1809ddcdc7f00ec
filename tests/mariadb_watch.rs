//! The watch over a real server: death, hang, saturation and maintenance are told apart.
#![allow(clippy::unwrap_used)]

#[path = "support/mariadb.rs"]
mod mariadb;

use apd::decision::event::DatabaseReport;
use apd::decision::words::{Epoch, NodeId};
use apd::io::mariadb::Database;
use mariadb::{LONG, Pair, Server, eventually, run};
use nix::sys::signal::Signal;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Ends with the test.
struct Watched {
    reports: mpsc::Receiver<DatabaseReport>,
    heartbeat: watch::Sender<Option<Epoch>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watched {
    fn start(database: &Arc<Database>, every: Duration, timeout: Duration) -> Watched {
        let (sender, reports) = mpsc::channel(64);
        let (heartbeat, epochs) = watch::channel(None);
        let beat = Duration::from_millis(20);
        let task =
            tokio::spawn(database.clone().watch(mariadb::timing(every, timeout), sender, epochs, beat));
        Watched { reports, heartbeat, task }
    }

    async fn next(&mut self) -> DatabaseReport {
        tokio::time::timeout(LONG, self.reports.recv()).await.expect("a report").unwrap()
    }

    /// The first report that fits, with the time since the call.
    async fn until(
        &mut self,
        what: &str,
        fits: impl Fn(&DatabaseReport) -> bool,
    ) -> (DatabaseReport, Duration) {
        let begun = Instant::now();
        let mut last = None;
        while begun.elapsed() < LONG {
            let report = self.next().await;
            if fits(&report) {
                return (report, begun.elapsed());
            }
            last = Some(report);
        }
        panic!("no report: {what}; last: {last:?}");
    }
}

const OFTEN: Duration = Duration::from_millis(50);
const PATIENT: Duration = Duration::from_secs(5);

async fn alone(options: &[&str]) -> (Server, Arc<Database>) {
    let server = Server::start_with(1, options).await;
    server.install().await;
    let nobody = std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 9);
    let database = Arc::new(Database::connect(server.settings(1, nobody)));
    (server, database)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_is_reported_dead_at_once_and_back_when_it_is_back() {
    let (mut server, database) = alone(&[]).await;
    // The next regular look would come long after the test has ended.
    let mut watched = Watched::start(&database, Duration::from_secs(600), PATIENT);
    let (report, _) = watched.until("a first look", |report| report.reachable).await;
    assert!(!report.dead && !report.writable && report.server_id == 1, "{report:?}");
    assert!(report.warnings.is_empty(), "{report:?}");
    eventually("the connection is parked", || async {
        server.value("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE = 'User sleep'").await
            == "1"
    })
    .await;
    while watched.reports.try_recv().is_ok() {}
    server.kill9();
    let (report, took) = watched.until("its death", |report| report.dead).await;
    println!("death was noticed {took:?} after the process had gone");
    assert!(!report.reachable && !report.writable && report.server_id == 1, "{report:?}");
    server.begin().await;
    let (report, _) = watched.until("its return", |report| report.reachable).await;
    assert_eq!((report.restarts, report.dead), (1, false), "{report:?}");
    assert!(database.binlog_basename().unwrap().ends_with("data/bin"));
}

/// A connection keeps the global privileges of its beginning: one that began between the account and its grants must not
/// stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn privileges_that_are_granted_later_are_noticed() {
    let server = Server::start(1).await;
    server.sql(&format!("CREATE USER apd@localhost IDENTIFIED BY \"{}\"", mariadb::PASSWORD)).await;
    let nobody = std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 9);
    let database = Arc::new(Database::connect(server.settings(1, nobody)));
    let mut watched = Watched::start(&database, OFTEN, PATIENT);
    let denied = |report: &DatabaseReport| !report.reachable && report.detail.contains("denied");
    let (report, _) = watched.until("a refusal", denied).await;
    assert!(!report.dead, "{report:?}");
    server.install().await;
    watched.until("a look with the privileges", |report| report.reachable).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_unreachable_and_not_dead() {
    let (server, database) = alone(&[]).await;
    let mut watched = Watched::start(&database, OFTEN, Duration::from_millis(200));
    watched.until("a first look", |report| report.reachable).await;
    server.signal(Signal::SIGSTOP);
    let (report, _) = watched.until("the hang", |report| !report.reachable).await;
    assert!(!report.dead, "{report:?}");
    assert!(report.detail.contains("200 ms"), "{report:?}");
    server.signal(Signal::SIGCONT);
    let (report, _) = watched.until("its return", |report| report.reachable).await;
    assert_eq!(report.restarts, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_a_connection_to_spare_is_alive() {
    let server = Server::start_with(1, &["--max-connections=12"]).await;
    server.install().await;
    server.sql("CREATE USER app@localhost IDENTIFIED BY 'app'").await;
    let endpoint = apd::config::checked::MariaDbEndpoint::Socket(server.socket());
    let password = "app".to_owned().into();
    let options = apd::io::mariadb::endpoint_options(&endpoint, "app", Some(&password));
    // All that others may have, and the one that is kept for administrators.
    let mut clients = Vec::new();
    let until = || tokio::time::Instant::now() + LONG;
    while let Ok(client) = apd::io::mariadb::session::Session::open(options.clone().into(), until()).await {
        clients.push(client);
    }
    let second = server.root().await;
    let nobody = std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 9);
    let database = Arc::new(Database::connect(server.settings(1, nobody)));
    let mut watched = Watched::start(&database, OFTEN, PATIENT);
    let saturated = |report: &DatabaseReport| report.warnings.iter().any(|text| text.contains("1040"));
    let (report, _) = watched.until("saturation", saturated).await;
    assert!(report.reachable && !report.dead, "{report:?}");
    drop((second, clients));
    watched.until("it is over", |report| report.server_id == 1 && !saturated(report)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_holds_writes_is_no_sickness() {
    let (server, database) = alone(&[]).await;
    server.sql("SET GLOBAL read_only = 0").await;
    let mut watched = Watched::start(&database, OFTEN, Duration::from_millis(300));
    watched.heartbeat.send(Some(Epoch { number: 3, node: NodeId(1) })).unwrap();
    eventually("rows are written", || async {
        server.value("SELECT sequence FROM apd.heartbeat").await.parse().unwrap_or(0) > 5
    })
    .await;
    let mut backup = server.root().await;
    run(&mut backup, "BACKUP STAGE START; BACKUP STAGE BLOCK_COMMIT").await;
    let held = |report: &DatabaseReport| report.warnings.iter().any(|text| text.contains("backup lock"));
    let (report, _) = watched.until("the backup is seen", held).await;
    assert!(report.reachable && report.write_stalled.is_none(), "{report:?}");
    run(&mut backup, "BACKUP STAGE END").await;
    watched.until("it is over", |report| !held(report)).await;
    // A row lock that nobody asked for as maintenance is another matter.
    run(&mut backup, "BEGIN; SELECT * FROM apd.heartbeat FOR UPDATE").await;
    let (report, _) = watched.until("a stall", |report| report.write_stalled.is_some()).await;
    assert!(report.detail.contains("heartbeat row"), "{report:?}");
    run(&mut backup, "ROLLBACK").await;
    watched.until("it is over", |report| report.write_stalled.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_does_not_acknowledge_is_not_sickness() {
    let (server, database) = alone(&["--rpl-semi-sync-master-wait-point=AFTER_SYNC"]).await;
    server.sql("SET GLOBAL read_only = 0").await;
    server.sql("SET GLOBAL rpl_semi_sync_master_timeout = 3600000").await;
    server.sql("SET GLOBAL rpl_semi_sync_master_enabled = ON").await;
    let mut watched = Watched::start(&database, OFTEN, Duration::from_millis(300));
    watched.heartbeat.send(Some(Epoch { number: 3, node: NodeId(1) })).unwrap();
    let waits = |report: &DatabaseReport| report.warnings.iter().any(|text| text.contains("acknowledge"));
    let (report, _) = watched.until("the wait is seen", waits).await;
    assert!(report.reachable && report.write_stalled.is_none(), "{report:?}");
    server.sql("SET GLOBAL rpl_semi_sync_master_enabled = OFF").await;
    watched.until("it is over", |report| !waits(report)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_bypass_read_only_are_named() {
    let (server, database) = alone(&[]).await;
    server
        .sql(
            "CREATE USER boss@'%' IDENTIFIED BY 'b'; GRANT READ_ONLY ADMIN ON *.* TO boss@'%';
             CREATE USER app@'%' IDENTIFIED BY 'a'",
        )
        .await;
    let mut watched = Watched::start(&database, OFTEN, PATIENT);
    // The administrator's session that set this up may still be on its way out.
    let nobody = |report: &DatabaseReport| report.reachable && report.privileged_clients.is_empty();
    watched.until("nobody", nobody).await;
    let _app = server.session("app", "a").await;
    watched.until("an ordinary client is none", nobody).await;
    let boss = server.session("boss", "b").await;
    let (report, _) = watched.until("the boss is seen", |report| !report.privileged_clients.is_empty()).await;
    assert_eq!(report.privileged_clients, ["boss@localhost"]);
    drop(boss);
    watched.until("it is gone", nobody).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_replica_is_reported_with_its_lag() {
    let pair = Pair::start().await;
    let on_a = Watched::start(&pair.on_a, OFTEN, PATIENT);
    let mut on_b = Watched::start(&pair.on_b, OFTEN, PATIENT);
    on_a.heartbeat.send(Some(Epoch { number: 1, node: NodeId(1) })).unwrap();
    let fresh = |report: &DatabaseReport| {
        report
            .replica
            .as_ref()
            .is_some_and(|replica| replica.lag.is_some_and(|lag| lag < Duration::from_secs(2)))
    };
    let (report, _) = on_b.until("a small lag", fresh).await;
    let replica = report.replica.unwrap();
    assert!(replica.receiving && replica.applying && replica.error.is_empty(), "{replica:?}");
    pair.b.sql("STOP SLAVE SQL_THREAD").await;
    let late = |report: &DatabaseReport| {
        report.replica.as_ref().is_some_and(|replica| {
            !replica.applying && replica.lag.is_some_and(|lag| lag > Duration::from_millis(300))
        })
    };
    let (report, _) = on_b.until("a growing lag", late).await;
    let replica = report.replica.unwrap();
    assert!(replica.received.distance_from(&replica.applied) > 0, "{replica:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_endanger_the_pair_are_named() {
    let (server, database) =
        alone(&["--gtid-strict-mode=0", "--binlog-format=MIXED", "--read-only=0", "--log-slave-updates=0"])
            .await;
    let mut watched = Watched::start(&database, OFTEN, PATIENT);
    let (report, _) = watched.until("a first look", |report| report.reachable).await;
    for setting in ["gtid_strict_mode", "binlog_format", "read_only", "log_slave_updates"] {
        assert!(
            report.warnings.iter().any(|text| text.contains(setting)),
            "{setting}: {:?}",
            report.warnings
        );
    }
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_server_there_are_reports_too() {
    let (mut server, database) = alone(&[]).await;
    server.kill9();
    let mut watched = Watched::start(&database, OFTEN, PATIENT);
    let (report, _) = watched.until("its absence", |report| report.dead).await;
    assert!(!report.reachable);
}
