//! What is sent to people who do not look: alerts, several of one moment together.

use crate::decision::code::Code;
use crate::decision::why::Severity;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// One thing that somebody should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Which reason.
    pub code: Code,
    /// How loud.
    pub severity: Severity,
    /// One sentence.
    pub text: String,
    /// What resolves it; empty where nothing need be done.
    pub remedy: String,
    /// Newest activity known to the node.
    pub epoch: u64,
    /// When, RFC 3339.
    pub time: String,
}

/// What is delivered: the body of a webhook, and in words that of a mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertMessage {
    /// [`super::control::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Name of the pair.
    pub cluster: String,
    /// Who says it.
    pub node: String,
    /// Oldest first.
    pub alerts: Vec<Alert>,
    /// Older ones that found no room while nothing could be delivered.
    pub dropped: u64,
}

impl AlertMessage {
    /// The loudest alert, the newest of these, in one line.
    pub fn subject(&self) -> String {
        let (pair, node) = (&self.cluster, &self.node);
        let Some(worst) = self.alerts.iter().max_by_key(|alert| alert.severity) else {
            return format!("[apd {pair}] {node}");
        };
        let (severity, text) = (worst.severity.word(), &worst.text);
        format!("[apd {pair}] {severity}: {node}: {text}")
    }

    /// All of them, for a person.
    pub fn body(&self) -> String {
        let mut body = format!("Node {} of the pair {}:\n", self.node, self.cluster);
        for alert in &self.alerts {
            let Alert { code, severity, text, remedy, epoch, time } = alert;
            // Writing to a string does not fail.
            let _ = write!(body, "\n{time}  {} {code} (epoch {epoch})\n    {text}\n", severity.word());
            if !remedy.is_empty() {
                let _ = writeln!(body, "    -> {remedy}");
            }
        }
        if self.dropped > 0 {
            let _ = writeln!(body, "\n{} older alerts found no room.", self.dropped);
        }
        body + "\nNow: apctl status. What led here: apctl history, apctl timeline.\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(code: Code, text: &str) -> Alert {
        Alert {
            code,
            severity: code.severity(),
            text: text.into(),
            remedy: if code == Code::ModeLoser { "apctl rejoin".into() } else { String::new() },
            epoch: 7,
            time: "2026-11-20T12:00:00Z".into(),
        }
    }

    #[test]
    fn the_loudest_is_the_subject_and_all_are_in_the_body() {
        let message = AlertMessage {
            schema_version: 1,
            cluster: "shop".into(),
            node: "db1".into(),
            alerts: vec![
                alert(Code::LeaseLost, "the lease is lost"),
                alert(Code::ModeLoser, "the peer took over"),
            ],
            dropped: 3,
        };
        assert_eq!(message.subject(), "[apd shop] error: db1: the lease is lost");
        let body = message.body();
        for part in ["error lease.lost (epoch 7)", "the peer took over", "-> apctl rejoin", "3 older alerts"]
        {
            assert!(body.contains(part), "{part} in\n{body}");
        }
    }
}
