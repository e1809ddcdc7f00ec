//! `apd`: the daemon. Under the name `apd-gate` the same binary is the gate process.

use anyhow::Context;
use apd::config::{self, Loaded, Sources};
use apd::driver;
use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit code for a configuration that is not valid (INTERFACE.md, section 2).
const CONFIGURATION_INVALID: u8 = 3;

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
    let loaded = match config::load(&Sources::from_host(&arguments.config)) {
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
    driver::run(loaded.config, driver::Started { configuration })
}
