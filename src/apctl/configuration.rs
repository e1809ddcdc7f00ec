//! `apctl config`: what the configuration says, and everything that is wrong with it.

use super::answers::{Finding, Validity};
use super::arguments::{Common, ConfigVerb};
use super::exit::{Exit, Failure};
use super::output::{Output, print};
use crate::config::{ConfigErrors, Loaded, Sources, load, render_effective, schema};
use crate::wire::control::SCHEMA_VERSION;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::Value;
use std::borrow::Cow;

/// `config check|show|schema`.
pub(super) fn config(output: &Output, common: &Common, verb: &ConfigVerb) -> Result<Exit, Failure> {
    match verb {
        ConfigVerb::Check => check(output, common),
        ConfigVerb::Show { effective, origin } => show(output, common, *effective || *origin, *origin),
        ConfigVerb::Schema => {
            print(&format!("{:#}\n", schema()))?;
            Ok(Exit::OK)
        }
        ConfigVerb::Diff { .. } => Err(Failure::usage("config diff asks the daemon")),
        ConfigVerb::ImportKeepalived(_) => Err(Failure::not_yet("apctl config import-keepalived")),
    }
}

/// The configuration, also where a secret cannot be read.
pub(super) fn loaded_without_secrets(common: &Common) -> Result<Loaded, Failure> {
    load(&Sources::from_host(&common.config).without_secrets()).map_err(|errors| invalid(&errors))
}

fn invalid(errors: &ConfigErrors) -> Failure {
    Failure::new(Exit::CONFIG, "E_CONFIG_INVALID", errors.to_string())
}

fn check(output: &Output, common: &Common) -> Result<Exit, Failure> {
    let (errors, warnings) = match load(&Sources::from_host(&common.config)) {
        Ok(loaded) => (Vec::new(), loaded.warnings),
        Err(errors) => (errors.problems, Vec::new()),
    };
    let valid = errors.is_empty();
    let value = Validity {
        schema_version: SCHEMA_VERSION,
        code: if valid { "" } else { "E_CONFIG_INVALID" },
        valid,
        errors: errors.iter().map(Finding::from).collect(),
        warnings: warnings.iter().map(Finding::from).collect(),
    };
    let file = common.config.display();
    output.show(&value, |_| {
        let mut page: String = errors.iter().map(|problem| format!("{problem}\n")).collect();
        page.extend(warnings.iter().map(|problem| format!("warning: {problem}\n")));
        let verdict = match errors.len() {
            0 => "valid".to_owned(),
            1 => "1 error".to_owned(),
            count => format!("{count} errors"),
        };
        page + &format!("{file}: {verdict}\n")
    })?;
    Ok(if valid { Exit::OK } else { Exit::CONFIG })
}

/// The configuration as it takes effect, with `schema_version` as every answer for programs; no section of a
/// configuration has this name.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Effective(toml::Table);

impl JsonSchema for Effective {
    fn schema_name() -> Cow<'static, str> {
        "Configuration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = schema();
        opened(&mut schema);
        if let Some(object) = schema.as_object_mut() {
            object.remove("$schema");
            object.insert("required".into(), Value::from(["schema_version"].as_slice()));
        }
        schema["properties"]["schema_version"] = SCHEMA_VERSION.into();
        Schema::try_from(schema).unwrap_or_default()
    }
}

/// A later version may have keys that this one does not know: a mistake in a file, not in an answer.
fn opened(schema: &mut Value) {
    match schema {
        Value::Array(list) => list.iter_mut().for_each(opened),
        Value::Object(object) => {
            if object.get("additionalProperties") == Some(&Value::Bool(false)) {
                object.remove("additionalProperties");
            }
            object.values_mut().for_each(opened);
        }
        _ => {}
    }
}

/// As written (the main file's text), or as it takes effect.
fn show(output: &Output, common: &Common, effective: bool, origin: bool) -> Result<Exit, Failure> {
    let path = &common.config;
    if !effective && output.is_table() {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::new(Exit::CONFIG, "E_CONFIG_INVALID", format!("{}: {error}", path.display()))
        })?;
        print(&text)?;
        return Ok(Exit::OK);
    }
    let loaded = loaded_without_secrets(common)?;
    let text = render_effective(&loaded, origin);
    if output.is_table() {
        print(&text)?;
        return Ok(Exit::OK);
    }
    // Secrets are in files of their own; what is rendered names only those.
    let mut values: toml::Table = text.parse().map_err(|error| Failure::failed(format!("{error}")))?;
    values.insert("schema_version".to_owned(), SCHEMA_VERSION.into());
    output.show(&Effective(values), |_| String::new())?;
    Ok(Exit::OK)
}
