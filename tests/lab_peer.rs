//! What each node shows of itself and of the other one, and where clients of either are sent.
//! The names of the tests are the rows of the requirements that they prove.

#[path = "support/lab.rs"]
mod lab;

use anyhow::{Context, Result, ensure};
use lab::Lab;
use lab::pair::fault::Target;

/// Addresses of the nodes in the laboratory, for the clients.
const ADDRESSES: [&str; 2] = ["10.77.0.1", "10.77.0.2"];

/// A configuration whose HTTP port the clients reach.
fn open_to_clients(text: String) -> String {
    format!("{text}\n[http]\nlisten = \"0.0.0.0:7410\"\n")
}

/// The state that `index` shows of itself, and the one that it shows of the other node.
fn states(lab: &Lab, index: usize) -> Result<[String; 2]> {
    let status = lab.status(index)?;
    let word = |of: &str| anyhow::Ok(status[of]["state"].as_str().context("no state")?.to_owned());
    Ok([word("node")?, word("peer")?])
}

/// Both nodes show the same of node `index`, and it is `state`.
fn both_show(lab: &Lab, index: usize, state: &str) -> Result<()> {
    lab.eventually(&format!("both nodes show node {} as {state}", index + 1), || {
        // A daemon that is starting does not answer yet.
        let shows = |node: usize, place: usize| states(lab, node).is_ok_and(|shown| shown[place] == state);
        Ok(shows(index, 0) && shows(1 - index, 1))
    })
}

/// What a client is told by a node: the HTTP status and where it is sent. 0: nothing, the node is silent.
fn redirect(lab: &Lab, index: usize) -> Result<(u16, String)> {
    let url = format!("http://{}:7410/redirect", ADDRESSES[index]);
    // curl fails on a node that does not answer; what it wrote counts.
    let line = format!("curl -s -m 2 -o /dev/null -w '%{{http_code}} %{{redirect_url}}' {url}; true");
    let told = lab.client("sh", &["-c", &line])?;
    let (status, place) = told.trim_end().split_once(' ').unwrap_or((told.trim(), ""));
    Ok((status.parse().with_context(|| format!("curl said {told:?}"))?, place.to_owned()))
}

/// What clients of `index` are told, once both nodes have said what they are.
fn clients_are_told(lab: &Lab, index: usize, status: u16) -> Result<()> {
    let mut told = (0, String::new());
    let waited = lab.eventually(&format!("clients of node {} are told {status}", index + 1), || {
        told = redirect(lab, index)?;
        Ok(told.0 == status)
    });
    waited.with_context(|| format!("they were told {told:?}"))?;
    let there = format!("http://{}:7410/redirect", ADDRESSES[1 - index]);
    ensure!(told.1 == if status == 307 { there.as_str() } else { "" }, "{told:?}");
    Ok(())
}

/// Every state that exists without trust, driven on a real pair, and what both nodes say of it.
#[test]
fn r3_17_r3_25_both_nodes_show_each_state_and_clients_follow() -> Result<()> {
    let lab = Lab::prepared(open_to_clients)?;
    // Nobody was heard since the start.
    lab.pair.start_daemon(0)?;
    lab.eventually("the daemon answers", || Ok(lab.status(0).is_ok()))?;
    ensure!(states(&lab, 0)?[1] == "Unknown", "a peer that was never heard is {:?}", states(&lab, 0)?);
    clients_are_told(&lab, 0, 503)?;
    clients_are_told(&lab, 1, 0)?;

    lab.pair.start_daemon(1)?;
    lab.pair.start_writers()?;
    let active = lab.active()?;
    lab.pair.wait_redundant(lab::PATIENCE).with_context(|| lab.pair.logs())?;
    let standby = 1 - active;
    both_show(&lab, active, "Running")?;
    both_show(&lab, standby, "Standby")?;
    clients_are_told(&lab, active, 200)?;
    clients_are_told(&lab, standby, 307)?;
    for address in ADDRESSES {
        let shown = lab.client("curl", &["-s", &format!("http://{address}:7410/cluster")])?;
        let shown: serde_json::Value = serde_json::from_str(&shown)?;
        ensure!(shown["active"] == format!("db{}", active + 1), "{shown}");
    }

    // Not fit: its API is gone.
    lab.kill(standby, Target::Api)?;
    both_show(&lab, standby, "Faulted")?;
    lab.pair.start_api(standby)?;
    both_show(&lab, standby, "Standby")?;

    // Out: in maintenance it takes no part, and sends its clients on all the same.
    lab.apctl(standby, &["mode", "maintenance", "--yes"])?;
    both_show(&lab, standby, "Disconnected")?;
    clients_are_told(&lab, standby, 307)?;
    lab.rejoin(standby)?;
    both_show(&lab, standby, "Standby")?;

    // Contact lost: a silent node, whose clients ask the other one themselves.
    lab.kill(standby, Target::Daemon)?;
    lab.eventually("contact is lost", || Ok(states(&lab, active)?[1] == "Disconnected"))?;
    ensure!(states(&lab, active)?[0] == "Running", "{:?}", states(&lab, active)?);
    clients_are_told(&lab, standby, 0)?;
    clients_are_told(&lab, active, 200)?;
    lab.pair.start_daemon(standby)?;
    both_show(&lab, standby, "Standby")?;

    lab.pair.wait_redundant(lab::PATIENCE).with_context(|| lab.pair.logs())?;

    // The active goes: the other one is Running, whoever it was before.
    lab.apctl(active, &["switchover", "--yes"])?;
    both_show(&lab, standby, "Running")?;
    both_show(&lab, active, "Standby")?;
    clients_are_told(&lab, standby, 200)?;
    clients_are_told(&lab, active, 307)?;
    lab.one_writer()
}
