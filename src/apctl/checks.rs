//! `apctl check`: one line in the format of monitoring plugins, for Nagios, Icinga and the like.
//!
//! The daemon probes on its own schedule; this waits until each probe that it reports was made after the
//! question, so that the answer is about now.

use super::answers::{Checked, Checks, PluginState as State};
use super::client::Client;
use super::exit::{Exit, Failure};
use super::output::Output;
use crate::decision::code::Code;
use crate::decision::why::Severity;
use crate::wire::control::{SCHEMA_VERSION, Status};
use std::time::{Duration, Instant};

/// Longest wait for fresh probes.
const FRESH: Duration = Duration::from_secs(15);
/// Between looks.
const LOOK: Duration = Duration::from_millis(50);

impl State {
    const fn word(self) -> &'static str {
        match self {
            State::Ok => "OK",
            State::Warning => "WARNING",
            State::Critical => "CRITICAL",
            State::Unknown => "UNKNOWN",
        }
    }

    /// How bad it is: a certain failure is worse than not knowing.
    const fn rank(self) -> u8 {
        match self {
            State::Ok => 0,
            State::Warning => 1,
            State::Unknown => 2,
            State::Critical => 3,
        }
    }
}

/// One thing that was looked at.
struct Looked {
    name: String,
    state: State,
    text: String,
    /// Performance data: `'label'=value` with its unit.
    data: Vec<String>,
}

/// `check [NAME]`.
pub(super) fn check(client: &Client, output: &Output, name: Option<&str>) -> Result<Exit, Failure> {
    let status = match fresh(client, name) {
        Ok(status) => status,
        Err(failure) if failure.exit == Exit::USAGE => return Err(failure),
        Err(failure) => return answer(output, name, &[unknown(failure.message)]),
    };
    let looked: Vec<Looked> =
        all(&status).into_iter().filter(|one| name.is_none_or(|name| one.name == name)).collect();
    answer(output, name, &looked)
}

/// The status, once every probe that matters is younger than the question.
fn fresh(client: &Client, name: Option<&str>) -> Result<Status, Failure> {
    let asked = Instant::now();
    loop {
        let status = client.status()?;
        known(&status, name)?;
        let since = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
        let ages = status
            .node
            .checks
            .iter()
            .map(|check| (check.name.as_str(), check.age_ms))
            .chain([("mariadb", status.node.database.age_ms)]);
        let stale = ages
            .filter(|(probed, _)| name.is_none_or(|name| name == *probed))
            .any(|(_, age)| age.is_none_or(|age| age > since));
        if !stale || asked.elapsed() > FRESH {
            return Ok(status);
        }
        std::thread::sleep(LOOK);
    }
}

fn known(status: &Status, name: Option<&str>) -> Result<(), Failure> {
    let Some(name) = name else { return Ok(()) };
    let mut known: Vec<&str> = vec!["mariadb", "link", "gateway", "pair"];
    known.extend(status.node.checks.iter().map(|check| check.name.as_str()));
    if known.contains(&name) {
        return Ok(());
    }
    Err(Failure::usage(format!("there is no check `{name}`; there are: {}", known.join(", "))))
}

fn unknown(text: String) -> Looked {
    Looked { name: "apd".to_owned(), state: State::Unknown, text, data: Vec::new() }
}

