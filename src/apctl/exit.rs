//! How `apctl` ends: the codes of INTERFACE.md section 2, and failures with a stable word and a remedy.

use schemars::JsonSchema;
use serde::Serialize;
use std::process::ExitCode;

/// An exit code; `apctl --help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Exit(pub u8);

impl Exit {
    /// Done.
    pub const OK: Exit = Exit(0);
    /// It failed.
    pub const FAILED: Exit = Exit(1);
    /// The command line is wrong, or asks for what is not supported yet.
    pub const USAGE: Exit = Exit(2);
    /// The configuration is invalid.
    pub const CONFIG: Exit = Exit(3);
    /// `is-active`, `is-standby`: the answer is no.
    pub const NO: Exit = Exit(3);
    /// The daemon cannot be reached.
    pub const UNREACHABLE: Exit = Exit(4);
    /// The caller may not.
    pub const NOT_PERMITTED: Exit = Exit(5);
    /// Refused because unsafe.
    pub const REFUSED: Exit = Exit(6);
    /// Done, but degraded.
    pub const DEGRADED: Exit = Exit(7);
    /// Timed out, still running.
    pub const TIMED_OUT: Exit = Exit(8);
    /// The peer is needed and cannot be reached.
    pub const PEER_UNREACHABLE: Exit = Exit(9);
    /// It was so already (only with `--exit-code`).
    pub const ALREADY: Exit = Exit(10);
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.0)
    }
}

/// Why a verb did not do what it says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// Stable: `E_...`.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What resolves it; empty if nothing is known.
    pub remedy: String,
}

impl Failure {
    /// A failure without a remedy.
    pub fn new(exit: Exit, code: &str, message: impl Into<String>) -> Self {
        Self { exit, code: code.to_owned(), message: message.into(), remedy: String::new() }
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::USAGE, "E_USAGE", message)
    }

    /// Exit 1.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::FAILED, "E_FAILED", message)
    }

    /// A verb or flag of a later version.
    pub fn not_yet(what: &str) -> Self {
        Self::new(Exit::USAGE, "E_NOT_SUPPORTED", format!("{what} is not yet supported"))
    }

    /// With what resolves it.
    #[must_use]
    pub fn resolved_by(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }
}
