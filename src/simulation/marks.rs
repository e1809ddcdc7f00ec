//! Situations that the default seeds must have met; a simulation that never gets there proves nothing.

use super::world::World;
use crate::decision::why::Why;

/// What must have been met.
pub const NEEDED: &[&str] = &[
    "takeover by right of eligible",
    "takeover by right of released",
    "takeover by right of contact",
    "takeover by right of solo",
    "bid called off",
    "switchover done",
    "switchover called off",
    "resume within the lease",
    "proof of life",
    "loser to maintenance",
    "rejoined",
    "planned switchover",
    "divergence named",
    "gone solo",
    "paused",
    "step-down",
    "eligibility lapsed",
    "takeover failed",
    "the gate closed at lease end",
    "the gate process adopted a living lease",
    "a step timed out",
    "a step took effect after it had timed out",
    "a waiting step gave way",
    "the tail of a dead server was rescued",
    "the old active's server was fenced by SQL",
    "an asynchronous tail was lost",
    "two nodes serve in a pure partition",
    "a host woke with its gate still open",
    "read_only waited for a rollback",
    "a change of the mode was cut in the middle",
    "the state file could not be written",
    "the mode file held nonsense",
    "the epoch came from the ledger",
    "taken over by force",
    "takeover by right of standalone",
    "a service ended by itself",
    "a service did not start",
    "a service was killed",
    "a service was restarted",
    "a service was given up",
    "the gate opened without its service",
];

impl World {
    pub fn mark_tell(&mut self, why: &Why) {
        let right = |code: &str| why.text.ends_with(&format!("by right of {code}"));
        let mark = match why.code.word() {
            "takeover.started" if right("eligible") => "takeover by right of eligible",
            "takeover.started" if right("released") => "takeover by right of released",
            "takeover.started" if right("contact") => "takeover by right of contact",
            "takeover.started" if right("solo") => "takeover by right of solo",
            "takeover.failed" => "takeover failed",
            "bid.called_off" => "bid called off",
            "switchover.done" => "switchover done",
            "switchover.called_off" => "switchover called off",
            "resume" => "resume within the lease",
            "proof_of_life" => "proof of life",
            "mode.loser" => "loser to maintenance",
            "solo" => "gone solo",
            "node.paused" => "paused",
            "step_down" => "step-down",
            "state.unwritable" => "the state file could not be written",
            "mode.garbage" => "the mode file held nonsense",
            "state.from_ledger" => "the epoch came from the ledger",
            "takeover.started" if right("standalone") => "takeover by right of standalone",
            "takeover.started" if right("operator") => "taken over by force",
            "service.restart" => "a service was restarted",
            "service.failed" => "a service was given up",
            "service.last_one" => "the gate opened without its service",
            "eligible.lapsed" => "eligibility lapsed",
            _ => return,
        };
        self.mark(mark);
    }
}
