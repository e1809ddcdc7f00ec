//! Services without systemd: containers over the engine's socket, commands as real processes, and what
//! `apctl local-service` makes of both. Units are tested on machines with a real systemd (lab_units.rs).
//! The names of the tests begin with the rows of the requirements that they prove.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage fails")]
#![allow(dead_code, reason = "the host of the configuration's tests can do more")]

#[path = "services/engine.rs"]
mod engine;
#[path = "config/host.rs"]
mod host;
#[path = "services/real.rs"]
mod real;
#[path = "support/tools.rs"]
mod tools;

use apd::decision::action::{StepOutput, StepResult};
use apd::decision::event::Event;
use apd::decision::service::{ServiceReport, ServiceState};
use apd::io::service::{Services, step_of};
use engine::{Container, Engine, Temper};
use host::{Host, shortest};
use real::{Product, RealEngine};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

const DONE: StepResult = StepResult::Ok(StepOutput::Done);

/// The services of a configuration with these tables, at the engine of the test.
fn services(text: &str, engine: Option<&Engine>) -> Services {
    let config = Host::new().main(&format!("{}\n{text}", shortest())).config();
    let services = Services::new(&config);
    match engine {
        Some(engine) => services.at_engine(engine.socket.clone()),
        None => services,
    }
}

fn container(name: &str, stop_timeout: &str) -> String {
    format!("[[service]]\nname = \"{name}\"\ncontainer = \"{name}\"\nstop_timeout = \"{stop_timeout}\"\n")
}

async fn perform(services: &Services, act: &str) -> StepResult {
    let (verb, name) = act.split_once(':').unwrap();
    services.perform(&step_of(verb, name).unwrap(), Instant::now() + Duration::from_secs(5)).await
}

fn failed(result: StepResult) -> String {
    let StepResult::Failed(text) = result else { panic!("{result:?} is no failure") };
    text
}

/// The whole table of what the engine may say to start, stop, kill and inspect.
#[tokio::test]
async fn r0_26_containers_are_started_stopped_killed_and_inspected() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::listen(folder.path());
    let names = ["shop", "broken", "short", "absent"];
    let text: String = names.iter().map(|name| container(name, "1s")).collect();
    let services = services(&text, Some(&engine));
    engine.add("shop", "created", Temper::Good);
    engine.add("broken", "exited", Temper::Broken);
    engine.add("short", "created", Temper::Short);
    for (act, state) in [
        ("start:shop", ServiceState::Running),
        ("start:shop", ServiceState::Running),
        ("stop:shop", ServiceState::Stopped),
        ("stop:shop", ServiceState::Stopped),
        ("kill:shop", ServiceState::Stopped),
        ("start:shop", ServiceState::Running),
        ("kill:shop", ServiceState::Stopped),
    ] {
        assert_eq!(perform(&services, act).await, DONE, "{act}");
        assert_eq!(services.state("shop").await.state, state, "{act}");
    }
    assert_eq!(services.state("shop").await.detail, "exited with 137");
    let text = failed(perform(&services, "start:broken").await);
    assert!(text.contains("driver failed programming"), "the engine's own words: {text}");
    let text = failed(perform(&services, "start:short").await);
    assert!(text.contains("failed after its start: exited with 1"), "{text}");
    assert_eq!(services.state("short").await.state, ServiceState::Failed);
    let text = failed(perform(&services, "start:absent").await);
    assert!(text.contains("No such container: absent"), "{text}");
    assert_eq!(perform(&services, "stop:absent").await, DONE, "what does not exist does not run");
    let absent = services.state("absent").await;
    assert_eq!(absent.state, ServiceState::Unknown);
    assert!(absent.detail.contains("No such container"), "{absent:?}");
    for (status, state) in [
        ("restarting", ServiceState::Starting),
        ("removing", ServiceState::Stopping),
        ("paused", ServiceState::Failed),
        ("dead", ServiceState::Failed),
    ] {
        engine.add("shop", status, Temper::Good);
        assert_eq!(services.state("shop").await.state, state, "{status}");
    }
    assert!(engine.asked().contains(&"POST /containers/shop/stop?t=1".to_owned()), "{:?}", engine.asked());
}

/// It is asked to stop, and is killed when its time is over; the stop is done only then.
#[tokio::test]
async fn r0_10_r0_26_a_container_that_does_not_stop_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::listen(folder.path());
    let services = services(&container("shop", "300ms"), Some(&engine));
    engine.add("shop", "running", Temper::Stubborn);
    let began = Instant::now();
    assert_eq!(perform(&services, "stop:shop").await, DONE);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(300), "{took:?}");
    assert_eq!(engine.status("shop"), "exited");
    assert!(engine.asked().iter().any(|asked| asked == "POST /containers/shop/kill?signal=SIGKILL"));
}