fn all(status: &Status) -> Vec<Looked> {
    let node = &status.node;
    let mut looked: Vec<Looked> = node
        .checks
        .iter()
        .filter(|check| check.name != "mariadb")
        .map(|check| one(check.name.clone(), check))
        .collect();
    let database = &node.database;
    let state = match database.age_ms {
        None => State::Unknown,
        Some(age) if u128::from(age) > FRESH.as_millis() => State::Unknown,
        Some(_) if database.reachable => State::Ok,
        Some(_) => State::Critical,
    };
    let text = if database.reachable { "answers" } else { &database.detail };
    let lag = database.lag_ms.map(|lag| format!("'lag'={lag}ms"));
    looked.push(Looked {
        name: "mariadb".to_owned(),
        state,
        text: text.to_owned(),
        data: lag.into_iter().collect(),
    });
    let state = if node.link_usable { State::Ok } else { State::Critical };
    looked.push(Looked { name: "link".to_owned(), state, text: node.link.clone(), data: Vec::new() });
    if let Some((answered, asked)) = node.gateway {
        let state = if answered == 0 && asked > 0 { State::Critical } else { State::Ok };
        let text = format!("{answered} of {asked} targets answer");
        looked.push(Looked {
            name: "gateway".to_owned(),
            state,
            text,
            data: vec![format!("'gateway'={answered};;;0;{asked}")],
        });
    }
    looked.push(pair(status));
    looked
}

fn one(name: String, check: &crate::wire::control::CheckStatus) -> Looked {
    let state = match (check.age_ms, check.ok, check.counts) {
        (None, ..) => State::Unknown,
        (Some(age), ..) if u128::from(age) > FRESH.as_millis() => State::Unknown,
        (Some(_), true, _) => State::Ok,
        (Some(_), false, true) => State::Critical,
        (Some(_), false, false) => State::Warning,
    };
    let data = check.took_ms.map(|took| format!("'{name}'={took}ms"));
    Looked { name, state, text: check.detail.clone(), data: data.into_iter().collect() }
}

/// Role and redundancy: the findings that are no probe's.
fn pair(status: &Status) -> Looked {
    let worst = status.warnings.iter().find(|why| {
        !matches!(
            why.code,
            Code::CheckFailed
                | Code::DatabaseUnreachable
                | Code::LinkDown
                | Code::GatewaySilent
                | Code::DatabaseUnhealthy
        )
    });
    let node = &status.node;
    let (state, text) = match worst {
        Some(why) if why.severity == Severity::Error => (State::Critical, why.text.clone()),
        Some(why) if why.severity == Severity::Warning => (State::Warning, why.text.clone()),
        _ => (State::Ok, format!("{} is {} in epoch {}", node.name, node.role, node.epoch)),
    };
    let lease = node.lease_remaining_ms.map(|remaining| format!("'lease'={remaining}ms"));
    Looked { name: "pair".to_owned(), state, text, data: lease.into_iter().collect() }
}

fn answer(output: &Output, name: Option<&str>, looked: &[Looked]) -> Result<Exit, Failure> {
    // A name of a check that has nothing to say now, such as `gateway` without targets.
    let none = [unknown("not looked at yet".to_owned())];
    let looked = if looked.is_empty() { &none } else { looked };
    let worst = looked.iter().map(|one| one.state).max_by_key(|state| state.rank()).unwrap_or(State::Unknown);
    let line = |one: &Looked| {
        let text = if one.text.is_empty() { "" } else { " - " };
        format!("{} {}{text}{}", one.name, one.state.word(), one.text.replace('|', "/"))
    };
    let summary = match looked {
        [single] => line(single),
        _ => {
            let bad: Vec<String> = looked.iter().filter(|one| one.state != State::Ok).map(line).collect();
            let text =
                if bad.is_empty() { format!("all {} checks pass", looked.len()) } else { bad.join("; ") };
            format!("{} {} - {text}", name.unwrap_or("apd"), worst.word())
        }
    };
    let data: Vec<&str> = looked.iter().flat_map(|one| &one.data).map(String::as_str).collect();
    let checks =
        looked.iter().map(|one| Checked { name: &one.name, state: one.state, text: &one.text }).collect();
    let value = Checks { schema_version: SCHEMA_VERSION, state: worst, checks, perfdata: data };
    output.show(&value, |_| {
        let data = &value.perfdata;
        let data = if data.is_empty() { String::new() } else { format!(" | {}", data.join(" ")) };
        format!("{summary}{data}\n")
    })?;
    Ok(Exit(worst as u8))
}
