//! The loop of the pair thread: wait, one event, handle, carry out all actions, wait.

use super::announcing::Announcing;
use super::effects::Effects;
use super::inputs::{Input, Inputs};
use super::life::LifeSearch;
use super::recorder::Recorder;
use super::snapshot::{Publisher, Told};
use crate::config::checked::Config;
use crate::decision::action::{CommandId, StepResult};
use crate::decision::event::Event;
use crate::decision::node::Node;
use crate::decision::time::Instant;
use crate::io::control_socket::ControlRequest;
use crate::io::peer_link::LinkEvent;
use crate::io::recording::Recording;
use crate::io::{clock, mode_file, notify};
use std::sync::Arc;
use std::time::Duration;

/// The loop's own state.
#[derive(Debug)]
pub struct Pair {
    pub(super) config: Arc<Config>,
    pub(super) node: Node,
    pub(super) inputs: Inputs,
    pub(super) effects: Effects,
    pub(super) recorder: Recorder,
    recording: Recording,
    pub(super) publisher: Publisher,
    pub(super) announcing: Announcing,
    pub(super) life: LifeSearch,
    link_was_usable: bool,
    next_command: u64,
    armed: Instant,
    watchdog: Option<(Duration, Instant)>,
    done: bool,
}

impl Pair {
    /// A loop that has not begun.
    pub fn new(
        config: Arc<Config>,
        node: Node,
        inputs: Inputs,
        effects: Effects,
        recorder: Recorder,
        recording: Recording,
        publisher: Publisher,
    ) -> Self {
        let addresses =
            config.cluster.virtual_addresses.iter().map(|virtual_address| virtual_address.address).collect();
        let announcing = Announcing::new(config.vrrp.garp, addresses);
        let now = clock::now();
        let watchdog = notify::watchdog_interval().map(|interval| (interval / 2, now));
        Self {
            announcing,
            config,
            node,
            inputs,
            effects,
            recorder,
            recording,
            publisher,
            life: LifeSearch::default(),
            link_was_usable: true,
            next_command: 1,
            armed: now,
            watchdog,
            done: false,
        }
    }

    /// Runs until the decision says that the daemon may exit.
    ///
    /// # Errors
    /// When the timer fails, without which nothing would leave on time.
    pub async fn run(mut self, started: Event) -> anyhow::Result<()> {
        self.take(started, clock::now());
        while !self.done {
            self.arm()?;
            let input = self.inputs.next().await;
            let now = clock::now();
            self.doubt_oneself(now);
            self.take_input(input, now);
            self.due(now);
            self.publish(now, false);
        }
        self.publish(clock::now(), true);
        self.effects.roles.stop(&self.config, &self.node).await;
        self.effects.drain(Duration::from_millis(300)).await;
        Ok(())
    }

    fn publish(&mut self, now: Instant, at_once: bool) {
        let told = Told { recorder: &self.recorder, hooks: self.effects.roles.queue() };
        self.publisher.publish(&self.node, &self.inputs, told, now, at_once);
    }

    /// Sets the timer to the next thing that is due.
    fn arm(&mut self) -> anyhow::Result<()> {
        let mut next = self.node.next_deadline();
        let others = [self.announcing.next(), self.life.next(), self.inputs.gate.next_deadline()];
        for at in others.into_iter().flatten().chain(self.watchdog.map(|(_, at)| at)) {
            next = next.min(at);
        }
        self.armed = next.max(clock::now());
        self.inputs.timer.arm(Some(next))?;
        Ok(())
    }

    /// A loop that was away for long must doubt what it knows before it sends anything.
    fn doubt_oneself(&mut self, now: Instant) {
        let late = now.since(self.armed);
        self.publisher.stalled(late);
        if late > self.config.lease.duration / 2 {
            tracing::warn!(code = "loop.stalled", late_ms = late.as_millis(), "the loop did not run in time");
            self.take(Event::Resumed { gap: late }, now);
        }
    }

