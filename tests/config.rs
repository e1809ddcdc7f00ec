//! The configuration as an operator meets it: the shortest file, the layers, and a hundred broken files,
//! each of which must be refused with file, line, key and remedy.
//!
//! The files in `config/broken` say themselves what is expected: a line with a fault ends in
//! `#! KEY: WHAT => REMEDY` (`#^` on the line after it, where a comment would be part of the fault).
//! Exactly these errors must be reported, and no others that merely follow from them.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage fails")]

#[path = "config/entries.rs"]
mod entries;
#[path = "config/host.rs"]
mod host;

use apd::config::checked::{GatewayMethod, MariaDbEndpoint, Means, Probe, Service};
use apd::config::{Interface, Origin, Problem, render_effective, schema};
use apd::decision::service::{RunsOn, ServiceSettings};
use apd::decision::words::NodeId;
use host::{Host, SECRET, in_tests, shortest};
use secrecy::ExposeSecret;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One error that a broken file announces.
#[derive(Debug)]
struct Expected {
    line: usize,
    key: String,
    what: String,
    remedy: String,
}

fn expected(text: &str) -> Vec<Expected> {
    let lines = text.lines().enumerate().filter_map(|(index, line)| {
        let (number, rule) = match (line.split_once("#! "), line.strip_prefix("#^ ")) {
            (Some((_, rule)), _) => (index + 1, rule),
            (None, Some(rule)) => (index, rule),
            (None, None) => return None,
        };
        let (place, remedy) = rule.split_once(" => ").expect("=> before the remedy");
        let (key, what) = place.split_once(": ").expect(": behind the key");
        Some(Expected { line: number, key: key.into(), what: what.into(), remedy: remedy.into() })
    });
    lines.collect()
}

impl Expected {
    fn fits(&self, problem: &Problem, file: &Path) -> bool {
        let here = Origin::File { path: file.to_owned(), line: self.line };
        problem.origin == here
            && problem.key == self.key
            && problem.what.contains(&self.what)
            && problem.remedy.contains(&self.remedy)
    }
}

