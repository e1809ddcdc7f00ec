//! Asks a program: exit code 0 passes, and the first line that it prints is what people read.
//!
//! Its arguments and what it prints to standard error are never shown: they may hold a password.

use super::Outcome;
use crate::config::checked::CommandProbe;
use crate::io::process::{Program, Survivors};

/// Runs what one `[[check]]` of type `command` names.
pub(super) struct CommandProber {
    program: Program,
}

impl CommandProber {
    /// Nothing runs yet.
    pub(super) fn new(name: &str, probe: CommandProbe) -> Self {
        let program = Program {
            argv: probe.argv,
            user: probe.user,
            environment: vec![("APD_CHECK".into(), name.to_owned())],
            // A check that leaves something behind at each interval would fill the host.
            survivors: Survivors::Killed,
        };
        Self { program }
    }

    /// Runs it once. Whoever gives up waiting ends it, and all that it started.
    pub(super) async fn outcome(&self) -> Outcome {
        match self.program.run(Vec::new()).await {
            Ok(ended) if ended.status.success() && ended.output.is_empty() => Outcome::passed("exit code 0"),
            Ok(ended) if ended.status.success() => Outcome::passed(ended.output),
            Ok(ended) if ended.output.is_empty() => Outcome::failed(ended.how()),
            Ok(ended) => Outcome::failed(format!("{}: {}", ended.how(), ended.output)),
            Err(error) => Outcome::failed(error.to_string()),
        }
    }
}
