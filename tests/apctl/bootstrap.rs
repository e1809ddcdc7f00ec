//! `apctl bootstrap` as it is typed, on two real servers: plan, first node, second node, again.

use super::golden::{FORMS, is_narrow, told};
use super::mariadb::{Server, find_tool};
use super::netns::Namespace;
use super::pages::golden;
use super::{code, err, json, out};
use std::process::Output;

struct Pair<'n> {
    namespace: &'n Namespace,
    folder: tempfile::TempDir,
    servers: [Server; 2],
}

/// One namespace with the addresses of both nodes: what bootstrap looks at is accounts, settings and data.
fn namespace() -> Namespace {
    let namespace = Namespace::new("boot");
    namespace.ip("link set lo up");
    namespace.ip("link add eth0 type veth peer name far");
    namespace.ip("addr add 10.77.0.1/24 dev eth0");
    namespace.ip("addr add 10.77.0.2/24 dev eth0");
    namespace.ip("link set eth0 up");
    namespace.ip("link set far up");
    namespace
}

impl<'n> Pair<'n> {
    async fn start(namespace: &'n Namespace) -> Self {
        let everywhere = ["--bind-address=0.0.0.0"];
        let (one, two) = tokio::join!(Server::start_with(1, &everywhere), Server::start_with(2, &everywhere));
        let pair = Self { namespace, folder: tempfile::tempdir().unwrap(), servers: [one, two] };
        let place = pair.folder.path().display();
        let [one, two] = [0, 1].map(|index: usize| pair.servers[index].address().port());
        let text = format!(
            "[cluster]\nname = \"shop\"\n[node]\nstate_dir = \"{place}\"\nrun_dir = \"{place}\"\n\
             [nodes.db1]\naddress = \"10.77.0.1\"\ninterface = \"eth0\"\nmariadb_address = \"10.77.0.1:{one}\"\n\
             [nodes.db2]\naddress = \"10.77.0.2\"\ninterface = \"eth0\"\nmariadb_address = \"10.77.0.2:{two}\"\n\
             [gateway]\ntargets = [\"10.77.0.254\"]\n\
             [mariadb]\nuser = \"apd\"\npassword_file = \"{place}/apd.password\"\n"
        );
        std::fs::write(pair.folder.path().join("apd.toml"), text).unwrap();
        pair
    }

    fn bootstrap(&self, node: usize, columns: &str, arguments: &[&str]) -> Output {
        let tools = find_tool("mariadb-dump");
        self.namespace
            .command(env!("CARGO_BIN_EXE_apctl"))
            .env("COLUMNS", columns)
            .env("APD__NODE__NAME", format!("db{}", node + 1))
            .env("APD__MARIADB__SOCKET", self.servers[node].socket())
            .arg("--config")
            .arg(self.folder.path().join("apd.toml"))
            .args(["bootstrap", "--tools"])
            .arg(tools.parent().unwrap())
            .args(arguments)
            .output()
            .unwrap()
    }

    /// What the command said in one form, without what differs from run to run.
    fn told(&self, node: usize, words: &[&str], form: &str, page: &mut String) -> Output {
        let (form, columns, more) = FORMS.iter().find(|(known, ..)| *known == form).unwrap();
        let output = self.bootstrap(node, columns, &[words, more].concat());
        if *form == "narrow" {
            is_narrow(&output);
        }
        page.push_str(&format!("On db{}:\n", node + 1));
        page.push_str(&told(&[&["bootstrap"], words].concat(), form, &output, self.folder.path()));
        for (index, server) in self.servers.iter().enumerate() {
            *page = page.replace(&server.socket().display().to_string(), &format!("SOCKET{}", index + 1));
            *page = page.replace(&format!(":{}", server.address().port()), &format!(":PORT{}", index + 1));
        }
        output
    }

    /// The same in each form: nothing changes any more.
    fn told_in_every_form(&self, node: usize, words: &[&str], page: &mut String) -> Vec<Output> {
        FORMS.iter().map(|(form, ..)| self.told(node, words, form, page)).collect()
    }
}

#[test]
fn two_empty_servers_become_a_pair_that_replicates() {
    let namespace = namespace();
    namespace.block_on(|| async {
        let pair = Pair::start(&namespace).await;
        let mut page = String::new();
        let plans = pair.told_in_every_form(0, &["--dry-run"], &mut page);
        assert!(out(&plans[0]).contains("install accounts"), "{plans:?}");
        let first = pair.told(0, &[], "wide", &mut page);
        assert_eq!(code(&first), 0, "{first:?}");
        let firsts = pair.told_in_every_form(0, &[], &mut page);
        let others = pair.told_in_every_form(1, &["--dry-run"], &mut page);
        let second = pair.told(1, &[], "json", &mut page);
        assert_eq!(code(&second), 0, "{second:?}");
        assert_eq!(json(&second)["outcome"], "following", "{second:?}");
        let again = pair.told_in_every_form(1, &["--exit-code"], &mut page);
        assert!(again.iter().all(|again| code(again) == 10), "{again:?}");
        golden("bootstrap.txt", &page);

        pair.servers[0].sql("CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY)").await;
        pair.servers[0].sql("INSERT INTO shop.orders VALUES (42)").await;
        super::mariadb::eventually("the row arrives", || async {
            pair.servers[1]
                .value("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema='shop'")
                .await
                == "1"
                && pair.servers[1].value("SELECT COUNT(*) FROM shop.orders").await == "1"
        })
        .await;

        // The passwords are in files for root alone, and were shown to nobody.
        let read =
            |name: &str| std::fs::read_to_string(pair.folder.path().join(name)).unwrap().trim().to_owned();
        for secret in [read("apd.password"), read("replication.password")] {
            assert!(secret.len() >= 16);
            for shown in
                [&first, &second].into_iter().chain(&plans).chain(&firsts).chain(&others).chain(&again)
            {
                assert!(!out(shown).contains(&secret) && !err(shown).contains(&secret), "{shown:?}");
            }
        }
    });
}

#[test]
fn two_servers_with_data_of_their_own_are_refused_with_6() {
    let namespace = namespace();
    namespace.block_on(|| async {
        let pair = Pair::start(&namespace).await;
        for server in &pair.servers {
            server.sql("CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY)").await;
            server.sql("INSERT INTO shop.orders VALUES (1)").await;
        }
        pair.bootstrap(0, "120", &[]);
        let mut page = String::new();
        let refused = pair.told_in_every_form(1, &[], &mut page);
        golden("bootstrap_refused.txt", &page);
        assert!(refused.iter().all(|refused| code(refused) == 6), "{refused:?}");
        let value = json(&refused[2]);
        assert_eq!(value["code"], "E_DATA_DIFFERS", "{value}");
        assert!(!value["remedy"].as_str().unwrap().is_empty(), "{value}");
    });
}