#[test]
fn every_broken_file_is_refused_with_file_line_key_and_remedy() {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(in_tests("broken")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 30, "{} broken files", files.len());
    let mut wrong = String::new();
    for file in &files {
        let mut host = Host::new();
        host.sources.main_file.clone_from(file);
        let expected = expected(&std::fs::read_to_string(file).unwrap());
        assert!(!expected.is_empty(), "{} announces no error", file.display());
        let errors = match host.load() {
            Ok(_) => {
                wrong += &format!("{}: accepted\n", file.display());
                continue;
            }
            Err(errors) => errors,
        };
        let all_found =
            expected.iter().all(|rule| errors.problems.iter().any(|found| rule.fits(found, file)));
        if !all_found || errors.problems.len() != expected.len() {
            wrong += &format!("expected {expected:#?}\nfound {errors}\n\n");
        }
        let shown = errors.to_string();
        assert!(!shown.contains("hunter2"), "{} shows a secret:\n{shown}", file.display());
        let line = format!("{}:{}: {}: ", file.display(), expected[0].line, expected[0].key);
        assert!(shown.contains(&line) && shown.contains("remedy: "), "{shown}");
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn r2_05_the_shortest_file_works_unchanged_on_both_nodes() {
    let first = Host::new().main(&shortest());
    let mut second = Host::new().main(&shortest());
    second.sources.hostname = "db2.example".into();
    second.sources.interfaces =
        vec![Interface { name: "ens3".into(), addresses: vec![("192.168.33.102".parse().unwrap(), 24)] }];
    let loaded = first.load().unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.warnings, []);
    let (db1, db2) = (loaded.config, second.config());

    assert_eq!((db1.me.name.as_str(), db1.peer.name.as_str()), ("db1", "db2"));
    assert_eq!((db2.me.name.as_str(), db2.peer.name.as_str()), ("db2", "db1"));
    assert_eq!((db1.me.id, db1.peer.id, db2.me.id), (NodeId(1), NodeId(2), NodeId(2)));
    assert_eq!((db1.me.interface.as_str(), db2.me.interface.as_str()), ("eth0", "ens3"));
    assert_eq!(db1.cluster.virtual_addresses[0].device, "eth0");
    assert_eq!(db2.cluster.virtual_addresses[0].device, "ens3");
    assert_eq!(db1.me.mariadb_address, "192.168.33.101:3306".parse().unwrap());
    assert_eq!(db1.gateway.targets, ["192.168.33.1".parse::<std::net::Ipv4Addr>().unwrap()]);
    assert_eq!(db1.gateway.method, GatewayMethod::Arp);
    assert_eq!(db1.lease.gate_ports, [3306, 8085]);
    assert_eq!(db1.lease.duration, Duration::from_millis(350));
    assert_eq!(db1.mariadb.endpoint, MariaDbEndpoint::Socket("/run/mysqld/mysqld.sock".into()));
    assert_eq!(db1.mariadb.password.unwrap().expose_secret(), SECRET);
    let Probe::Http(probe) = &db1.checks[0].probe else { panic!("{:?}", db1.checks) };
    assert_eq!((probe.host.as_str(), probe.port, probe.path.as_str()), ("127.0.0.1", 8085, "/health"));
    assert_eq!(db1.hash, db2.hash, "both nodes share one file");
}

#[test]
fn everything_with_defaults_written_out_is_the_shortest_file() {
    let written_out = Host::new().main(&std::fs::read_to_string(in_tests("everything.toml")).unwrap());
    let short = Host::new().main(&shortest());
    let (mut long, mut short) = (written_out.config(), short.config());
    assert_eq!(long.hash, short.hash);
    // The shortest file has no service; the keys of this one stand at their defaults.
    let service = long.services.pop().expect("a service");
    let settings = ServiceSettings {
        name: "api".into(),
        runs_on: RunsOn::Both,
        restarts: 2,
        stop_timeout: Duration::from_secs(10),
        order: 10,
    };
    assert_eq!(service, Service { settings, means: Means::Unit("shop-api.service".into()) });
    long.paths.mode_file = PathBuf::new();
    short.paths.mode_file = PathBuf::new();
    assert_eq!(format!("{long:?}"), format!("{short:?}"));
}

#[test]
fn later_layers_win() {
    let host = Host::new()
        .main(&format!("{}\n[vrrp]\nvirtual_router_id = 10\n[log]\nlevel = \"warn\"\n", shortest()))
        .part("20-second.toml", "[vrrp]\nvirtual_router_id = 12\n")
        .part("10-first.toml", "[vrrp]\nvirtual_router_id = 11\nmulticast = true\n[log]\nformat = \"json\"\n")
        .part("30-other.conf", "not TOML at all")
        .part(".hidden.toml", "not TOML at all");
    let config = host.config();
    assert_eq!((config.vrrp.virtual_router_id, config.vrrp.multicast), (12, true));
    assert_eq!(config.log.level, "warn");

    let mut host = host.variable("APD__VRRP__VIRTUAL_ROUTER_ID", "13");
    assert_eq!(host.config().vrrp.virtual_router_id, 13);
    host.sources.flags.push(("vrrp.virtual_router_id".into(), "14".into()));
    assert_eq!(host.config().vrrp.virtual_router_id, 14);
}

#[test]
fn entries_of_check_merge_by_name() {
    let config = Host::new()
        .main(&shortest())
        .part(
            "10.toml",
            "[[check]]\nname = \"api\"\ninterval = \"20ms\"\nweight = -20\nroles = [\"active\"]\n",
        )
        .part("20.toml", "[[check]]\nname = \"mariadb\"\nfall = 5\n")
        .part("30.toml", "[[check]]\nname = \"web\"\ntype = \"http\"\nurl = \"http://192.168.33.101?a=1\"\n")
        .variable("APD__CHECK__API__FALL", "7")
        .config();
    let [api, web] = config.checks.as_slice() else { panic!("{:?}", config.checks) };
    assert_eq!(
        (api.timing.interval, api.timing.timeout),
        (Duration::from_millis(20), Duration::from_millis(500))
    );
    assert_eq!((api.timing.fall, api.weight, api.on_active, api.on_standby), (7, -20, true, false));
    assert_eq!(config.mariadb_check.fall, 5);
    let Probe::Http(probe) = &web.probe else { panic!("{web:?}") };
    assert_eq!((probe.port, probe.path.as_str()), (80, "/?a=1"));
    assert_eq!(config.lease.gate_ports, [80, 3306, 8085]);
}

#[test]
fn the_environment_is_read_as_what_the_key_wants() {
    let config = Host::new()
        .main(&shortest().replace("[nodes.db2]", "[nodes.db-2]"))
        .variable("APD__NODES__DB_2__PRIORITY", "7")
        .variable("APD__CLUSTER__NAME", "007")
        .variable("APD__CLUSTER__REJOIN", "auto")
        .variable("APD__CLUSTER__PROFILE", "lan-fast")
        .variable("APD__VRRP__MULTICAST", "true")
        .variable("APD__VRRP__GARP__BURST", "9")
        .variable("APD__GATEWAY__TARGETS", "192.168.33.1, 192.168.33.2")
        .variable("APD__LEASE__GATE_PORTS", "[1, 2]")
        .variable("APD__MARIADB__TLS", "{ ca_file = \"/ca.pem\" }")
        .variable("APD__NODE__LABELS_OF_NOBODY_ELSE", "")
        .variable("HOME", "/root");
    let unknown = config.problems();
    assert_eq!(unknown.len(), 1, "{unknown:?}");
    assert_eq!(unknown[0].key, "node.labels_of_nobody_else");
    assert_eq!(unknown[0].origin, Origin::Environment("APD__NODE__LABELS_OF_NOBODY_ELSE".into()));

    let mut host = config;
    host.sources.environment.retain(|(name, _)| !name.contains("NOBODY"));
    let config = host.config();
    assert_eq!((config.peer.name.as_str(), config.peer.priority), ("db-2", 7));
    assert_eq!(config.cluster.name, "007");
    assert!(config.cluster.rejoin_auto && config.vrrp.multicast);
    assert_eq!((config.vrrp.garp.burst, config.gateway.targets.len()), (9, 2));
    assert_eq!(config.lease.duration, Duration::from_millis(80));
    assert_eq!(config.lease.gate_ports, [1, 2, 3306, 8085]);
    assert_eq!(config.mariadb.tls_ca_file, Some("/ca.pem".into()));

    let wrong = host.variable("APD__VRRP__ACCEPT_LOWER_TTL", "perhaps").problems();
    assert_eq!(wrong[0].origin.to_string(), "environment APD__VRRP__ACCEPT_LOWER_TTL");
    assert_eq!(wrong[0].remedy, "write true or false, without quotes");
}

#[test]
fn errors_of_all_layers_come_in_one_run_in_the_order_of_lines() {
    let problems = Host::new()
        .main(&format!("{}\n[log]\nlevel = \"loud\"\n[lease]\nheart = 1\n", shortest()))
        .part("10.toml", "[vrrp]\nversion = 9\n")
        .variable("APD__HTTP__LISTEN", "nowhere")
        .problems();
    let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["log.level", "lease.heart", "vrrp.version", "http.listen"]);
}

