//! `apctl config`: what the configuration says, and everything that is wrong with it.

use super::arguments::{Common, ConfigVerb};
use super::exit::{Exit, Failure};
use super::output::{Output, print};
use crate::config::{ConfigErrors, Loaded, Problem, Sources, load, render_effective, schema};
use crate::wire::control::SCHEMA_VERSION;
use serde_json::{Value, json};

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
    let value = json!({
        "schema_version": SCHEMA_VERSION,
        "code": if valid { "" } else { "E_CONFIG_INVALID" },
        "valid": valid,
        "errors": errors.iter().map(problem).collect::<Vec<Value>>(),
        "warnings": warnings.iter().map(problem).collect::<Vec<Value>>(),
    });
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

fn problem(problem: &Problem) -> Value {
    json!({
        "origin": problem.origin.to_string(),
        "key": problem.key,
        "what": problem.what,
        "remedy": problem.remedy,
    })
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
    // As every answer for programs; no section of the configuration has this name.
    values.insert("schema_version".to_owned(), SCHEMA_VERSION.into());
    output.show(&values, |_| String::new())?;
    Ok(Exit::OK)
}
