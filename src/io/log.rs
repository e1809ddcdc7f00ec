//! Where log lines go: journald with its native fields, JSON lines, or text on stderr.

use crate::config::checked::LogFormat;
use std::io::IsTerminal;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt, reload};

/// What may be written as a level.
pub const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// The filter in force, which can be exchanged.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();
/// Lines go to journald.
static JOURNALD: AtomicBool = AtomicBool::new(false);

/// The number of a code's entry in the catalogue; `None` unless lines go to journald, which alone has a use for it.
pub fn message_id(code: &str) -> Option<String> {
    JOURNALD.load(Ordering::Relaxed).then(|| catalogue_number(code))
}

/// The number of a code in journald's message catalogue (`systemd/apd.catalog`): the first half of its SHA-256.
pub fn catalogue_number(code: &str) -> String {
    let sum = ring::digest::digest(&ring::digest::SHA256, code.as_bytes());
    sum.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why logging cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is none.
    #[error("log.level `{level}`: {source}; the levels are error, warn, info, debug and trace")]
    Level {
        /// As written.
        level: String,
        /// What is wrong.
        source: ParseError,
    },
    /// Logging was set up before.
    #[error("logging is set up twice: {0}")]
    Twice(#[from] TryInitError),
}

/// Sets logging up for the process. `journald` falls back to text on stderr where there is no journal
/// (`JOURNAL_STREAM` is not set, systemd.exec(5), or its socket does not answer). `RUST_LOG` wins over `level`.
///
/// # Errors
/// When `level` is none or logging was set up before.
pub fn init(level: &str, format: LogFormat) -> Result<(), LogError> {
    let directives = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_else(|_unset| level.to_owned());
    let filter =
        EnvFilter::try_new(&directives).map_err(|source| LogError::Level { level: directives, source })?;
    let (filter, handle) = reload::Layer::new(filter);
    tracing_subscriber::registry().with(lines(format).with_filter(filter)).try_init()?;
    // Set once: a second subscriber was refused above.
    let _ = FILTER.set(handle);
    Ok(())
}

/// How much is logged, as `info` or with `RUST_LOG` as it was written there; empty where logging is not set up.
pub fn level() -> String {
    FILTER.get().and_then(|filter| filter.with_current(ToString::to_string).ok()).unwrap_or_default()
}

/// Logs so much from now on.
///
/// # Errors
/// When the word is no level, or logging is not set up.
pub fn set_level(level: &str) -> Result<(), String> {
    if !LEVELS.contains(&level) {
        return Err(format!("`{level}` is no level: the levels are {}", LEVELS.join(", ")));
    }
    let filter = FILTER.get().ok_or("logging is not set up")?;
    filter.reload(EnvFilter::new(level)).map_err(|error| error.to_string())
}

fn lines(format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
    match format {
        LogFormat::Json => fmt::layer().json().with_writer(std::io::stderr).boxed(),
        LogFormat::Text => text(),
        LogFormat::Journald if std::env::var_os("JOURNAL_STREAM").is_some() => {
            match tracing_journald::layer() {
                Ok(layer) => {
                    JOURNALD.store(true, Ordering::Relaxed);
                    // Fields go by their own names: CODE, EPOCH, REMEDY, MESSAGE_ID.
                    layer.with_syslog_identifier("apd".to_owned()).with_field_prefix(None).boxed()
                }
                Err(_no_socket) => text(),
            }
        }
        LogFormat::Journald => text(),
    }
}

fn text() -> Box<dyn Layer<Registry> + Send + Sync> {
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    fmt::layer().with_ansi(colour).with_target(false).with_writer(std::io::stderr).boxed()
}
