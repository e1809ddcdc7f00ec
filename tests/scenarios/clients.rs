//! What the clients of a story see and write, what replication brings over, and the pair as an operator sees it.

use super::World;
use apd::decision::action::Step;
use apd::decision::event::Event;
use apd::decision::gtid::Gtid;
use apd::decision::service::RunsOn;

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

    /// What the watch over the services says when something happened to one.
    pub fn tell_services(&mut self, host: usize) {
        self.look_at_services();
        for report in self.hosts[host].services.reports() {
            self.event_after(super::LATENCY, host, Event::Service(report));
        }
    }

    /// A step of theirs ended; it may have been the server's.
    pub(super) fn tell_services_after(&mut self, host: usize, step: &Step) {
        if matches!(step, Step::Units(_)) {
            self.tell_services(host);
            self.tell_server(host);
        }
    }

    /// The regular look at the services; whether the API could answer.
    pub(super) fn probe_services(&mut self, host: usize) -> bool {
        for report in self.hosts[host].services.reports() {
            self.deliver(host, Event::Service(report));
        }
        let host = &self.hosts[host];
        let managed = host.settings.services.iter().any(|service| service.name == "api");
        host.api && (!managed || host.services.runs("api"))
    }

    /// Which services run where; one that runs on the active alone never runs twice.
    pub(super) fn look_at_services(&mut self) {
        let runs = |host: &super::Host| match host.services.running().as_slice() {
            [] => format!("nothing on {}", host.name),
            names => format!("{} on {}", names.join(" and "), host.name),
        };
        let text = self.hosts.iter().map(runs).collect::<Vec<_>>().join(", ");
        if text != self.running && self.hosts.iter().any(|host| !host.settings.services.is_empty()) {
            self.say("SERVICES", &text);
            self.running = text;
        }
        let twice = |name: &str| self.hosts.iter().all(|host| host.services.runs(name));
        let of_role = self.hosts[0].settings.services.iter().filter(|one| one.runs_on == RunsOn::Active);
        let both: Vec<String> = of_role.filter(|one| twice(&one.name)).map(|one| one.name.clone()).collect();
        if !both.is_empty() {
            self.say("SERVICES", &format!("BOTH RUN {}", both.join(", ")));
        }
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
