//! The command line, as typed.

use crate::decision::words::{Mode, UnknownMode};
use crate::wire::control::RequestBody;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Operate a pair of apd nodes.
#[derive(Debug, Parser)]
#[command(name = "apctl", version, disable_help_subcommand = true, after_help = EXIT_CODES)]
pub struct Arguments {
    /// What holds for every verb.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

const EXIT_CODES: &str = "Exit codes: 0 ok; 1 failed; 2 usage; 3 configuration invalid, or `no` of is-*; 4 daemon \
unreachable; 5 not permitted; 6 refused because unsafe; 7 done but degraded; 8 timed out, still running; 9 peer \
unreachable; 10 already so, with --exit-code.";

const START_EXAMPLE: &str = "Example: apctl start --reason \"the disk was changed\"";
const STOP_EXAMPLE: &str = "Example: apctl stop --dry-run; apctl stop --reason \"new memory\"";

const SCHEMA_EXAMPLE: &str = "Example: apctl schema switchover > switchover.schema.json";
const SIMULATE_EXAMPLE: &str = "Example: apctl simulate --fault power-off --fault switchover --seeds 1000\n\
Nothing of this pair is touched; neither root nor a running daemon is needed.";

/// Options of every verb.
#[derive(Debug, Args)]
pub struct Common {
    /// The daemon's control socket [default: apd.sock in node.run_dir]
    #[arg(long, global = true, value_name = "PATH", env = "APD_SOCKET", help_heading = "Global options")]
    pub socket: Option<PathBuf>,
    /// How answers look
    #[arg(short, long, global = true, value_enum, default_value = "table", help_heading = "Global options")]
    pub output: Format,
    /// Colours: auto means on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_enum, default_value = "auto", help_heading = "Global options")]
    pub color: Colour,
    /// Do not ask for confirmation
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub yes: bool,
    /// The configuration file; conf.d is looked for beside it
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = "/etc/apd/apd.toml",
        help_heading = "Global options"
    )]
    pub config: PathBuf,
    /// End with 10 instead of 0 when nothing had to be done
    #[arg(long, global = true, help_heading = "Global options")]
    pub exit_code: bool,
}