#[test]
fn no_default_route_and_no_targets_names_targets() {
    let mut host = Host::new().main(&shortest());
    host.sources.default_route = None;
    let errors = host.load().unwrap_err();
    assert_eq!(errors.problems.len(), 1, "{errors}");
    assert_eq!(errors.problems[0].key, "gateway.targets");
    assert!(errors.problems[0].remedy.contains("targets = ["), "{errors}");
    assert!(errors.may_pass(), "the route may come while the host boots");

    assert!(host.variable("APD__CLUSTER__PROTECTION", "vrrp").config().gateway.targets.is_empty());
}

#[test]
fn the_node_is_found_by_name_then_hostname_then_address() {
    let by_address = |mut host: Host| {
        host.sources.hostname = "somewhere".into();
        host
    };
    assert_eq!(by_address(Host::new().main(&shortest())).config().me.name, "db1");

    let mut neither = by_address(Host::new().main(&shortest()));
    neither.sources.interfaces.retain(|interface| interface.name != "eth0");
    let errors = neither.load().unwrap_err();
    assert_eq!(errors.problems[0].key, "node.name");
    assert!(errors.problems[0].remedy.contains("APD__NODE__NAME"), "{errors}");
    assert!(errors.may_pass(), "the address may come while the host boots");

    let named = neither.variable("APD__NODE__NAME", "db2").load().unwrap();
    assert_eq!((named.config.me.name.as_str(), named.config.me.interface.as_str()), ("db2", "eth1"));
    assert_eq!(named.warnings.len(), 1, "the only interface was guessed: {:?}", named.warnings);

    let mut wrong = Host::new().main(&shortest());
    wrong.sources.hostname = "db2".into();
    let errors = wrong.load().unwrap_err();
    assert!(errors.problems[0].what.contains("would be node db2 but holds 192.168.33.101"), "{errors}");
    assert!(!errors.may_pass());

    let mut both = by_address(Host::new().main(&shortest()));
    both.sources.interfaces[1].addresses.push(("192.168.33.102".parse().unwrap(), 24));
    assert_eq!(both.problems()[0].what, "this host holds the addresses of both nodes");
}

