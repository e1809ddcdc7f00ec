//! JSON Schema by a validator that knows nothing of apd, and stricter than the schemas: a field that they do not name is
//! a breach, so that none is printed that scripts are not told of.

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::{Value, json};

/// A schema, ready to be held against values.
pub struct Validator {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Validator {
    /// Of a whole schema, which must be one by the rules of its draft.
    pub fn of(mut schema: Value) -> Self {
        close(&mut schema);
        let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
        compiler.enable_format_assertions();
        compiler.add_resource("http://apd/schema.json", schema).unwrap();
        let index = compiler
            .compile("http://apd/schema.json", &mut schemas)
            .unwrap_or_else(|error| panic!("no schema: {error:#}"));
        Self { schemas, index }
    }

    /// Of a part of a document, such as `#/components/schemas/Status`.
    pub fn of_part(document: &Value, part: &Value) -> Self {
        let mut whole = json!({"allOf": [part]});
        for key in ["components", "$defs"] {
            if let Some(definitions) = document.get(key) {
                whole[key] = definitions.clone();
            }
        }
        Self::of(whole)
    }

    /// What stands against `value`.
    pub fn breach(&self, value: &Value) -> Option<String> {
        self.schemas.validate(value, self.index).err().map(|error| format!("{error:#}"))
    }
}

/// Fields that are not named are refused. `anyOf` and `oneOf` choose between whole shapes, so that this is enough.
fn close(schema: &mut Value) {
    match schema {
        Value::Array(list) => list.iter_mut().for_each(close),
        Value::Object(object) => {
            if object.get("properties").is_some_and(Value::is_object)
                && !object.contains_key("additionalProperties")
            {
                object.insert("additionalProperties".into(), false.into());
            }
            object.values_mut().for_each(close);
        }
        _ => {}
    }
}