/// How answers look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For programs that read YAML.
    Yaml,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// In any case.
    Always,
    /// Not at all.
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show both nodes: what is wrong first, then role, mode, lease, database, checks, protection
    #[command(after_help = "Example: apctl status --watch")]
    Status {
        /// Show it again every second until interrupted
        #[arg(long, conflicts_with = "schema")]
        watch: bool,
        /// Print the JSON Schema of `-o json` instead, as `apctl schema status` does
        #[arg(long)]
        schema: bool,
    },
    /// The pair on the whole screen, as it changes; q ends it
    #[command(after_help = "Example: apctl watch")]
    Watch,
    /// Show why this node is what it is, and what would change it
    #[command(after_help = "Example: apctl explain --why-not active")]
    Explain {
        /// What stands against a role: active, standby
        #[arg(long, value_name = "ROLE")]
        why_not: Option<String>,
        /// What a fault would do now: peer-down, ...
        #[arg(long, value_name = "FAULT")]
        what_if: Option<String>,
    },
    /// Show what was decided, oldest first
    #[command(after_help = "Example: apctl history --limit 20")]
    History {
        /// Only of this epoch
        #[arg(long)]
        epoch: Option<u64>,
        /// Events, actions and steps too
        #[arg(long)]
        all: bool,
        /// The newest so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Show one takeover step by step in milliseconds (the newest, if none is named)
    #[command(after_help = "Example: apctl timeline 7")]
    Timeline {
        /// Which epoch's
        epoch: Option<u64>,
    },
    /// Show or change what apd may do here: ap, maintenance (m) or standalone (s)
    #[command(after_help = "Example: apctl mode maintenance --reason \"kernel update\" --for 2h")]
    Mode(ModeChange),
    /// Planned swap of the roles, without loss
    #[command(after_help = "Example: apctl switchover --dry-run")]
    Switchover {
        /// Probe only; change nothing
        #[arg(long)]
        dry_run: bool,
        /// Give up, and undo, after this long
        #[arg(long, value_parser = duration, default_value = "30s")]
        timeout: Duration,
        /// Why, for history and journal
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Take over here now
    #[command(after_help = "Example: apctl failover --force --peer-is-off --reason \"db1 burnt down\"")]
    Failover {
        /// Required: this is not a planned swap
        #[arg(long)]
        force: bool,
        /// Accept that what only the other node has is left behind
        #[arg(long)]
        accept_data_loss: bool,
        /// Vouch that the other node, which cannot be seen, is off
        #[arg(long)]
        peer_is_off: bool,
        /// Say what would be asked; change nothing
        #[arg(long)]
        dry_run: bool,
        /// Wait this long for the end
        #[arg(long, value_parser = duration, default_value = "60s")]
        timeout: Duration,
        /// Why, for history and journal
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Bring the pair back to (ap, ap): prove the data, catch up
    #[command(after_help = "Example: apctl rejoin --dry-run")]
    Rejoin {
        /// Compare only; change nothing
        #[arg(long)]
        dry_run: bool,
        /// Rebuild this node's data from the active (not yet supported)
        #[arg(long)]
        reclone: bool,
        /// Wait this long for the end
        #[arg(long, value_parser = duration, default_value = "10m")]
        timeout: Duration,
        /// Why, for history and journal
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Bring this node's services and its part in the election up (boot = "manual", or after stop)
    #[command(after_help = START_EXAMPLE)]
    Start(PartChange),
    /// Hand over, then bring this node's services and its part in the election down
    #[command(after_help = STOP_EXAMPLE)]
    Stop(PartChange),
    /// Clear a latched fault or the guarded state
    #[command(after_help = "Example: apctl clear --dry-run")]
    Clear {
        /// Say what would be asked; change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Show an operation that was begun earlier, or all that are known
    #[command(after_help = "Example: apctl operation 3f2a-1 --wait 60s")]
    Operation {
        /// As printed by the verb that began it
        id: Option<String>,
        /// Wait this long for its end
        #[arg(long, value_parser = duration)]
        wait: Option<Duration>,
    },
    /// Ask the checks again; plugin output and exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN
    #[command(after_help = "Example: apctl check api")]
    Check {
        /// One check: a configured name, mariadb, link or gateway
        name: Option<String>,
    },
    /// Look at configuration, privileges, database, network, timing, clocks and drift, each with its remedy
    #[command(after_help = "Example: apctl doctor --peer")]
    Doctor {
        /// The other node too, through the daemon
        #[arg(long)]
        peer: bool,
    },
    /// Set up users, grants, schema and replication on two servers, of which one at least is empty
    #[command(after_help = "Example: apctl bootstrap --dry-run")]
    Bootstrap(Bootstrap),
    /// Check, show or describe the configuration
    #[command(after_help = "Example: apctl config show --effective --origin")]
    Config {
        /// What about it
        #[command(subcommand)]
        verb: ConfigVerb,
    },
    /// Feed a recording through the decision again and compare what it does with what was done then
    #[command(after_help = "Example: apctl replay --state-dir /var/lib/apd")]
    Replay {
        /// One file of a recording
        #[arg(value_name = "FILE", conflicts_with = "state_dir")]
        file: Option<PathBuf>,
        /// All recordings of a node, in their order [default: node.state_dir of the configuration]
        #[arg(long, value_name = "DIR")]
        state_dir: Option<PathBuf>,
    },
    /// Predict outage, loss and transitions of a fault, with this configuration, in a simulated world
    #[command(after_help = SIMULATE_EXAMPLE)]
    Simulate {
        /// power-off, nic-down, db-kill, api-kill, daemon-kill, switchover, ...; more than once for several
        #[arg(long, value_name = "FAULT")]
        fault: Vec<String>,
        /// Runs for each fault, each with other chances
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        seeds: u64,
    },
    /// Read the configuration again: all of it or, if anything is wrong, nothing; no role changes
    #[command(after_help = "Example: apctl config check && apctl reload")]
    Reload {
        /// Wait this long for the end
        #[arg(long, value_parser = duration, default_value = "30s")]
        timeout: Duration,
    },
    /// Show how much the daemon logs, or change it until it is restarted or the configuration names another
    #[command(after_help = "Example: apctl log-level debug")]
    LogLevel {
        /// error, warn, info, debug or trace
        #[arg(value_parser = clap::builder::PossibleValuesParser::new(crate::io::log::LEVELS))]
        level: Option<String>,
    },
    /// Pack state, history, recording, configuration and logs into one archive, without secrets
    #[command(after_help = "Example: apctl bundle /tmp/apd.tar.gz")]
    Bundle {
        /// Where to; a new file [default: apd-bundle-TIME.tar.gz here]
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Print the completions for a shell
    #[command(after_help = "Example: apctl completions bash > /etc/bash_completion.d/apctl")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write those of all verbs
    #[command(after_help = "Example: apctl man | man -l -")]
    Man {
        /// Into this folder, a page for each verb
        #[arg(long, value_name = "FOLDER")]
        to: Option<PathBuf>,
    },
    /// Print the JSON Schema of what a verb prints with `-o json`; without one, the verbs that have one
    #[command(after_help = SCHEMA_EXAMPLE)]
    Schema {
        /// Which, as `status` or `config check`
        #[arg(value_name = "VERB", conflicts_with = "to")]
        verb: Vec<String>,
        /// Into this folder, one for each verb
        #[arg(long, value_name = "FOLDER")]
        to: Option<PathBuf>,
    },
    /// Close the gate, remove the virtual address, make the database read-only, without the daemon
    #[command(after_help = "Example: apctl local-fence --if-lease-expired")]
    LocalFence {
        /// Only when no lease lives
        #[arg(long)]
        if_lease_expired: bool,
    },
    /// One act on a managed service, without the daemon; what apd-service@.service runs
    #[command(hide = true, after_help = "Example: apctl local-service status")]
    LocalService(ServiceAct),
    /// Exit 0 if this node is active, else 3
    #[command(after_help = "Example: apctl is-active && run-the-backup")]
    IsActive,
    /// Exit 0 if this node is standby, else 3
    #[command(after_help = "Example: apctl is-standby && run-the-backup")]
    IsStandby,

    #[command(hide = true)]
    Solo(Rest),
    #[command(hide = true)]
    Join(Rest),
    #[command(hide = true)]
    Peer(Rest),
    #[command(hide = true)]
    Salvage(Rest),
    #[command(hide = true)]
    Drill(Rest),
}

/// Options of `bootstrap`.
#[derive(Debug, Args)]
pub struct Bootstrap {
    /// Say what would be done; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Administrator's account on the local server, logged in by unix_socket
    #[arg(long, default_value = "root", value_name = "ACCOUNT")]
    pub administrator: String,
    /// Socket of the local server, where the configuration names host and port
    #[arg(long, value_name = "PATH")]
    pub mariadb_socket: Option<PathBuf>,
    /// Folder of mariadb and mariadb-dump, if not in PATH
    #[arg(long, value_name = "FOLDER")]
    pub tools: Option<PathBuf>,
}

/// Options of `mode`.
#[derive(Debug, Args)]
pub struct ModeChange {
    /// The new mode; without it the present one is shown
    #[arg(value_parser = mode, value_name = "ap|maintenance|standalone")]
    pub mode: Option<Mode>,
    /// Why, for history, journal and status
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Maintenance: remind after this long
    #[arg(long = "for", value_parser = duration, value_name = "DURATION")]
    pub nag_after: Option<Duration>,
    /// Standalone: vouch that the other node, which cannot be seen, is off
    #[arg(long)]
    pub peer_is_off: bool,
    /// Say what would be asked; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Wait this long for the end
    #[arg(long, value_parser = duration, default_value = "60s")]
    pub timeout: Duration,
}

/// Words of `local-service`.
#[derive(Debug, Args)]
pub struct ServiceAct {
    /// start, stop, kill, status or policy; with the name behind a colon, as a unit's instance has it
    #[arg(value_name = "VERB[:NAME]")]
    pub act: String,
    /// Of a `[[service]]`; for policy: disabled, masked or restored
    pub name: Option<String>,
}

/// Options of `start` and `stop`.
#[derive(Debug, Args)]
pub struct PartChange {
    /// Say what would be done; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Wait this long for the answer
    #[arg(long, value_parser = duration, default_value = "30s")]
    pub timeout: Duration,
    /// Why, for history and journal
    #[arg(long, default_value = "")]
    pub reason: String,
}

impl PartChange {
    /// As the daemon is asked.
    pub fn body(&self) -> RequestBody {
        RequestBody { reason: self.reason.clone(), dry_run: self.dry_run, ..RequestBody::default() }
    }
}

/// What `config` can do.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Report every error with file, line, key and remedy
    #[command(after_help = "Example: apctl config check -o json")]
    Check,
    /// Print the configuration; secrets are never printed
    #[command(after_help = "Example: apctl config show --effective --origin")]
    Show {
        /// With defaults and profile applied
        #[arg(long)]
        effective: bool,
        /// With the place that each value comes from
        #[arg(long)]
        origin: bool,
    },
    /// Print the JSON Schema
    #[command(after_help = "Example: apctl config schema > apd.schema.json")]
    Schema,
    /// What runs against the files on disk, or against the other node
    #[command(after_help = "Example: apctl config diff --peer")]
    Diff {
        /// What both nodes must share, key by key with its origin
        #[arg(long)]
        peer: bool,
    },
    #[command(hide = true)]
    ImportKeepalived(Rest),
}

/// Whatever follows.
#[derive(Debug, Args)]
pub struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    /// Passed on as typed.
    pub arguments: Vec<OsString>,
}

fn mode(word: &str) -> Result<Mode, UnknownMode> {
    word.parse()
}

/// `300ms`, `30s`, `2h`, `1h 30m`: positive, at most a year.
fn duration(text: &str) -> Result<Duration, String> {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    let span: jiff::SignedDuration =
        text.parse().map_err(|_| format!("`{text}` is no duration: write 30s, 5m or 2h"))?;
    Duration::try_from(span)
        .ok()
        .filter(|duration| !duration.is_zero() && *duration <= YEAR)
        .ok_or_else(|| format!("`{text}` must be more than nothing and at most a year"))
}
