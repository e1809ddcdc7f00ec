//! `apctl config show`: every key with its value and, if asked for, where that came from, as TOML.
//!
//! No secret can appear: the configuration only names the files that hold them, and words in the query of
//! a check's URL that look like one are covered.

use super::Loaded;
use super::problem::{KeyPath, Origin, Origins};
use super::typed::File;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Every key after all layers, profile and host.
#[derive(Clone, Debug)]
pub struct Effective {
    /// The values.
    pub file: File,
    /// Where they came from.
    pub(super) origins: Origins,
}

impl Effective {
    /// Where a key's value came from, by the parts of its path; entries of lists go by their name.
    pub fn origin(&self, path: &[&str]) -> Origin {
        let path: KeyPath = path.iter().map(|part| (*part).to_owned()).collect();
        self.origins.effective(&path).clone()
    }
}

/// The effective configuration as TOML, each line with its origin as a comment if `with_origin`.
pub fn render_effective(loaded: &Loaded, with_origin: bool) -> String {
    let mut file = loaded.effective.file.clone();
    for check in &mut file.check {
        check.url = check.url.as_deref().map(without_secrets);
    }
    file.alerts.webhook.url = without_secrets(&file.alerts.webhook.url);
    let text = match toml::to_string(&file) {
        Ok(text) => text,
        Err(error) => return format!("# cannot be shown: {error}\n"),
    };
    if !with_origin {
        return text;
    }
    annotate(&text, &loaded.effective)
}

/// Adds the origin to each `key = value` line, in one column.
fn annotate(text: &str, effective: &Effective) -> String {
    const COLUMN: usize = 48;
    let mut table: KeyPath = Vec::new();
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    let mut shown = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_matches(['[', ']']);
            // The first key of a list's entry is its name, by which its origins go.
            let name = line.starts_with("[[").then(|| lines.peek().and_then(|next| name_of(next))).flatten();
            table = parts_of(header);
            if table.first().map(String::as_str) == Some("check") && name.is_none() {
                // A table inside the latest entry, as [check.json].
                let _ = writeln!(shown, "{line}");
                continue;
            }
            let position = || {
                let count = counted.entry(header.to_owned()).or_default();
                *count += 1;
                count.to_string()
            };
            // Entries without names are counted.
            let entry = name.or_else(|| line.starts_with("[[").then(position));
            table.extend(entry);
            let _ = writeln!(shown, "{line}");
        } else if let Some((key, _)) = line.split_once(" = ") {
            let mut path = table.clone();
            path.extend(parts_of(key));
            let origin = effective.origins.effective(&path);
            let _ = writeln!(shown, "{line:<COLUMN$} # {origin}");
        } else {
            let _ = writeln!(shown, "{line}");
        }
    }
    shown
}

fn name_of(line: &str) -> Option<String> {
    line.strip_prefix("name = ").map(|name| name.trim_matches('"').to_owned())
}

/// The parts of a dotted TOML key.
fn parts_of(key: &str) -> KeyPath {
    let mut parts: KeyPath = vec![String::new()];
    let mut quoted = false;
    for letter in key.trim().chars() {
        match letter {
            '"' | '\'' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            letter => {
                if let Some(part) = parts.last_mut() {
                    part.push(letter);
                }
            }
        }
    }
    parts
}

/// Covers values in the query whose name sounds like a secret.
pub(super) fn without_secrets(url: &str) -> String {
    let Some((address, query)) = url.split_once('?') else { return url.to_owned() };
    let secret = |name: &str| {
        let name = name.to_lowercase();
        ["key", "token", "pass", "secret", "auth", "sig"].iter().any(|word| name.contains(word))
    };
    let covered = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if secret(name) => format!("{name}=[REDACTED]"),
        _ => pair.to_owned(),
    });
    format!("{address}?{}", covered.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_quotes_is_one_part() {
        assert_eq!(parts_of("nodes.\"db.1\".address"), ["nodes", "db.1", "address"]);
    }

    #[test]
    fn secrets_in_a_query_are_covered() {
        let shown = without_secrets("http://127.0.0.1/h?api_key=hunter2&lag=2");
        assert_eq!(shown, "http://127.0.0.1/h?api_key=[REDACTED]&lag=2");
    }
}
