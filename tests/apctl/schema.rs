//! What verbs print for programs is what `docs/schema` tells of it: every golden page, every failure, every status.

use super::control::{Daemon, Setup, active_at, alone_at, apctl_command, frozen_clock, standby_at};
use super::operator::{full, verbs};
use super::validator::Validator;
use super::{json, out};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Verbs that print no JSON of their own: a screen, and files of other kinds.
const WITHOUT: [&str; 5] = ["completions", "config schema", "man", "schema", "watch"];
/// Verbs that no help names.
const HIDDEN: [&str; 7] =
    ["config import-keepalived", "drill", "join", "local-service", "peer", "salvage", "solo"];
/// Golden files that hold one answer, and the verb that gave it.
const SINGLE: [(&str, &str); 6] = [
    ("config_diff.json", "config diff"),
    ("doctor.json", "doctor"),
    ("explain.json", "explain"),
    ("is_active.json", "is-active"),
    ("mode.json", "mode"),
    ("status_healthy.json", "status"),
];

fn tree(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
}

/// The files of a folder by their names.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let paths = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    paths
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect()
}

/// The published schemas by their verbs.
fn schemas() -> BTreeMap<String, Value> {
    let listed = out(&apctl_command().arg("schema").output().unwrap());
    let published = files(&tree("docs/schema"));
    assert_eq!(listed.lines().count(), published.len(), "{listed}");
    listed
        .lines()
        .map(|verb| {
            let name = format!("{}.schema.json", verb.replace(' ', "-"));
            let text = published.get(&name).unwrap_or_else(|| panic!("{name} is missing"));
            (verb.to_owned(), serde_json::from_str(text).unwrap())
        })
        .collect()
}

/// The verb of a command line: `config diff` of `config diff --peer`.
fn verb_of(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let length = if words[0] == "config" { 2 } else { 1 };
    words[..length.min(words.len())].join(" ")
}

/// Each JSON answer of the golden pages: the file, the command line, the answer.
fn answers() -> Vec<(String, String, Value)> {
    let mut answers = Vec::new();
    for (name, text) in files(&tree("tests/golden")) {
        if name.ends_with(".json") {
            let (_, verb) = SINGLE
                .iter()
                .find(|(known, _)| *known == name)
                .unwrap_or_else(|| panic!("nothing says which verb gave {name}"));
            answers.push((name, (*verb).to_owned(), serde_json::from_str(&text).unwrap()));
            continue;
        }
        for page in text.split("==== apctl ").skip(1) {
            let (heading, rest) = page.split_once('\n').unwrap();
            let Some((line, _)) = heading.split_once(" [json]") else { continue };
            let (body, _) = rest.split_once("---- exit").unwrap();
            let said: String = body.lines().filter(|line| !line.starts_with("stderr: ")).collect();
            let value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{name}: {line}: {error}"));
            answers.push((name.clone(), line.to_owned(), value));
        }
    }
    answers
}

/// What any verb says that did not do what it should.
fn failure(schemas: &BTreeMap<String, Value>) -> Validator {
    Validator::of_part(&schemas["status"], &json!({"$ref": "#/$defs/Failure"}))
}

#[test]
fn docs_schema_is_what_the_command_writes() {
    let folder = tempfile::tempdir().unwrap();
    let written = apctl_command().args(["schema", "--to"]).arg(folder.path()).output().unwrap();
    assert!(written.status.success(), "{written:?}");
    let written = files(folder.path());
    let kept = tree("docs/schema");
    if std::env::var_os("UPDATE_GOLDEN").is_some() || std::env::var_os("APD_RECORD").is_some() {
        for (name, text) in &written {
            std::fs::write(kept.join(name), text).unwrap();
        }
    }
    for (name, text) in files(&kept) {
        let is_same = written.get(&name) == Some(&text);
        assert!(is_same, "{name}: if that is meant: UPDATE_GOLDEN=1 cargo nextest run -E 'binary(apctl)'");
    }
    for (verb, schema) in schemas() {
        let words: Vec<&str> = verb.split(' ').collect();
        let printed = apctl_command().arg("schema").args(words).output().unwrap();
        assert_eq!(json(&printed), schema, "{verb}");
        assert_eq!(schema["title"], format!("apctl {verb} -o json"));
        // Words that only a reader of the source understands.
        let text = schema.to_string();
        assert!(!text.contains("`None`") && !text.contains("[`"), "{verb}: {text}");
    }
    let of_status = out(&apctl_command().args(["status", "--schema"]).output().unwrap());
    assert_eq!(of_status, written["status.schema.json"]);
    let none = apctl_command().args(["schema", "watch"]).output().unwrap();
    assert_eq!(none.status.code(), Some(2), "{none:?}");
}

