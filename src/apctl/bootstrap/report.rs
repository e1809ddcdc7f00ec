//! How a run of bootstrap ends.

use crate::io::mariadb::clone::CloneError;
use crate::io::mariadb::session::Failure;
use std::fmt;
use std::path::PathBuf;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was left to do.
    AlreadySo(String),
    /// This node is ready; the same is to be run on the other one, for the reason given.
    RunOnPeer(String),
    /// This server follows the peer's.
    Following(String),
    /// `dry_run`: what would be done, line by line.
    Plan(Vec<String>),
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::AlreadySo(text) | Outcome::RunOnPeer(text) | Outcome::Following(text) => {
                formatter.write_str(text)
            }
            Outcome::Plan(lines) => formatter.write_str(&lines.join("\n")),
        }
    }
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The servers' settings do not allow a pair; each line with its remedy.
    #[error("the server's settings do not allow it:\n{}", .0.join("\n"))]
    Settings(Vec<String>),
    /// Doing it would destroy or mix data.
    #[error("refused: {reason}; {remedy}")]
    Refused {
        /// Why.
        reason: String,
        /// What resolves it.
        remedy: String,
    },
    /// A server said no, or nothing.
    #[error("{server}: {failure}")]
    Server {
        /// Whose.
        server: String,
        /// What.
        failure: Failure,
    },
    /// The copy failed.
    #[error("copying the data: {0}")]
    Clone(#[from] CloneError),
    /// A password file.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}