/// Nobody listens at the socket: the reason names it, and nothing hangs.
#[tokio::test]
async fn r0_26_an_engine_that_is_gone_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let services = services(&container("shop", "1s"), None).at_engine(folder.path().join("none.sock"));
    for act in ["start:shop", "stop:shop", "kill:shop"] {
        let text = failed(perform(&services, act).await);
        assert!(text.contains("none.sock"), "{text}");
    }
    assert_eq!(services.state("shop").await.state, ServiceState::Unknown);
}

/// What is seen so soon was not found by the regular look, which comes each second.
const LONG_BEFORE_THE_NEXT_LOOK: Duration = Duration::from_millis(500);

/// A slow machine may need as many until one is seen so soon; the look alone would see none.
const TRIES: u32 = 20;

/// A container that dies by itself is told at once, and the same is told again each second.
#[tokio::test(flavor = "multi_thread")]
async fn r0_12_r0_26_the_end_of_a_container_is_seen_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::listen(folder.path());
    let services = Arc::new(services(&container("shop", "1s"), Some(&engine)));
    engine.add("shop", "running", Temper::Good);
    let (events, mut reports) = tokio::sync::mpsc::unbounded_channel::<Event>();
    let watch = tokio::spawn(services.watch(events));
    let mut next = async || -> ServiceReport {
        let event = timeout(Duration::from_secs(10), reports.recv()).await.unwrap().unwrap();
        let Event::Service(report) = event else { panic!("{event:?}") };
        report
    };
    assert_eq!(next().await.state, ServiceState::Running);
    let mut quick = false;
    for _ in 0..TRIES {
        // Right after a look, so that the next regular one is most of a second away.
        while next().await.state != ServiceState::Running {}
        let began = Instant::now();
        engine.set("shop", Container { status: "exited", exit_code: 1, temper: Temper::Good });
        while next().await.state != ServiceState::Failed {}
        quick = quick || began.elapsed() < LONG_BEFORE_THE_NEXT_LOOK;
        engine.add("shop", "running", Temper::Good);
        if quick {
            break;
        }
    }
    assert!(quick, "only the look of each second sees it");
    drop(reports);
    timeout(Duration::from_secs(10), watch).await.expect("the watch ends when nobody listens").unwrap();
}

/// Ends when it is told to, and with 7 when it is hurt.
const MILD: &str = "trap 'exit 0' TERM; trap 'exit 7' USR1; while :; do sleep 0.05; done";
const STUBBORN: &str = "trap '' TERM; while :; do sleep 0.05; done";

