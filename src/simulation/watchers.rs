//! What reports to a daemon: the database probe, checks, gateway targets, the search for life, and replication.

use super::bugs::{self, Bug};
use super::database::{Content, Frozen, Health};
use super::plan::Protocol;
use super::semisync::{DrawnSemiSync, Whose};
use super::world::{Happening, MS, World};
use crate::decision::event::{CheckReport, Event, ModeReading};
use crate::decision::words::NodeId;
use std::time::Duration;

impl World {
    pub fn probe(&mut self, host: usize, run: u64) {
        if !self.running(host, run) {
            return;
        }
        let limit = self.configuration.probe.min(500 * MS);
        let (delay, reachable) = match self.hosts[host].server.health {
            Health::Up | Health::Hung if self.hosts[host].connection_hangs > 0 => (limit, false),
            Health::Up => (self.random.micros(200, 4_000), true),
            Health::Hung => (limit, false),
            Health::Dead => (self.random.micros(50, 500), false),
        };
        self.at(delay, Happening::ProbeAnswer { host, run, reachable });
        self.at(delay + self.configuration.probe, Happening::Probe { host, run });
    }

    pub fn probe_answer(&mut self, host: usize, run: u64, reachable: bool) {
        if !self.running(host, run) {
            return;
        }
        let server = &self.hosts[host].server;
        let dead = server.health == Health::Dead;
        let fresh = (reachable && !dead).then(|| server.report());
        let Some(daemon) = &mut self.hosts[host].daemon else { return };
        let report = match fresh {
            Some(report) => {
                daemon.last_report = report.clone();
                report
            }
            None => {
                let mut report = daemon.last_report.clone();
                (report.reachable, report.dead) = (false, dead);
                report.detail = if dead { "the server has died".into() } else { "no answer".into() };
                report.writable &= !dead;
                if let Some(replica) = report.replica.as_mut().filter(|_| dead) {
                    (replica.receiving, replica.connecting, replica.applying) = (false, false, false);
                }
                report
            }
        };
        self.deliver(host, run, Event::Database(report));
    }

    pub fn server_dies(&mut self, host: usize) {
        self.leaves_relay(host);
        self.hosts[host].server.die();
        let (run, delay) = (self.hosts[host].run, self.random.micros(500, 10_000));
        self.at(delay, Happening::ProbeAnswer { host, run, reachable: false });
    }

    pub fn server_start(&mut self, host: usize) {
        if !self.hosts[host].powered || self.hosts[host].server.health != Health::Dead {
            return;
        }
        self.server_recovers(host);
        if self.bug == Some(Bug::StaticRole) {
            bugs::cut_tail(&mut self.hosts[host].server);
        }
        self.trace(|| format!("db{} server starts", host + 1));
        let (run, delay) = (self.hosts[host].run, self.random.micros(1_000, 50_000));
        self.at(delay, Happening::ProbeAnswer { host, run, reachable: true });
    }

    /// inotify speaks of every change, one's own too.
    pub fn mode_file_changes(&mut self, host: usize) {
        let run = self.hosts[host].run;
        self.at(MS, Happening::ModeFile { host, run });
    }

    /// As `src/driver/pair.rs`: the file is read when its turn comes, and not while the daemon itself writes it.
    pub fn read_mode_file(&mut self, host: usize, run: u64) {
        if !self.running(host, run) || self.writing_mode(host) {
            return;
        }
        let state = &mut self.hosts[host];
        if let Some(daemon) = state.daemon.as_mut().filter(|daemon| daemon.paused) {
            daemon.mode_file_changed = true;
            return;
        }
        let reading = ModeReading {
            mode: state.mode,
            problem: state.garbage.clone(),
            interrupted: false,
            actor: "a hand".into(),
            reason: String::new(),
        };
        self.deliver(host, run, Event::ModeFile(reading));
    }

    pub fn check(&mut self, host: usize, run: u64) {
        if !self.running(host, run) {
            return;
        }
        let report = CheckReport {
            name: "api".into(),
            passed: self.hosts[host].api,
            certain: false,
            detail: "status".into(),
            took: Duration::from_millis(1),
        };
        self.deliver(host, run, Event::Check(report));
        self.report_service(host, 0);
        self.at(self.configuration.check, Happening::Checks { host, run });
    }

    pub fn gateway(&mut self, host: usize, run: u64, regular: bool) {
        if !self.running(host, run) {
            return;
        }
        let answered = self.gateway_answers(host);
        let delay = if answered {
            self.random.micros(200, 3_000)
        } else {
            Self::nanos(self.hosts[host].settings.lease) / 2
        };
        let event = Event::Gateway { answered: u32::from(answered), asked: 1 };
        self.tell(delay, host, run, event);
        if regular {
            self.at(delay + self.configuration.check, Happening::Gateway { host, run, regular });
        }
    }

