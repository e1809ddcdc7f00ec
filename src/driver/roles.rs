//! Notices that this node's role has changed, and hands the change to whoever wants to know of it.

use super::hooks::HookQueue;
use crate::config::checked::Config;
use crate::decision::node::Node;
use crate::decision::time::Instant;
use crate::decision::words::Role;
use crate::io::{clock, notify};
use crate::wire::control::SCHEMA_VERSION;
use crate::wire::role_change::{RoleChange, Word};
use std::sync::Arc;
use std::time::Duration;

/// A node that has just started is not fit until its first probes have ended; nobody is told of that.
const FIRST_PROBES: Duration = Duration::from_secs(3);
/// All hooks for `stop` together. Less than the unit's TimeoutStopSec leaves after a handover.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// What was told last.
#[derive(Debug)]
pub struct RoleTeller {
    queue: HookQueue,
    told: Option<Word>,
    began: Option<Instant>,
    /// The daemon is started again at once: the role goes on.
    restarts: bool,
}

impl RoleTeller {
    /// Nothing told yet.
    pub const fn new(queue: HookQueue) -> Self {
        Self { queue, told: None, began: None, restarts: false }
    }

    /// Where problems of hooks are asked for.
    pub const fn queue(&self) -> &HookQueue {
        &self.queue
    }

    /// This stop is a restart.
    pub const fn expect_restart(&mut self) {
        self.restarts = true;
    }

    /// Looks whether the role has changed; after every event.
    pub fn look(&mut self, config: &Config, node: &Node, now: Instant) {
        let began = *self.began.get_or_insert(now);
        let Some(role) = node.settled_role() else { return };
        let starting = self.told.is_none() && role == Role::Fault && now < began + FIRST_PROBES;
        let word = Word::from(role);
        if starting || self.told == Some(word) {
            return;
        }
        self.queue.tell(self.change(config, node, word));
        self.told = Some(word);
    }

    /// The end of the daemon: files and hooks are told of `stop` before it exits, unless it is started again at once.
    pub async fn stop(&mut self, config: &Arc<Config>, node: &Node) {
        if self.restarts {
            return;
        }
        notify::extend_timeout(STOP_LIMIT + Duration::from_secs(5));
        self.queue.stop(self.change(config, node, Word::Stop), STOP_LIMIT).await;
    }

    fn change(&self, config: &Config, node: &Node, event: Word) -> RoleChange {
        let addresses = config.cluster.virtual_addresses.iter();
        RoleChange {
            schema_version: SCHEMA_VERSION,
            event,
            state: event.state().into(),
            previous: self.told,
            cluster: config.cluster.name.clone(),
            node: config.me.name.clone(),
            peer: config.peer.name.clone(),
            mode: node.mode(),
            epoch: node.epoch().number,
            priority: node.priority(),
            addresses: addresses.map(|address| format!("{}/{}", address.address, address.prefix)).collect(),
            why: node.why().text.clone(),
            time: clock::wall().to_string(),
        }
    }
}
