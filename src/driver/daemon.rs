//! The life of the daemon: everything is opened before anything runs, and a stop is a state, not an abort.

use super::alerts::AlertQueue;
use super::checks;
use super::effects::Effects;
use super::gate_client::GateClient;
use super::hooks::HookQueue;
use super::host::{Host, Reload};
use super::inputs::{Inputs, link_settings};
use super::lanes::Lanes;
use super::pair::Pair;
use super::record;
use super::recorder::Recorder;
use super::roles::RoleTeller;
use super::snapshot::Publisher;
use crate::config::Loaded;
use crate::config::checked::Config;
use crate::decision::event::{Event, Found, GateReport, GateState};
use crate::decision::node::Node;
use crate::decision::words::{Epoch, InstanceId};
use crate::io::control_socket::{ControlRequest, ControlServer, Inquiry};
use crate::io::gateway::GatewayProber;
use crate::io::journal::{Journal, JournalHandle};
use crate::io::mariadb::{Database, DatabaseSettings};
use crate::io::recording::Recording;
use crate::io::service::Services;
use crate::io::state_file::StateFile;
use crate::io::{clock, mode_file, notify, part_file, sys};
use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::watch;

/// Real-time priority of the pair thread: above ordinary work, below the kernel's own threads.
const PRIORITY: i32 = 20;
/// Commands that wait for the loop.
const COMMANDS: usize = 16;
/// Questions that wait for an answer beside the loop.
const INQUIRIES: usize = 16;
/// Tries for the lock of the host, 20 ms apart.
const LOCK_TRIES: u32 = 50;
/// How long the start waits for the gate process.
const GATE_START: Duration = Duration::from_secs(5);

/// What a run starts from besides the configuration.
#[derive(Clone, Debug)]
pub struct Started {
    /// The main configuration file, for the gate process.
    pub configuration: PathBuf,
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// When something that it cannot do without cannot be opened.
pub fn run(loaded: Loaded, started: Started) -> anyhow::Result<()> {
    let config = Arc::new(loaded.config.clone());
    let _lock = claim_host(&config)?;
    let instance = InstanceId(random()?);
    let work = Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(4)
        .thread_name("work")
        .enable_all()
        .build()
        .context("cannot start the work threads")?;
    let (events, inbox) = mpsc::unbounded_channel();
    let (commands, orders) = mpsc::channel::<ControlRequest>(COMMANDS);
    let (snapshots, shown) = watch::channel(Arc::new(Publisher::first(&config)));
    let (inquiries, asked) = mpsc::channel(INQUIRIES);
    let (reloads, reloaded) = mpsc::channel(1);
    let (configs, _) = watch::channel(config.clone());
    let journal = work.block_on(async { Journal::spawn(config.paths.journal()) });
    let states = shown.clone();
    let control = ControlServer {
        socket: config.paths.control_socket(),
        listen: Some(config.http.listen.into()),
        token: config.http.token.clone(),
        tls: config.http.tls.clone(),
        peer_url: config.http.peer_url.clone(),
        snapshots: shown,
        commands,
        inquiries: inquiries.clone(),
        journal: journal.clone(),
        clock: clock::now,
    }
    .start()?;
    let surroundings = Surroundings { configs: configs.clone(), inquiries, journal: journal.clone() };
    let (found, effects) = assemble(&config, instance, work.handle(), &events, surroundings)?;
    let alerts = {
        let _entered = work.enter();
        let alerts = part_of(&configs, |config| config.alerts.clone());
        AlertQueue::spawn(&config.cluster.name, &config.me.name, &alerts)
    };
    let host = Host {
        file: started.configuration.clone(),
        running: loaded.into(),
        reloads,
        configs,
        journal: journal.clone(),
        snapshots: states,
        database: effects.database.clone(),
        link: link_settings(&config, instance),
    };
    work.spawn(host.run(asked));
    let recorder = Recorder::new(journal, alerts);
    let recording = Recording::start(config.paths.recording());
    let publisher = Publisher::new(config.clone(), snapshots);
    let node = Node::new(config.decision_settings());
    let parts = Parts { config, instance, found, effects, recorder, recording, publisher, node };
    let pair = std::thread::Builder::new()
        .name("pair".into())
        .spawn(move || pair_thread(parts, started, inbox, orders, reloaded))
        .context("cannot start the pair thread")?;
    let ended = pair.join();
    notify::stopping("stopped");
    control.stop();
    work.shutdown_timeout(Duration::from_millis(500));
    match ended {
        Ok(result) => result,
        // The gate process goes on until the lease ends, then closes: nothing here may lengthen that.
        Err(_) => bail!("the pair thread panicked; the gate closes at the end of the lease"),
    }
}

/// One daemon a host and folder; the folders it needs.
fn claim_host(config: &Config) -> anyhow::Result<Flock<File>> {
    for folder in [&config.paths.state_dir, &config.paths.run_dir] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let path = config.paths.run_dir.join("apd.lock");
    let mut file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    // A forerunner that was just killed may not be gone yet.
    for _ in 0..LOCK_TRIES {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((again, _)) => file = again,
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("{}: another apd runs here; stop it first, or give this one another node.run_dir", path.display())
}

fn random() -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes)
        .map_err(|_| anyhow::anyhow!("the kernel gives no random numbers"))?;
    Ok(u64::from_ne_bytes(bytes).max(1))
}