    fn take_input(&mut self, input: Input, now: Instant) {
        match input {
            Input::Tick => self.take(Event::Deadline, now),
            Input::Events(events) => {
                for event in events {
                    self.notice_link(&event);
                    self.take(event, now);
                }
            }
            Input::Link(LinkEvent::Up(instance)) => self.take(Event::PeerUp { instance }, now),
            Input::Link(LinkEvent::Down) => self.take(Event::PeerDown, now),
            Input::Link(LinkEvent::Message(message)) => self.take(Event::Peer(message), now),
            Input::Link(LinkEvent::Bulk(stream, hello)) => self.effects.serve_bulk(stream, hello),
            Input::Link(LinkEvent::Refused(text)) => tracing::warn!(code = "peer.refused", "{text}"),
            Input::Command(request) => self.take_command(request, now),
            Input::Reload((config, taken)) => {
                self.reload(config, now);
                // Nobody may wait for it any more.
                let _ = taken.send(());
            }
            Input::ModeFile => self.read_mode_file(now),
            Input::Claimed(by) => {
                if self.life.is_on() {
                    self.take(Event::AddressClaimed { by }, now);
                }
            }
            Input::Rejected(text) => tracing::debug!(code = "vrrp.rejected", "{text}"),
            Input::Terminate => self.effects.ask_whether_to_restart(),
        }
    }

    /// Another configuration from now on, of which only what may change in a run differs.
    fn reload(&mut self, config: Arc<Config>, now: Instant) {
        self.announcing.reload(config.vrrp.garp);
        self.publisher.reload(config.clone());
        let settings = Box::new(config.decision_settings());
        self.config = config;
        self.take(Event::Reload(settings), now);
    }

    fn notice_link(&mut self, event: &Event) {
        if let Event::Link(report) = event {
            if report.usable && !self.link_was_usable {
                self.inputs.reopen(report);
            }
            self.link_was_usable = report.usable;
        }
    }

    fn take_command(&mut self, request: ControlRequest, now: Instant) {
        let id = CommandId(self.next_command);
        self.next_command += 1;
        self.effects.expect_answer(id, request.replies);
        self.take(Event::Command { id, command: request.command, actor: request.actor }, now);
    }

    /// Our own writing is seen again here too; a file that a change is passing through is left alone.
    fn read_mode_file(&mut self, now: Instant) {
        let reading = mode_file::read(&self.config.paths.mode_file);
        if !reading.interrupted && !self.effects.writing_mode() {
            self.take(Event::ModeFile(reading), now);
        }
    }

    /// One event, then all actions.
    fn take(&mut self, event: Event, now: Instant) {
        let epoch = self.node.epoch().number;
        self.recorder.event(&event, epoch, now);
        self.recording.event(&self.node, &event, now);
        let wrote_mode = match &event {
            Event::StepEnded { ticket, result } => {
                self.effects.step_ended(*ticket) && matches!(result, StepResult::Ok(_))
            }
            _ => false,
        };
        if matches!(event, Event::Restart) {
            self.effects.roles.expect_restart();
        }
        self.node.handle(event, now);
        while let Some(action) = self.node.poll_action() {
            let epoch = self.node.epoch().number;
            self.recorder.action(&action, epoch, now);
            self.recording.action(&action);
            self.carry_out(action, now);
        }
        self.effects.roles.look(&self.config, &self.node, now);
        if wrote_mode {
            // What a hand wrote in the meantime was left alone, and nothing speaks of it again.
            self.read_mode_file(now);
        }
    }

    /// What the loop itself does on time.
    fn due(&mut self, now: Instant) {
        for event in self.inputs.gate.overdue(now) {
            self.take(event, now);
        }
        self.announcing.send(self.inputs.announcer.as_ref(), now);
        self.life.ask(self.inputs.life.as_ref(), now);
        if let Some((interval, at)) = &mut self.watchdog
            && now >= *at
        {
            *at = now + *interval;
            notify::watchdog();
        }
    }

    pub(super) fn finish(&mut self) {
        self.done = true;
    }
}
