//! What lies between the hosts of a story: which paths there are, and what leaves on them.

use super::words::message_text;
use super::{Host, LATENCY, World};
use apd::decision::event::{Advert, Event};
use apd::decision::peer::PeerMessage;
use std::net::Ipv4Addr;

impl World {
    /// Whether heartbeats and advertisements get through.
    pub(super) fn control_between(&self) -> bool {
        self.control_path && self.data_between()
    }

    /// Whether heartbeats get through.
    pub(super) fn link_between(&self) -> bool {
        self.link_path && self.control_between()
    }

    /// Whether anything gets through.
    pub(super) fn data_between(&self) -> bool {
        self.data_path && self.hosts.iter().all(Host::on_the_network)
    }

    /// Whether replication gets through.
    pub(super) fn stream_between(&self) -> bool {
        self.data_between() && self.hosts.iter().all(|host| !host.gate.stream_cut)
    }

    /// Both links come up if both ends are there.
    pub fn connect(&mut self) {
        if !self.link_between() || self.hosts.iter().any(|host| host.node.is_none()) {
            return;
        }
        for host in 0..2 {
            let instance = apd::decision::words::InstanceId(self.hosts[1 - host].run);
            self.event_after(2 * LATENCY, host, Event::PeerUp { instance });
        }
    }

    /// An advertisement leaves.
    pub(super) fn send_advert(&mut self, host: usize, priority: u8) {
        if priority == 0 {
            let name = self.hosts[host].name.clone();
            self.say(&name, "advertises priority 0");
        }
        if self.control_between() {
            let settings = &self.hosts[host].settings;
            let source = Ipv4Addr::new(192, 168, 33, 100 + settings.me.0);
            let interval = settings.advert_interval;
            let advert = Advert { source, from_peer: true, priority, interval };
            self.event_after(LATENCY, 1 - host, Event::Advert(advert));
        }
    }

    /// A message of the peer link leaves.
    pub(super) fn send_peer(&mut self, host: usize, message: PeerMessage) {
        let routine = matches!(message, PeerMessage::Heartbeat(_) | PeerMessage::Acknowledge(_));
        if !routine {
            let name = self.hosts[host].name.clone();
            self.say(&name, &format!("says {}", message_text(&message)));
        }
        if self.link_between() {
            self.event_after(LATENCY, 1 - host, Event::Peer(message));
        }
    }
}
