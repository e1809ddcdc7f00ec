//! Whether this node takes part: `apctl start` and `apctl stop`, and `boot = "manual"`.

use super::action::{Answer, RecordStep, Step};
use super::code::Code;
use super::commands::refused;
use super::node::Node;
use super::phase::{Phase, Purpose};
use super::service::Boot;
use super::services::Part;
use super::why::Why;
use super::words::Mode;
use std::time::Duration;

impl Node {
    /// What an operator said since the host booted counts; then what the configuration says of a boot. A run that
    /// finds its own lease alive is no boot.
    pub(super) fn part_at_start(&self, started: Option<bool>) -> Part {
        match (started, self.settings.boot) {
            (Some(true), _) | (None, Boot::Standby) => Part::Up,
            (Some(false), _) => Part::Down,
            (None, Boot::Manual) if self.own_lease_lives() => Part::Up,
            (None, Boot::Manual) => Part::Waiting,
        }
    }

    /// Why this node takes no part.
    pub(super) fn no_part_text(&self) -> &'static str {
        match (self.mode.mode, self.services.part) {
            (Mode::Maintenance, _) => "the mode is maintenance",
            (_, Part::Down) => "an operator stopped this node (apctl start)",
            (_, Part::Waiting) => "this node waits for its operator, boot = \"manual\" (apctl start)",
            (_, Part::Up) => "this node takes part",
        }
    }

    pub(super) fn command_start(&mut self, actor: &str, reason: &str, dry_run: bool) -> Answer {
        if self.mode.mode == Mode::Maintenance {
            return refused("E_MAINTENANCE", "the mode is maintenance", "apctl mode ap");
        }
        if self.services.part == Part::Up {
            return Answer::Already("this node takes part".into());
        }
        let names = self.service_names();
        if dry_run {
            return Answer::Done(format!("this node would start {names} and come up as standby"));
        }
        self.set_part(Part::Up);
        self.tell(Why::new(Code::PartStarted, format!("this node takes part, started by {actor}: {reason}")));
        Answer::Done(format!("starting {names}; apctl status --watch shows it"))
    }

    pub(super) fn command_stop(&mut self, actor: &str, reason: &str, dry_run: bool) -> Answer {
        if self.services.part == Part::Down {
            return Answer::Already("this node is stopped".into());
        }
        let active = match self.phase.now() {
            Phase::Active(_) => true,
            Phase::Out | Phase::Standby | Phase::Bidding(_) => false,
            _ => return refused("E_BUSY", "this node is in the middle of a change of role", "apctl status"),
        };
        if active && !self.peer_can_serve() {
            let reason = format!("this node serves and {}", self.why_peer_cannot_serve());
            return refused("E_LAST_ONE", reason, "bring the peer up first (apctl rejoin)");
        }
        let names = self.service_names();
        let first =
            if active { format!("hand over to {}, then ", self.settings.peer_name) } else { String::new() };
        if dry_run {
            return Answer::Done(format!(
                "this node would {first}stop {names} and stay out until apctl start"
            ));
        }
        self.set_part(Part::Down);
        let text = format!("this node takes no part, stopped by {actor}: {reason}");
        self.tell(Why::new(Code::PartStopped, text));
        Answer::Done(format!("going to {first}stop {names}; apctl status --watch shows it"))
    }

    fn service_names(&self) -> String {
        let names: Vec<&str> = self.services.all.iter().map(|one| one.settings.name.as_str()).collect();
        if names.is_empty() { "no service".into() } else { names.join(", ") }
    }

    fn set_part(&mut self, part: Part) {
        self.services.part = part;
        let step = RecordStep::SetPart { started: part == Part::Up };
        self.start(Step::Record(step), Duration::from_secs(2), Purpose::Part);
    }
}
