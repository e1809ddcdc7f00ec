//! What a fault would do to a pair of a given configuration: outage, loss and transitions over many seeds, with
//! the durations of a real laboratory.

use super::pace::Pace;
use super::plan::{Fault, Plan, Protocol, What, Who};
use super::random::Random;
use super::settings::{Configuration, Drawn};
use super::world::{MS, World};
use serde::Serialize;
use std::collections::BTreeMap;

/// A fault that can be asked for: its name (as in docs/performance.md), what it is, whom it strikes.
pub const FAULTS: &[(&str, &str, What, Who)] = &[
    ("power-off", "the active loses power", What::PowerOff, Who::Active),
    ("nic-down", "the active's interface goes down", What::NicDown, Who::Active),
    ("isolate", "the active's cable is pulled beyond the interface", What::Isolate, Who::Active),
    ("db-kill", "the active's server is killed", What::ServerKill, Who::Active),
    ("db-hang", "the active's server hangs", What::ServerHang, Who::Active),
    ("api-kill", "the active's API fails its check", What::ApiFails, Who::Active),
    ("daemon-kill", "the active's daemon is killed and not started again", What::DaemonCrash, Who::Active),
    ("daemon-hang", "the active's daemon is stopped in its tracks", What::DaemonPause, Who::Active),
    ("vm-freeze", "the active's host stands still", What::Freeze, Who::Active),
    ("switchover", "an operator asks for a planned swap", What::Switchover, Who::Active),
    ("standby-power-off", "the standby loses power", What::PowerOff, Who::Standby),
    ("peer-link-cut", "the link between the daemons is cut", What::Cut, Who::Active),
    ("gateway-down", "no gateway target answers", What::GatewayDown, Who::Active),
    ("partition", "every path between the nodes is cut", What::Partition, Who::Active),
];

/// What is looked at when nobody asks for something else.
pub const USUAL: &[&str] = &["power-off", "nic-down", "db-kill", "api-kill", "daemon-kill", "switchover"];

/// How long a fault lasts here, in ms.
const LASTS: u64 = 12_000;

/// Smallest, middle and largest of many runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// The least.
    pub least: u64,
    /// Half of the runs have no more.
    pub median: u64,
    /// 95 of 100 runs have no more.
    pub p95: u64,
    /// The most.
    pub most: u64,
}

/// One step of the usual course.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Transition {
    /// Median time after the fault, in ms.
    pub after_ms: u64,
    /// `active` or `standby` before the fault.
    pub node: &'static str,
    /// Reason code, as in the log.
    pub code: String,
    /// As said in one of the runs.
    pub text: String,
}

/// What a fault would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Prediction {
    /// Its name.
    pub fault: String,
    /// What it is.
    pub about: String,
    /// How many runs.
    pub seeds: u64,
    /// The longest time between two acknowledged writes, in ms.
    pub outage_ms: Spread,
    /// Acknowledged writes that the node which serves afterwards does not have, at 200 writes a second.
    pub lost_writes: Spread,
    /// Runs in which nobody served any more while the fault lasted.
    pub not_served: u64,
    /// Runs in which both nodes answered for the address at once.
    pub two_writers: u64,
    /// Runs that broke a promise; the first one's words.
    pub broken: Option<String>,
    /// How many of the runs went the usual course.
    pub usual: u64,
    /// The usual course.
    pub transitions: Vec<Transition>,
}

/// Something that a node said after the fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// In ns.
    pub after: u64,
    /// It was active when the fault struck.
    pub active: bool,
    /// Reason code.
    pub code: String,
    /// One line.
    pub text: String,
}

/// Runs `seeds` seeds of one fault; `each` is told after every run. `None`: no such fault.
pub fn predict(
    name: &str,
    configuration: &Configuration,
    seeds: u64,
    mut each: impl FnMut(),
) -> Option<Prediction> {
    let (name, about, what, who) = FAULTS.iter().find(|(known, ..)| *known == name)?;
    let mut prediction = Prediction {
        fault: (*name).to_owned(),
        about: (*about).to_owned(),
        seeds,
        outage_ms: Spread::default(),
        lost_writes: Spread::default(),
        not_served: 0,
        two_writers: 0,
        broken: None,
        usual: 0,
        transitions: Vec::new(),
    };
    let (mut outages, mut lost) = (Vec::new(), Vec::new());
    let mut courses: BTreeMap<Vec<(bool, String)>, Vec<Vec<Said>>> = BTreeMap::new();
    for seed in 1..=seeds {
        let plan = plan(seed, *what, *who);
        let outcome = World::new(&plan, configuration.clone(), Pace::Measured, None, false).run();
        outages.push(outcome.outage / MS);
        lost.push(outcome.lost);
        prediction.not_served += u64::from(!outcome.served);
        prediction.two_writers += u64::from(outcome.marks.contains("two nodes serve in a pure partition"));
        if prediction.broken.is_none() {
            prediction.broken = outcome.violation;
        }
        let course = outcome.said.iter().map(|said| (said.active, said.code.clone())).collect();
        courses.entry(course).or_default().push(outcome.said);
        each();
    }
    prediction.outage_ms = spread(outages);
    prediction.lost_writes = spread(lost);
    if let Some(runs) = courses.into_values().max_by_key(Vec::len) {
        prediction.usual = runs.len() as u64;
        prediction.transitions = usual_course(&runs);
    }
    Some(prediction)
}

fn plan(seed: u64, what: What, who: Who) -> Plan {
    let mut random = Random::new(seed);
    let protocol = (what == What::Cut).then_some(Protocol::Peer);
    let at_ms = 1_000 + random.below(1_000);
    let for_ms = if what == What::Switchover { 4_000 } else { LASTS };
    let fault = Fault { round: 1, at_ms, for_ms, what, who, protocol, both_ways: true, amount: 0 };
    let configuration = Drawn::draw(&mut random);
    Plan { seed, swaps: false, survivor: false, configuration, faults: vec![fault] }
}

fn spread(mut values: Vec<u64>) -> Spread {
    values.sort_unstable();
    let at = |part: usize| values.get((values.len().saturating_sub(1)) * part / 100).copied().unwrap_or(0);
    Spread { least: at(0), median: at(50), p95: at(95), most: at(100) }
}

fn usual_course(runs: &[Vec<Said>]) -> Vec<Transition> {
    let first = runs.first().map_or(&[][..], Vec::as_slice);
    let step = |(index, said): (usize, &Said)| {
        let times = runs.iter().filter_map(|run| run.get(index)).map(|said| said.after / MS).collect();
        Transition {
            after_ms: spread(times).median,
            node: if said.active { "active" } else { "standby" },
            code: said.code.clone(),
            text: said.text.clone(),
        }
    };
    first.iter().enumerate().map(step).collect()
}
