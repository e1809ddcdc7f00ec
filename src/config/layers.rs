//! The layers and their order, later wins: built-in defaults (in `typed`), the main file, `conf.d/*.toml`
//! beside it (sorted by name), environment `APD__SECTION__KEY`, flags.
//!
//! The `config` crate merges; this file hands it one source for each layer, read strictly and with the
//! origin of each value. Lists of tables with a name (`[[check]]`) merge entry by entry, other lists are
//! replaced as a whole. A text from the environment is read as what the key wants, never guessed from its
//! looks: a password `007` stays `007`.

use super::problem::{KeyPath, Origin, Origins, Problems, dotted};
use super::schema::{Wanted, is_named_list};
use super::shape;
use super::sources::Sources;
use super::typed::File;
use super::written::{self, Item, Table, Written};
use ::config::{Map, Value, ValueKind};
use serde::Deserialize;
use serde_json::Value as Json;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};

/// All layers in one.
#[derive(Clone, Debug)]
pub struct Merged {
    /// Later layers over earlier ones over defaults.
    pub file: File,
    /// Where each key was written.
    pub origins: Origins,
}

/// The files of a configuration in the order of their layers: the main file, then `conf.d/*.toml`.
pub fn files(main_file: &Path, problems: &mut Problems) -> Vec<PathBuf> {
    let folder = main_file.parent().unwrap_or(Path::new(".")).join("conf.d");
    let mut parts: Vec<PathBuf> = match std::fs::read_dir(&folder) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            let origin = Origin::File { path: folder.clone(), line: 1 };
            let what = format!("cannot be read: {error}");
            problems.error(origin, &["conf.d".into()], what, "let the user of apd read this folder".into());
            Vec::new()
        }
    };
    let hidden = |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    parts.retain(|path| path.extension().is_some_and(|extension| extension == "toml") && !hidden(path));
    parts.sort();
    parts.insert(0, main_file.to_owned());
    parts
}

/// Reads, checks the shape of, and merges all layers. `None`: something could not even be read, and
/// what would follow from that is not worth reporting.
pub fn read(schema: &Json, sources: &Sources, files: &[PathBuf], problems: &mut Problems) -> Option<Merged> {
    let mut layers: Vec<Table> = files.iter().map(|path| read_file(path, problems)).collect();
    let readable = problems.errors.is_empty();
    let names = Names::of(&layers);
    layers
        .extend(texts(sources).map(|(origin, parts, text)| from_text(schema, &names, &parts, text, origin)));
    layers.iter_mut().for_each(|table| shape::check(schema, table, problems));
    if !readable {
        return None;
    }
    merge(schema, layers, problems)
}

fn read_file(path: &Path, problems: &mut Problems) -> Table {
    let origin = Origin::File { path: path.to_owned(), line: 1 };
    let remedy = match std::fs::read_to_string(path) {
        Ok(text) => return written::parse(path, &text, problems),
        Err(error) => match error.kind() {
            std::io::ErrorKind::NotFound => (
                error,
                "write it (docs/configuration.md begins with the shortest), or name another with --config",
            ),
            std::io::ErrorKind::InvalidData => (error, "save the file as UTF-8"),
            _ => (error, "let the user of apd read this file"),
        },
    };
    problems.error(origin, &["file".into()], format!("cannot be read: {}", remedy.0), remedy.1.into());
    Table::new()
}

/// Environment and flags as (origin, parts of the key, text), in the order of their layers.
fn texts(sources: &Sources) -> impl Iterator<Item = (Origin, Vec<String>, &str)> {
    let mut variables: Vec<&(String, String)> = sources.environment.iter().collect();
    variables.sort();
    let variables = variables.into_iter().filter_map(|(name, text)| {
        let parts = name.strip_prefix("APD__")?.split("__").map(str::to_lowercase).collect();
        Some((Origin::Environment(name.clone()), parts, text.as_str()))
    });
    let flags = sources.flags.iter().map(|(name, text)| {
        let parts = name.split('.').map(str::to_owned).collect();
        (Origin::Flag(name.clone()), parts, text.as_str())
    });
    variables.chain(flags)
}

/// Names of nodes and of named list entries that the files use, so that a variable can mean them
/// although it is written in capitals and without dashes.
struct Names(Vec<(String, String)>);

impl Names {
    fn of(layers: &[Table]) -> Names {
        let mut names = Vec::new();
        for (section, item) in layers.iter().flatten() {
            match &item.value {
                Written::Table(entries) => {
                    names.extend(entries.iter().map(|(name, _)| (section.clone(), name.clone())));
                }
                Written::Array(list) => {
                    names.extend(list.iter().filter_map(|entry| match &entry.value.key("name")?.value {
                        Written::Text(name) => Some((section.clone(), name.clone())),
                        _ => None,
                    }))
                }
                _ => {}
            }
        }
        Names(names)
    }

