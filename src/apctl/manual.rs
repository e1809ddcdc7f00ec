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
    let title = command.get_display_name().unwrap_or(command.get_name()).to_uppercase();
    let man = Man::new(command).title(title).section("1").date(DATE).manual("apd").source(source);
    man.render(&mut text).map_err(|error| Failure::failed(format!("the page: {error}")))?;
    Ok(tidy(&String::from_utf8_lossy(&text)).into_bytes())
}

/// The longest line of a page's source.
const LINE_MAX: usize = 79;

/// As linters want a page: without line breaks beside a blank line, which do nothing, without blanks at the end of a
/// line, and without long lines.
fn tidy(page: &str) -> String {
    let lines: Vec<&str> = page.lines().map(str::trim_end).collect();
    let is_space = |place: Option<usize>| {
        place.and_then(|place| lines.get(place)).is_some_and(|line| line.is_empty() || *line == ".sp")
    };
    let idle =
        |place: usize| lines[place] == ".br" && (is_space(place.checked_sub(1)) || is_space(Some(place + 1)));
    (0..lines.len()).filter(|place| !idle(*place)).map(|place| folded(lines[place])).collect()
}

/// A line of text as several: a formatter fills them again. A request stays one line, and no word that would be read as
/// a request begins one.
fn folded(line: &str) -> String {
    let begins_request = |text: &str| text.starts_with(['.', '\'']);
    let mut text = String::new();
    let mut rest = line;
    while rest.len() > LINE_MAX && !begins_request(line) {
        let mut blanks = rest.match_indices(' ').map(|(place, _)| place).filter(|place| *place > 0);
        let fits = |place: &usize| *place <= LINE_MAX && !begins_request(&rest[place + 1..]);
        let Some(place) = blanks.rfind(fits) else { break };
        text.push_str(rest[..place].trim_end());
        text.push('\n');
        rest = rest[place..].trim_start();
    }
    text + rest + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_folded_and_a_request_is_not() {
        let words = "word ".repeat(30);
        let page = folded(words.trim_end());
        assert!(page.lines().all(|line| line.len() <= LINE_MAX), "{page}");
        assert_eq!(page.split_whitespace().count(), 30);
        let request = format!(".SH {words}");
        assert_eq!(folded(request.trim_end()).lines().count(), 1);
        let dangerous = format!("{} .hidden file", "x".repeat(LINE_MAX - 2));
        assert!(folded(&dangerous).lines().all(|line| !line.starts_with('.')), "{dangerous}");
        assert_eq!(folded(&"x".repeat(200)).len(), 201, "a word is never cut");
    }
}
