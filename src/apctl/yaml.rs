//! JSON values as YAML 1.2 block style, for `-o yaml`. Strings are written as JSON strings, which are YAML.

use serde_json::Value;

/// One document.
pub fn of(value: &Value) -> String {
    let mut text = String::new();
    node(value, 0, &mut text);
    text
}

/// Writes `value` after `key:` or `-`, or at the start of a line of the document.
fn node(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    text.push_str(&" ".repeat(indent));
                }
                text.push_str(&scalar_key(key));
                text.push(':');
                child(value, indent, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push_str(&" ".repeat(indent));
                }
                text.push_str("- ");
                node(item, indent + 2, text);
            }
        }
        scalar => {
            text.push_str(&scalar.to_string());
            text.push('\n');
        }
    }
}

/// What stands behind `key:`.
fn child(value: &Value, indent: usize, text: &mut String) {
    let block = matches!(value, Value::Object(map) if !map.is_empty())
        || matches!(value, Value::Array(items) if !items.is_empty());
    if block {
        text.push('\n');
        text.push_str(&" ".repeat(indent + 2));
        node(value, indent + 2, text);
    } else {
        text.push(' ');
        node(value, indent, text);
    }
}

/// Our own keys are plain words; anything else is quoted.
fn scalar_key(key: &str) -> String {
    let plain = key.starts_with(|first: char| first.is_ascii_alphabetic())
        && key.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.'))
        && !["y", "n", "yes", "no", "on", "off", "true", "false", "null"]
            .contains(&key.to_ascii_lowercase().as_str());
    if plain { key.to_owned() } else { Value::String(key.to_owned()).to_string() }
}