    fn meant(&self, section: &str, part: &str) -> String {
        let plain = |name: &str| name.to_lowercase().replace(['-', '.'], "_");
        let mut fitting = self.0.iter().filter(|(of, name)| of == section && plain(name) == plain(part));
        fitting.next().map_or_else(|| part.to_owned(), |(_, name)| name.clone())
    }
}

/// A layer of a single key.
fn from_text(schema: &Json, names: &Names, parts: &[String], text: &str, origin: Origin) -> Table {
    let section = parts.first().map_or("", String::as_str);
    match nest(schema, &|part| names.meant(section, part), parts, text, &origin) {
        Written::Table(table) => table,
        _ => Table::new(),
    }
}

fn nest(
    schema: &Json,
    meant: &dyn Fn(&str) -> String,
    parts: &[String],
    text: &str,
    origin: &Origin,
) -> Written {
    let anything = Json::Bool(true);
    let Some((part, rest)) = parts.split_first() else { return text_as(schema, text, origin) };
    let item = |value| Item { value, origin: origin.clone() };
    match Wanted::of(schema) {
        Wanted::Named(entry) => {
            Written::Table(vec![(meant(part), item(nest(entry, meant, rest, text, origin)))])
        }
        Wanted::List(entry) if is_named_list(schema) => {
            let mut value = nest(entry, meant, rest, text, origin);
            if let Written::Table(table) = &mut value {
                table.push(("name".into(), item(Written::Text(meant(part)))));
            }
            Written::Array(vec![item(value)])
        }
        Wanted::Table(properties) => {
            let schema = properties.get(part).unwrap_or(&anything);
            Written::Table(vec![(part.clone(), item(nest(schema, meant, rest, text, origin)))])
        }
        _ => Written::Table(vec![(part.clone(), item(nest(&anything, meant, rest, text, origin)))]),
    }
}

/// A text, read as what the key wants. What cannot be read so stays text: `shape` will say what is wrong.
fn text_as(schema: &Json, text: &str, origin: &Origin) -> Written {
    let trimmed = text.trim();
    let as_toml = |text: &str| {
        let mut ignored = Problems::default();
        let line = format!("value = {text}");
        let table = written::parse(Path::new(""), &line, &mut ignored);
        let value = table.into_iter().next().map(|(_, item)| from(item, origin).value);
        value.filter(|_| ignored.errors.is_empty())
    };
    let read = match Wanted::of(schema) {
        Wanted::Boolean => trimmed.parse().ok().map(Written::Boolean),
        Wanted::Integer(..) => trimmed.parse().ok().map(Written::Integer),
        Wanted::List(items) if !trimmed.starts_with('[') => {
            let words = trimmed.split(',').map(str::trim).filter(|word| !word.is_empty());
            let element = |word| Item { value: text_as(items, word, origin), origin: origin.clone() };
            Some(Written::Array(words.map(element).collect()))
        }
        Wanted::List(_) | Wanted::Table(_) | Wanted::Named(_) | Wanted::Anything => as_toml(trimmed),
        Wanted::Word(_) | Wanted::Period | Wanted::Text => None,
    };
    read.unwrap_or_else(|| Written::Text(text.to_owned()))
}

/// The item, said to be from `origin` with everything in it.
fn from(item: Item, origin: &Origin) -> Item {
    let value = match item.value {
        Written::Array(list) => Written::Array(list.into_iter().map(|item| from(item, origin)).collect()),
        Written::Table(table) => {
            Written::Table(table.into_iter().map(|(key, item)| (key, from(item, origin))).collect())
        }
        plain => plain,
    };
    Item { value, origin: origin.clone() }
}

fn merge(schema: &Json, layers: Vec<Table>, problems: &mut Problems) -> Option<Merged> {
    let mut notes = Notes { origins: Origins::default(), order: Vec::new(), problems };
    let mut builder = ::config::Config::builder();
    for table in layers {
        let value = notes.table(schema, table, &mut Vec::new());
        if let ValueKind::Table(map) = value.kind {
            builder = builder.add_source(Layer(map));
        }
    }
    let Notes { origins, order, problems } = notes;
    let merged = builder.build().map(|merged| lists_again(schema, merged.cache, &order));
    match merged.and_then(File::deserialize) {
        Ok(file) => Some(Merged { file, origins }),
        Err(error) => {
            // `shape` has found every fault that can lead here; if it ever misses one, this still names it.
            let remedy = "see docs/configuration.md for what this key takes".to_owned();
            problems.error(Origin::Derived("all layers"), &["layers".into()], error.to_string(), remedy);
            None
        }
    }
}

/// One layer, as the `config` crate takes it.
#[derive(Clone, Debug)]
struct Layer(Map<String, Value>);

impl ::config::Source for Layer {
    fn clone_into_box(&self) -> Box<dyn ::config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ::config::ConfigError> {
        Ok(self.0.clone())
    }
}

