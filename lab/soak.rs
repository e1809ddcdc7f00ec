//! `make soak`: many rounds on one pair: a planned switchover, then a failover by a dead API, then a rejoin; every
//! acknowledged write is counted at the end.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::pair::fault::Fault;
use crate::pair::setup::{Setup, apctl, status};
use crate::pair::tools::{Tools, now_ns};
use crate::pair::{Pair, Plan, record, wait};

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the rounds; an error tells the round.
pub fn run(tools: &Tools, setup: Setup, rounds: u32) -> Result<()> {
    ensure!(setup.is_apd(), "keepalived does not return to redundancy by itself: nothing to repeat");
    let mut pair = Pair::up(tools, &Plan::new(setup))?;
    let (mut planned, mut failed) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let context = || format!("in round {round}");
        planned.push(switchover(&pair).with_context(context)?);
        failed.push(failover(&mut pair).with_context(context)?);
        if round % 10 == 0 {
            println!("{round} rounds");
        }
    }
    pair.stop_writers()?;
    let all = pair.all_attempts()?;
    let active =
        all.iter().rev().find(|one| one.accepted()).context("nothing was acknowledged")?.server as usize - 1;
    let lost = record::lost(&all, &pair.rows(active)?);
    let both = record::two_writers_ns(&all, 0) / 1_000_000;
    println!(
        "{rounds} rounds; {} writes acknowledged, {lost} lost, two writers {both} ms; outage in ms (median, worst): \
         switchover {}, dead API {}",
        all.iter().filter(|one| one.accepted()).count(),
        spread(&mut planned),
        spread(&mut failed),
    );
    ensure!(lost == 0 && both == 0, "{lost} acknowledged writes are lost, two writers for {both} ms");
    Ok(())
}

fn switchover(pair: &Pair) -> Result<u64> {
    let active = pair.wait_serving(PATIENCE)?;
    let at = now_ns();
    apctl(&pair.tools, pair.nodes[active].machine()?, &["switchover", "--yes"])?;
    pair.wait_served_by(1 - active, PATIENCE)?;
    pair.wait_redundant(PATIENCE)?;
    outage(pair, at)
}

/// The API of the active dies; the pair hands over, and the node is taken back.
fn failover(pair: &mut Pair) -> Result<u64> {
    let active = pair.wait_serving(PATIENCE)?;
    let at = now_ns();
    Fault::ApiKill.inject(pair, active)?;
    pair.wait_served_by(1 - active, PATIENCE)?;
    let outage = outage(pair, at)?;
    Fault::ApiKill.heal(pair, active)?;
    let hit = pair.nodes[active].machine()?;
    wait("the loser is in maintenance", PATIENCE, || {
        let Ok(status) = status(&pair.tools, hit) else { return Ok(false) };
        Ok(status["node"]["mode"] == "maintenance" && status["peer"]["connected"] == true)
    })?;
    apctl(&pair.tools, hit, &["rejoin", "--yes"])?;
    pair.wait_redundant(PATIENCE)?;
    Ok(outage)
}

/// The longest gap over SQL since `from_ns`, ms.
fn outage(pair: &Pair, from_ns: u64) -> Result<u64> {
    Ok(record::longest_gap_ns(&pair.attempts()?, "sql", from_ns, now_ns()) / 1_000_000)
}

fn spread(values: &mut [u64]) -> String {
    values.sort_unstable();
    let (middle, worst) = (values.get(values.len() / 2), values.last());
    format!("{} / {}", middle.copied().unwrap_or(0), worst.copied().unwrap_or(0))
}
