//! `apctl local-service`: one act on a managed service, here and now, without the daemon. What the oneshot unit
//! `apd-service@.service` runs as root for a daemon that has no right to.

use super::answers::{ServiceActed, ServiceReports};
use super::arguments::{Common, ServiceAct};
use super::configuration::loaded_without_secrets;
use super::exit::{Exit, Failure};
use super::output::{Output, Tone};
use crate::config::checked::Config;
use crate::decision::action::StepResult;
use crate::decision::service::{ServiceReport, ServiceState, ServiceStep};
use crate::io::service::{Services, step_of};
use crate::io::{log, notify};
use crate::wire::control::SCHEMA_VERSION;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, timeout};

/// A server that repairs its data takes long to start; the daemon withdraws the act when it has waited enough.
const START: Duration = Duration::from_secs(900);
/// Beyond the time that a service has for its stop: the kill, and what surrounds it.
const REST: Duration = Duration::from_secs(30);
/// How long a look may take.
const LOOK: Duration = Duration::from_secs(3);

/// Exit 0 when it is done, 1 when it failed, 8 when it has not ended in time.
pub(super) fn service(output: &Output, common: &Common, act: &ServiceAct) -> Result<Exit, Failure> {
    let (verb, name) = match (act.act.split_once(':'), &act.name) {
        (Some((verb, name)), None) => (verb, name.to_owned()),
        (None, name) => (act.act.as_str(), name.clone().unwrap_or_default()),
        (Some(_), Some(_)) => return Err(Failure::usage("write VERB NAME or VERB:NAME")),
    };
    let loaded = loaded_without_secrets(common)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("no event loop: {error}")))?;
    let services = Services::new(&loaded.config);
    if verb == "status" {
        return runtime.block_on(status(output, &services, &name));
    }
    let step = step_of(verb, &name).filter(|_| !name.is_empty()).ok_or_else(|| {
        Failure::usage(format!("`{verb} {name}` is none of: start NAME, stop NAME, kill NAME, status [NAME], policy disabled|masked|restored"))
    })?;
    if !nix::unistd::Uid::effective().is_root() {
        return Err(Failure::new(Exit::NOT_PERMITTED, "E_NOT_PERMITTED", "this starts and stops services")
            .resolved_by("run it as root"));
    }
    // A kill that follows a stop is worth a line in the journal.
    if let Err(error) = log::init(&loaded.config.log.level, loaded.config.log.format) {
        output.note(&format!("no log: {error}"));
    }
    notify::status(&format!("{verb} {name}"));
    let result = runtime.block_on(perform(&services, &step, limit(&loaded.config, &step)));
    match result {
        StepResult::Ok(_) => {
            let value = ServiceActed { schema_version: SCHEMA_VERSION, code: "", act: verb, service: &name };
            output.show(&value, |_| format!("{verb} {name}: done\n"))?;
            notify::status(&format!("{verb} {name}: done"));
            Ok(Exit::OK)
        }
        StepResult::Failed(text) => {
            // The daemon reads it there.
            notify::status(&text);
            Err(Failure::failed(text))
        }
        StepResult::TimedOut => {
            let text = format!("{verb} {name} did not end in time, and may still take effect");
            notify::status(&text);
            Err(Failure::new(Exit::TIMED_OUT, "E_TIMED_OUT", text))
        }
    }
}

/// Told to end, it gives up: a command that it waits for dies with it.
async fn perform(services: &Services, step: &ServiceStep, limit: Duration) -> StepResult {
    let mut end = match signal(SignalKind::terminate()) {
        Ok(end) => end,
        Err(error) => return StepResult::Failed(format!("no signals: {error}")),
    };
    tokio::select! {
        result = services.perform(step, Instant::now() + limit) => result,
        _ = end.recv() => StepResult::Failed("withdrawn".into()),
    }
}

fn limit(config: &Config, step: &ServiceStep) -> Duration {
    match step {
        ServiceStep::Start { .. } => START,
        ServiceStep::Stop { name } => {
            let service = config.services.iter().find(|service| service.settings.name == *name);
            service.map_or(Duration::ZERO, |service| service.settings.stop_timeout) + REST
        }
        ServiceStep::Kill { .. } | ServiceStep::Policy { .. } => REST,
    }
}

/// Of one service, or of all.
async fn status(output: &Output, services: &Services, name: &str) -> Result<Exit, Failure> {
    let names: Vec<&str> = services.names().filter(|known| name.is_empty() || *known == name).collect();
    if names.is_empty() && !name.is_empty() {
        return Err(Failure::failed(format!("there is no [[service]] named {name}")));
    }
    let mut reports = Vec::new();
    for name in names {
        let late =
            |_| ServiceReport { name: name.into(), state: ServiceState::Unknown, detail: "no answer".into() };
        reports.push(timeout(LOOK, services.state(name)).await.unwrap_or_else(late));
    }
    let value = ServiceReports { schema_version: SCHEMA_VERSION, code: "", services: reports };
    output.show(&value, |output| {
        let line = |report: &ServiceReport| {
            let tone = match report.state {
                ServiceState::Running => Tone::Good,
                ServiceState::Failed => Tone::Bad,
                _ => Tone::Strong,
            };
            format!("{} {}: {}\n", output.paint(tone, report.state.word()), report.name, report.detail)
        };
        value.services.iter().map(line).collect()
    })?;
    Ok(Exit::OK)
}