/// Turns layers to values of the `config` crate, and notes on the way where each key was written and in
/// which order named entries came.
struct Notes<'n> {
    origins: Origins,
    order: Vec<KeyPath>,
    problems: &'n mut Problems,
}

impl Notes<'_> {
    fn value(&mut self, schema: &Json, item: Item, path: &mut KeyPath) -> Value {
        let Item { value, origin } = item;
        let is_container = matches!(value, Written::Table(_));
        if !is_container || self.origins.written(path).is_none() {
            self.origins.note(path.clone(), origin.clone());
        }
        let kind = match value {
            Written::Boolean(value) => ValueKind::Boolean(value),
            Written::Integer(number) => ValueKind::I64(number),
            Written::Float(number) => ValueKind::Float(number),
            Written::Text(text) => ValueKind::String(text),
            Written::Other(noun) => ValueKind::String(noun.to_owned()),
            Written::Array(list) if is_named_list(schema) => return self.named_list(schema, list, path),
            Written::Array(list) => ValueKind::Array(
                list.into_iter()
                    .enumerate()
                    .map(|(index, item)| {
                        path.push((index + 1).to_string());
                        let value = self.value(&Json::Bool(true), item, path);
                        path.pop();
                        value
                    })
                    .collect(),
            ),
            Written::Table(table) => return self.table(schema, table, path),
        };
        Value::new(Some(&origin.to_string()), kind)
    }

    fn table(&mut self, schema: &Json, table: Table, path: &mut KeyPath) -> Value {
        let anything = Json::Bool(true);
        let mut map = Map::new();
        for (key, item) in table {
            let schema = match Wanted::of(schema) {
                Wanted::Table(properties) => properties.get(&key).unwrap_or(&anything),
                Wanted::Named(entry) => entry,
                _ => &anything,
            };
            path.push(key.clone());
            map.insert(key, self.value(schema, item, path));
            path.pop();
        }
        Value::new(None, ValueKind::Table(map))
    }

    /// One named entry. A layer that tunes an entry has to repeat its name, but does not give it.
    fn entry(&mut self, schema: &Json, item: Item, path: &mut KeyPath) -> Value {
        if !self.order.contains(path) {
            self.order.push(path.clone());
        }
        let name_path = [path.as_slice(), &["name".to_owned()]].concat();
        let named_at = self.origins.written(&name_path).cloned();
        let value = self.value(schema, item, path);
        if let Some(origin) = named_at {
            self.origins.note(name_path, origin);
        }
        value
    }

    /// As a table whose keys are the entries' names, so that a later layer can tune an entry.
    fn named_list(&mut self, schema: &Json, list: Vec<Item>, path: &mut KeyPath) -> Value {
        let anything = Json::Bool(true);
        let entry_schema = if let Wanted::List(items) = Wanted::of(schema) { items } else { &anything };
        let mut map = Map::new();
        for item in list {
            let name = match item.value.key("name").map(|name| &name.value) {
                Some(Written::Text(name)) if !name.is_empty() => name.clone(),
                _ => {
                    let mut key = path.clone();
                    key.push("name".into());
                    if !self.problems.errors.iter().any(|problem| problem.origin == item.origin) {
                        let remedy = "give it a name of its own, as name = \"api\"".to_owned();
                        self.problems.error(item.origin.clone(), &key, "missing".into(), remedy);
                    }
                    continue;
                }
            };
            path.push(name.clone());
            match map.entry(name) {
                Entry::Vacant(free) => free.insert(self.entry(entry_schema, item, path)),
                Entry::Occupied(_) => {
                    let other = self.origins.nearest(path).unwrap_or(&item.origin);
                    let what = format!("there are two of this name, the other one at {other}");
                    let remedy = "give each a name of its own".to_owned();
                    self.problems.error(item.origin.clone(), path, what, remedy);
                    path.pop();
                    continue;
                }
            };
            path.pop();
        }
        Value::new(None, ValueKind::Table(map))
    }
}

/// Undoes `named_list`, in the order in which names were first seen.
fn lists_again(schema: &Json, mut root: Value, order: &[KeyPath]) -> Value {
    let (Wanted::Table(properties), ValueKind::Table(map)) = (Wanted::of(schema), &mut root.kind) else {
        return root;
    };
    for (key, _) in properties.iter().filter(|(_, schema)| is_named_list(schema)) {
        let Some(Value { kind: ValueKind::Table(entries), .. }) = map.get_mut(key) else { continue };
        let names = order.iter().filter(|path| path.first() == Some(key));
        let list: Vec<Value> = names.filter_map(|path| entries.remove(path.last()?)).collect();
        map.insert(key.clone(), Value::new(None, ValueKind::Array(list)));
    }
    debug_assert!(
        order.iter().all(|path| path.len() == 2),
        "named lists stand at the top: {}",
        dotted(&order.concat())
    );
    root
}