    /// The targets lie beyond the host's own port.
    fn gateway_answers(&mut self, host: usize) -> bool {
        let open = self.network.link(host, Protocol::Gateway).cut == 0 && self.network.gateway_down == 0;
        self.awake(host) && self.network.attached(host) && open && !self.lost(host, Protocol::Gateway)
    }

    pub fn heartbeat_row(&mut self, host: usize, run: u64) {
        if !self.running(host, run) {
            return;
        }
        let every = (Self::nanos(self.hosts[host].settings.lease) / 2).clamp(40 * MS, 1_000 * MS);
        self.at(every, Happening::Row { host, run });
        let Some(daemon) = &self.hosts[host].daemon else { return };
        let Some(epoch) = daemon.rows_of.filter(|_| !daemon.quiet && !daemon.paused) else { return };
        let hangs = self.hosts[host].connection_hangs > 0;
        let server = &mut self.hosts[host].server;
        // One connection: the next row waits for the one before.
        if server.up() && server.frozen != Frozen::Stage && !hangs && !server.semi_sync.has(Whose::Row) {
            self.commit(host, Content::Heartbeat(epoch), Whose::Row);
        }
    }

    pub fn look_for_life(&mut self, host: usize, run: u64) {
        if !self.running(host, run) {
            return;
        }
        let Some((epoch, before, had)) = self.hosts[host].daemon.as_ref().and_then(|daemon| daemon.life)
        else {
            return;
        };
        self.at(8 * MS, Happening::Life { host, run });
        if self.answers_arp(host) {
            let event = Event::AddressClaimed { by: "02:00:00:00:00:01".into() };
            let delay = self.random.micros(100, 2_000);
            self.tell(delay, host, run, event);
        }
        let (of, count) = self.hosts[host].server.beats;
        // Rows that merely waited in the relay log when the look began prove nothing.
        let waited = self.hosts[host].server.lacks(had);
        let counts = of == epoch && epoch.node == NodeId(2 - host as u8) && count > before;
        if counts && let Some(daemon) = &mut self.hosts[host].daemon {
            daemon.life = Some((epoch, count, had));
        }
        if counts && !waited {
            self.deliver(host, run, Event::StreamAlive);
        }
    }

    /// A server has something new for its replica.
    pub fn committed(&mut self, host: usize) {
        let to = 1 - host;
        if self.hosts[to].server.replica.is_some() && !self.replicating[to] {
            self.replicating[to] = true;
            let drawn = self.configuration.semi_sync;
            let longest = drawn.map_or(DrawnSemiSync::quick_relay(), |drawn| drawn.relay_ms);
            let delay = self.random.micros(200, 1_000 * longest);
            self.at(delay, Happening::Replicate { to });
        }
    }

    /// Replication passes: the primary of `host`.
    pub fn primary_reached(&self, host: usize) -> bool {
        let cut = self.hosts[0].gate.cut || self.hosts[1].gate.cut;
        self.reaches_server(host) && !cut && self.hosts[host].server.up()
    }

    /// Receives and applies what there is.
    pub fn replicate(&mut self, to: usize) {
        self.replicating[to] = false;
        if self.primary_reached(to) {
            let [first, second] = &mut self.hosts;
            let (here, there) = if to == 0 { (first, second) } else { (second, first) };
            if here.server.replica.as_ref().is_some_and(|replica| replica.receiving && replica.connected) {
                here.server.receive(&there.server);
                self.send_receipt(1 - to);
            }
        }
        // A drain that lies shows only where something waits.
        let lags = self.hosts[to].slow_apply > 0 || self.bug == Some(Bug::DrainLies);
        if self.hosts[to].server.up() && !lags {
            let now = self.now;
            self.hosts[to].server.apply(usize::MAX, now);
        }
    }

    /// What does not come with a commit: connecting, noticing a dead primary, a slow applier's progress.
    pub fn replica_tick(&mut self, host: usize) {
        self.at(100 * MS, Happening::ReplicaTick { host });
        if self.bug == Some(Bug::Preempts) && host == 1 {
            self.preempts();
        }
        if !self.hosts[host].server.up() {
            return;
        }
        self.semi_sync_tick(host);
        let reached = self.primary_reached(host);
        let refused = self.round_trip(Protocol::Sql) && self.hosts[1 - host].server.health == Health::Dead;
        let now = self.now;
        let [first, second] = &mut self.hosts;
        let (here, there) = if host == 0 { (first, second) } else { (second, first) };
        if reached {
            here.server.receive(&there.server);
        } else if let Some(replica) = here.server.replica.as_mut().filter(|replica| replica.connected) {
            let since = *replica.lost_at.get_or_insert(now);
            replica.connected = !(refused || now > since + 3_000 * MS);
        }
        here.server.apply(if here.slow_apply > 0 { 1 } else { usize::MAX }, now);
        if reached {
            self.send_receipt(1 - host);
        }
    }
}
