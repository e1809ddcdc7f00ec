//! The operator's command; all of it is in the library's `apctl`.

use apd::apctl::{Arguments, run};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    run(&Arguments::parse()).into()
}
