//! Clients that write unique ids through whoever answers for the virtual address, and remember what was
//! acknowledged.

use super::database::{Content, Frozen, Health};
use super::pace::Pace;
use super::plan::Protocol;
use super::semisync::Whose;
use super::world::{Happening, World};

/// All clients.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    next: u32,
    /// Numbers of the writes that were acknowledged.
    pub acknowledged: Vec<u32>,
    /// When the newest was.
    last_at: u64,
    /// Whom they are connected to.
    connected: Option<usize>,
    /// Whose hardware address they know for the virtual address.
    knows: usize,
    /// The longest pause since the first fault, in ns.
    pub outage: u64,
}

impl Clients {
    /// Since the newest acknowledged write, in ns.
    pub fn silent_for(&self, now: u64) -> u64 {
        now - self.last_at
    }
}

/// What a client hears when it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    Acknowledged,
    /// The server is read-only.
    Refused,
    /// Not yet.
    Nothing,
    /// Nobody listens.
    Nobody,
}

impl World {
    /// Somebody who asks for the virtual address ends up here.
    pub fn answers(&self, host: usize) -> bool {
        self.hosts[host].gate.answers(self.now) && self.clients_reach(host)
    }

    /// A client's write would be acknowledged here and now.
    pub fn accepts(&self, host: usize) -> bool {
        self.answers(host) && self.hosts[host].server.takes_writes()
    }

    pub fn client_tick(&mut self) {
        let start = self.random.below(2) as usize;
        let found = [start, 1 - start].into_iter().find(|host| self.answers(*host));
        let connected = found.is_some() && found == self.clients.connected;
        let serves = found.is_some_and(|host| self.hosts[host].server.takes_writes());
        // A node that lives and is closed refuses at once; nobody answers for one that is gone.
        let knows = self.clients.knows;
        let refused = self.hosts[knows].powered && self.clients_reach(knows);
        let pause = self.pace.client(connected, serves, refused, &mut self.random);
        self.at(pause, Happening::ClientTick);
        self.clients.connected = found;
        self.clients.knows = found.unwrap_or(knows);
        let Some(host) = found else { return };
        if !connected && self.pace == Pace::Measured {
            // The time goes into the new connection.
            return;
        }
        let server = &mut self.hosts[host].server;
        if !server.up() || server.read_only || server.rolls_back_until > self.now {
            return;
        }
        let lost = self.lost(host, Protocol::Client);
        if lost && self.random.percent(50) {
            // The question did not arrive.
            return;
        }
        let server = &mut self.hosts[host].server;
        self.clients.next += 1;
        let id = self.clients.next;
        if lost && server.frozen != Frozen::Stage {
            // The answer did not: nobody was promised anything.
            self.commit(host, Content::Data(id), Whose::Nobody);
        } else {
            self.write(host, id);
        }
    }

    /// One write to the server of `host`, and what its client hears at once.
    pub fn write(&mut self, host: usize, id: u32) -> Heard {
        let server = &mut self.hosts[host].server;
        match server.health {
            Health::Dead => Heard::Nobody,
            Health::Up if server.read_only => Heard::Refused,
            Health::Up if server.frozen != Frozen::Stage => {
                if self.commit_write(host, id) {
                    Heard::Acknowledged
                } else {
                    Heard::Nothing
                }
            }
            Health::Up | Health::Hung => {
                server.waiting.push(id);
                Heard::Nothing
            }
        }
    }

    /// True if the client has heard already.
    pub fn commit_write(&mut self, host: usize, id: u32) -> bool {
        let through = self.hosts[host].gate.lease.unwrap_or_default().0;
        let done = self.commit(host, Content::Data(id), Whose::Client(id, through));
        if done {
            self.hears(id);
        }
        done
    }

    /// A client is told that its write is committed.
    pub fn hears(&mut self, id: u32) {
        self.clients.acknowledged.push(id);
        if let Some(fault) = self.checkers.fault_at {
            let pause = self.now - self.clients.last_at.max(fault);
            self.clients.outage = self.clients.outage.max(pause);
        }
        self.clients.last_at = self.now;
    }

    /// A stage ended without KILL: the paused commits are acknowledged at once, to whom is still connected: the gate
    /// that closed has reset its clients.
    pub fn stage_ended(&mut self, host: usize) {
        let server = &mut self.hosts[host].server;
        let waiting = std::mem::take(&mut server.waiting);
        if !server.up() || server.read_only {
            return;
        }
        let connected = self.hosts[host].gate.open(self.now);
        for id in waiting {
            if connected {
                self.commit_write(host, id);
            } else {
                self.commit(host, Content::Data(id), Whose::Nobody);
            }
        }
    }

    /// Acknowledged writes that the server of `host` does not have.
    pub fn missing_at(&self, host: usize) -> Vec<u32> {
        let server = &self.hosts[host].server;
        let ids = self.clients.acknowledged.iter().copied();
        ids.filter(|id| !server.logged(*id) && !self.checkers.excused.contains(id)).collect()
    }
}
