//! Stories: text files of commands and of exactly what follows from them, with two real decisions in a small
//! scripted world. They are documentation that cannot grow stale.
//!
//! A line `> command` is done; the lines below it are what two nodes, their kernels and their clients then did.
//! After a change of the decision read what became of each story before you believe it, then record it anew with
//! `APD_RECORD=1 cargo test --test scenarios`.

#![allow(clippy::unwrap_used, reason = "a story that cannot be told fails")]

#[path = "scenarios/host.rs"]
mod host;
#[path = "scenarios/recorder.rs"]
mod recorder;
#[path = "scenarios/rows.rs"]
mod rows;
#[path = "scenarios/server.rs"]
mod server;
#[path = "scenarios/services.rs"]
mod services;
#[path = "support/settings.rs"]
mod settings;
#[path = "scenarios/world.rs"]
mod world;

use apd::decision::action::CommandId;
use apd::decision::event::{Command, Event, ModeReading};
use apd::decision::service::{Boot, MaintenanceServices};
use apd::decision::settings::{OnStop, Settings};
use apd::decision::table::RowNumber;
use apd::decision::words::Protection;
use host::Trouble;
use server::Life;
use settings::settings;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use world::World;

/// One story while it is told.
struct Teller {
    settings: [Settings; 2],
    world: Option<World>,
}

impl Teller {
    fn new() -> Self {
        Self { settings: [settings(1), settings(2)], world: None }
    }

    /// Does what a line says; its lines of the story.
    fn tell(&mut self, line: &str) -> Vec<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["set", "service", name, "on", role] = words.as_slice() {
            assert!(self.world.is_none(), "`{line}` comes before everything else");
            for settings in &mut self.settings {
                settings.services.push(services::configured(name, role));
                if *name == "mariadb" {
                    settings.database_service = Some((*name).to_owned());
                }
            }
            return Vec::new();
        }
        if let ["set", key, value] = words.as_slice() {
            assert!(self.world.is_none(), "`{line}` comes before everything else");
            for settings in &mut self.settings {
                configure(settings, key, value);
            }
            return Vec::new();
        }
        let settings = self.settings.clone();
        let world = self.world.get_or_insert_with(|| World::new(settings));
        obey(world, &words).unwrap_or_else(|| panic!("no command: `{line}`"));
        world.take_story()
    }
}

fn configure(settings: &mut Settings, key: &str, value: &str) {
    match (key, value) {
        ("rejoin", "auto") => settings.rejoin_auto = true,
        ("check", "active") => settings.checks[0].on_standby = false,
        ("boot", "manual") => settings.boot = Boot::Manual,
        ("maintenance_services", "stop") => settings.maintenance_services = MaintenanceServices::Stop,
        ("on_stop", "keep") => settings.on_stop = OnStop::Keep,
        ("on_stop", "fence") => settings.on_stop = OnStop::Fence,
        ("protection", "vrrp") => settings.protection = Protection::Vrrp,
        ("failover_hold", time) => settings.failover_hold = duration(time),
        ("max_failovers_per_hour", count) => settings.max_failovers_per_hour = count.parse().unwrap(),
        _ => panic!("no setting: {key} {value}"),
    }
}

/// Which host a word names.
fn host(word: &str) -> usize {
    match word {
        "db1" => 0,
        "db2" => 1,
        _ => panic!("no host: {word}"),
    }
}

fn duration(word: &str) -> Duration {
    let (digits, unit) = word.split_at(word.find(|char: char| !char.is_ascii_digit()).unwrap());
    let number: u64 = digits.parse().unwrap();
    match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        _ => panic!("no duration: {word}"),
    }
}

/// What happens to the hosts and between them.
fn obey(world: &mut World, words: &[&str]) -> Option<()> {
    match words {
        ["pair", "of", "epoch", "1"] => world.remember_first_epoch(),
        ["run", time] => world.run(duration(time)),
        ["status"] => world.status(),
        ["power", "on", hosts @ ..] => hosts.iter().for_each(|one| world.power_on(host(one))),
        ["power", "off", hosts @ ..] => hosts.iter().for_each(|one| world.power_off(host(one))),
        ["interface", state, one] => {
            world.hosts[host(one)].interface = *state == "up";
            world.tell_link(host(one));
            world.connect();
        }
        ["switch", "drops", one] => {
            world.hosts[host(one)].reached = false;
            world.look();
        }
        ["switch", "forwards", one] => {
            world.hosts[host(one)].reached = true;
            world.look();
            world.connect();
        }
        ["cut", "control"] => world.control_path = false,
        ["cut", "link"] => world.link_path = false,
        ["cut", "everything"] => world.data_path = false,
        ["heal"] => {
            (world.control_path, world.link_path, world.data_path) = (true, true, true);
            world.connect();
        }
        ["api", state, one] => world.hosts[host(one)].api = *state == "up",
        ["writes", count, "unsent"] => world.write_unsent(count.parse().ok()?),
        ["step", name, "fails", "on", one] => {
            world.hosts[host(one)].troubles.insert((*name).to_owned(), Trouble::Fails);
        }
        ["step", name, "takes", time, "on", one] => {
            world.hosts[host(one)].troubles.insert((*name).to_owned(), Trouble::Takes(duration(time)));
        }
        ["server", act, one] => obey_server(world, act, host(one))?,
        ["daemon", "was", "away", time, "on", one] => {
            world.deliver(host(one), Event::Resumed { gap: duration(time) });
        }
        ["service", name, "dies", "on", one] => {
            world.hosts[host(one)].services.named(name).runs = false;
            world.tell_services(host(one));
        }
        ["service", name, "breaks", "on", one] => world.hosts[host(one)].services.named(name).broken = true,
        ["service", name, "is", "repaired", "on", one] => {
            world.hosts[host(one)].services.named(name).broken = false;
        }
        ["service", name, "stops", "in", time, "on", one] => {
            world.hosts[host(one)].services.named(name).stops_in = duration(time);
        }
        ["daemon", act, one] => obey_daemon(world, act, host(one))?,
        [one @ ("db1" | "db2"), verb @ ..] => {
            let command = command(verb)?;
            let event = Event::Command { id: CommandId(1), command, actor: "operator root".into() };
            world.deliver(host(one), event);
        }
        ["hand", "writes", word, "on", one] => hand_writes(world, word, host(one)),
        _ => return None,
    }
    Some(())
}

