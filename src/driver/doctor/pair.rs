//! What both nodes must agree on: configuration, clocks, and packets of full size between them.

use super::AskPeer;
use crate::config::Loaded;
use crate::config::flat::{self, Setting};
use crate::io::clock;
use crate::wire::control::Status;
use crate::wire::control::doctor::Symptom;
use crate::wire::peer::Page;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// The peer answers these from memory.
const ANSWER: Duration = Duration::from_secs(3);
/// Clocks that differ by more make lags and logs hard to believe, milliseconds.
const OFFSET_MS: i128 = 500;

/// Asks the peer.
pub(super) async fn look(running: &Loaded, status: &Status, ask: AskPeer<'_>) -> Vec<Symptom> {
    let mut found = Vec::new();
    if let Some(replica) = &status.node.database.replica {
        found.extend(replication_source(&replica.primary));
    }
    let before = clock::wall().as_nanosecond();
    let told = match ask(Page::Clock, ANSWER).await {
        Ok(told) => told,
        Err(error) => {
            found.push(
                Symptom::error("pair", format!("the peer cannot be asked: {error}"))
                    .resolved_by("apctl status shows what is known of it; is apd running there?"),
            );
            return found;
        }
    };
    let after = clock::wall().as_nanosecond();
    found.push(offset(before, after, &told));
    // More than fits into one packet: where small ones pass and this does not arrive, full ones are dropped.
    match ask(Page::Configuration, ANSWER).await {
        Ok(page) => {
            found.push(Symptom::good("network", "packets of full size pass between the nodes"));
            found.extend(configuration(running, &page));
        }
        Err(error) => found.push(
            Symptom::error("network", format!("small packets pass, full ones do not: {error}")).resolved_by(
                "make the MTU the same on both interfaces and the switch between (ip link set mtu)",
            ),
        ),
    }
    found
}

/// A name, or loopback, means another server on each node.
pub(super) fn replication_source(primary: &str) -> Option<Symptom> {
    let remedy = "apctl rejoin sets the replica up with the peer's address";
    match primary.parse::<std::net::IpAddr>() {
        Ok(address) if address.is_loopback() => Some(
            Symptom::error("database", format!("the replica follows {primary}: that is this host itself"))
                .resolved_by(remedy),
        ),
        Ok(_) => None,
        Err(_) if primary.is_empty() => None,
        Err(_) => Some(
            Symptom::warning(
                "database",
                format!("the replica follows `{primary}`, a name that must be resolved first"),
            )
            .resolved_by(remedy),
        ),
    }
}

/// The peer's clock against the middle of question and answer.
fn offset(before: i128, after: i128, told: &Value) -> Symptom {
    let Some(peer) = told["wall_ns"].as_i64().map(i128::from) else {
        return Symptom::note("clock", "the peer does not tell its time: another version of apd?");
    };
    let (offset, way) = (peer - (before + after) / 2, after - before);
    let text = format!(
        "the peer's clock is {:+.1} ms from this one (there and back in {:.1} ms)",
        offset as f64 / 1e6,
        way as f64 / 1e6
    );
    if offset.abs() > OFFSET_MS * 1_000_000 + way {
        return Symptom::warning("clock", text).resolved_by(
            "run chrony or systemd-timesyncd on both nodes: lags and logs are compared by these clocks",
        );
    }
    Symptom::good("clock", text)
}

/// Keys that both must share and do not.
fn configuration(running: &Loaded, page: &Value) -> Vec<Symptom> {
    let theirs: BTreeMap<String, Setting> = serde_json::from_value(page["keys"].clone()).unwrap_or_default();
    let mine = flat::dotted_keys(&running.effective);
    let differing: Vec<flat::Difference> = flat::differences(&mine, &theirs);
    let mut found = Vec::new();
    for difference in &differing {
        let text = format!(
            "{} is {} here and {} on the peer",
            difference.key,
            difference.shown(&difference.mine),
            difference.shown(&difference.theirs)
        );
        let remedy = "make it the same on both nodes, then apctl reload (or restart apd where it says so)";
        // What one of them believes of pre-emption decides for both.
        let symptom = if difference.key.starts_with("cluster.preempt") {
            Symptom::error("pair", text)
        } else {
            Symptom::warning("pair", text)
        };
        found.push(symptom.resolved_by(remedy));
    }
    let same_hash = page["hash"].as_str() == Some(&format!("{:016x}", running.config.hash));
    match (same_hash, found.is_empty()) {
        (true, true) => found.push(Symptom::good("pair", "both nodes have the same shared configuration")),
        (false, true) => found.push(
            Symptom::warning(
                "pair",
                "the configurations' hashes differ, and no key does: other versions of apd?",
            )
            .resolved_by("run the same version on both nodes"),
        ),
        _ => {}
    }
    let (mine, theirs) = (env!("CARGO_PKG_VERSION"), page["version"].as_str().unwrap_or("unknown"));
    if mine != theirs {
        let text = format!("apd is {mine} here and {theirs} on the peer");
        found.push(Symptom::warning("pair", text).resolved_by("upgrade the older one, the standby first"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::control::doctor::Grade;
    use serde_json::json;

    #[test]
    fn r3_02_loopback_and_names_as_replication_source_are_flagged() {
        assert_eq!(replication_source("127.0.0.1").unwrap().grade, Grade::Error);
        assert_eq!(replication_source("localhost").unwrap().grade, Grade::Warning);
        assert_eq!(replication_source("192.168.33.102"), None);
    }

    #[test]
    fn clocks_are_compared_at_the_middle_of_the_way() {
        let at = |peer: i64| offset(1_000_000_000, 1_002_000_000, &json!({ "wall_ns": peer }));
        let near = at(1_001_500_000);
        assert_eq!((near.grade, near.text.contains("+0.5 ms")), (Grade::Good, true), "{near:?}");
        assert_eq!(at(3_000_000_000).grade, Grade::Warning);
        assert_eq!(at(-3_000_000_000).grade, Grade::Warning);
        assert_eq!(offset(0, 1, &json!({})).grade, Grade::Note);
    }
}