/// What the pair thread is given.
struct Parts {
    config: Arc<Config>,
    instance: InstanceId,
    found: Found,
    effects: Effects,
    recorder: Recorder,
    recording: Recording,
    publisher: Publisher,
    node: Node,
}

/// What the work reaches besides the loop.
struct Surroundings {
    configs: watch::Sender<Arc<Config>>,
    inquiries: mpsc::Sender<Inquiry>,
    journal: JournalHandle,
}

/// Opens the files and starts the work: lanes, watch, checks.
fn assemble(
    config: &Arc<Config>,
    instance: InstanceId,
    work: &Handle,
    events: &UnboundedSender<Event>,
    surroundings: Surroundings,
) -> anyhow::Result<(Found, Effects)> {
    let Surroundings { configs, inquiries, journal } = surroundings;
    let (state, durable, problems) = StateFile::open(&config.paths.durable_facts())?;
    for problem in problems {
        tracing::error!(code = "state.damaged", "{problem}");
    }
    let mode = if durable.is_none() {
        mode_file::read_first(&config.paths.mode_file, Path::new(mode_file::FORERUNNER))
    } else {
        mode_file::read(&config.paths.mode_file)
    };
    if durable.is_none() && mode.problem.is_none() {
        mode_file::write(&config.paths.mode_file, mode.mode, &mode.actor, &mode.reason)?;
    }
    let started = part_file::read(&config.paths.run_dir);
    let found = Found { instance, durable, mode, gate: GateState::default(), started };
    let (mode_file, run_dir) = (config.paths.mode_file.clone(), config.paths.run_dir.clone());
    let record = record::spawn(state, mode_file, run_dir, events.clone())?;
    let (heartbeat, beats) = watch::channel(None);
    let (stream, wanted) = watch::channel(None);
    let (probe_gateway, asked) = mpsc::channel(1);
    let _entered = work.enter();
    let database = Arc::new(Database::connect(DatabaseSettings::from(config.as_ref())));
    let link = link_settings(config, instance);
    let services = Arc::new(Services::new(config));
    tokio::spawn(services.clone().watch(events.clone()));
    let lanes = Lanes::spawn(&database, services, link, events);
    watch_database(&configs, &database, beats, wanted, events);
    tokio::spawn(checks::run(configs.subscribe(), events.clone()));
    probe_gateways(configs.subscribe(), asked, events.clone())?;
    let effects = Effects {
        lanes,
        record,
        events: events.clone(),
        probe_gateway,
        heartbeat,
        stream,
        database,
        work: work.clone(),
        roles: RoleTeller::new(HookQueue::spawn(
            part_of(&configs, |config| config.hooks.clone()),
            config.paths.clone(),
            journal.clone(),
        )),
        journal,
        inquiries,
        answers: Default::default(),
        modes: Default::default(),
    };
    Ok((found, effects))
}

/// A heartbeat row is a proof of life only if it comes more often than the takeover wait is long.
fn heartbeat_rows_every(config: &Config) -> Duration {
    (config.lease.duration / 2).clamp(Duration::from_millis(40), Duration::from_secs(1))
}

/// A part of the configuration, and each reload that changes it.
fn part_of<T: PartialEq + Send + Sync + 'static>(
    configs: &watch::Sender<Arc<Config>>,
    part: fn(&Config) -> T,
) -> watch::Receiver<T> {
    let mut current = configs.subscribe();
    let (sender, receiver) = watch::channel(part(&current.borrow_and_update()));
    tokio::spawn(async move {
        while current.changed().await.is_ok() {
            let mut fresh = part(&current.borrow_and_update());
            sender.send_if_modified(|kept| {
                std::mem::swap(kept, &mut fresh);
                *kept != fresh
            });
        }
    });
    receiver
}

