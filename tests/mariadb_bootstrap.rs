//! `apctl bootstrap` on real servers, from nothing to a pair that replicates.
#![allow(clippy::unwrap_used)]

#[path = "support/mariadb.rs"]
mod mariadb;

use apd::apctl::bootstrap::{BootstrapError, BootstrapOptions, Outcome, Site, bootstrap_site};
use apd::config::checked::MariaDbEndpoint;
use apd::decision::action::DatabaseStep;
use mariadb::{Server, eventually, ok, run};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// One node: its server and the folder with its password files.
struct Node {
    name: &'static str,
    server: Server,
    folder: tempfile::TempDir,
}

impl Node {
    async fn start(name: &'static str, id: u32, options: &[&str]) -> Node {
        Node { name, server: Server::start_with(id, options).await, folder: tempfile::tempdir().unwrap() }
    }

    fn options(&self, dry_run: bool) -> BootstrapOptions {
        BootstrapOptions {
            socket: PathBuf::from("/nonexistent"),
            administrator: "root".into(),
            password_file: Some(self.folder.path().join("etc/mariadb.password")),
            replication_password_file: self.folder.path().join("etc/replication.password"),
            dry_run,
            tools: Some(mariadb::find_tool("mariadb-dump").parent().unwrap().to_path_buf()),
        }
    }

    fn site(&self, peer: &Node) -> Site {
        let mut settings = self.server.settings(1, peer.server.address());
        settings.password = None;
        settings.replication_password = None;
        settings.endpoint = MariaDbEndpoint::Socket(self.server.socket());
        Site {
            settings,
            addresses: vec![Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST],
            me: self.name.into(),
            peer: peer.name.into(),
        }
    }

    async fn bootstrap(&self, peer: &Node) -> Result<Outcome, BootstrapError> {
        bootstrap_site(self.site(peer), self.options(false), &mut |line| println!("{}: {line}", self.name))
            .await
    }

    /// What the operator does between the two runs.
    fn take_passwords_of(&self, other: &Node) {
        let folder = self.folder.path().join("etc");
        std::fs::create_dir_all(&folder).unwrap();
        for file in std::fs::read_dir(other.folder.path().join("etc")).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), folder.join(file.file_name())).unwrap();
        }
    }

    async fn orders(&self) -> String {
        self.server
            .value("SELECT GROUP_CONCAT(id, ':', text, ':', HEX(raw) ORDER BY id) FROM shop.orders")
            .await
    }
}

async fn nodes() -> (Node, Node) {
    tokio::join!(Node::start("db1", 1, &[]), Node::start("db2", 2, &[]))
}

async fn fill(node: &Node) {
    node.server
        .sql(
            "CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY, text VARCHAR(50) CHARACTER SET utf8mb4, raw BLOB);
             INSERT INTO shop.orders VALUES (1, 'größer''s \\\\ ', x'00ff27'), (2, '', NULL), (3, 'x', x'');
             CREATE VIEW shop.texts AS SELECT text FROM shop.orders;
             CREATE EVENT shop.nightly ON SCHEDULE EVERY 1 DAY DO DELETE FROM shop.orders WHERE id < 0;
             CREATE USER app@'%' IDENTIFIED BY 'app'; GRANT ALL ON shop.* TO app@'%'",
        )
        .await;
}

