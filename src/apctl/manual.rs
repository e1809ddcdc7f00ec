//! `apctl man` and `apctl completions`: written from the same table as `--help`.

use super::arguments::Arguments;
use super::exit::{Exit, Failure};
use super::output::print;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use std::path::Path;

/// The day of the pages; a page that is built again is the same page.
const DATE: &str = "2026-11-21";

/// `completions SHELL`.
pub(super) fn completions(shell: clap_complete::Shell) -> Result<Exit, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "apctl", &mut text);
    print(&String::from_utf8_lossy(&text))?;
    Ok(Exit::OK)
}

/// `man [--to FOLDER]`: one page to standard output, or a page for each verb into a folder.
pub(super) fn man(folder: Option<&Path>) -> Result<Exit, Failure> {
    let mut command = Arguments::command();
    command.build();
    let Some(folder) = folder else {
        print(&String::from_utf8_lossy(&page(command)?))?;
        return Ok(Exit::OK);
    };
    write_all(&command, folder)?;
    Ok(Exit::OK)
}

fn write_all(command: &Command, folder: &Path) -> Result<(), Failure> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let path = folder.join(format!("{name}.1"));
    std::fs::write(&path, page(command.clone())?)
        .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help");
    verbs.into_iter().try_for_each(|verb| write_all(verb, folder))
}

fn page(command: Command) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    let source = concat!("apd ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command).section("1").date(DATE).manual("apd").source(source);
    man.render(&mut text).map_err(|error| Failure::failed(format!("the page: {error}")))?;
    Ok(tidy(&String::from_utf8_lossy(&text)).into_bytes())
}

/// Without the line breaks that stand beside a blank line: they do nothing, and linters say so.
fn tidy(page: &str) -> String {
    let lines: Vec<&str> = page.lines().collect();
    let is_space = |place: Option<usize>| {
        place.and_then(|place| lines.get(place)).is_some_and(|line| line.is_empty() || *line == ".sp")
    };
    let idle =
        |place: usize| lines[place] == ".br" && (is_space(place.checked_sub(1)) || is_space(Some(place + 1)));
    (0..lines.len()).filter(|place| !idle(*place)).map(|place| format!("{}\n", lines[place])).collect()
}
