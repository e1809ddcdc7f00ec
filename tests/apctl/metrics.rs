//! Metrics as a scraper reads them, and the rules and the dashboard that rest on them.

use super::control::{Daemon, Setup, standby_at};
use super::http::{get, tcp};
use super::mariadb::tools::find_tool;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

/// Reads Prometheus text strictly: every sample has a family with HELP and TYPE before it.
fn parse(page: &str) -> BTreeMap<String, f64> {
    let mut families: BTreeMap<String, String> = BTreeMap::new();
    let mut helped: BTreeSet<String> = BTreeSet::new();
    let mut samples = BTreeMap::new();
    for line in page.lines() {
        if line == "# EOF" {
            continue;
        }
        if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(helped.insert(rest.split(' ').next().unwrap().to_owned()), "twice: {line}");
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["gauge", "counter", "info"].contains(&kind), "{line}");
            assert!(
                helped.contains(name) && families.insert(name.to_owned(), kind.to_owned()).is_none(),
                "{line}"
            );
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap();
        assert!(
            name.starts_with("apd_")
                && name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_')
        );
        let known = [name, name.trim_end_matches("_total"), name.trim_end_matches("_info")];
        assert!(known.iter().any(|name| families.contains_key(*name)), "no TYPE before {line}");
        assert!(samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "twice: {line}");
    }
    samples
}