fn watch_database(
    configs: &watch::Sender<Arc<Config>>,
    database: &Arc<Database>,
    beats: watch::Receiver<Option<Epoch>>,
    wanted: watch::Receiver<Option<Epoch>>,
    events: &UnboundedSender<Event>,
) {
    let timings = part_of(configs, |config| config.mariadb_check);
    let (reports, mut reported) = mpsc::channel(16);
    let every = heartbeat_rows_every(&configs.borrow());
    tokio::spawn(database.clone().watch(timings, reports, beats, every));
    let sink = events.clone();
    tokio::spawn(async move {
        while let Some(report) = reported.recv().await {
            if sink.send(Event::Database(report)).is_err() {
                return;
            }
        }
    });
    let (signal, mut alive) = mpsc::channel(4);
    let watcher = database.clone();
    tokio::spawn(async move { watcher.stream_alive(wanted, signal).await });
    let sink = events.clone();
    tokio::spawn(async move {
        while alive.recv().await.is_some() {
            if sink.send(Event::StreamAlive).is_err() {
                return;
            }
        }
    });
}

/// Probes the gateway targets on a real-time thread of its own: an active that is cut off from its peer must
/// know within its lease whether they answer.
fn probe_gateways(
    mut configs: watch::Receiver<Arc<Config>>,
    mut asked: mpsc::Receiver<()>,
    events: UnboundedSender<Event>,
) -> anyhow::Result<()> {
    let run = move || -> anyhow::Result<()> {
        if configs.borrow().lease.realtime {
            sys::make_realtime(PRIORITY);
        }
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async move {
            let mut prober = None;
            loop {
                let config = configs.borrow_and_update().clone();
                if !config.gateway.targets.is_empty() {
                    let (answered, of) = probe_gateway(&config, &mut prober).await;
                    if events.send(Event::Gateway { answered, asked: of }).is_err() {
                        return Ok(());
                    }
                }
                tokio::select! {
                    () = tokio::time::sleep(config.gateway_check.interval) => {}
                    more = asked.recv() => if more.is_none() { return Ok(()) },
                    // Other targets, or another way to ask them.
                    Ok(()) = configs.changed() => prober = None,
                }
            }
        })
    };
    std::thread::Builder::new()
        .name("gateway".into())
        .spawn(run)
        .context("cannot start the gateway probe")?;
    Ok(())
}

/// One round: how many answered, of how many.
async fn probe_gateway(config: &Config, prober: &mut Option<GatewayProber>) -> (u32, u32) {
    let gateway = &config.gateway;
    // A silent target must be known before a lease runs out on its word.
    let limit = config.gateway_check.timeout.min(config.lease.duration / 2);
    if prober.is_none() {
        let (interface, source) = (&config.me.interface, config.me.address);
        let opened = GatewayProber::open(interface, source, &gateway.targets, gateway.need, gateway.method);
        *prober = opened.ok();
    }
    match prober {
        Some(prober) => {
            let result = prober.probe(limit).await;
            (result.answered, result.asked)
        }
        None => (0, u32::try_from(gateway.targets.len()).unwrap_or(u32::MAX)),
    }
}

/// The pair thread from its begin to its end.
fn pair_thread(
    mut parts: Parts,
    started: Started,
    inbox: mpsc::UnboundedReceiver<Event>,
    orders: mpsc::Receiver<ControlRequest>,
    reloads: mpsc::Receiver<Reload>,
) -> anyhow::Result<()> {
    let config = parts.config.clone();
    if config.lease.realtime {
        if let Err(error) = sys::lock_memory() {
            tracing::warn!(code = "memory.unlocked", "memory is not locked: {error} (CAP_IPC_LOCK)");
        }
        match sys::make_realtime(PRIORITY) {
            sys::Scheduling::RoundRobin(_) => {}
            other => {
                tracing::warn!(code = "realtime.refused", "no real-time priority: {other:?} (CAP_SYS_NICE)")
            }
        }
    }
    let runtime =
        Builder::new_current_thread().enable_all().build().context("cannot start the pair runtime")?;
    runtime.block_on(async move {
        let starts_process = std::env::var_os("INVOCATION_ID").is_none();
        let socket = config.paths.gate_socket();
        let mut gate = GateClient::new(socket, started.configuration, config.lease.duration, starts_process);
        let first = tokio::time::timeout(GATE_START, gate.next()).await.unwrap_or_default();
        let mut connected = false;
        for event in first {
            if let Event::Gate(GateReport::Connected(state)) = event {
                parts.found.gate = state;
                connected = true;
            }
        }
        if !connected {
            bail!("the gate process does not answer on {}", config.paths.gate_socket().display());
        }
        let inputs = Inputs::open(&config, parts.instance, gate, inbox, orders, reloads)?;
        notify::ready("started");
        let Parts { found, node, effects, recorder, recording, publisher, .. } = parts;
        let pair = Pair::new(config, node, inputs, effects, recorder, recording, publisher);
        pair.run(Event::Started(found)).await
    })
}