/// Both runs say so, a write on one side arrives on the other, and the daemon's accounts work.
async fn replicates(source: &Node, copy: &Node) {
    for (node, peer) in [(source, copy), (copy, source)] {
        assert!(matches!(node.bootstrap(peer).await.unwrap(), Outcome::AlreadySo(_)), "{}", node.name);
    }
    source.server.sql("CREATE DATABASE proof; CREATE TABLE proof.t (id INT PRIMARY KEY); INSERT INTO proof.t VALUES (7)").await;
    eventually("the write arrives", || async {
        let mut session = copy.server.root().await;
        let found = mariadb::attempt(&mut session, "SELECT id FROM proof.t").await;
        found.is_ok_and(|rows| rows.len() == 1)
    })
    .await;
    let read = |name: &str| {
        let text = std::fs::read_to_string(copy.folder.path().join("etc").join(name)).unwrap();
        text.trim_end().to_owned()
    };
    let mut settings = copy.server.settings(2, source.server.address());
    settings.password = Some(read("mariadb.password").into());
    settings.replication_password = Some(read("replication.password").into());
    let database = apd::io::mariadb::Database::connect(settings);
    ok(&database, DatabaseStep::Follow { position: None, own_tail_lost: false }).await;
    let step = apd::decision::action::RemoteStep::Compare;
    let compared = database.perform_remote(&step, mariadb::LONG).await;
    assert!(matches!(compared, apd::decision::action::StepResult::Ok(_)), "{compared:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_empty_servers_become_a_pair() {
    let (first, second) = nodes().await;
    let outcome = first.bootstrap(&second).await.unwrap();
    assert!(matches!(&outcome, Outcome::RunOnPeer(text) if text.contains("db2")), "{outcome}");
    for name in ["mariadb.password", "replication.password"] {
        let file = std::fs::metadata(first.folder.path().join("etc").join(name)).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }
    second.take_passwords_of(&first);
    let outcome = second.bootstrap(&first).await.unwrap();
    assert!(matches!(outcome, Outcome::Following(_)), "{outcome}");
    replicates(&first, &second).await;
    let left: Vec<_> = std::fs::read_dir(second.folder.path().join("etc")).unwrap().collect();
    assert_eq!(left.len(), 2, "no file with a password is left behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_data_is_copied_to_an_empty_one() {
    let (first, second) = nodes().await;
    fill(&first).await;
    first.bootstrap(&second).await.unwrap();
    second.take_passwords_of(&first);
    let outcome = second.bootstrap(&first).await.unwrap();
    assert!(matches!(outcome, Outcome::Following(_)), "{outcome}");
    assert_eq!(first.orders().await, second.orders().await);
    assert_eq!(second.server.value("SELECT COUNT(*) FROM shop.texts").await, "3");
    assert_eq!(second.server.value("SELECT status FROM mysql.event").await, "SLAVESIDE_DISABLED");
    run(&mut second.server.session("app", "app").await, "SELECT * FROM shop.orders").await;
    replicates(&first, &second).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_data_may_be_on_the_second_node() {
    let (first, second) = nodes().await;
    fill(&second).await;
    first.bootstrap(&second).await.unwrap();
    second.take_passwords_of(&first);
    let outcome = second.bootstrap(&first).await.unwrap();
    assert!(matches!(&outcome, Outcome::RunOnPeer(text) if text.contains("db1")), "{outcome}");
    let outcome = first.bootstrap(&second).await.unwrap();
    assert!(matches!(outcome, Outcome::Following(_)), "{outcome}");
    assert_eq!(first.orders().await, second.orders().await);
    replicates(&second, &first).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_with_data_of_their_own_are_refused() {
    let (first, second) = nodes().await;
    fill(&first).await;
    second.server.sql("CREATE DATABASE stock; CREATE TABLE stock.items (id INT PRIMARY KEY)").await;
    first.bootstrap(&second).await.unwrap();
    second.take_passwords_of(&first);
    for (node, peer) in [(&second, &first), (&first, &second)] {
        let refused = node.bootstrap(peer).await.unwrap_err().to_string();
        assert!(refused.contains("shop") && refused.contains("stock"), "{refused}");
    }
    assert_eq!(second.server.value("SELECT COUNT(*) FROM stock.items").await, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_stopped_goes_on_and_a_copy_that_was_broken_off_starts_over() {
    let (first, second) = nodes().await;
    fill(&first).await;
    first.bootstrap(&second).await.unwrap();
    second.take_passwords_of(&first);
    second.bootstrap(&first).await.unwrap();
    second.server.sql("STOP SLAVE").await;
    first.server.sql("INSERT INTO shop.orders VALUES (9, 'meanwhile', '')").await;
    let outcome = second.bootstrap(&first).await.unwrap();
    assert!(matches!(&outcome, Outcome::Following(text) if text.contains("from 0-1-")), "{outcome}");
    second.server.sql("STOP SLAVE; RESET SLAVE ALL; SET sql_log_bin = 0; CREATE DATABASE apd_copy_unfinished; DELETE FROM shop.orders").await;
    let outcome = second.bootstrap(&first).await.unwrap();
    assert!(matches!(outcome, Outcome::Following(_)), "{outcome}");
    assert_eq!(first.orders().await, second.orders().await);
    replicates(&first, &second).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_changes_nothing_and_wrong_settings_are_all_named() {
    let (first, second) = nodes().await;
    let plan = bootstrap_site(first.site(&second), first.options(true), &mut |_| {}).await.unwrap();
    assert!(matches!(&plan, Outcome::Plan(lines) if lines.len() == 2), "{plan}");
    assert!(!first.folder.path().join("etc").exists());
    assert_eq!(
        first.server.value("SELECT COUNT(*) FROM mysql.global_priv WHERE User LIKE 'apd%'").await,
        "0"
    );
    let wrong = Node::start("db3", 3, &["--gtid-strict-mode=0", "--log-slave-updates=0"]).await;
    let refused = wrong.bootstrap(&first).await.unwrap_err().to_string();
    assert!(refused.contains("gtid_strict_mode") && refused.contains("log_slave_updates"), "{refused}");
}

/// The compose lab's schema and its first record: the application's account writes it, again and again, and it stays one
/// row. The containers themselves are `make compose-test`.
#[tokio::test]
async fn r1_61_the_lab_has_its_schema_and_its_first_record() {
    let server = Server::start(1).await;
    let tell = |account: &[&str], file: &str| {
        let text = std::fs::File::open(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        let mut client = std::process::Command::new(mariadb::find_tool("mariadb"));
        client.arg("--no-defaults").arg(format!("--socket={}", server.socket().display())).args(account);
        let output = client.stdin(text).output().unwrap();
        assert!(output.status.success(), "{file}: {output:?}");
    };
    tell(&["--user=root"], "lab/compose/schema.sql");
    // As that of an active.
    server.sql("SET GLOBAL read_only = 0").await;
    let application = ["--user=app", "--password=app"];
    for _ in 0..2 {
        tell(&application, "lab/compose/record.sql");
    }
    let users = server.value("SELECT GROUP_CONCAT(id, ' ', name) FROM ap_mode.users").await;
    assert_eq!(users, "1 cclin");
}
