//! What the real daemon tells its service manager of its life (sd_notify(3)), in a network of its own.

use super::configuration::configuration;
use super::netns::{Namespace, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The daemon in the hands of the test, which is its service manager.
struct Managed {
    daemon: Child,
    folder: tempfile::TempDir,
    heard: Arc<Mutex<Vec<String>>>,
    _namespace: Namespace,
}

impl Managed {
    fn start() -> Self {
        let namespace = Namespace::new("notify");
        namespace.ip("link add eth0 type veth peer name far");
        namespace.ip("addr add 10.77.0.1/24 dev eth0");
        namespace.ip("link set eth0 up");
        namespace.ip("link set far up");
        let folder = tempfile::tempdir().unwrap();
        let file = configuration(folder.path(), "[lease]\nrealtime = false\n[log]\nformat = \"text\"\n");
        let place = folder.path().join("notify");
        let socket = UnixDatagram::bind(&place).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heard);
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(length) = socket.recv(&mut buffer) {
                kept.lock().unwrap().push(String::from_utf8_lossy(&buffer[..length]).trim().to_owned());
            }
        });
        let daemon = namespace
            .command(env!("CARGO_BIN_EXE_apd"))
            .arg("--config")
            .arg(&file)
            .env("APD__NODE__MODE_FILE", folder.path().join("mode"))
            .env("NOTIFY_SOCKET", &place)
            .env("WATCHDOG_USEC", "1000000")
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { daemon, folder, heard, _namespace: namespace }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.daemon.id()).unwrap()), signal).unwrap();
    }

    /// How often a message began with this.
    fn count(&self, words: &str) -> usize {
        self.heard.lock().unwrap().iter().filter(|message| message.starts_with(words)).count()
    }

    /// Waits until this was said so many times.
    fn says(&self, words: &str, times: usize) {
        eventually(&format!("{words} for the {times}. time"), Duration::from_secs(20), || {
            self.count(words) >= times
        });
    }

    /// Processes whose command line names the folder of the test: the daemon and its gate process.
    fn processes(&self) -> Vec<Pid> {
        let place = self.folder.path().display().to_string();
        let of_test = |path: &PathBuf| {
            let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&place)
        };
        let entries = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        entries
            .filter(of_test)
            .filter_map(|path| path.file_name()?.to_str()?.parse().ok())
            .map(Pid::from_raw)
            .collect()
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        for process in self.processes() {
            let _ended = kill(process, Signal::SIGKILL);
        }
        let _reaped = self.daemon.wait();
    }
}

/// READY and STATUS, the watchdog fed by a loop that turns and by no other, RELOADING around a reload, STOPPING.
#[test]
fn the_daemon_tells_its_service_manager_how_it_is() {
    let mut managed = Managed::start();
    managed.says("READY=1\nSTATUS=", 1);
    managed.says("WATCHDOG=1", 3);

    managed.signal(Signal::SIGHUP);
    managed.says("RELOADING=1\nMONOTONIC_USEC=", 1);
    managed.says("READY=1", 2);
    // What it said of its role stands.
    assert_eq!(managed.count("READY=1\nSTATUS="), 1, "{:?}", managed.heard.lock().unwrap());

    managed.signal(Signal::SIGSTOP);
    // What was on its way has arrived.
    std::thread::sleep(Duration::from_millis(100));
    let before = managed.count("WATCHDOG=1");
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(managed.count("WATCHDOG=1"), before, "a daemon that stands still feeds the watchdog");
    managed.signal(Signal::SIGCONT);
    managed.says("WATCHDOG=1", before + 1);

    managed.signal(Signal::SIGTERM);
    managed.says("STOPPING=1\nSTATUS=", 1);
    let log = managed.folder.path().join("log");
    let ended = managed.daemon.wait().unwrap();
    assert!(ended.success(), "{ended}: {}", std::fs::read_to_string(log).unwrap());
}
