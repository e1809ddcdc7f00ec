//! What is printed, and how: tables for people, JSON and YAML for programs, colours where they help.

use super::answers::Failed;
use super::arguments::{Colour, Common, Format};
use super::exit::{Exit, Failure};
use super::yaml;
use schemars::JsonSchema;
use serde::Serialize;
use std::io::{self, ErrorKind, IsTerminal, Write};

/// Widths below this are not laid out for.
const WIDTH_MIN: usize = 40;
/// The width where nobody says.
const WIDTH_PIPE: usize = 120;

/// Where answers go.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    format: Format,
    colour: bool,
    width: usize,
}

/// What a piece of text means, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Service or redundancy is lost.
    Bad,
    /// Somebody should know.
    Warning,
    /// As it should be.
    Good,
    /// A heading.
    Strong,
    /// Beside the point.
    Faint,
}

impl Output {
    /// As the command line and the terminal ask for. COLUMNS wins over the terminal's width.
    pub fn new(common: &Common) -> Self {
        let terminal = io::stdout().is_terminal();
        let colour = match common.color {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        };
        let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let width = columns
            .or_else(|| terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)))
            .unwrap_or(WIDTH_PIPE);
        Self { format: common.output, colour, width: width.max(WIDTH_MIN) }
    }

    /// Characters in a line.
    pub fn width(&self) -> usize {
        self.width
    }

    /// People read it.
    pub fn is_table(&self) -> bool {
        self.format == Format::Table
    }

    /// Text in its colour.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Bad => "1;31",
            Tone::Warning => "33",
            Tone::Good => "32",
            Tone::Strong => "1",
            Tone::Faint => "2",
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Prints `value` for programs, or what `table` makes of it for people. Its type has a schema: `apctl schema` tells
    /// programs what they can rely on.
    ///
    /// # Errors
    /// When standard output fails; that nobody reads it any more is no failure.
    pub fn show<T: Serialize + JsonSchema>(
        &self,
        value: &T,
        table: impl FnOnce(&Self) -> String,
    ) -> Result<(), Failure> {
        let text = match self.format {
            Format::Table => table(self),
            // In the order of the fields, which the interface gives.
            Format::Json => serde_json::to_string_pretty(value).map_err(unprintable)? + "\n",
            Format::Yaml => yaml::of(&serde_json::to_value(value).map_err(unprintable)?),
        };
        print(&text)
    }

    /// Says on standard error what goes on; only to people.
    pub fn note(&self, line: &str) {
        if self.is_table() {
            // Nobody reads it: nothing to be done about that.
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    /// Says why it ends: to people on standard error, to programs on standard output.
    pub fn failure(&self, failure: &Failure) {
        if !self.is_table() {
            // Printing that printing fails is no use.
            let _ = self.show(&Failed::from(failure), |_| String::new());
            return;
        }
        let mut text = format!("apctl: {}\n", failure.message);
        if !failure.remedy.is_empty() {
            text.push_str(&format!("       {}\n", failure.remedy));
        }
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

fn unprintable(error: serde_json::Error) -> Failure {
    Failure::failed(error.to_string())
}

/// Prints to standard output. A reader that has gone (`apctl history | head`) is quiet.
///
/// # Errors
/// Any other failure, such as a full disk.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::FAILED, "E_OUTPUT", format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}
