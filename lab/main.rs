//! `apd-lab`: the two-node laboratory on one machine. It builds a pair in namespaces of its own, lets faults happen
//! to it, and reports what clients saw. It also is the API and the writer that run inside.

mod api;
mod bench;
mod demo;
mod idle;
mod init;
mod pair;
mod soak;
mod writer;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};

use pair::fault::Fault;
use pair::machine::Machine;
use pair::setup::Setup;
use pair::tools::Tools;
use pair::{Pair, Plan, run, sweep};

/// The two-node laboratory.
#[derive(Parser)]
#[command(name = "apd-lab", version)]
struct Arguments {
    /// How results are written.
    #[arg(short, long, global = true, value_enum, default_value = "text")]
    output: Output,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Verb {
    /// Build a pair and leave it running.
    Up {
        /// Its name.
        #[arg(default_value = "lab")]
        name: String,
        /// apd-default, apd-lan-fast, seed, tuned or expert.
        #[arg(long, default_value = "apd-default")]
        setup: Setup,
    },
    /// Run a command on a machine (db1, db2, client, switch) of a running pair.
    Enter {
        /// The pair's name.
        name: String,
        /// The machine.
        machine: String,
        /// The command.
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<String>,
    },
    /// End a pair that was left running.
    Down {
        /// Its name.
        #[arg(default_value = "lab")]
        name: String,
    },
    /// Remove pairs whose owner is gone; with --all every pair.
    Clean {
        /// Also those that are in use.
        #[arg(long)]
        all: bool,
    },
    /// Let one fault happen to a fresh pair and report.
    Run {
        /// power-off, nic-down, cable, daemon-term, ... (see `faults`).
        fault: Fault,
        /// apd-default, apd-lan-fast, seed, tuned or expert; may be repeated.
        #[arg(long = "setup", default_value = "apd-default")]
        setups: Vec<Setup>,
        /// How many times.
        #[arg(long, default_value_t = 1)]
        runs: u32,
    },
    /// List the faults.
    Faults,
    /// A failover, a rejoin and a planned switchover, told as they happen.
    Demo,
    /// Each fault several times with each set-up, and the table of it.
    Bench(bench::Options),
    /// Many rounds of switchover, failover and rejoin on one pair.
    Soak {
        /// apd-default or apd-lan-fast.
        #[arg(long, default_value = "apd-lan-fast")]
        setup: Setup,
        /// How many rounds.
        #[arg(long, default_value_t = 50)]
        rounds: u32,
    },
    /// Memory and processor time of a set-up when nothing happens.
    Idle {
        /// apd-default, apd-lan-fast, seed, tuned or expert.
        #[arg(long = "setup", default_value = "apd-default")]
        setup: Setup,
        /// For how many seconds.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    #[command(hide = true)]
    Machine(init::Options),
    #[command(hide = true)]
    Api(api::Options),
    #[command(hide = true)]
    Writer(writer::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match carry_out(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("apd-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(arguments: Arguments) -> Result<ExitCode> {
    let tools = || Tools::beside(&std::env::current_exe()?);
    match arguments.verb {
        Verb::Machine(options) => init::run(&options)?,
        Verb::Api(options) => api::run(options)?,
        Verb::Writer(options) => writer::run(options)?,
        Verb::Faults => Fault::ALL.iter().for_each(|fault| println!("{}", fault.word())),
        Verb::Demo => demo::run(&tools()?)?,
        Verb::Bench(options) => bench::run(&tools()?, &options)?,
        Verb::Soak { setup, rounds } => soak::run(&tools()?, setup, rounds)?,
        Verb::Idle { setup, seconds } => {
            let costs = idle::measure(&tools()?, setup, std::time::Duration::from_secs(seconds))?;
            println!("{}", serde_json::to_string_pretty(&costs)?);
        }
        Verb::Up { name, setup } => {
            let pair = Pair::up(&tools()?, &Plan { name, persist: true, ..Plan::new(setup) })?;
            println!("{}", serde_json::to_string_pretty(&pair.state())?);
            pair.leave();
        }
        Verb::Enter { name, machine, command } => return enter(&tools()?, &name, &machine, &command),
        Verb::Down { name } => sweep::down(&name)?,
        Verb::Clean { all } => {
            sweep::stale().iter().for_each(|name| println!("removed {name}"));
            if all {
                sweep::names().iter().try_for_each(|name| sweep::down(name))?;
            }
        }
        Verb::Run { fault, setups, runs } => {
            for _ in 0..runs {
                for setup in &setups {
                    let report = run::run(&tools()?, *setup, fault)?;
                    match arguments.output {
                        Output::Json => println!("{}", serde_json::to_string(&report)?),
                        Output::Text => println!("{}", report.line()),
                    }
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn enter(tools: &Tools, name: &str, machine: &str, command: &[String]) -> Result<ExitCode> {
    let machines = sweep::machines(name)?;
    let (_, process) =
        machines.iter().find(|(one, _)| one == machine).context("no such machine in this pair")?;
    let machine = Machine::attach(tools, machine, *process);
    let [program, words @ ..] = command else { anyhow::bail!("no command") };
    let status = machine.enter(program).args(words).stdin(std::process::Stdio::inherit()).status()?;
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)))
}
