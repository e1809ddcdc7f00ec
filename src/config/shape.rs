//! The shape of one layer: unknown keys, wrong types, unknown words, numbers out of range. Whatever is
//! wrong is reported and taken out, so that everything else can still be looked at.

use super::problem::{KeyPath, Origin, Problems};
use super::schema::{Wanted, is_named_list, quoted, words_of};
use super::suggest::nearest;
use super::typed::Period;
use super::written::{Item, Table, Written};
use serde_json::{Map, Value};

/// Checks a layer against the schema of the whole file.
pub fn check(schema: &Value, table: &mut Table, problems: &mut Problems) {
    let Wanted::Table(properties) = Wanted::of(schema) else { return };
    Walk { root: properties, problems }.table(properties, table, &mut Vec::new());
}

struct Walk<'w> {
    root: &'w Map<String, Value>,
    problems: &'w mut Problems,
}

impl Walk<'_> {
    fn table(&mut self, properties: &Map<String, Value>, table: &mut Table, path: &mut KeyPath) {
        table.retain_mut(|(key, item)| {
            path.push(key.clone());
            let keep = match properties.get(key.as_str()) {
                Some(schema) => self.item(schema, item, path),
                None => self.unknown_key(properties, key, item, path),
            };
            path.pop();
            keep
        });
    }

    /// True: the item may stay.
    fn item(&mut self, schema: &Value, item: &mut Item, path: &mut KeyPath) -> bool {
        let wanted = Wanted::of(schema);
        match (wanted, &mut item.value) {
            (_, Written::Other(noun)) => {
                let what = format!("{noun} does not belong here");
                self.refuse(path, &item.origin, what, wanted.remedy())
            }
            (Wanted::Anything, _)
            | (Wanted::Boolean, Written::Boolean(_))
            | (Wanted::Text, Written::Text(_)) => true,
            (Wanted::Integer(least, most), Written::Integer(number)) => {
                let number = *number;
                (least..=most).contains(&number)
                    || self.refuse(path, &item.origin, format!("{number} is out of range"), wanted.remedy())
            }
            (Wanted::Word(words), Written::Text(word)) => {
                let word = word.clone();
                words_of(words).contains(&word.as_str()) || self.unknown_word(words, &word, item, path)
            }
            (Wanted::Period, Written::Text(text)) => {
                let what = format!("{text:?} is no duration");
                text.parse::<Period>().is_ok() || self.refuse(path, &item.origin, what, wanted.remedy())
            }
            (Wanted::List(items), Written::Array(list)) => {
                self.list(items, list, is_named_list(schema), path);
                true
            }
            (Wanted::Table(properties), Written::Table(table)) => {
                self.table(properties, table, path);
                true
            }
            (Wanted::Named(schema), Written::Table(table)) => {
                table.retain_mut(|(name, item)| {
                    path.push(name.clone());
                    let keep = self.item(schema, item, path);
                    path.pop();
                    keep
                });
                true
            }
            (_, found) => {
                let what = format!("{} does not belong here", found.noun());
                self.refuse(path, &item.origin, what, wanted.remedy())
            }
        }
    }

    fn list(&mut self, schema: &Value, list: &mut Vec<Item>, by_name: bool, path: &mut KeyPath) {
        let mut number = 0;
        list.retain_mut(|item| {
            number += 1;
            let name = match item.value.key("name").map(|name| &name.value) {
                Some(Written::Text(name)) if by_name => name.clone(),
                _ => number.to_string(),
            };
            path.push(name);
            let keep = self.item(schema, item, path);
            path.pop();
            keep
        });
    }

    fn refuse(&mut self, path: &[String], origin: &Origin, what: String, remedy: String) -> bool {
        self.problems.error(origin.clone(), path, what, remedy);
        false
    }

    fn unknown_word(&mut self, schema: &Value, word: &str, item: &Item, path: &KeyPath) -> bool {
        let words = words_of(schema);
        let remedy = match nearest(word, words.iter().copied()) {
            Some(meant) => format!("did you mean \"{meant}\"? The words are {}", quoted(&words)),
            None => format!("write one of {}", quoted(&words)),
        };
        self.refuse(path, &item.origin, format!("\"{word}\" is not a word that this key knows"), remedy)
    }

    fn unknown_key(
        &mut self,
        properties: &Map<String, Value>,
        key: &str,
        item: &Item,
        path: &KeyPath,
    ) -> bool {
        let secret_file = properties
            .keys()
            .find(|known| known.ends_with("_file") && known.strip_suffix("_file").is_some_and(|s| s == key));
        let remedy = if let Some(file) = secret_file {
            format!("secrets are never written here: put it into a file and name that file with `{file}`")
        } else if let Some(meant) = nearest(key, properties.keys().map(String::as_str)) {
            format!("did you mean `{meant}`?")
        } else if let Some(section) = self.section_of(key) {
            format!("`{key}` is a key of {section}: move it there")
        } else {
            let known: Vec<&str> = properties.keys().map(String::as_str).collect();
            format!("leave it out; known here: {}", known.join(", "))
        };
        self.refuse(path, &item.origin, "unknown key".into(), remedy)
    }

    /// Another section that knows this key.
    fn section_of(&self, key: &str) -> Option<String> {
        let knows = |schema: &Value| match Wanted::of(schema) {
            Wanted::Table(properties) => properties.contains_key(key),
            _ => false,
        };
        self.root.iter().find_map(|(section, schema)| match Wanted::of(schema) {
            Wanted::Table(properties) if properties.contains_key(key) => Some(format!("[{section}]")),
            Wanted::Named(schema) if knows(schema) => Some(format!("[{section}.NAME]")),
            Wanted::List(items) if knows(items) => Some(format!("[[{section}]]")),
            _ => None,
        })
    }
}
