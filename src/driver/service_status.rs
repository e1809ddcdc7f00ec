//! The services of the decision's view, as the admin thread shows them.

use crate::decision::code::Code;
use crate::decision::time::Instant;
use crate::decision::view::View;
use crate::decision::why::Why;
use crate::wire::control::{Evidence, ServiceStatus, TakeoverTime};
use std::time::Duration;

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Each service.
pub fn services(view: &View) -> Vec<ServiceStatus> {
    let age = |at: Instant| milliseconds(view.taken.since(at));
    let all = view.services.iter().map(|service| ServiceStatus {
        name: service.name.clone(),
        state: service.state.word().into(),
        runs_on: service.runs_on.word().into(),
        restarts_used: service.restarts_used,
        restarts: service.restarts,
        fault: service.fault.clone(),
        detail: service.detail.clone(),
        age_ms: service.at.map(age),
        start_ms: service.start_took.map(milliseconds),
    });
    all.collect()
}

/// How long a takeover here takes.
pub fn takeover(view: &View, wait: Duration) -> Option<TakeoverTime> {
    let readiness = view.readiness?.word().to_owned();
    let starts_ms = view.starts_take.map(milliseconds);
    Some(TakeoverTime { readiness, wait_ms: milliseconds(wait), starts_ms })
}

/// What was given up, for as long as it is.
pub fn warnings(view: &View) -> Vec<Why> {
    let failed = view.services.iter().filter_map(|service| Some((&service.name, service.fault.as_ref()?)));
    failed
        .map(|(name, text)| Why::new(Code::ServiceFailed, format!("service {name} was given up: {text}")))
        .collect()
}

/// For the explanation.
pub fn evidence(view: &View, wait: Duration) -> Vec<Evidence> {
    let mut lines: Vec<Evidence> = services(view)
        .into_iter()
        .map(|service| Evidence {
            name: format!("service {}", service.name),
            value: format!(
                "{}, runs on {}, {} of {} restarts used",
                service.state, service.runs_on, service.restarts_used, service.restarts
            ),
            age_ms: service.age_ms,
        })
        .collect();
    if let Some(takeover) = takeover(view, wait) {
        lines.push(Evidence { name: "time to take over".into(), value: takeover.words(), age_ms: None });
    }
    lines
}
