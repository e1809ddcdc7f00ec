//! Network namespaces of a test's own: real sockets and real netlink, and nothing of the machine's own
//! network is touched.
//!
//! Include it with `#[path = "support/netns.rs"] mod netns;`. Set-up goes through `ip` (iproute2), because
//! it runs once and reads like the commands an operator would type; what is measured never does. A missing
//! tool or right panics with the command and its words: a test that cannot run must not look passed.
//!
//! Names carry the process and a counter, so that runs in parallel never meet. `Drop` removes a
//! namespace also when the test panics; what a killed run left behind goes at the start of the next.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fs::{self, File};
use std::future::Future;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};

const PREFIX: &str = "apdt";

/// Runs a command and panics with its words unless it succeeds.
pub fn run(program: &str, arguments: &str) -> String {
    let output = try_run(program, arguments);
    assert!(
        output.status.success(),
        "`{program} {arguments}` failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command; only a program that cannot be started panics. Arguments are split at white space.
pub fn try_run(program: &str, arguments: &str) -> Output {
    Command::new(program)
        .args(arguments.split_whitespace())
        .output()
        .unwrap_or_else(|error| panic!("cannot start `{program}`: {error}; this test needs it, and root"))
}

/// Waits until `condition` holds; panics with `what` when it does not by `limit`.
pub fn eventually(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    loop {
        if condition() {
            return start.elapsed();
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// One network namespace, with loopback up. Removed on drop.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Creates one; `label` appears in its name.
    pub fn new(label: &str) -> Self {
        static SWEEP: Once = Once::new();
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        SWEEP.call_once(sweep);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}-{}-{number}-{label}", std::process::id());
        run("ip", &format!("netns add {name}"));
        let namespace = Self { name };
        namespace.ip("link set lo up");
        namespace
    }

    /// Its name, as `ip netns` lists it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file to give to `nsenter --net=`.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// `ip -n NAME ARGUMENTS`; panics unless it succeeds. Returns what it printed.
    pub fn ip(&self, arguments: &str) -> String {
        run("ip", &format!("-n {} {arguments}", self.name))
    }

    /// Like [`Self::ip`], for what may fail.
    pub fn try_ip(&self, arguments: &str) -> Output {
        try_run("ip", &format!("-n {} {arguments}", self.name))
    }

    /// A command that will run inside, with the machine's own mounts (`ip netns exec` would remount /sys).
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg(program);
        command
    }

    /// Runs `work` on a thread of its own inside, and waits for it. A panic inside is a panic here.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let handle = scope.spawn(|| {
                self.enter();
                work()
            });
            handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs `work` on the calling thread while that is inside, and brings it back out, also on a panic.
    /// For opening sockets of several namespaces in one tokio runtime: a socket stays where it was opened.
    pub fn inside<T>(&self, work: impl FnOnce() -> T) -> T {
        struct Back(File);
        impl Drop for Back {
            fn drop(&mut self) {
                if setns(&self.0, CloneFlags::CLONE_NEWNET).is_err() {
                    // What this thread did next would reach the machine's own network, or the wrong one.
                    std::process::abort();
                }
            }
        }
        let _back = Back(File::open("/proc/thread-self/ns/net").expect("the thread has a namespace"));
        self.enter();
        work()
    }

    /// Starts `work` on a thread of its own inside. Sockets and threads that it opens stay inside.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let file = self.open();
        thread::spawn(move || {
            setns(&file, CloneFlags::CLONE_NEWNET).expect("setns needs CAP_SYS_ADMIN");
            work()
        })
    }

    /// Runs the future that `work` makes on a current_thread runtime inside, as the `pair` thread would.
    pub fn block_on<T: Send, F: Future<Output = T>>(&self, work: impl FnOnce() -> F + Send) -> T {
        self.run(|| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async { work().await })
        })
    }

    /// The MAC address of an interface, as `aa:bb:cc:dd:ee:ff`.
    pub fn mac(&self, interface: &str) -> String {
        let text = self.ip(&format!("-o link show dev {interface}"));
        let mut words = text.split_whitespace();
        words.find(|word| *word == "link/ether");
        words.next().unwrap_or_else(|| panic!("{interface} has no MAC address: {text}")).to_owned()
    }

    fn open(&self) -> File {
        File::open(self.path()).unwrap_or_else(|error| panic!("{}: {error}", self.path().display()))
    }

    fn enter(&self) {
        setns(self.open(), CloneFlags::CLONE_NEWNET).expect("setns needs CAP_SYS_ADMIN");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Its end of every veth pair goes with it. A namespace that is already gone is what was wanted.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

/// A cable between two namespaces: one end dies, the other sees it.
pub fn veth(left: &Namespace, left_interface: &str, right: &Namespace, right_interface: &str) {
    run(
        "ip",
        &format!(
            "link add {left_interface} netns {} type veth peer name {right_interface} netns {}",
            left.name, right.name
        ),
    );
    left.ip(&format!("link set {left_interface} up"));
    right.ip(&format!("link set {right_interface} up"));
}

/// A switch: a bridge in a namespace of its own, without spanning tree, so that ports forward at once.
pub struct Lan {
    /// The namespace that holds the bridge `br0`.
    pub switch: Namespace,
}

impl Lan {
    /// Creates it.
    pub fn new(label: &str) -> Self {
        let switch = Namespace::new(&format!("{label}-sw"));
        switch.ip("link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0");
        switch.ip("link set br0 up");
        Self { switch }
    }

    /// A new namespace with `eth0` on this switch. `address` is `ADDR/LEN`.
    pub fn node(&self, label: &str, address: &str) -> Namespace {
        let node = Namespace::new(label);
        self.attach(&node, label, "eth0", address);
        node
    }

    /// Adds an interface on this switch to an existing namespace; `port` names it at the switch.
    pub fn attach(&self, node: &Namespace, port: &str, interface: &str, address: &str) {
        veth(&self.switch, port, node, interface);
        self.switch.ip(&format!("link set {port} master br0"));
        // Without it, the first packets go to interface discovery (IPv6) and confuse captures.
        node.ip(&format!("link set dev {interface} addrgenmode none"));
        node.ip(&format!("addr add {address} dev {interface}"));
    }

    /// Pulls the cable of one node: its carrier goes down.
    pub fn unplug(&self, port: &str) {
        self.switch.ip(&format!("link set {port} down"));
    }

    /// Puts it back.
    pub fn plug(&self, port: &str) {
        self.switch.ip(&format!("link set {port} up"));
    }
}

/// What `node` knows about the neighbour `address`: its MAC address, if any.
pub fn neighbour(node: &Namespace, address: Ipv4Addr) -> Option<String> {
    let text = node.ip(&format!("neigh show {address}"));
    let mut words = text.split_whitespace();
    words.find(|word| *word == "lladdr")?;
    words.next().map(str::to_owned)
}

/// Removes the namespaces of runs that were killed: the process in their name is gone.
fn sweep() {
    let Ok(entries) = fs::read_dir("/run/netns") else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix(&format!("{PREFIX}-")) else { continue };
        let Some(process) = rest.split('-').next().and_then(|number| number.parse::<u32>().ok()) else {
            continue;
        };
        if !PathBuf::from(format!("/proc/{process}")).exists() {
            let _ = Command::new("ip").args(["netns", "del", &name]).output();
        }
    }
}
