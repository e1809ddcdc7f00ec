//! What the clients of a story see and write, what replication brings over, and the pair as an operator sees it.

use super::World;
use apd::decision::event::Event;
use apd::decision::gtid::Gtid;

impl World {
    pub(super) fn replicate(&mut self) {
        let connected = self.stream_between();
        for host in 0..2 {
            let [first, second] = &mut self.hosts;
            let (mine, peer) = if host == 0 { (first, &*second) } else { (second, &*first) };
            let fresh = mine.server.replicate(&peer.server, connected);
            if fresh && self.hosts[host].watching {
                self.deliver(host, Event::StreamAlive);
            }
        }
    }

    pub(super) fn clients_write(&mut self) {
        for host in self.serving() {
            if !self.hosts[host].server.frozen {
                let gtid = self.hosts[host].server.write(false);
                self.accepted.push(gtid);
            }
        }
    }

    /// Writes that clients were promised and that replication had no time to bring over.
    pub fn write_unsent(&mut self, count: u64) {
        for host in self.serving() {
            for _ in 0..count {
                let gtid = self.hosts[host].server.write(false);
                self.hosts[host].server.unsent.push(gtid);
                self.accepted.push(gtid);
            }
        }
    }

    pub(super) fn serving(&self) -> Vec<usize> {
        (0..2).filter(|host| self.hosts[*host].serves()).collect()
    }

    pub(super) fn look_who_serves(&mut self) {
        let serving = self.serving();
        if serving == self.served_by {
            return;
        }
        let names: Vec<&str> = serving.iter().map(|host| self.hosts[*host].name.as_str()).collect();
        let text = match (names.as_slice(), self.unserved_since) {
            ([], _) => "nobody serves".to_owned(),
            ([one], Some(since)) if self.ever_served => {
                format!("{one} serves, after {} ms without", self.now.since(since).as_millis())
            }
            ([one], _) => format!("{one} serves"),
            _ => "BOTH SERVE".to_owned(),
        };
        self.unserved_since = if serving.is_empty() { self.unserved_since.or(Some(self.now)) } else { None };
        self.ever_served |= !serving.is_empty();
        self.served_by = serving;
        self.say("CLIENTS", &text);
    }

    /// The pair as an operator sees it, and what became of the clients' writes.
    pub fn status(&mut self) {
        for host in 0..2 {
            let name = self.hosts[host].name.clone();
            let text = match &self.hosts[host].node {
                None if !self.hosts[host].powered => "off".to_owned(),
                None => "no daemon".to_owned(),
                Some(node) => {
                    let view = node.view();
                    let follows =
                        view.database.replica.is_some_and(|replica| replica.receiving && replica.applying);
                    let words = [
                        (view.serving, "serves"),
                        (follows, "follows"),
                        (view.eligible.is_some(), "eligible"),
                    ];
                    let words: Vec<&str> =
                        words.iter().filter(|(holds, _)| *holds).map(|(_, word)| *word).collect();
                    let (role, mode, epoch) = (view.role, view.mode, view.epoch);
                    format!("= {role}, mode {mode}, epoch {epoch}, {}", words.join(", "))
                }
            };
            self.say(&name, text.trim_end_matches(", "));
        }
        let lost = |gtid: &&Gtid| {
            let serving = self.serving();
            !serving.iter().any(|host| self.hosts[*host].server.has(**gtid))
        };
        let (accepted, lost) = (self.accepted.len(), self.accepted.iter().filter(lost).count());
        let text = match (self.serving().is_empty(), lost) {
            (true, _) => format!("= {accepted} writes were accepted; nobody serves now"),
            (false, 0) => "= every accepted write is there".to_owned(),
            (false, lost) => format!("= {lost} accepted writes are LOST"),
        };
        self.say("CLIENTS", &text);
    }
}
