//! Clients that write unique ids through whoever answers for the virtual address, and remember what was
//! acknowledged.

use super::database::{Content, Frozen, Health};
use super::world::{Happening, World};

/// All clients.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    next: u32,
    /// Numbers of the writes that were acknowledged.
    pub acknowledged: Vec<u32>,
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
        let pause = self.random.micros(20_000, 120_000);
        self.at(pause, Happening::ClientTick);
        let start = self.random.below(2) as usize;
        let Some(host) = [start, 1 - start].into_iter().find(|host| self.answers(*host)) else { return };
        let server = &mut self.hosts[host].server;
        if !server.up() || server.read_only {
            return;
        }
        self.clients.next += 1;
        let id = self.clients.next;
        self.write(host, id);
    }

    /// One write to the server of `host`, and what its client hears at once.
    pub fn write(&mut self, host: usize, id: u32) -> Heard {
        let server = &mut self.hosts[host].server;
        match server.health {
            Health::Dead => Heard::Nobody,
            Health::Up if server.read_only => Heard::Refused,
            Health::Up if server.frozen != Frozen::Stage => {
                self.commit_write(host, id);
                Heard::Acknowledged
            }
            Health::Up | Health::Hung => {
                server.waiting.push(id);
                Heard::Nothing
            }
        }
    }

    pub fn commit_write(&mut self, host: usize, id: u32) {
        self.hosts[host].server.commit(Content::Data(id));
        self.clients.acknowledged.push(id);
        self.committed(host);
    }

    /// A stage ended without KILL: the paused commits are acknowledged at once.
    pub fn stage_ended(&mut self, host: usize) {
        let server = &mut self.hosts[host].server;
        let waiting = std::mem::take(&mut server.waiting);
        if !server.up() || server.read_only {
            return;
        }
        for id in waiting {
            self.commit_write(host, id);
        }
    }

    /// Acknowledged writes that the server of `host` does not have.
    pub fn missing_at(&self, host: usize) -> Vec<u32> {
        let data = &self.hosts[host].server.data;
        let ids = self.clients.acknowledged.iter().copied();
        ids.filter(|id| !data.contains(id) && !self.checkers.excused.contains(id)).collect()
    }
}