#[test]
fn what_deserves_a_second_look_is_a_warning() {
    let host = Host::new().main(&format!(
        "{}\n[gateway]\ntargets = [\"10.0.0.1\"]\n[lease]\ngate_ports = [22]\n",
        shortest()
            .replace("name = \"shop\"", "name = \"shop\"\npeer_wait = \"300ms\"")
            .replace("http://127.0.0.1", "http://shop.example")
    ));
    host.secret("mariadb.password", SECRET, 0o644);
    let warnings = host.load().unwrap().warnings;
    let keys: Vec<&str> = warnings.iter().map(|warning| warning.key.as_str()).collect();
    let expected = [
        "cluster.peer_wait",
        "mariadb.password_file",
        "check.api.url",
        "gateway.targets.1",
        "lease.gate_ports.1",
    ];
    assert_eq!(keys, expected, "{warnings:#?}");
    assert!(warnings[0].what.contains("300ms is shorter than the time in which a dead peer is detected"));
}

#[test]
fn secrets_come_from_files_and_credentials_and_are_never_shown() {
    let text = format!(
        "{}\n[http]\ntoken_file = \"%d/token\"\n[vrrp]\nversion = 2\nadvert_interval = \"1s\"\n\
         auth_pass_file = \"/etc/apd/vrrp.password\"\n",
        shortest().replace("/health", "/health?api_key=hunter2")
    );
    let host = Host::new().main(&text).variable("CREDENTIALS_DIRECTORY", "/etc/apd");
    host.secret("token", "0123456789abcdef-token\r\n", 0o400);
    let loaded = host.load().unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.config.http.token.as_ref().unwrap().expose_secret(), "0123456789abcdef-token");
    assert_eq!(loaded.config.vrrp.auth_pass.as_ref().unwrap().expose_secret(), "abcdefgh");
    let shown = [render_effective(&loaded, true), render_effective(&loaded, false)].concat();
    let debug =
        format!("{:?}{:?}", loaded.config.http, loaded.config.mariadb) + &format!("{:?}", loaded.config.vrrp);
    for secret in [SECRET, "0123456789abcdef-token", "abcdefgh", "hunter2"] {
        assert!(!shown.contains(secret), "{secret} in\n{shown}");
        assert!(!debug.contains(secret), "{secret} in {debug}");
    }
    assert!(shown.contains("password_file = \"/etc/apd/mariadb.password\""));

    let mut unreadable = Host::new().main(&shortest().replace("mariadb.password", "none"));
    assert_eq!(unreadable.problems()[0].key, "mariadb.password_file");
    unreadable.sources = unreadable.sources.without_secrets();
    let loaded = unreadable.load().unwrap();
    assert!(loaded.config.mariadb.password.is_none());
    assert_eq!(loaded.warnings[0].key, "mariadb.password_file");
}

