//! `apctl simulate`: what a fault would do to a pair of this configuration, by the simulation; nothing is touched.

use super::answers::Simulation;
use super::arguments::Common;
use super::configuration::loaded_without_secrets;
use super::exit::{Exit, Failure};
use super::output::Output;
use super::view;
use crate::config::Config;
use crate::simulation::{Configuration, FAULTS, USUAL, predict};
use crate::wire::control::SCHEMA_VERSION;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// `simulate [--fault F]... [--seeds N]`.
pub(super) fn simulate(
    output: &Output,
    common: &Common,
    faults: &[String],
    seeds: u64,
) -> Result<Exit, Failure> {
    let asked: Vec<&str> = match faults {
        [] => USUAL.to_vec(),
        faults => faults.iter().map(String::as_str).collect(),
    };
    if let Some(unknown) = asked.iter().find(|name| !FAULTS.iter().any(|(known, ..)| known == *name)) {
        let known: Vec<&str> = FAULTS.iter().map(|(name, ..)| *name).collect();
        return Err(Failure::usage(format!("no fault is called `{unknown}`"))
            .resolved_by(format!("one of {}", known.join(", "))));
    }
    let config = loaded_without_secrets(common)?.config;
    let configuration = configuration(&config);
    let bar = bar(output, seeds * asked.len() as u64);
    let mut predictions = Vec::new();
    for name in asked {
        bar.set_message(name.to_owned());
        predictions.extend(predict(name, &configuration, seeds, || bar.inc(1)));
    }
    bar.finish_and_clear();
    let broken = predictions.iter().any(|prediction| prediction.broken.is_some());
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let report = Simulation {
        schema_version: SCHEMA_VERSION,
        code: if broken { "E_PROMISE_BROKEN" } else { "" },
        lease_ms: milliseconds(config.lease.duration),
        heartbeat_ms: milliseconds(config.lease.heartbeat),
        advert_ms: milliseconds(config.vrrp.advert_interval),
        protection: config.cluster.protection.word(),
        seeds,
        predictions,
    };
    output.show(&report, |output| view::simulate::render(&report, output))?;
    Ok(if broken { Exit::FAILED } else { Exit::OK })
}

/// What the simulation needs of it; the other node is taken to have the same.
fn configuration(config: &Config) -> Configuration {
    let check = config.checks.iter().map(|check| check.timing.interval).min();
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    Configuration {
        nodes: config.both_nodes(),
        probe: nanoseconds(config.mariadb_check.interval),
        check: nanoseconds(check.unwrap_or(config.gateway_check.interval)),
        relaxed_log: false,
        service: None,
        semi_sync: None,
    }
}

/// On standard error, for people at a terminal.
fn bar(output: &Output, runs: u64) -> ProgressBar {
    if !output.is_table() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(runs), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}, {eta} left");
    style.map_or(bar.clone(), |style| bar.with_style(style))
}
