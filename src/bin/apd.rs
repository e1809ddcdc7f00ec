//! `apd`: the daemon. Under the name `apd-gate` the same binary is the gate process.

use anyhow::Context;
use apd::config::{self, ConfigErrors, Loaded, Sources};
use apd::driver;
use apd::io::notify;
use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Exit code for a configuration that is not valid (INTERFACE.md, section 2).
const CONFIGURATION_INVALID: u8 = 3;
/// While the network comes up, what is missing is looked for this often.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Database-aware active/standby orchestrator for two hosts, each with a MariaDB server.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// The main configuration file; its conf.d lies beside it.
    #[arg(long, value_name = "FILE", default_value = "/etc/apd/apd.toml", env = "APD_CONFIG")]
    config: PathBuf,
    /// Check the configuration and exit: 0 valid, 3 invalid.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let loaded = match load(&arguments) {
        Ok(loaded) => loaded,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(CONFIGURATION_INVALID);
        }
    };
    if arguments.check {
        for warning in &loaded.warnings {
            eprintln!("{warning}");
        }
        println!("{}: valid", arguments.config.display());
        return ExitCode::SUCCESS;
    }
    let is_gate = std::env::args_os()
        .next()
        .is_some_and(|name| Path::new(&name).file_name().is_some_and(|name| name == "apd-gate"));
    let ended = if is_gate { run_gate(&loaded) } else { run_daemon(loaded, arguments.config) };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(code = "apd.failed", "{error:#}");
            eprintln!("{}: {error:#}", if is_gate { "apd-gate" } else { "apd" });
            ExitCode::FAILURE
        }
    }
}

/// Reads the configuration. A service manager starts this beside the network: what only the host still lacks, its
/// own address above all, is then waited for, so that no unit needs a delay.
fn load(arguments: &Arguments) -> Result<Loaded, ConfigErrors> {
    let supervised = std::env::var_os("NOTIFY_SOCKET").is_some() && !arguments.check;
    loop {
        let sources = Sources::from_host(&arguments.config);
        let result = config::load(&sources);
        let lacks = match &result {
            Ok(loaded) if sources.holder(loaded.config.me.address).is_some() => return result,
            Ok(loaded) => format!("no interface holds {}", loaded.config.me.address),
            Err(errors) if errors.may_pass() => errors.problems[0].what.clone(),
            Err(_) => return result,
        };
        if !supervised {
            return result;
        }
        notify::status(&format!("waits for the network: {lacks}"));
        notify::extend_timeout(10 * LOOK_AGAIN);
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn run_gate(loaded: &Loaded) -> anyhow::Result<()> {
    apd::io::log::init(&loaded.config.log.level, loaded.config.log.format)?;
    apd::gate::run(&loaded.config)
}

fn run_daemon(loaded: Loaded, file: PathBuf) -> anyhow::Result<()> {
    apd::io::log::init(&loaded.config.log.level, loaded.config.log.format)?;
    for warning in &loaded.warnings {
        tracing::warn!(code = "config.warning", "{warning}");
    }
    let configuration = std::path::absolute(&file).context("the configuration's path")?;
    driver::run(loaded, driver::Started { configuration })
}
