//! The JSON Schema of the configuration, derived from the structs in `typed`: printed by
//! `apctl config schema`, and walked by `shape` and `layers`.

use super::typed::File;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// The JSON Schema (draft 2020-12) of a configuration file.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<File>().to_value();
    without_null(&mut schema);
    schema
}

/// TOML knows no null: an absent key is simply absent.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Array(list) => list.iter_mut().for_each(without_null),
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|word| word != "null");
                if let [single] = types.as_slice() {
                    let single = single.clone();
                    object.insert("type".into(), single);
                }
            }
            if let Some(Value::Array(words)) = object.get_mut("enum") {
                words.retain(|word| !word.is_null());
            }
            if object.get("default") == Some(&Value::Null) {
                object.remove("default");
            }
            if let Some(default) = object.get_mut("default") {
                without_null_values(default);
            }
            if let Some(Value::Array(mut choices)) = object.remove("anyOf") {
                choices.retain(|choice| choice != &json!({"type": "null"}));
                match choices.as_slice() {
                    [Value::Object(single)] => {
                        for (key, value) in single {
                            object.entry(key.clone()).or_insert_with(|| value.clone());
                        }
                    }
                    _ => drop(object.insert("anyOf".into(), Value::Array(choices))),
                }
            }
            for (key, value) in object.iter_mut() {
                if key != "default" {
                    without_null(value);
                }
            }
        }
        _ => {}
    }
}

fn without_null_values(value: &mut Value) {
    if let Value::Object(object) = value {
        object.retain(|_, value| !value.is_null());
        object.values_mut().for_each(without_null_values);
    }
}

/// What a schema asks for, as far as this configuration needs it.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'s> {
    /// Anything.
    Anything,
    /// `true` or `false`.
    Boolean,
    /// A whole number in this range.
    Integer(i64, i64),
    /// One of these words.
    Word(&'s Value),
    /// A duration.
    Period,
    /// Text.
    Text,
    /// A list of this.
    List(&'s Value),
    /// A table with these keys.
    Table(&'s Map<String, Value>),
    /// A table whose keys are names.
    Named(&'s Value),
}

impl<'s> Wanted<'s> {
    /// Reads a schema.
    pub fn of(schema: &'s Value) -> Wanted<'s> {
        if schema.get("enum").is_some() || schema.get("oneOf").is_some() {
            return Wanted::Word(schema);
        }
        let bound = |name: &str, other: i64| schema.get(name).and_then(Value::as_i64).unwrap_or(other);
        match schema.get("type").and_then(Value::as_str) {
            Some("boolean") => Wanted::Boolean,
            Some("integer") => {
                let widest = match schema.get("format").and_then(Value::as_str) {
                    Some("uint32") => i64::from(u32::MAX),
                    _ => i64::MAX,
                };
                Wanted::Integer(bound("minimum", i64::MIN), bound("maximum", widest))
            }
            Some("string") if schema.get("format") == Some(&json!(super::typed::PERIOD_FORMAT)) => {
                Wanted::Period
            }
            Some("string") => Wanted::Text,
            Some("array") => Wanted::List(schema.get("items").unwrap_or(&Value::Bool(true))),
            Some("object") => match (schema.get("properties"), schema.get("additionalProperties")) {
                (Some(Value::Object(properties)), _) => Wanted::Table(properties),
                (_, Some(named @ Value::Object(_))) => Wanted::Named(named),
                _ => Wanted::Anything,
            },
            _ => Wanted::Anything,
        }
    }

    /// For a message: what would be right.
    pub fn remedy(self) -> String {
        match self {
            Wanted::Anything => "write text, a number, or true or false".into(),
            Wanted::Boolean => "write true or false, without quotes".into(),
            Wanted::Integer(least, most) if most < i64::MAX => {
                format!("write a whole number from {least} to {most}, without quotes")
            }
            Wanted::Integer(..) => "write a whole number, without quotes".into(),
            Wanted::Word(schema) => format!("write one of {}", quoted(&words_of(schema))),
            Wanted::Period => "write a number and a unit (ms, s, m, h) in quotes, as \"300ms\"".into(),
            Wanted::Text => "write text in double quotes".into(),
            Wanted::List(items) => match Wanted::of(items) {
                Wanted::Table(_) => "write one table under a header in double brackets for each".into(),
                Wanted::Integer(..) => "write a list in brackets, as [1, 2]".into(),
                _ => "write a list in brackets, as [\"a\", \"b\"]".into(),
            },
            Wanted::Table(_) | Wanted::Named(_) => {
                "write a table, as { key = \"value\" } or under a [header]".into()
            }
        }
    }
}

/// The words that an enum accepts.
pub fn words_of(schema: &Value) -> Vec<&str> {
    let plain = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    let choices = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let described = choices.flat_map(|choice| {
        let single = choice.get("const").into_iter();
        single.chain(choice.get("enum").and_then(Value::as_array).into_iter().flatten())
    });
    plain.chain(described).filter_map(Value::as_str).collect()
}

/// `"a", "b", "c"`.
pub fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

/// The list items are tables with a name, as in `[[check]]`: layers merge such entries by name.
pub fn is_named_list(schema: &Value) -> bool {
    let Wanted::List(items) = Wanted::of(schema) else { return false };
    matches!(Wanted::of(items), Wanted::Table(properties) if properties.contains_key("name"))
}
