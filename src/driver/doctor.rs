//! The doctor: looks at everything that a pair rests on and that no event tells, each with what resolves it. It only
//! looks. It runs on the work threads, some seconds long; nothing waits for it but the operator who asked.

mod database;
mod host;
mod network;
mod pair;

use crate::config::Loaded;
use crate::io::control_socket::Snapshot;
use crate::io::mariadb::Database;
use crate::wire::control::doctor::{Examination, Symptom};
use crate::wire::control::{Status, findings};
use crate::wire::peer::Page;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What the doctor is given.
pub struct Patient {
    /// What the daemon runs on.
    pub running: Loaded,
    /// The main configuration file.
    pub file: PathBuf,
    /// The state, as the loop last left it.
    pub snapshot: Arc<Snapshot>,
    /// The local server.
    pub database: Arc<Database>,
}

/// Asks the peer for a page, within a time.
pub type AskPeer<'a> = &'a (dyn Fn(Page, Duration) -> Answering<'a> + Sync);
/// The answer on its way, with why it did not come.
pub type Answering<'a> = std::pin::Pin<Box<dyn Future<Output = Result<Value, String>> + Send + 'a>>;

/// Looks at everything.
pub async fn examine(patient: &Patient, ask_peer: AskPeer<'_>) -> Examination {
    let config = &patient.running.config;
    let mut status = patient.snapshot.status_at(crate::io::clock::now());
    findings::complete(&mut status);
    let mut symptoms = host::configuration(&patient.running, &patient.file);
    symptoms.extend(host::privileges(config));
    symptoms.extend(host::security(std::path::Path::new("/sys/fs/selinux/enforce")));
    symptoms.extend(host::gate(&status));
    symptoms.extend(database::look(&patient.database, config).await);
    symptoms.extend(network::look(config, &status).await);
    symptoms.extend(host::timing(config, &patient.snapshot.counters).await);
    symptoms.extend(pair::look(&patient.running, &status, ask_peer).await);
    symptoms.extend(standing(&status));
    Examination::new(&config.me.name, symptoms)
}

/// What `apctl status` warns of anyway: the doctor never looks better than it.
fn standing(status: &Status) -> Vec<Symptom> {
    use crate::decision::why::Severity;
    let symptom = |why: &crate::decision::why::Why| {
        let text = format!("{} [{}]", why.text, why.code);
        let symptom = match why.severity {
            Severity::Error => Symptom::error("status", text),
            Severity::Warning => Symptom::warning("status", text),
            Severity::Info => Symptom::note("status", text),
        };
        symptom.resolved_by(why.remedy.clone())
    };
    if status.warnings.is_empty() {
        return vec![Symptom::good("status", "apctl status warns of nothing")];
    }
    status.warnings.iter().map(symptom).collect()
}
