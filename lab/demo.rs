//! `make demo`: a failover, a rejoin and a planned switchover, told as they happen.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::pair::setup::{Setup, apctl, apctl_code, status};
use crate::pair::tools::{Tools, now_ns};
use crate::pair::{Pair, Plan, record, wait};

/// The exit code of `apctl` for "refused because unsafe".
const REFUSED: i32 = 6;
const PATIENCE: Duration = Duration::from_secs(60);

/// How a performance ended.
enum Ending {
    Done,
    /// The old active had written what never left it, and `apctl rejoin` refused to hide that.
    Diverged,
}

/// Runs the demonstration; twice if the loss of power caught a transaction that had not been replicated yet.
pub fn run(tools: &Tools) -> Result<()> {
    for _ in 0..3 {
        if matches!(perform(tools)?, Ending::Done) {
            return Ok(());
        }
        println!(
            "\nReplication is asynchronous here, so a transaction can die with its node. Once more, from the start.\n"
        );
    }
    bail!("the old active diverged three times in a row")
}

fn perform(tools: &Tools) -> Result<Ending> {
    let began = Instant::now();
    say(began, "two nodes, a switch and a client in network namespaces; MariaDB, an API and apd on each");
    let mut pair = Pair::up(tools, &Plan::new(Setup::ApdDefault))?;
    let active = pair.wait_serving(PATIENCE)?;
    let (old, new) = (pair.nodes[active].name, pair.nodes[1 - active].name);
    say(
        began,
        &format!("{old} is active and holds 10.77.0.100; a client writes through it over SQL and the API"),
    );
    show(&apctl(tools, pair.nodes[active].machine()?, &["status"])?);

    let at = now_ns();
    pair.power_off(active)?;
    say(began, &format!("{old} has lost its power"));
    pair.wait_served_by(1 - active, PATIENCE)?;
    let (sql, api) = outage(&pair, at)?;
    say(
        began,
        &format!(
            "{new} serves: the client was without an answer for {sql} ms over SQL, {api} ms over the API"
        ),
    );
    println!("  apctl timeline on {new}:");
    show(&apctl(tools, pair.nodes[1 - active].machine()?, &["timeline"])?);

    pair.power_on(active)?;
    let returned = || pair.nodes[active].machine();
    wait("the old active is back in maintenance and hears its peer", PATIENCE, || {
        let Ok(status) = status(tools, returned()?) else { return Ok(false) };
        Ok(status["node"]["mode"] == "maintenance" && status["peer"]["connected"] == true)
    })?;
    say(began, &format!("{old} has its power back and stays in maintenance: its newer peer is standalone"));
    let (code, text) = apctl_code(tools, returned()?, &["rejoin", "--yes"])?;
    if code == REFUSED {
        show(&text);
        return Ok(Ending::Diverged);
    }
    ensure!(code == 0, "apctl rejoin ended with {code}: {text}");
    pair.wait_redundant(PATIENCE)?;
    say(began, &format!("apctl rejoin on {old}: compared, caught up, both nodes are in mode ap again"));

    let at = now_ns();
    apctl(tools, pair.nodes[1 - active].machine()?, &["switchover", "--yes"])?;
    pair.wait_served_by(active, PATIENCE)?;
    let (sql, api) = outage(&pair, at)?;
    say(
        began,
        &format!(
            "apctl switchover: {old} is active again; the client waited {sql} ms over SQL, {api} ms over the API"
        ),
    );
    pair.wait_redundant(PATIENCE)?;
    show(&apctl(tools, pair.nodes[active].machine()?, &["status"])?);

    pair.stop_writers()?;
    let all = pair.all_attempts()?;
    let accepted = all.iter().filter(|one| one.accepted()).count();
    let lost = record::lost(&all, &pair.rows(active)?);
    let both = record::two_writers_ns(&all, 0) / 1_000_000;
    say(
        began,
        &format!(
            "{accepted} writes were acknowledged, {lost} of them are lost; two servers wrote at once for {both} ms"
        ),
    );
    Ok(Ending::Done)
}

/// The longest gaps over SQL and the API since `from_ns`, ms.
fn outage(pair: &Pair, from_ns: u64) -> Result<(u64, u64)> {
    let (attempts, until) = (pair.attempts()?, now_ns());
    let gap = |lane| record::longest_gap_ns(&attempts, lane, from_ns, until) / 1_000_000;
    Ok((gap("sql"), gap("api")))
}

fn say(began: Instant, text: &str) {
    println!("[{:6.2} s] {text}", began.elapsed().as_secs_f64());
}

fn show(text: &str) {
    text.trim_end().lines().for_each(|line| println!("    {line}"));
}
