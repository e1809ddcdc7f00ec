//! `apctl`, the operator's command. Each verb asks the daemon over its control socket and prints the answer;
//! only `config`, `bootstrap`, `replay`, `simulate`, `local-fence`, `local-service`, `man`, `completions`, `schema`, `mode`
//! without an argument, and a part of `doctor` work without one.

mod answers;
mod arguments;
pub mod bootstrap;
mod bundle;
mod change;
mod checks;
mod client;
mod configuration;
mod difference;
mod doctor;
mod exit;
mod fence;
mod manual;
mod output;
mod place;
mod replay;
mod schema;
mod service;
mod set_up;
mod show;
mod simulate;
mod view;
mod watch;
mod yaml;

pub use arguments::Arguments;
pub use exit::{Exit, Failure};

use arguments::{ConfigVerb, Verb};
use client::Client;
use output::Output;

/// Carries the command line out.
pub fn run(arguments: &Arguments) -> Exit {
    let output = Output::new(&arguments.common);
    match verb(arguments, &output) {
        Ok(exit) => exit,
        Err(failure) => {
            output.failure(&failure);
            failure.exit
        }
    }
}

fn verb(arguments: &Arguments, output: &Output) -> Result<Exit, Failure> {
    let common = &arguments.common;
    let client = || Client::new(place::socket(common));
    match &arguments.verb {
        Verb::Status { schema: true, .. } => schema::schema(&["status".to_owned()], None),
        Verb::Status { watch, .. } => show::status(&client()?, output, *watch),
        Verb::Explain { why_not, what_if } => {
            show::explain(&client()?, output, why_not.as_deref(), what_if.as_deref())
        }
        Verb::History { epoch, all, limit } => show::history(&client()?, output, *epoch, *all, *limit),
        Verb::Timeline { epoch } => show::timeline(&client()?, output, *epoch),
        Verb::IsActive => show::is_role(&client()?, output, crate::decision::words::Role::Active),
        Verb::IsStandby => show::is_role(&client()?, output, crate::decision::words::Role::Standby),
        Verb::Reload { timeout } => change::reload(&client()?, output, common, *timeout),
        Verb::LogLevel { level } => show::log_level(&client()?, output, level.as_deref()),
        Verb::Operation { id, wait } => change::operation(&client()?, output, common, id.as_deref(), *wait),
        Verb::Check { name } => checks::check(&client()?, output, name.as_deref()),
        Verb::Mode(change) if change.mode.is_none() => show::mode(&client()?, output, common),
        Verb::Mode(_)
        | Verb::Switchover { .. }
        | Verb::Failover { .. }
        | Verb::Rejoin { .. }
        | Verb::Start(_)
        | Verb::Stop(_)
        | Verb::Clear { .. } => change::change(&client()?, output, common, &arguments.verb),
        Verb::Watch => watch::watch(place::socket(common)),
        Verb::Doctor { peer } => doctor::doctor(&client()?, output, common, *peer),
        Verb::Bundle { file } => bundle::bundle(&client()?, output, common, file.as_deref()),
        Verb::Completions { shell } => manual::completions(*shell),
        Verb::Man { to } => manual::man(to.as_deref()),
        Verb::Schema { verb, to } => schema::schema(verb, to.as_deref()),
        Verb::Config { verb: ConfigVerb::Diff { peer } } => {
            difference::diff(&client()?, output, common, *peer)
        }
        Verb::Config { verb } => configuration::config(output, common, verb),
        Verb::Bootstrap(typed) => set_up::set_up(output, common, typed),
        Verb::Replay { file, state_dir } => {
            replay::replay(output, common, file.as_deref(), state_dir.as_deref())
        }
        Verb::Simulate { fault, seeds } => simulate::simulate(output, common, fault, *seeds),
        Verb::LocalFence { if_lease_expired } => fence::fence(output, common, *if_lease_expired),
        Verb::LocalService(act) => service::service(output, common, act),
        later => Err(Failure::not_yet(later_name(later))),
    }
}

/// Verbs of INTERFACE.md section 2 that a later version brings.
fn later_name(verb: &Verb) -> &'static str {
    match verb {
        Verb::Solo(_) => "apctl solo",
        Verb::Join(_) => "apctl join",
        Verb::Peer(_) => "apctl peer",
        Verb::Salvage(_) => "apctl salvage",
        Verb::Drill(_) => "apctl drill",
        Verb::Config { verb: ConfigVerb::ImportKeepalived(_) } => "apctl config import-keepalived",
        _ => "this verb",
    }
}