#[test]
fn the_replication_password_that_bootstrap_made_is_found() {
    let host =
        Host::new().main(&shortest().replace("[mariadb]", "[node]\nstate_dir = \"/etc/apd\"\n[mariadb]"));
    assert!(host.config().mariadb.replication_password.is_none());
    host.secret("replication.password", "made\n", 0o600);
    assert_eq!(host.config().mariadb.replication_password.unwrap().expose_secret(), "made");
}

#[test]
fn what_is_shown_says_where_it_came_from_and_can_be_loaded_again() {
    let host = Host::new()
        .main(&format!("{}\n[lease]\nduration = \"500ms\"\n", shortest()))
        .variable("APD__CHECK__API__INTERVAL", "750ms");
    let loaded = host.load().unwrap();
    let shown = render_effective(&loaded, true);
    let file = host.sources.main_file.display().to_string();
    for (line, origin) in [
        ("name = \"shop\"", format!("{file}:2")),
        ("interval = \"750ms\"", "environment APD__CHECK__API__INTERVAL".into()),
        ("duration = \"500ms\"", format!("{file}:20")),
        ("heartbeat = \"100ms\"", "profile default".into()),
        ("targets = [\"192.168.33.1\"]", "host: next hop of the default route".into()),
        ("virtual_router_id = 51", "default".into()),
    ] {
        let found = shown
            .lines()
            .find(|shown| shown.starts_with(line))
            .unwrap_or_else(|| panic!("{line} in\n{shown}"));
        assert!(found.ends_with(&format!("# {origin}")), "{found}");
    }
    let mut again = Host::new().main(&shown).config();
    // Targets that are written count as shared, those from the default route do not.
    again.hash = loaded.config.hash;
    assert_eq!(format!("{again:?}"), format!("{:?}", loaded.config));
}

/// Services start in their order, whatever their place; a file in conf.d tunes one of them on one node.
#[test]
fn services_start_in_order_and_are_tuned_by_name() {
    let text = format!(
        "{}\n[[service]]\nname = \"api\"\nunit = \"shop-api.service\"\norder = 20\n\
         [[service]]\nname = \"cache\"\ncontainer = \"redis\"\norder = 20\n\
         [[service]]\nname = \"database\"\nunit = \"mariadb.service\"\norder = 5\n",
        shortest()
    );
    let names = |config: &apd::config::Config| {
        config.services.iter().map(|service| service.settings.name.clone()).collect::<Vec<_>>()
    };
    let both = Host::new().main(&text).config();
    assert_eq!(names(&both), ["database", "api", "cache"]);
    assert_eq!(both.database_service().unwrap().settings.name, "database");
    let tuned = "[[service]]\nname = \"database\"\nruns_on = \"active\"\n";
    let cold = Host::new().main(&text).part("10-cold.toml", tuned).config();
    assert_eq!(cold.database_service().unwrap().settings.runs_on, RunsOn::Active);
    assert_eq!(names(&cold), names(&both));
    assert_eq!(cold.hash, both.hash, "each node may run them in its own way");
}

