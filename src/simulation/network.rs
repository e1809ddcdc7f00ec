//! Directed paths between the two hosts by protocol, and the peer link: two TCP connections that keep order,
//! hold what they cannot deliver for two seconds, and then break.

use super::bugs::Bug;
use super::plan::Protocol;
use super::world::{Happening, MS, World};
use crate::decision::event::{Advert, Event};
use crate::decision::peer::PeerMessage;
use crate::decision::words::InstanceId;
use std::net::Ipv4Addr;
use std::time::Duration;

/// The connection that one host dialled.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    pub up: bool,
    pub bad_since: Option<u64>,
    pub buffer: Vec<PeerMessage>,
    pub last_at: u64,
    pub to_run: u64,
}

/// One protocol, one way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    /// How many faults cut it now.
    pub cut: u32,
    /// Percent.
    pub loss: u64,
    /// Added, in ns.
    pub delay: u64,
    /// Percent that arrive a second time.
    pub twice: u64,
}

/// The wires.
pub struct Network {
    /// By the host that sends, and protocol.
    links: [[Link; 6]; 2],
    pub isolated: [u32; 2],
    pub nic_down: [u32; 2],
    pub gateway_down: u32,
    /// Somebody else on the network has the address.
    pub strangers: u32,
    pub connections: [Connection; 2],
    base: u64,
}

impl Network {
    /// `base`: one way over the wire, in ns.
    pub fn new(base: u64) -> Self {
        Self {
            links: Default::default(),
            isolated: [0; 2],
            nic_down: [0; 2],
            gateway_down: 0,
            strangers: 0,
            connections: [Connection::default(), Connection::default()],
            base,
        }
    }

    /// Everything gets through between the nodes.
    pub fn is_clean(&self) -> bool {
        let down = self.isolated.iter().chain(&self.nic_down).any(|count| *count > 0);
        !down && self.links.iter().flatten().all(|link| link.cut == 0 && link.loss == 0 && link.delay == 0)
    }

    pub fn link(&self, from: usize, protocol: Protocol) -> Link {
        self.links[from][protocol as usize]
    }

    pub fn link_mut(&mut self, from: usize, protocol: Protocol) -> &mut Link {
        &mut self.links[from][protocol as usize]
    }

    /// The longest delay between the hosts, in ns.
    pub fn slowest(&self) -> u64 {
        self.links.iter().flatten().map(|link| link.delay).max().unwrap_or(0)
    }

    pub fn cut(&mut self, from: usize, protocol: Protocol, on: bool) {
        let count = &mut self.link_mut(from, protocol).cut;
        *count = if on { *count + 1 } else { count.saturating_sub(1) };
    }

    /// The host's own port works.
    pub fn attached(&self, host: usize) -> bool {
        self.isolated[host] == 0 && self.nic_down[host] == 0
    }
}

impl World {
    /// The host is on and not asleep.
    pub fn awake(&self, host: usize) -> bool {
        self.hosts[host].powered && self.hosts[host].asleep.is_none()
    }

    /// Whether packets go from one host to the other now.
    pub fn path(&self, from: usize, protocol: Protocol) -> bool {
        let net = &self.network;
        let awake = self.awake(0) && self.awake(1);
        awake && net.attached(0) && net.attached(1) && net.link(from, protocol).cut == 0
    }

    /// Both ways.
    pub fn round_trip(&self, protocol: Protocol) -> bool {
        self.path(0, protocol) && self.path(1, protocol)
    }

    /// Clients lie beyond the host's own port.
    pub fn clients_reach(&self, host: usize) -> bool {
        let open = self.network.link(host, Protocol::Client).cut == 0;
        self.awake(host) && self.network.attached(host) && open
    }

    /// No word of either node gets to the other in a way that counts as life: what no level without a third
    /// party promises anything for, as long as both are seen by others.
    pub fn is_partition(&self) -> bool {
        let seen = self.awake(0) && self.awake(1) && self.network.attached(0) && self.network.attached(1);
        // What arrives when the lease it speaks of is over says nothing either.
        let lease = Self::nanos(self.hosts[0].settings.lease);
        let timely = |protocol: Protocol| {
            let delay = self.network.link(0, protocol).delay + self.network.link(1, protocol).delay;
            self.round_trip(protocol) && delay <= lease
        };
        seen && ![Protocol::Peer, Protocol::Arp, Protocol::Vrrp].into_iter().any(timely)
    }

    fn travel(&mut self, from: usize, protocol: Protocol) -> u64 {
        let jitter = self.random.below(self.network.base);
        self.network.base + jitter + self.network.link(from, protocol).delay
    }

    /// Chance takes one packet.
    pub fn lost(&mut self, from: usize, protocol: Protocol) -> bool {
        let loss = self.network.link(from, protocol).loss;
        loss > 0 && self.random.percent(loss)
    }

