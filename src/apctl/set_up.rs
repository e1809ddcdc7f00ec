//! `apctl bootstrap` on the command line: plan, confirmation, progress and exit code around
//! [`super::bootstrap`], which does the work.

use super::answers::{SetUp, SetUpOutcome};
use super::arguments::{Bootstrap, Common};
use super::bootstrap::{BootstrapError, BootstrapOptions, Outcome, bootstrap};
use super::change::confirmed;
use super::configuration::loaded_without_secrets;
use super::exit::{Exit, Failure};
use super::output::{Output, Tone};
use super::view::wrapped;
use crate::config::Loaded;
use crate::config::checked::MariaDbEndpoint;
use crate::wire::control::SCHEMA_VERSION;
use std::path::PathBuf;

/// Where the replication password goes if `mariadb.replication_password_file` names no place: the configuration
/// looks for it there, in `node.state_dir`.
const MADE_PASSWORD: &str = "replication.password";

/// `bootstrap`: as root, on each node in turn.
pub(super) fn set_up(output: &Output, common: &Common, typed: &Bootstrap) -> Result<Exit, Failure> {
    if !nix::unistd::Uid::effective().is_root() {
        return Err(Failure::new(
            Exit::NOT_PERMITTED,
            "E_NOT_PERMITTED",
            "bootstrap creates accounts and password files",
        )
        .resolved_by("run it as root"));
    }
    let loaded = loaded_without_secrets(common)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("no event loop: {error}")))?;
    let mut tell = |line: &str| output.note(&output.paint(Tone::Faint, &format!("... {line}")));
    let planned = runtime
        .block_on(bootstrap(&loaded.config, options(&loaded, typed, true), &mut tell))
        .map_err(failure)?;
    let plan = match planned {
        Outcome::Plan(plan) if !typed.dry_run => plan,
        ended => return said(output, common, &ended),
    };
    if !confirmed(common, &plan)? {
        return Err(Failure::failed("not confirmed; nothing was changed"));
    }
    let ended = runtime
        .block_on(bootstrap(&loaded.config, options(&loaded, typed, false), &mut tell))
        .map_err(failure)?;
    said(output, common, &ended)
}

fn options(loaded: &Loaded, typed: &Bootstrap, dry_run: bool) -> BootstrapOptions {
    let (config, written) = (&loaded.config, &loaded.effective.file.mariadb);
    let named = |path: &PathBuf| Some(path.clone()).filter(|path| !path.as_os_str().is_empty());
    let socket = match &config.mariadb.endpoint {
        MariaDbEndpoint::Socket(socket) => socket.clone(),
        MariaDbEndpoint::Tcp(_) => PathBuf::from("/run/mysqld/mysqld.sock"),
    };
    BootstrapOptions {
        socket: typed.mariadb_socket.clone().unwrap_or(socket),
        administrator: typed.administrator.clone(),
        password_file: named(&written.password_file),
        replication_password_file: named(&written.replication_password_file)
            .unwrap_or_else(|| config.paths.state_dir.join(MADE_PASSWORD)),
        dry_run,
        tools: typed.tools.clone(),
    }
}

fn said(output: &Output, common: &Common, ended: &Outcome) -> Result<Exit, Failure> {
    let (outcome, exit) = match ended {
        Outcome::AlreadySo(_) if common.exit_code => (SetUpOutcome::Already, Exit::ALREADY),
        Outcome::AlreadySo(_) => (SetUpOutcome::Already, Exit::OK),
        Outcome::RunOnPeer(_) => (SetUpOutcome::RunOnPeer, Exit::OK),
        Outcome::Following(_) => (SetUpOutcome::Following, Exit::OK),
        Outcome::Plan(_) => (SetUpOutcome::Plan, Exit::OK),
    };
    let value = SetUp { schema_version: SCHEMA_VERSION, code: "", outcome, text: ended.to_string() };
    output
        .show(&value, |output| value.text.lines().map(|line| wrapped(line, "", output.width())).collect())?;
    Ok(exit)
}

fn failure(error: BootstrapError) -> Failure {
    match error {
        BootstrapError::Refused { reason, remedy } => {
            Failure::new(Exit::REFUSED, "E_DATA_DIFFERS", reason).resolved_by(remedy)
        }
        error @ BootstrapError::Settings(_) => Failure::new(Exit::FAILED, "E_SETTINGS", error.to_string()),
        error => Failure::failed(error.to_string()).resolved_by("a run that was broken off can be run again"),
    }
}