fn obey_server(world: &mut World, act: &str, host: usize) -> Option<()> {
    let server = &mut world.hosts[host].server;
    match act {
        "dies" => server.life = Life::Dead,
        "hangs" => server.life = Life::Hung,
        "answers" => server.life = Life::Well,
        "starts" => server.start(),
        _ => return None,
    }
    world.tell_server(host);
    Some(())
}

fn obey_daemon(world: &mut World, act: &str, host: usize) -> Option<()> {
    match act {
        "stops" => world.deliver(host, Event::Stop),
        "restarts" => world.deliver(host, Event::Restart),
        "reloads" => {
            let mut settings = world.hosts[host].settings.clone();
            settings.checks[0].hysteresis.fall = 5;
            settings.lease *= 2;
            settings.config_hash += 1;
            world.deliver(host, Event::Reload(Box::new(settings)));
        }
        "dies" => world.kill_daemon(host),
        "starts" => world.start_daemon(host),
        _ => return None,
    }
    Some(())
}

/// Someone edits the mode file.
fn hand_writes(world: &mut World, word: &str, host: usize) {
    let reading = match word.parse() {
        Ok(mode) => ModeReading {
            mode,
            problem: None,
            interrupted: false,
            actor: "a hand".into(),
            reason: "edited".into(),
        },
        Err(_) => ModeReading {
            mode: apd::decision::words::Mode::Maintenance,
            problem: Some(format!("the mode file says `{word}`, which is no mode")),
            interrupted: false,
            actor: "a hand".into(),
            reason: "edited".into(),
        },
    };
    world.hosts[host].mode = reading.clone();
    world.deliver(host, Event::ModeFile(reading));
}

/// What an operator types after `apctl`.
fn command(words: &[&str]) -> Option<Command> {
    let has = |flag: &str| words.contains(&flag);
    let reason = "asked for".to_owned();
    Some(match words {
        ["mode", word, ..] => Command::SetMode {
            mode: word.parse().ok()?,
            reason,
            peer_is_off: has("--peer-is-off"),
            nag_after: None,
        },
        ["switchover", ..] => {
            Command::Switchover { reason, timeout: Duration::from_secs(30), dry_run: has("--dry-run") }
        }
        ["failover", ..] => Command::Failover {
            reason,
            force: has("--force"),
            accept_data_loss: has("--accept-data-loss"),
            peer_is_off: has("--peer-is-off"),
        },
        ["rejoin", ..] => Command::Rejoin { reason, dry_run: has("--dry-run") },
        ["clear"] => Command::Clear,
        ["start", ..] => Command::Start { reason, dry_run: has("--dry-run") },
        ["stop", ..] => Command::Stop { reason, dry_run: has("--dry-run") },
        _ => return None,
    })
}

/// A story as it is told now, and the rows of the transition table that it went through.
fn told(written: &str) -> (String, BTreeSet<RowNumber>) {
    let mut teller = Teller::new();
    let mut story = String::new();
    let keeps = |line: &&str| line.is_empty() || line.starts_with('#') || line.starts_with('>');
    for line in written.lines().filter(keeps) {
        story.push_str(line);
        story.push('\n');
        if let Some(command) = line.strip_prefix('>') {
            for line in teller.tell(command.trim()) {
                story.push_str(&line);
                story.push('\n');
            }
        }
    }
    let hosts = teller.world.iter().flat_map(|world| &world.hosts);
    (story, hosts.flat_map(|host| host.rows.clone()).collect())
}

/// The files of the stories.
fn stories() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    assert!(paths.len() >= 15, "the stories are gone");
    paths
}

/// The first line that differs, with what surrounds it.
fn difference(path: &Path, written: &str, told: &str) -> Option<String> {
    let (written, told): (Vec<&str>, Vec<&str>) = (written.lines().collect(), told.lines().collect());
    let first = (0..written.len().max(told.len())).find(|line| written.get(*line) != told.get(*line))?;
    let around = |lines: &[&str]| {
        lines.iter().skip(first.saturating_sub(3)).take(8).copied().collect::<Vec<_>>().join("\n    ")
    };
    Some(format!(
        "{}:{}\n  written:\n    {}\n  told now:\n    {}",
        path.display(),
        first + 1,
        around(&written),
        around(&told)
    ))
}

#[test]
fn every_story_goes_as_it_is_written() {
    let record = std::env::var_os("APD_RECORD").is_some();
    let mut differences = Vec::new();
    for path in stories() {
        let written = fs::read_to_string(&path).unwrap();
        let (told, _) = told(&written);
        // A story in which both may serve says so, and why nothing at this level prevents it.
        let expected = written.contains("# expected: BOTH SERVE");
        let both = told.contains("BOTH SERVE");
        assert_eq!(both, expected, "{}: both nodes take writes:\n{told}", path.display());
        if record {
            fs::write(&path, &told).unwrap();
        } else {
            differences.extend(difference(&path, &written, &told));
        }
    }
    assert!(differences.is_empty(), "{}\n\nif this is meant: APD_RECORD=1", differences.join("\n\n"));
}
