//! A host that exists only for the configuration: what it is called, its interfaces and its files.

use apd::config::checked::Config;
use apd::config::{ConfigErrors, Interface, Loaded, Problem, Sources, load};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub const SECRET: &str = "hunter2-and-more";

/// A host that is node db1, as far as a configuration can see it.
pub struct Host {
    pub folder: tempfile::TempDir,
    pub sources: Sources,
}

impl Host {
    pub fn new() -> Host {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("etc/apd/conf.d")).unwrap();
        let address = "192.168.33.101".parse().unwrap();
        let sources = Sources {
            main_file: folder.path().join("etc/apd/apd.toml"),
            environment: Vec::new(),
            flags: Vec::new(),
            hostname: "db1".into(),
            interfaces: vec![
                Interface { name: "lo".into(), addresses: vec![("127.0.0.1".parse().unwrap(), 8)] },
                Interface { name: "eth0".into(), addresses: vec![(address, 24)] },
                Interface { name: "eth1".into(), addresses: Vec::new() },
            ],
            default_route: Some(("192.168.33.1".parse().unwrap(), "eth0".into())),
            root: folder.path().to_owned(),
            secrets_required: true,
        };
        let host = Host { folder, sources };
        host.secret("mariadb.password", &format!("{SECRET}\n"), 0o600);
        host.secret("vrrp.password", "abcdefgh\n", 0o600);
        host.secret("empty", "\n", 0o600);
        for (name, file) in
            [("server.pem", "server.pem"), ("server.key", "server.key"), ("other.key", "client.key")]
        {
            let text = std::fs::read_to_string(in_tests("../data/tls").join(file)).unwrap();
            host.secret(name, &text, 0o600);
        }
        host
    }

    pub fn secret(&self, name: &str, text: &str, mode: u32) {
        let path = self.folder.path().join("etc/apd").join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn main(self, text: &str) -> Host {
        std::fs::write(&self.sources.main_file, text).unwrap();
        self
    }

    pub fn part(self, name: &str, text: &str) -> Host {
        std::fs::write(self.folder.path().join("etc/apd/conf.d").join(name), text).unwrap();
        self
    }

    pub fn variable(mut self, name: &str, text: &str) -> Host {
        self.sources.environment.push((name.into(), text.into()));
        self
    }

    pub fn load(&self) -> Result<Loaded, ConfigErrors> {
        load(&self.sources)
    }

    pub fn config(&self) -> Config {
        self.load().unwrap_or_else(|errors| panic!("{errors}")).config
    }

    pub fn problems(&self) -> Vec<Problem> {
        self.load().expect_err("this configuration is broken").problems
    }
}

pub fn shortest() -> String {
    std::fs::read_to_string(in_tests("shortest.toml")).unwrap()
}

pub fn in_tests(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(name)
}
