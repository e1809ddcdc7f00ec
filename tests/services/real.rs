//! Real engines: dockerd and podman, each in namespaces of its own, with a folder, a socket and a control group of its
//! own. The machine's own engine is neither asked nor touched; where it has none, `lab/fetch-tools` has unpacked one.

use super::tools::find_tool;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Which engine.
#[derive(Clone, Copy, Debug)]
pub enum Product {
    Docker,
    Podman,
}

/// What the first process in the namespaces runs. Its data lies in a file system that ends with it.
const STAGE: &str = "set -e
mount --make-rprivate /
[ -z \"$UNPACKED\" ] || mount -t overlay overlay -o lowerdir=\"$UNPACKED\":/usr /usr
mount -t tmpfs tmpfs /run
mkdir \"$FOLDER/data\"
mount -t tmpfs tmpfs \"$FOLDER/data\"
cd /
exec \"$@\" >\"$FOLDER/log\" 2>&1
";

/// Without these podman wants files of the machine's.
const POLICY: &str = r#"{"default": [{"type": "insecureAcceptAnything"}]}"#;
const CONTAINERS: &str = r#"[containers]
netns = "none"
log_driver = "k8s-file"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"#;

/// An engine of the test's own. It ends with the test, and all its containers with it.
pub struct RealEngine {
    pub socket: PathBuf,
    folder: tempfile::TempDir,
    first: Child,
    /// Of its containers.
    group: String,
    /// Which they run.
    image: String,
}

impl RealEngine {
    /// Starts one, and gives it an image with nothing but a shell in it.
    pub fn start(product: Product) -> Self {
        let folder = tempfile::Builder::new().prefix("apd-engine-").tempdir().unwrap();
        let socket = folder.path().join("engine.sock");
        let group = format!("apdt-engine-{}-{product:?}", std::process::id()).to_lowercase();
        let home = folder.path().join("home/.config/containers");
        std::fs::create_dir_all(&home).unwrap();
        std::fs::write(home.join("policy.json"), POLICY).unwrap();
        std::fs::write(folder.path().join("containers.conf"), CONTAINERS).unwrap();
        std::fs::write(folder.path().join("daemon.json"), "{}").unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
        command.args(["/bin/sh", "-c", STAGE, "stage"]).args(words(product, folder.path(), &socket, &group));
        command
            .env("FOLDER", folder.path())
            .env("UNPACKED", unpacked())
            .env("HOME", folder.path().join("home"))
            .env("TMPDIR", folder.path())
            .env("CONTAINERS_CONF", folder.path().join("containers.conf"))
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DOCKER_RAMDISK", "1")
            .env_remove("DOCKER_HOST")
            .stdin(Stdio::null());
        let first = command.spawn().expect("unshare of util-linux, as root");
        let mut engine = Self { socket, folder, first, group, image: String::new() };
        engine.wait_until_it_answers(product);
        let path = "/images/create?fromSrc=-&repo=localhost/shell&tag=1";
        let (status, answer) = engine.ask("POST", path, "application/x-tar", &image());
        assert_eq!(status, 200, "{product:?}: the image: {answer}");
        engine.image = answer["status"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        engine
    }

    fn wait_until_it_answers(&mut self, product: Product) {
        let begun = Instant::now();
        while !self.socket.exists() || self.ask("GET", "/_ping", "text/plain", b"").0 != 200 {
            let ended = self.first.try_wait().unwrap();
            let is_late = begun.elapsed() > Duration::from_secs(60);
            assert!(ended.is_none() && !is_late, "{product:?} does not answer ({ended:?}):\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Makes a container that runs this script; it is not started.
    pub fn create(&self, name: &str, script: &str) {
        let body = json!({
            "Image": self.image, "Entrypoint": ["/bin/sh"], "Cmd": ["-c", script],
            "HostConfig": {"NetworkMode": "none", "CgroupParent": format!("/{}", self.group)},
        });
        let path = format!("/containers/create?name={name}");
        let (status, answer) = self.ask("POST", &path, "application/json", body.to_string().as_bytes());
        assert_eq!(status, 201, "{name}: {answer}\n{}", self.log());
    }

    /// Has a container sent a signal, past apd.
    pub fn signal(&self, name: &str, signal: &str) {
        let path = format!("/containers/{name}/kill?signal={signal}");
        let (status, answer) = self.ask("POST", &path, "application/json", b"");
        assert_eq!(status, 204, "{name}: {answer}");
    }

    /// The state of a container, in the engine's own words.
    pub fn state(&self, name: &str) -> Value {
        let (status, answer) = self.ask("GET", &format!("/containers/{name}/json"), "application/json", b"");
        assert_eq!(status, 200, "{name}: {answer}");
        answer["State"].clone()
    }

    /// Another reader of the same interface: curl.
    fn ask(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, Value) {
        let mut curl = Command::new(find_tool("curl"));
        curl.args(["--silent", "--max-time", "30", "--write-out", "\n%{http_code}", "--request", method]);
        curl.arg("--unix-socket").arg(&self.socket);
        curl.args(["--header", &format!("Content-Type: {kind}"), "--header", "Expect:"]);
        if !body.is_empty() {
            curl.args(["--data-binary", "@-"]);
        }
        let mut child = curl
            .arg(format!("http://engine{path}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(body).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let (answer, status) = text.rsplit_once('\n').unwrap_or(("", "0"));
        (status.parse().unwrap_or(0), serde_json::from_str(answer).unwrap_or_else(|_| json!(answer)))
    }

    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let last: Vec<&str> = text.lines().rev().take(20).collect();
        last.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for RealEngine {
    fn drop(&mut self) {
        // The first process of the namespace takes every other one with it.
        let _gone = self.first.kill();
        let _reaped = self.first.wait();
        let begun = Instant::now();
        while !remove_groups(&self.group) && begun.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The engine's own command line, at paths of the test's.
fn words(product: Product, folder: &Path, socket: &Path, group: &str) -> Vec<String> {
    let data = folder.join("data");
    let (data, folder, socket) = (data.display(), folder.display(), socket.display());
    let line = match product {
        Product::Docker => format!(
            "dockerd --config-file {folder}/daemon.json --data-root {data} --exec-root /run/docker \
             --pidfile /run/docker.pid --host unix://{socket} --cgroup-parent /{group} --storage-driver vfs \
             --iptables=false --ip6tables=false --bridge=none"
        ),
        Product::Podman => format!(
            "podman --root {data}/root --runroot /run/podman-root --tmpdir /run/podman-tmp --storage-driver vfs \
             system service --time 0 unix://{socket}"
        ),
    };
    line.split_whitespace().map(str::to_owned).collect()
}

/// The tree of `lab/fetch-tools`, to be laid over `/usr`; empty where nothing had to be unpacked.
fn unpacked() -> PathBuf {
    let tree = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tools").join("root/usr");
    if tree.is_dir() { tree } else { PathBuf::new() }
}

/// A file system with a shell, as `docker import` takes it.
fn image() -> Vec<u8> {
    let shell = std::fs::read(find_tool("busybox-static")).unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    for name in ["bin/busybox", "bin/sh", "bin/sleep"] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        if name == "bin/busybox" {
            header.set_size(shell.len() as u64);
            tar.append_data(&mut header, name, shell.as_slice()).unwrap();
        } else {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            tar.append_link(&mut header, name, "busybox").unwrap();
        }
    }
    tar.into_inner().unwrap()
}

/// Whether the control groups of this name are gone, in every hierarchy.
fn remove_groups(group: &str) -> bool {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    hierarchies
        .chain([root.to_owned()])
        .map(|hierarchy| hierarchy.join(group))
        .all(|path| remove_group(&path))
}

fn remove_group(path: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(path) else { return true };
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        remove_group(&entry.path());
    }
    std::fs::remove_dir(path).is_ok()
}
