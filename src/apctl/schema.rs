//! `apctl schema`: what each verb prints with `-o json`, as JSON Schema. Derived from the very types that are printed
//! ([`super::output::Output::show`] takes no other), so that it cannot lag behind them; `docs/schema` holds the same.

use super::answers::{
    Answers, Bundled, Checks, Comparison, Examinations, Failed, Fence, LogLevel, ModeAnswer, Operations,
    Plan, Replay, RoleAnswer, ServiceActed, ServiceReports, SetUp, Simulation, Validity,
};
use super::configuration::Effective;
use super::exit::{Exit, Failure};
use super::output::print;
use crate::wire::control::{Explain, History, Operation, SCHEMA_VERSION, Status, Timeline};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};
use std::path::Path;

/// One of the things that a verb may print.
type Shape = fn(&mut SchemaGenerator) -> Schema;

/// Each verb that prints JSON, with what it may print besides a failure.
const ANSWERS: &[(&str, &[Shape])] = &[
    ("bootstrap", &[of::<SetUp>]),
    ("bundle", &[of::<Bundled>]),
    ("check", &[of::<Checks>]),
    ("clear", &[of::<Operation>, of::<Plan>]),
    ("config check", &[of::<Validity>]),
    ("config diff", &[of::<Comparison>]),
    ("config show", &[of::<Effective>]),
    ("doctor", &[of::<Examinations>]),
    ("explain", &[of::<Explain>, of::<Answers>]),
    ("failover", &[of::<Operation>, of::<Plan>]),
    ("history", &[of::<History>]),
    ("is-active", &[of::<RoleAnswer>]),
    ("is-standby", &[of::<RoleAnswer>]),
    ("local-fence", &[of::<Fence>]),
    ("local-service", &[of::<ServiceReports>, of::<ServiceActed>]),
    ("log-level", &[of::<LogLevel>]),
    ("mode", &[of::<ModeAnswer>, of::<Operation>, of::<Plan>]),
    ("operation", &[of::<Operation>, of::<Operations>]),
    ("rejoin", &[of::<Operation>]),
    ("reload", &[of::<Operation>]),
    ("replay", &[of::<Replay>]),
    ("simulate", &[of::<Simulation>]),
    ("start", &[of::<Operation>]),
    ("status", &[of::<Status>]),
    ("stop", &[of::<Operation>]),
    ("switchover", &[of::<Operation>]),
    ("timeline", &[of::<Timeline>]),
];

fn of<T: JsonSchema>(shapes: &mut SchemaGenerator) -> Schema {
    shapes.subschema_for::<T>()
}

/// `schema [VERB]`, `schema --to FOLDER`.
pub(super) fn schema(words: &[String], folder: Option<&Path>) -> Result<Exit, Failure> {
    let verb = words.join(" ");
    if let Some(folder) = folder {
        for (verb, _) in ANSWERS {
            let path = folder.join(format!("{}.schema.json", verb.replace(' ', "-")));
            std::fs::write(&path, text(verb)?)
                .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
        }
    } else if verb.is_empty() {
        print(&ANSWERS.iter().map(|(verb, _)| format!("{verb}\n")).collect::<String>())?;
    } else {
        print(&text(&verb)?)?;
    }
    Ok(Exit::OK)
}

fn text(verb: &str) -> Result<String, Failure> {
    let Some((verb, answers)) = ANSWERS.iter().find(|(known, _)| *known == verb) else {
        return Err(Failure::usage(format!("`{verb}` prints no JSON of its own"))
            .resolved_by("apctl schema lists the verbs that do"));
    };
    Ok(format!("{:#}\n", described(verb, answers)))
}

/// One of the answers, or a failure.
fn described(verb: &str, answers: &[Shape]) -> Value {
    let mut shapes = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut choices: Vec<Value> = answers.iter().map(|shape| shape(&mut shapes).to_value()).collect();
    choices.push(of::<Failed>(&mut shapes).to_value());
    let mut definitions = shapes.take_definitions(true);
    definitions.values_mut().for_each(in_plain_words);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("apctl {verb} -o json"),
        "description": "A version of apd with the same schema_version may add fields.",
        "anyOf": choices,
        "$defs": definitions,
    })
}

/// What the source says for its own readers, for those of the schema.
fn in_plain_words(schema: &mut Value) {
    match schema {
        Value::Array(list) => list.iter_mut().for_each(in_plain_words),
        Value::Object(object) => {
            if let Some(Value::String(text)) = object.get_mut("description") {
                *text = text.replace("`None`", "null").replace("[`", "`").replace("`]", "`");
            }
            if let Some(Value::Object(properties)) = object.get_mut("properties") {
                version(properties);
            }
            object.values_mut().for_each(in_plain_words);
        }
        _ => {}
    }
}

fn version(properties: &mut Map<String, Value>) {
    if let Some(version) = properties.get_mut("schema_version") {
        *version = json!({
            "const": SCHEMA_VERSION,
            "description": "Grows only when a field changes its meaning or goes away.",
        });
    }
}
