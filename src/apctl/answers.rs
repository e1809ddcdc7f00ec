//! What the verbs print for programs (`-o json`, `-o yaml`) where that is not what the daemon told: the shapes, from which
//! `schema` derives what scripts can rely on. The comments of the fields are their descriptions there.

use super::exit::{Exit, Failure};
use crate::config::Problem;
use crate::config::flat::Difference;
use crate::decision::service::ServiceReport;
use crate::decision::words::{Mode, Role};
use crate::simulation::Prediction;
use crate::wire::control::doctor::{Examination, Grade};
use crate::wire::control::{Operation, SCHEMA_VERSION, words};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Why a verb did not do what it says; printed instead of its answer.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Failure")]
pub(super) struct Failed<'f> {
    schema_version: u32,
    /// Stable word for programs; docs/operating.md lists them all.
    #[schemars(regex(pattern = "^E_[A-Z_]+$"))]
    code: &'f str,
    /// One sentence, facts included.
    error: &'f str,
    /// What resolves it; empty if nothing is known.
    remedy: &'f str,
    /// The exit code of the command.
    exit: Exit,
}

impl<'f> From<&'f Failure> for Failed<'f> {
    fn from(failure: &'f Failure) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            code: &failure.code,
            error: &failure.message,
            remedy: &failure.remedy,
            exit: failure.exit,
        }
    }
}

/// What a change would do, as far as this command can tell: `--dry-run` where the daemon is not asked.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Plan<'p> {
    pub schema_version: u32,
    /// Always true: nothing was changed.
    pub dry_run: bool,
    /// The verb.
    pub command: &'static str,
    /// How it is now and what would happen, one line each.
    pub plan: &'p [String],
}

/// All operations that the daemon knows.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Operations {
    pub schema_version: u32,
    /// Newest last.
    pub operations: Vec<Operation>,
}

/// The answer to a question of `explain`: only what was asked for.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Answers {
    pub schema_version: u32,
    /// What stands against the role that was asked for: `active` with its lines.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub why_not: BTreeMap<String, Vec<String>>,
    /// What the fault would do that was asked for: `peer-down` with its lines.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub what_if: BTreeMap<String, Vec<String>>,
}

/// How much the daemon logs.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct LogLevel {
    pub schema_version: u32,
    /// `error`, `warn`, `info`, `debug` or `trace`, or filters for parts of the program.
    pub level: String,
}

/// Whether this node has the role that was asked for.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RoleAnswer {
    pub schema_version: u32,
    /// What it has.
    #[schemars(with = "words::Role")]
    pub role: Role,
    /// It is the one that was asked for.
    pub answer: bool,
}

/// The mode of this node.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ModeAnswer {
    pub schema_version: u32,
    /// What the operator allows.
    #[schemars(with = "words::Mode")]
    pub mode: Mode,
    /// Who set it, and why.
    pub note: String,
    /// Who says so.
    pub source: ModeSource,
    /// The other node's; null if it is not known.
    #[schemars(with = "Option<words::Mode>")]
    pub peer_mode: Option<Mode>,
}

/// Who says which mode it is.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ModeSource {
    /// The daemon.
    Daemon,
    /// The mode file: no daemon answers.
    File,
}

/// What the checks say, in the words of monitoring plugins.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Checks<'c> {
    pub schema_version: u32,
    /// The worst of them.
    pub state: PluginState,
    /// What was looked at.
    pub checks: Vec<Checked<'c>>,
    /// Performance data, each as plugins write it: `'label'=value` with its unit.
    pub perfdata: Vec<&'c str>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Checked<'c> {
    /// Name of a configured check, `mariadb`, `link`, `gateway`, or `pair`: role and redundancy; `apd`: no answer.
    pub name: &'c str,
    /// Its state.
    pub state: PluginState,
    /// One line.
    pub text: &'c str,
}

/// States of the plugin convention; their numbers are the exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum PluginState {
    Ok,
    Warning,
    Critical,
    Unknown,
}

/// What is wrong with the configuration.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Validity {
    pub schema_version: u32,
    /// `E_CONFIG_INVALID`, or empty.
    pub code: &'static str,
    /// It can be used.
    pub valid: bool,
    /// Everything that must be corrected.
    pub errors: Vec<Finding>,
    /// What should be looked at.
    pub warnings: Vec<Finding>,
}

/// Something that is wrong with the configuration.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Finding {
    /// `FILE:LINE`, `environment NAME`, ...
    pub origin: String,
    /// Dotted.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub remedy: String,
}

impl From<&Problem> for Finding {
    fn from(problem: &Problem) -> Self {
        Self {
            origin: problem.origin.to_string(),
            key: problem.key.clone(),
            what: problem.what.clone(),
            remedy: problem.remedy.clone(),
        }
    }
}

/// Where two configurations differ: what runs and what is on disk, or this node's and the other's.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Comparison {
    pub schema_version: u32,
    /// Nothing differs.
    pub same: bool,
    /// Which two: `running` and `on disk`, or the names of the nodes.
    pub names: [String; 2],
    /// Hash of what both nodes must share, of each.
    pub hashes: [String; 2],
    /// Every key that differs; of two nodes, every shared one.
    pub differences: Vec<Difference>,
}

/// What the doctor found.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Examinations {
    pub schema_version: u32,
    /// The worst of it.
    pub worst: Grade,
    /// This node first.
    pub nodes: Vec<Examination>,
}