    pub fn send_advert(&mut self, from: usize, priority: u8) {
        let to = 1 - from;
        if !self.path(from, Protocol::Vrrp)
            || self.lost(from, Protocol::Vrrp)
            || self.hosts[to].daemon.is_none()
        {
            return;
        }
        let advert = Advert {
            source: Ipv4Addr::new(10, 0, 0, 1 + from as u8),
            from_peer: true,
            priority,
            interval: self.hosts[from].settings.advert_interval,
        };
        let delay = self.travel(from, Protocol::Vrrp);
        let run = self.hosts[to].run;
        self.tell(delay, to, run, Event::Advert(advert));
        let twice = self.network.link(from, Protocol::Vrrp).twice;
        if twice > 0 && self.random.percent(twice) {
            let late = self.random.micros(0, 5_000_000);
            self.tell(delay + late, to, run, Event::Advert(advert));
        }
    }

    /// One ARP question and its answer.
    pub fn answers_arp(&mut self, asker: usize) -> bool {
        let other = 1 - asker;
        if self.network.strangers > 0 && self.network.attached(asker) {
            return true;
        }
        let lost = self.lost(asker, Protocol::Arp) || self.lost(other, Protocol::Arp);
        let unheard = matches!(self.bug, Some(Bug::ArpUnheard | Bug::ClockRuns));
        let reached = self.round_trip(Protocol::Arp) && !lost && !unheard;
        let gate = &self.hosts[other].gate;
        let over = gate.lease.is_none_or(|(_, end)| end <= self.local(other));
        let silenced = self.bug == Some(Bug::GateStaysOpen) && over;
        reached && gate.answers(self.now) && !silenced
    }

    pub fn send_peer(&mut self, from: usize, message: PeerMessage) {
        if !self.network.connections[from].up {
            return;
        }
        if let PeerMessage::Acknowledge(acknowledge) = &message {
            self.acknowledged(1 - from, acknowledge);
        }
        let forward = self.path(from, Protocol::Peer);
        let connection = &mut self.network.connections[from];
        if !forward || !connection.buffer.is_empty() {
            connection.buffer.push(message);
            return;
        }
        self.put_on_wire(from, message);
    }

    fn put_on_wire(&mut self, from: usize, message: PeerMessage) {
        let mut delay = self.travel(from, Protocol::Peer);
        if self.lost(from, Protocol::Peer) {
            // A retransmission.
            delay += 200 * MS;
        }
        let connection = &mut self.network.connections[from];
        let at = (self.now + delay).max(connection.last_at + 1);
        connection.last_at = at;
        let run = connection.to_run;
        if self.bug == Some(Bug::FalseRelease) {
            self.forge_release(from, run, &message);
        }
        self.at(at - self.now, Happening::Arrive { to: 1 - from, run, message: Box::new(message) });
    }

    /// Dials, flushes and gives up, for the connection that `from` dialled.
    pub fn link_tick(&mut self, from: usize, run: u64) {
        if !self.running(from, run) {
            return;
        }
        let every = self.hosts[from].settings.heartbeat.as_nanos() as u64;
        self.at(every.clamp(20 * MS, 100 * MS), Happening::LinkTick { from, run });
        let (to, both) = (1 - from, self.round_trip(Protocol::Peer));
        let other = self.hosts[to].daemon.as_ref().map(|daemon| (daemon.run, daemon.instance, daemon.paused));
        if !self.network.connections[from].up {
            if let Some((to_run, instance, false)) = other.filter(|_| both) {
                self.connected(from, run, to_run, instance);
            }
            return;
        }
        let reset = other.is_none_or(|(to_run, ..)| to_run != self.network.connections[from].to_run);
        let now = self.now;
        let connection = &mut self.network.connections[from];
        if both {
            connection.bad_since = None;
        } else {
            connection.bad_since.get_or_insert(now);
        }
        let given_up = connection.bad_since.is_some_and(|since| now > since + 2_000 * MS);
        if (reset && both) || given_up {
            connection.up = false;
            connection.buffer.clear();
            self.deliver(from, run, Event::PeerDown);
            return;
        }
        if self.path(from, Protocol::Peer) {
            for message in std::mem::take(&mut self.network.connections[from].buffer) {
                self.put_on_wire(from, message);
            }
        }
    }

    fn connected(&mut self, from: usize, run: u64, to_run: u64, instance: InstanceId) {
        let last_at = self.network.connections[from].last_at;
        self.network.connections[from] =
            Connection { up: true, bad_since: None, buffer: Vec::new(), last_at, to_run };
        self.deliver(from, run, Event::PeerUp { instance });
    }

    /// The process at one end is gone: its own connection goes with it.
    pub fn hang_up(&mut self, host: usize) {
        self.network.connections[host].up = false;
        self.network.connections[host].buffer.clear();
    }

    /// A duration of the decision in ns.
    pub fn nanos(duration: Duration) -> u64 {
        u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
    }
}