#[test]
fn r1_81_metrics_are_those_of_the_interface_and_parse_in_both_formats() {
    let daemon = Daemon::start(Setup::default());
    let reply = get(&daemon, "/metrics");
    assert_eq!(reply.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let samples = parse(&reply.body);
    for (series, value) in [
        ("apd_role{role=\"active\"}", 1.0),
        ("apd_role{role=\"standby\"}", 0.0),
        ("apd_mode{mode=\"ap\"}", 1.0),
        ("apd_epoch", 7.0),
        ("apd_lease_remaining_seconds", 0.43),
        ("apd_heartbeat_age_seconds{path=\"link\"}", 0.04),
        ("apd_heartbeat_age_seconds{path=\"vrrp\"}", 0.06),
        ("apd_heartbeat_age_seconds{path=\"stream\"}", 0.9),
        ("apd_gate_open", 1.0),
        ("apd_vip_held", 1.0),
        ("apd_database_writable", 1.0),
        ("apd_takeovers_total{reason=\"peer.silent\"}", 1.0),
        ("apd_takeover_duration_seconds", 0.0835),
        ("apd_client_outage_seconds", 0.498),
        ("apd_check_ok{check=\"api\"}", 1.0),
        ("apd_check_duration_seconds{check=\"api\"}", 0.0025),
        ("apd_check_failures{check=\"api\"}", 3.0),
        ("apd_adverts_sent_total", 1234.0),
        ("apd_adverts_received_total", 17.0),
        ("apd_adverts_rejected_total{reason=\"checksum\"}", 2.0),
        ("apd_loop_stall_seconds", 0.00325),
        ("apd_protection_info{level=\"gateway\",durability=\"async\"}", 1.0),
        ("apd_config_hash_info{hash=\"000000000000feed\"}", 1.0),
        ("apd_config_mismatch", 0.0),
        ("apd_journal_ok", 1.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series} in {}", reply.body);
    }
    let open = tcp(&daemon, "GET", "/metrics", "Accept: application/openmetrics-text; version=1.0.0\r\n", "");
    assert!(open.headers["content-type"].starts_with("application/openmetrics-text"), "{open:?}");
    assert!(open.body.ends_with("# EOF\n"));
    assert_eq!(parse(&open.body).len(), samples.len());
    assert!(
        open.body.contains("# TYPE apd_takeovers counter\n")
            && open.body.contains("# TYPE apd_protection info\n")
    );

    let mut standby = standby_at(super::control::frozen_clock());
    standby.status.node.database.in_sync = Some(true);
    standby.status.node.checks[0].name = "a\"b\\c".to_owned();
    daemon.snapshots.send_replace(Arc::new(standby));
    let samples = parse(&get(&daemon, "/metrics").body);
    assert_eq!(samples["apd_replication_lag_seconds"], 0.8);
    assert_eq!(samples["apd_in_sync"], 1.0);
    assert_eq!(samples[r#"apd_check_ok{check="a\"b\\c"}"#], 1.0);
}

/// The alert rules, the dashboard, and what Prometheus itself says of all three.
const RULES: &str = "docs/monitoring/apd.rules.yml";
const DASHBOARD: &str = "docs/monitoring/apd.dashboard.json";

fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn promtool(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(find_tool("promtool"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// Every name that the pages of all kinds of nodes hold.
fn exported() -> BTreeSet<String> {
    let daemon = Daemon::start(Setup::default());
    let mut names = BTreeSet::new();
    let mut both = standby_at(super::control::frozen_clock());
    both.status.node.database.in_sync = Some(true);
    for snapshot in [super::control::active_at(super::control::frozen_clock()), both] {
        daemon.snapshots.send_replace(Arc::new(snapshot));
        let page = get(&daemon, "/metrics").body;
        names.extend(parse(&page).into_keys().map(|series| series.split('{').next().unwrap().to_owned()));
    }
    names
}

/// The words beginning with `apd_` in an expression.
fn named(text: &str) -> BTreeSet<String> {
    text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
        .filter(|word| word.starts_with("apd_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn r1_81_promtool_finds_nothing_to_say_of_the_metrics() {
    let daemon = Daemon::start(Setup::default());
    for snapshot in [
        super::control::active_at(super::control::frozen_clock()),
        standby_at(super::control::frozen_clock()),
        super::control::alone_at(super::control::frozen_clock()),
    ] {
        daemon.snapshots.send_replace(Arc::new(snapshot));
        let page = get(&daemon, "/metrics").body;
        let checked = promtool(&["check", "metrics"], &page);
        assert!(
            checked.status.success() && checked.stdout.is_empty() && checked.stderr.is_empty(),
            "{checked:?}"
        );
    }
    // It would find something.
    let checked = promtool(&["check", "metrics"], "# TYPE apd_things counter\napd_things 1\n");
    assert!(!checked.status.success(), "{checked:?}");
}

/// Prometheus' own reader of OpenMetrics takes the page, each sample at a time that it asks for; and it is a strict one.
#[test]
fn r1_81_prometheus_reads_the_open_metrics() {
    let daemon = Daemon::start(Setup::default());
    let accept =
        "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3\r\n";
    let page = tcp(&daemon, "GET", "/metrics", accept, "").body;
    let timed = page.lines().map(|line| match line.starts_with('#') {
        true => format!("{line}\n"),
        false => format!("{line} 1795230000\n"),
    });
    let timed: String = timed.collect();
    let folder = tempfile::tempdir().unwrap();
    let read = |text: &str| {
        let file = folder.path().join("page");
        std::fs::write(&file, text).unwrap();
        let blocks = folder.path().join("blocks");
        let words = ["tsdb", "create-blocks-from", "openmetrics"];
        promtool(&[&words[..], &[file.to_str().unwrap(), blocks.to_str().unwrap()]].concat(), "")
    };
    let taken = read(&timed);
    assert!(taken.status.success(), "{taken:?}");
    for (from, to) in [("# EOF\n", ""), ("# TYPE apd_takeovers counter", "# TYPE apd_takeovers kounter")] {
        assert!(timed.contains(from), "{from} is not in {timed}");
        assert!(!read(&timed.replace(from, to)).status.success(), "{from:?} -> {to:?}");
    }
}

#[test]
fn r1_81_the_alert_rules_hold_what_they_promise() {
    let rules = std::fs::read_to_string(tree().join(RULES)).unwrap();
    let checked = promtool(&["check", "rules", tree().join(RULES).to_str().unwrap()], "");
    assert!(checked.status.success(), "{checked:?}");
    let folder = tempfile::tempdir().unwrap();
    let story = folder.path().join("apd.rules.test.yml");
    std::fs::copy(tree().join("tests/data/monitoring/apd.rules.test.yml"), &story).unwrap();
    std::fs::write(folder.path().join("apd.rules.yml"), &rules).unwrap();
    let told = promtool(&["test", "rules", story.to_str().unwrap()], "");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stdout));
    let unknown: Vec<String> = named(&rules).difference(&exported()).cloned().collect();
    assert!(unknown.is_empty(), "{RULES} asks for what no node tells: {unknown:?}");
}

#[test]
fn r1_81_the_dashboard_asks_only_for_what_is_told() {
    let text = std::fs::read_to_string(tree().join(DASHBOARD)).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() >= 12, "{} panels", panels.len());
    let exported = exported();
    let mut shown = BTreeSet::new();
    for panel in panels {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty() && panel["gridPos"].is_object(), "{panel}");
        for target in targets {
            let names = named(target["expr"].as_str().unwrap());
            assert!(!names.is_empty() && names.is_subset(&exported), "{names:?} of {panel}");
            shown.extend(names);
        }
    }
    for name in [
        "apd_role",
        "apd_lease_remaining_seconds",
        "apd_replication_lag_seconds",
        "apd_client_outage_seconds",
    ] {
        assert!(shown.contains(name), "{name} is on no panel");
    }
}
