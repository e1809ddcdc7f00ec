//! What is said to the server: the text of `sql/*.sql` with its blanks filled in.

use std::fmt;
use std::fmt::Write as _;

/// One text to send: one or several SQL statements. Shows only its name, because the text may hold a password.
#[derive(Clone)]
pub struct Statement {
    name: &'static str,
    text: String,
}

impl fmt::Debug for Statement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Statement({})", self.name)
    }
}

impl Statement {
    /// Fills the `{blanks}` of `source` and drops its comment lines. Values are put in as they are: text
    /// must have gone through [`quote`], names through [`identifier`].
    pub fn render(name: &'static str, source: &str, values: &[(&str, String)]) -> Statement {
        let mut text = String::with_capacity(source.len());
        for line in source.lines().filter(|line| !line.trim_start().starts_with("--")) {
            fill(&mut text, line, values);
            text.push('\n');
        }
        Statement { name, text: text.trim_end().to_owned() }
    }

    /// A text that was composed elsewhere.
    pub fn composed(name: &'static str, text: String) -> Statement {
        Statement { name, text }
    }

    /// Several statements in one packet: one wait for all answers, which come in their order.
    pub fn joined(name: &'static str, statements: &[Statement]) -> Statement {
        let texts: Vec<&str> = statements.iter().map(|statement| statement.text.as_str()).collect();
        Statement { name, text: texts.join(";\n") }
    }

    /// For messages and logs: the file's name in `sql/`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// For the wire only, never for a log.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

fn fill(text: &mut String, line: &str, values: &[(&str, String)]) {
    let mut rest = line;
    while let Some(start) = rest.find('{') {
        let Some(length) = rest[start..].find('}') else { break };
        let blank = &rest[start + 1..start + length];
        text.push_str(&rest[..start]);
        match values.iter().find(|(name, _)| *name == blank) {
            Some((_, value)) => text.push_str(value),
            None => text.push_str(&rest[start..=start + length]),
        }
        rest = &rest[start + length + 1..];
    }
    text.push_str(rest);
}

/// `text` as a string literal (`sql_mode` without NO_BACKSLASH_ESCAPES, see `sql/session.sql`).
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for character in text.chars() {
        match character {
            '\'' => quoted.push_str("''"),
            '\\' => quoted.push_str("\\\\"),
            '\0' => quoted.push_str("\\0"),
            other => quoted.push(other),
        }
    }
    quoted.push('\'');
    quoted
}

/// `name` as an identifier.
pub fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Bytes as a string literal of whatever character set.
pub fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2 + 3);
    text.push_str("x'");
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a String does not fail");
    }
    text.push('\'');
    text
}

/// `statement!("name", blank = value, ...)`: the text of `sql/name.sql` with its blanks filled.
macro_rules! statement {
    ($file:literal $(, $blank:ident = $value:expr)* $(,)?) => {
        $crate::io::mariadb::statement::Statement::render(
            $file,
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/", $file, ".sql")),
            &[$((stringify!($blank), ($value).to_string())),*],
        )
    };
}
pub(crate) use statement;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_are_filled_once_and_comments_dropped() {
        let statement = Statement::render(
            "x",
            "-- why {a}\nSELECT {a}, {b}\n",
            &[("a", quote("{b}")), ("b", identifier("t`x"))],
        );
        assert_eq!(statement.text(), "SELECT '{b}', `t``x`");
        assert_eq!(format!("{statement:?}"), "Statement(x)");
    }

    #[test]
    fn quotes_and_backslashes_stay_text() {
        assert_eq!(quote(r"a'b\c"), r"'a''b\\c'");
        assert_eq!(hexadecimal(b"\x00\xff"), "x'00ff'");
    }
}