/// Each thing that a verb may print stands in a golden page, fits, and would not with a field more, or of another version.
#[test]
fn every_golden_page_fits_and_every_shape_has_one() {
    let schemas = schemas();
    let whole: BTreeMap<&String, Validator> =
        schemas.iter().map(|(verb, schema)| (verb, Validator::of(schema.clone()))).collect();
    let parts: Vec<(&String, String, Validator)> = schemas
        .iter()
        .flat_map(|(verb, schema)| {
            let choices = schema["anyOf"].as_array().unwrap().iter();
            choices.map(move |part| {
                (verb, part["$ref"].as_str().unwrap().to_owned(), Validator::of_part(schema, part))
            })
        })
        .collect();
    let failure = failure(&schemas);
    let mut seen = BTreeSet::new();
    for (file, line, value) in answers() {
        let verb = verb_of(&line);
        let schema = whole.get(&verb).or(is_later(&verb).then_some(&failure));
        let schema = schema.unwrap_or_else(|| panic!("{file}: {line}: {verb} has no schema"));
        let breach = schema.breach(&value);
        assert!(breach.is_none(), "{file}: {line}: {}", breach.unwrap());
        for (change, with) in
            [("more", json!(1)), ("schema_version", json!(2)), ("schema_version", json!(null))]
        {
            let mut other = value.clone();
            other[change] = with;
            assert!(schema.breach(&other).is_some(), "{file}: {line}: {other}");
        }
        let of_verb = parts.iter().filter(|(known, ..)| **known == verb);
        for (_, name, _) in of_verb.filter(|(_, _, part)| part.breach(&value).is_none()) {
            seen.insert((verb.clone(), name.clone()));
        }
    }
    for (verb, name, _) in &parts {
        let is_seen = seen.contains(&((*verb).clone(), name.clone()));
        assert!(is_seen || name == "#/$defs/Failure", "no golden page of {verb} shows {name}");
    }
}

/// Whoever adds a verb that prints JSON gives it a schema: each is run here, where there is neither daemon nor
/// configuration, and what it says fits.
#[test]
fn every_verb_has_a_schema_or_prints_none() {
    let schemas = schemas();
    let named: BTreeSet<String> = verbs(&[]).iter().map(|words| words.join(" ")).collect();
    let all: BTreeSet<String> = named
        .iter()
        .filter(|verb| !named.iter().any(|other| other.starts_with(&format!("{verb} "))))
        .cloned()
        .chain(HIDDEN.map(str::to_owned))
        .collect();
    let known = |verb: &str| schemas.contains_key(verb);
    assert!(schemas.keys().all(|verb| all.contains(verb)), "{:?}", schemas.keys());
    let failure = failure(&schemas);
    let folder = tempfile::tempdir().unwrap();
    for verb in &all {
        let mut command = apctl_command();
        command
            .current_dir(folder.path())
            .env("PATH", "/nonexistent")
            .args(["--socket", "/nonexistent/apd.sock"]);
        command.args(["--config", "/nonexistent/apd.toml", "-o", "json"]).args(verb.split(' '));
        command.args(match verb.as_str() {
            "completions" => &["bash"][..],
            "local-service" => &["status"],
            "replay" => &["/nonexistent/recording"],
            _ => &[],
        });
        let said = out(&command.output().unwrap());
        let value: Option<Value> = serde_json::from_str(&said).ok();
        let own = value.filter(|value| value.get("$schema").is_none());
        assert_eq!(known(verb), !WITHOUT.contains(&verb.as_str()) && !is_later(verb), "{verb}: {said}");
        match own {
            Some(value) if known(verb) => {
                let breach = Validator::of(schemas[verb].clone()).breach(&value);
                assert!(breach.is_none(), "{verb}: {}\n{value}", breach.unwrap());
            }
            // A screen needs a terminal, a verb of a later version is refused: that is said as everywhere.
            Some(value) => assert_eq!(failure.breach(&value), None, "{verb}: {value}"),
            None => assert!(WITHOUT.contains(&verb.as_str()), "{verb}: {said}"),
        }
    }
}

/// Hidden, and not `local-service`: not yet supported.
fn is_later(verb: &str) -> bool {
    HIDDEN.contains(&verb) && verb != "local-service"
}

/// Every status fits: none has a field that the schema does not name, and none lacks one that it requires.
#[test]
fn every_status_fits() {
    let schema = Validator::of(schemas().remove("status").unwrap());
    for snapshot in [active_at(frozen_clock()), standby_at(frozen_clock()), alone_at(frozen_clock()), full()]
    {
        let daemon = Daemon::start(Setup { snapshot, ..Setup::default() });
        let status = json(&daemon.apctl(&["status", "-o", "json"]));
        assert_eq!(schema.breach(&status), None);
        // The examination bites: a field that goes, one that comes, a word that nobody knows.
        for change in ["lacks", "has", "says"] {
            let mut other = status.clone();
            match change {
                "lacks" => drop(other["node"].as_object_mut().unwrap().remove("why")),
                "has" => other["node"]["more"] = json!(1),
                _ => other["node"]["role"] = json!("emperor"),
            }
            assert!(schema.breach(&other).is_some(), "{change}");
        }
    }
}
