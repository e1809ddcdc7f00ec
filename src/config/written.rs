//! One layer as a tree of values, each with its origin: a TOML file, or environment and flags.

use super::problem::{Origin, Problems};
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// What was written.
    pub value: Written,
    /// Where its key was written.
    pub origin: Origin,
}

/// Keys in the order in which they were written.
pub type Table = Vec<(String, Item)>;

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub enum Written {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A number with a point.
    Float(f64),
    /// Text.
    Text(String),
    /// TOML's date or time, or a number that no program can hold: nothing takes these.
    Other(&'static str),
    /// `[...]`.
    Array(Vec<Item>),
    /// `{...}` or `[header]`.
    Table(Table),
}

impl Written {
    /// What it is, for a message.
    pub fn noun(&self) -> &'static str {
        match self {
            Written::Boolean(_) => "true/false",
            Written::Integer(_) => "a whole number",
            Written::Float(_) => "a number with a point",
            Written::Text(_) => "text",
            Written::Other(noun) => noun,
            Written::Array(_) => "a list",
            Written::Table(_) => "a table",
        }
    }

    /// The value of a key of a table.
    pub fn key(&self, name: &str) -> Option<&Item> {
        match self {
            Written::Table(table) => table.iter().find(|(key, _)| key == name).map(|(_, item)| item),
            _ => None,
        }
    }
}

/// Reads the text of one file; syntax errors are collected, and what could be read is returned.
pub fn parse(path: &Path, text: &str, problems: &mut Problems) -> Table {
    let at = |offset: usize| Origin::File { path: path.to_owned(), line: line_of(text, offset) };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let offset = error.span().map_or(0, |span| span.start);
        // Only the message: the excerpt that the parser can print may hold a secret.
        let what = format!("no valid TOML: {}", error.message().replace('\n', ", "));
        let remedy = match what.contains("duplicate") {
            true => "leave one of the two out",
            false => "correct this line; texts stand in double quotes",
        };
        problems.error(at(offset), &enclosing_key(text, offset), what, remedy.into());
    }
    table_of(table.get_ref(), &at)
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}

/// The key on the line of a syntax error, as far as a line that is no TOML has one.
fn enclosing_key(text: &str, offset: usize) -> Vec<String> {
    let line = text.lines().nth(line_of(text, offset) - 1).unwrap_or_default();
    let word = |part: &str| part.trim_matches(|c: char| "[]\"' \t".contains(c)).to_owned();
    let written = line.split(['=', '#']).next().unwrap_or_default();
    let known = |key: &String| {
        key.len() <= 40 && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    };
    match written.split('.').map(word).collect::<Vec<_>>() {
        key if line.contains(['=', '[']) && key.iter().all(known) => key,
        _ => vec!["syntax".into()],
    }
}

fn table_of(table: &DeTable<'_>, at: &dyn Fn(usize) -> Origin) -> Table {
    let mut entries: Vec<(usize, (String, Item))> = table
        .iter()
        .map(|(key, value)| {
            let origin = at(key.span().start);
            let item = Item { value: value_of(value.get_ref(), at), origin };
            (key.span().start, (key.get_ref().to_string(), item))
        })
        .collect();
    entries.sort_by_key(|(offset, _)| *offset);
    entries.into_iter().map(|(_, entry)| entry).collect()
}

fn value_of(value: &DeValue<'_>, at: &dyn Fn(usize) -> Origin) -> Written {
    let element = |element: &Spanned<DeValue<'_>>| Item {
        value: value_of(element.get_ref(), at),
        origin: at(element.span().start),
    };
    match value {
        DeValue::String(text) => Written::Text(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Written::Other("a number that is too large"), Written::Integer),
        DeValue::Float(number) => {
            number.as_str().parse().map_or(Written::Other("a number that is too large"), Written::Float)
        }
        DeValue::Boolean(value) => Written::Boolean(*value),
        DeValue::Datetime(_) => Written::Other("a date or time"),
        DeValue::Array(array) => Written::Array(array.iter().map(element).collect()),
        DeValue::Table(table) => Written::Table(table_of(table, at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(item: &Item) -> usize {
        match &item.origin {
            Origin::File { line, .. } => *line,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn every_value_knows_its_line() {
        let text = "[a]\nb = 1\n\n[[check]]\nname = \"x\"\n[[check]]\nname = \"y\"\nlist = [\n 1,\n 2,\n]\n";
        let mut problems = Problems::default();
        let table = parse(Path::new("f.toml"), text, &mut problems);
        assert!(problems.errors.is_empty());
        let root = Written::Table(table);
        assert_eq!(line(root.key("a").expect("a")), 1);
        assert_eq!(line(root.key("a").and_then(|a| a.value.key("b")).expect("b")), 2);
        let Written::Array(checks) = &root.key("check").expect("check").value else { panic!("no array") };
        assert_eq!(checks.iter().map(line).collect::<Vec<_>>(), [4, 6]);
        let Some(Written::Array(list)) = checks[1].value.key("list").map(|item| &item.value) else {
            panic!("no list")
        };
        assert_eq!(list.iter().map(line).collect::<Vec<_>>(), [9, 10]);
    }

    #[test]
    fn a_syntax_error_does_not_show_the_line() {
        let mut problems = Problems::default();
        parse(
            Path::new("f.toml"),
            "[mariadb]\npassword = hunter2 x\nuser = 'u'\nport = = 3\n",
            &mut problems,
        );
        let shown = format!("{:?}", problems.errors);
        assert!(problems.errors.len() >= 2, "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(problems.errors.iter().any(|problem| problem.key == "password"), "{shown}");
    }
}