#[test]
fn the_hash_covers_what_both_nodes_must_share_and_nothing_else() {
    let hash = |from: &str, to: &str| Host::new().main(&shortest().replace(from, to)).config().hash;
    let same = hash("", "");
    for (from, to) in [
        ("\"shop\"", "\"stop\""),
        ("33.100/24", "33.99/24"),
        ("33.102\"", "33.103\""),
        ("33.102\"", "33.102\"\npriority = 90"),
        ("[mariadb]", "[lease]\nheartbeat = \"90ms\"\n[mariadb]"),
        ("[mariadb]", "[vrrp]\nvirtual_router_id = 52\n[mariadb]"),
        ("[mariadb]", "[gateway]\ntargets = [\"192.168.33.2\"]\n[mariadb]"),
        ("/health", "/healthy"),
    ] {
        assert_ne!(hash(from, to), same, "{to}");
    }
    for (from, to) in [
        ("33.100/24", "33.100/24%eth0"),
        ("33.101\"", "33.101\"\ninterface = \"eth0\""),
        ("[mariadb]", "[node]\nname = \"db1\"\nrun_dir = \"/tmp/apd\"\n[mariadb]"),
        ("user = \"apd\"", "socket = \"/tmp/mysqld.sock\""),
        ("[mariadb]", "[http]\nlisten = \"0.0.0.0:7410\"\n[log]\nlevel = \"debug\"\n[mariadb]"),
    ] {
        assert_eq!(hash(from, to), same, "{to}");
    }
    let mut other_route = Host::new().main(&shortest());
    other_route.sources.default_route = Some(("192.168.33.254".parse().unwrap(), "eth0".into()));
    assert_eq!(other_route.config().hash, same);
}

#[test]
fn a_missing_file_and_no_file_at_all_are_errors() {
    let host = Host::new();
    let problems = host.problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].what.contains("cannot be read"));
    assert!(problems[0].remedy.contains("--config"));

    std::fs::write(&host.sources.main_file, b"[cluster]\nname = \"\xff\"\n").unwrap();
    assert!(host.problems()[0].remedy.contains("UTF-8"));
}

/// Whatever stands in a file, loading ends in an answer.
#[test]
fn garbage_never_panics() {
    let text = std::fs::read_to_string(in_tests("everything.toml")).unwrap();
    let mut host = Host::new();
    for cut in (0..text.len()).step_by(37).filter(|cut| text.is_char_boundary(*cut)) {
        host = host.main(&text[..cut]);
        let _ = host.load();
        host = host.main(&text[cut..]);
        let _ = host.load();
    }
    for value in
        ["[]", "{}", "-1", "1.5", "1979-05-27", "[[1], {a = 2}]", "\"\"", "\"\\u0000\"", "inf", "true"]
    {
        for key in
            ["cluster", "nodes", "nodes.db1", "check", "vrrp.garp", "labels", "mariadb.tls", "node.name"]
        {
            let _ = host.main(&format!("{key} = {value}\n{}", shortest())).load();
            host = Host::new();
        }
    }
}

/// Every known key is described for the operator, with its default.
#[test]
fn the_manual_describes_every_key() {
    let manual =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
    fn keys(schema: &serde_json::Value, found: &mut Vec<(String, Option<serde_json::Value>)>) {
        for inner in [schema.get("additionalProperties"), schema.get("items")].into_iter().flatten() {
            keys(inner, found);
        }
        for (key, inner) in schema.get("properties").and_then(|p| p.as_object()).into_iter().flatten() {
            found.push((key.clone(), inner.get("default").cloned()));
            keys(inner, found);
        }
    }
    let schema = schema();
    let sections = schema["properties"].as_object().unwrap();
    assert_eq!(sections.len(), 16);
    for (section, inner) in sections {
        let mut found = vec![(section.clone(), None)];
        keys(inner, &mut found);
        let later = ["arbiter", "fencing", "sync"].contains(&section.as_str());
        for (key, default) in found {
            assert!(manual.contains(&format!("`{key}`")), "docs/configuration.md does not describe {key}");
            let default = default.filter(|value| !value.is_object() && *value != "" && !later);
            let shown = default.map_or_else(String::new, |default| format!("`{default}`"));
            let row = |line: &&str| line.starts_with(&format!("| `{key}` |")) && line.contains(&shown);
            let described = shown.is_empty() || manual.lines().any(|line| row(&line));
            assert!(described, "docs/configuration.md does not give {shown}, the default of {section}.{key}");
        }
    }
}