/// The state of a service once it is that, at most ten seconds from now.
async fn becomes(services: &Services, name: &str, state: ServiceState) -> ServiceReport {
    let begun = Instant::now();
    loop {
        let report = services.state(name).await;
        if report.state == state {
            return report;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{name} is no {state:?}: {report:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What apd asks of an engine does what it should at a real one, by the engine's own account.
async fn is_served_by(product: Product) {
    let engine = RealEngine::start(product);
    let text: String = ["mild", "stubborn", "short", "absent"].map(|name| container(name, "1s")).concat();
    let config = Host::new().main(&format!("{}\n{text}", shortest())).config();
    let services = Arc::new(Services::new(&config).at_engine(engine.socket.clone()));
    for (name, script) in [("mild", MILD), ("stubborn", STUBBORN), ("short", "exit 3")] {
        engine.create(name, script);
        assert_eq!(services.state(name).await.state, ServiceState::Stopped, "{product:?}: {name}");
    }
    // Each act twice, and each on a container that is there already: none of that is an error.
    for (act, runs) in [
        ("kill:mild", false),
        ("stop:mild", false),
        ("start:mild", true),
        ("start:mild", true),
        ("stop:mild", false),
        ("stop:mild", false),
        ("kill:mild", false),
        ("start:mild", true),
        ("kill:mild", false),
        ("start:stubborn", true),
    ] {
        assert_eq!(perform(&services, act).await, DONE, "{product:?}: {act}");
        let (_, name) = act.split_once(':').unwrap();
        let state = if runs { ServiceState::Running } else { ServiceState::Stopped };
        assert_eq!(services.state(name).await.state, state, "{product:?}: {act}");
        assert_eq!(engine.state(name)["Running"], runs, "{product:?}: {act}");
    }
    let began = Instant::now();
    assert_eq!(perform(&services, "stop:stubborn").await, DONE, "{product:?}");
    assert!(began.elapsed() >= Duration::from_millis(900), "{product:?}: it was not waited for");
    assert_eq!(engine.state("stubborn")["ExitCode"], 137, "{product:?}");
    // It may have ended when the start looks, or only later.
    let _seen = perform(&services, "start:short").await;
    let short = becomes(&services, "short", ServiceState::Failed).await;
    // podman says `stopped` until it has tidied up.
    assert!(short.detail.ends_with(" with 3"), "{product:?}: {short:?}");
    let text = failed(perform(&services, "start:absent").await);
    assert!(text.to_lowercase().contains("no such container"), "{product:?}: {text}");
    assert_eq!(
        perform(&services, "stop:absent").await,
        DONE,
        "{product:?}: what does not exist does not run"
    );
    assert_eq!(services.state("absent").await.state, ServiceState::Unknown, "{product:?}");
    its_end_is_seen_at_once(product, &engine, services).await;
}

/// The engine's events wake the watch, so that a crash is not found by the look of each second.
async fn its_end_is_seen_at_once(product: Product, engine: &RealEngine, services: Arc<Services>) {
    let (events, mut reports) = tokio::sync::mpsc::unbounded_channel::<Event>();
    let watch = tokio::spawn(services.clone().watch(events));
    let mut next = async || loop {
        let event = timeout(Duration::from_secs(10), reports.recv()).await.unwrap().unwrap();
        match event {
            Event::Service(report) if report.name == "mild" => return report.state,
            _ => {}
        }
    };
    let mut quick = false;
    for _ in 0..TRIES {
        assert_eq!(perform(&services, "start:mild").await, DONE, "{product:?}");
        while next().await != ServiceState::Running {}
        // Right after a regular look: the next one is most of a second away.
        while next().await != ServiceState::Running {}
        engine.signal("mild", "SIGUSR1");
        let began = Instant::now();
        while next().await != ServiceState::Failed {}
        quick = quick || began.elapsed() < LONG_BEFORE_THE_NEXT_LOOK;
        if quick {
            break;
        }
    }
    assert!(quick, "{product:?}: only the look of each second sees it");
    drop(reports);
    timeout(Duration::from_secs(10), watch).await.expect("the watch ends when nobody listens").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn r0_10_r0_12_r0_26_containers_of_docker() {
    is_served_by(Product::Docker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r0_10_r0_12_r0_26_containers_of_podman() {
    is_served_by(Product::Podman).await;
}

/// A service that is run by commands: a real process, which reacts to SIGTERM or does not.
struct Daemon {
    folder: tempfile::TempDir,
}

impl Daemon {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn table(&self, name: &str, reacts: bool, stop_timeout: &str) -> String {
        let pid = self.folder.path().join(format!("{name}.pid"));
        let pid = pid.display();
        let trap = if reacts { "exit 0" } else { "" };
        let body = format!("trap '{trap}' TERM; while :; do sleep 0.05; done");
        let start = format!("setsid sh -c \\\"{body}\\\" >/dev/null 2>&1 & echo $! >{pid}");
        format!(
            "[[service]]\nname = \"{name}\"\nstop_timeout = \"{stop_timeout}\"\n\
             start = [\"/bin/sh\", \"-c\", \"{start}\"]\n\
             stop = [\"/bin/sh\", \"-c\", \"kill -TERM $(cat {pid})\"]\n\
             kill = [\"/bin/sh\", \"-c\", \"kill -KILL $(cat {pid})\"]\n\
             status = [\"/bin/sh\", \"-c\", \"test -e {pid} && kill -0 $(cat {pid})\"]\n"
        )
    }

    fn process(&self, name: &str) -> i32 {
        let text = std::fs::read_to_string(self.folder.path().join(format!("{name}.pid"))).unwrap();
        text.trim().parse().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(self.folder.path()).unwrap().flatten() {
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            if let Ok(process) = text.trim().parse::<i32>() {
                let process = nix::unistd::Pid::from_raw(process);
                let _ended = nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGKILL);
            }
        }
    }
}

fn lives(process: i32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    state.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Started, seen, stopped; what ignores SIGTERM is killed when its time is over, and the stop is done only then.
#[tokio::test]
async fn r0_10_commands_and_a_process_that_ignores_sigterm() {
    let daemon = Daemon::new();
    let text = daemon.table("mild", true, "10s") + &daemon.table("stubborn", false, "400ms");
    let services = services(&text, None);
    for name in ["mild", "stubborn"] {
        assert_eq!(services.state(name).await.state, ServiceState::Stopped);
        assert_eq!(perform(&services, &format!("start:{name}")).await, DONE);
        assert_eq!(services.state(name).await.state, ServiceState::Running);
        assert!(lives(daemon.process(name)), "what a command started outlives it");
        let process = daemon.process(name);
        assert_eq!(perform(&services, &format!("start:{name}")).await, DONE);
        assert_eq!(daemon.process(name), process, "what runs is not started again");
        let began = Instant::now();
        assert_eq!(perform(&services, &format!("stop:{name}")).await, DONE);
        let took = began.elapsed();
        assert!(!lives(process), "{name} runs after its stop");
        let limits = if name == "mild" { (0, 9_000) } else { (400, 5_000) };
        assert!((limits.0..limits.1).contains(&took.as_millis()), "{name} took {took:?}");
        assert_eq!(services.state(name).await.state, ServiceState::Stopped);
        assert_eq!(
            perform(&services, &format!("stop:{name}")).await,
            DONE,
            "a second stop finds nothing to do"
        );
    }
    assert_eq!(perform(&services, "start:stubborn").await, DONE);
    assert_eq!(perform(&services, "kill:stubborn").await, DONE);
    assert!(!lives(daemon.process("stubborn")));
}

/// A start that fails is told with its exit code; one that hangs is killed, with all that it started, by the deadline.
#[tokio::test]
async fn r0_09_a_start_that_fails_or_hangs_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let child = folder.path().join("child");
    let text = format!(
        "[[service]]\nname = \"fails\"\nstart = [\"/bin/sh\", \"-c\", \"exit 3\"]\nstop = [\"/bin/true\"]\n\
         [[service]]\nname = \"absent\"\nstart = [\"/no/such/program\"]\nstop = [\"/bin/true\"]\n\
         [[service]]\nname = \"lies\"\nstart = [\"/bin/echo\", \"started\"]\nstop = [\"/bin/true\", \"x\"]\nstatus = [\"/bin/false\"]\n\
         [[service]]\nname = \"hangs\"\nstart = [\"/bin/sh\", \"-c\", \"sleep 600 & echo $! >{}; wait\"]\nstop = [\"/bin/true\"]\n",
        child.display()
    );
    let services = services(&text, None);
    assert_eq!(failed(perform(&services, "start:fails").await), "/bin/sh ended with 3");
    assert!(failed(perform(&services, "start:absent").await).contains("/no/such/program: No such file"));
    let until = Instant::now() + Duration::from_millis(400);
    let result = services.perform(&step_of("start", "lies").unwrap(), until).await;
    assert!(result != DONE, "a start after which the status says no is none");
    let until = Instant::now() + Duration::from_millis(500);
    let result = services.perform(&step_of("start", "hangs").unwrap(), until).await;
    assert!(matches!(result, StepResult::TimedOut | StepResult::Failed(_)), "{result:?}");
    let process: i32 = std::fs::read_to_string(&child).unwrap().trim().parse().unwrap();
    let began = Instant::now();
    while lives(process) && began.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!lives(process), "the hanging command left a process behind");
    let text = failed(perform(&services, "start:nobody").await);
    assert!(text.contains("there is no [[service]] named nobody"), "{text}");
}

/// The command that a oneshot unit runs as root: its exit codes and words, for both ways to name what it does.
#[test]
fn r0_26_local_service_acts_without_the_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::listen(folder.path());
    engine.add("shop", "created", Temper::Good);
    let file = folder.path().join("apd.toml");
    let nodes =
        "[nodes.db1]\naddress = \"10.77.0.1\"\ninterface = \"eth0\"\n[nodes.db2]\naddress = \"10.77.0.2\"\n";
    let text = format!(
        "[cluster]\nname = \"lab\"\nprotection = \"vrrp\"\n{nodes}[node]\nname = \"db1\"\nstate_dir = \"{}\"\n\
         [log]\nformat = \"text\"\n{}",
        folder.path().display(),
        container("shop", "1s")
    );
    std::fs::write(&file, text).unwrap();
    let apctl = |words: &[&str]| run(&engine, &file, words);
    assert_eq!(apctl(&["start:shop"]), (0, "start shop: done\n".into()));
    assert_eq!(engine.status("shop"), "running");
    assert_eq!(apctl(&["status"]), (0, "running shop: running\n".into()));
    assert_eq!(apctl(&["stop", "shop"]), (0, "stop shop: done\n".into()));
    assert_eq!(engine.status("shop"), "exited");
    let (code, said) = apctl(&["start", "stop"]);
    assert!(code == 1 && said.contains("there is no [[service]] named stop"), "{code}: {said}");
    for words in [&["start"][..], &["policy:wild"], &["dance:shop"], &["start:shop", "shop"]] {
        assert_eq!(apctl(words).0, 2, "{words:?}");
    }
    assert_eq!(apctl(&["policy:masked"]).0, 0, "without units there is nothing to mask");
}

fn run(engine: &Engine, file: &Path, words: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_apctl"))
        .arg("--config")
        .arg(file)
        .arg("local-service")
        .args(words)
        .env("DOCKER_HOST", format!("unix://{}", engine.socket.display()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.code().unwrap(), said)
}