/// How a run of `bootstrap` ended.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SetUp {
    pub schema_version: u32,
    /// Always empty: a failure is printed as such.
    pub code: &'static str,
    /// How.
    pub outcome: SetUpOutcome,
    /// The same in words; of a plan, line by line.
    pub text: String,
}

/// How a run of `bootstrap` ended.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum SetUpOutcome {
    /// Nothing was left to do.
    Already,
    /// This node is ready; the same is to be run on the other one.
    RunOnPeer,
    /// This server follows the other node's.
    Following,
    /// `--dry-run`: what would be done.
    Plan,
}

/// What the fence did.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(super) struct Fence {
    pub schema_version: u32,
    /// `E_FENCE_INCOMPLETE`, or empty.
    pub code: &'static str,
    /// Everything was closed.
    pub fenced: bool,
    /// `--if-lease-expired`: a lease lives, and nothing was done.
    pub lease_lives: bool,
    /// `closed`, or why gate and addresses could not be; null if nothing was done.
    pub network: Option<String>,
    /// How many connections of clients were cut; null if that failed or nothing was done.
    pub connections_reset: Option<usize>,
    /// `read-only`, or why it could not be made so; null if nothing was done.
    pub database: Option<String>,
}

/// What is in a bundle.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Bundled {
    pub schema_version: u32,
    /// The archive.
    pub file: PathBuf,
    /// Names of the files in it.
    pub contains: Vec<String>,
    /// What could not be had, each with the reason.
    pub missing: Vec<String>,
}

/// What was replayed; a difference is a failure.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Replay {
    pub schema_version: u32,
    /// Always empty.
    pub code: &'static str,
    /// The decision did the same again.
    pub same: bool,
    /// How many files were read.
    pub files: u64,
    /// When the first of them was begun, RFC 3339.
    pub from: Option<String>,
    /// Version of the apd that recorded them.
    pub recorded_by: String,
    /// What the decision was told.
    pub events: u64,
    /// What it did.
    pub actions: u64,
}

/// What faults would do to a pair of this configuration.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Simulation {
    pub schema_version: u32,
    /// `E_PROMISE_BROKEN`, or empty.
    pub code: &'static str,
    /// Longest time without an acknowledged heartbeat, in ms.
    pub lease_ms: u64,
    /// Between heartbeats, in ms.
    pub heartbeat_ms: u64,
    /// Between advertisements, in ms.
    pub advert_ms: u64,
    /// Who may go on alone.
    #[schemars(with = "words::Protection")]
    pub protection: &'static str,
    /// Runs for each fault.
    pub seeds: u64,
    /// One for each fault.
    #[schemars(with = "Vec<shapes::Prediction>")]
    pub predictions: Vec<Prediction>,
}

/// An act on a service is done.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ServiceActed<'a> {
    pub schema_version: u32,
    /// Always empty.
    pub code: &'static str,
    /// `start`, `stop`, `kill` or `policy`.
    pub act: &'a str,
    /// Of which service; of `policy`, which one.
    pub service: &'a str,
}

/// How services are.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ServiceReports {
    pub schema_version: u32,
    /// Always empty.
    pub code: &'static str,
    /// In the order of the configuration.
    #[schemars(with = "Vec<shapes::ServiceReport>")]
    pub services: Vec<ServiceReport>,
}

/// What is printed of types of the decision and of the simulation, which know no schemas. Every page of the tests is held
/// against them.
#[allow(dead_code, reason = "only their schema is used")]
mod shapes {
    use super::words;
    use schemars::JsonSchema;

    /// What a service does now.
    #[derive(JsonSchema)]
    pub(super) struct ServiceReport {
        /// Its name, as configured.
        name: String,
        /// What it does.
        state: words::ServiceState,
        /// One line: what its manager says of it.
        detail: String,
    }

    /// What a fault would do.
    #[derive(JsonSchema)]
    pub(super) struct Prediction {
        /// Its name.
        fault: String,
        /// What it is.
        about: String,
        /// How many runs.
        seeds: u64,
        /// The longest time between two acknowledged writes, in ms.
        outage_ms: Spread,
        /// Acknowledged writes that the node which serves afterwards does not have, at 200 writes a second.
        lost_writes: Spread,
        /// Runs in which nobody served any more while the fault lasted.
        not_served: u64,
        /// Runs in which both nodes answered for the address at once.
        two_writers: u64,
        /// The promise that a run broke, in words; null if none did.
        broken: Option<String>,
        /// How many of the runs went the usual course.
        usual: u64,
        /// The usual course.
        transitions: Vec<Course>,
    }

    /// Smallest, middle and largest of many runs.
    #[derive(JsonSchema)]
    struct Spread {
        /// The least.
        least: u64,
        /// Half of the runs have no more.
        median: u64,
        /// 95 of 100 runs have no more.
        p95: u64,
        /// The most.
        most: u64,
    }

    /// One step of the usual course.
    #[derive(JsonSchema)]
    struct Course {
        /// Median time after the fault, in ms.
        after_ms: u64,
        /// What the node was before the fault.
        node: Before,
        /// Reason code, as in the log.
        code: String,
        /// As said in one of the runs.
        text: String,
    }

    /// What a node was before the fault.
    #[derive(JsonSchema)]
    #[schemars(rename_all = "lowercase")]
    enum Before {
        Active,
        Standby,
    }
}
