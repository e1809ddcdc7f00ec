//! `GET /openapi.json`: every path of [`ROUTES`] with its parameters and answers, in OpenAPI 3.1. The shapes are
//! those of `wire/control`, derived from the very types that are sent.

use super::query::PARAMETERS;
use super::routes::{ROUTES, Route, Target};
use crate::wire::control::{
    Cluster, Explain, History, Operation, Problem, RequestBody, Status, Timeline, Verdict,
};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// The description.
pub(super) fn description() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut shapes = settings.into_generator();
    let problem = content("application/problem+json", shape::<Problem>(&mut shapes));
    let mut paths = Map::new();
    for route in ROUTES {
        let method = if matches!(route.target, Target::Change(_)) { "post" } else { "get" };
        let described = operation(route, &problem, &mut shapes);
        let mut methods = Map::from_iter([(method.to_owned(), described)]);
        if method == "get" {
            let head = json!({"summary": "As GET, without the body", "parameters": parameters(route),
                "responses": {"default": {"description": "Status and headers of GET"}}});
            methods.insert("head".to_owned(), head);
        }
        paths.insert(route.path.to_owned(), Value::Object(methods));
    }
    let schemas = shapes.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "apd",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The same is served on the control socket, where the kernel says who asks. Over TCP, reads \
                            are open; changes need the token or a client certificate.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "http.token_file"},
                "certificate": {"type": "mutualTLS", "description": "http.tls.client_ca_file"},
            },
        },
    })
}

fn operation(route: &Route, problem: &Value, shapes: &mut SchemaGenerator) -> Value {
    let mut described = json!({"summary": route.summary, "parameters": parameters(route)});
    if let Target::Change(_) = route.target {
        described["security"] = json!([{"token": []}, {"certificate": []}]);
        described["requestBody"] =
            json!({"required": false, "content": content("application/json", shape::<RequestBody>(shapes))});
    }
    let mut responses = answers(route.target, shapes);
    responses["default"] = json!({"description": "A problem (RFC 9457)", "content": problem});
    described["responses"] = responses;
    described
}

/// What each path answers besides problems.
fn answers(target: Target, shapes: &mut SchemaGenerator) -> Value {
    let mut one = |schema: fn(&mut SchemaGenerator) -> Value| content("application/json", schema(shapes));
    match target {
        Target::Verdict(_) | Target::Redirect => {
            let verdict = one(shape::<Verdict>);
            let mut answers = json!({
                "200": {"description": "Yes", "content": verdict},
                "503": {"description": "No, and what stands against it", "content": verdict},
            });
            if target == Target::Redirect {
                let location = json!({"Location": {"schema": {"type": "string", "format": "uri"}}});
                let there =
                    json!({"description": "The other node serves", "headers": location, "content": verdict});
                answers["307"] = there;
            }
            answers
        }
        Target::Status => ok(&one(shape::<Status>)),
        Target::Cluster => ok(&one(shape::<Cluster>)),
        Target::Explain => ok(&one(shape::<Explain>)),
        Target::History => ok(&one(shape::<History>)),
        Target::Timeline => ok(&one(shape::<Timeline>)),
        Target::Operations => ok(&one(shape::<Vec<Operation>>)),
        Target::Operation => ok(&one(shape::<Operation>)),
        Target::OpenApi => ok(&one(|_| json!({"type": "object"}))),
        Target::Events => ok(&content("text/event-stream", json!({"type": "string"}))),
        Target::Metrics => {
            let text = json!({"schema": {"type": "string"}});
            ok(&json!({"text/plain": text, "application/openmetrics-text": text}))
        }
        Target::Change(_) => {
            let operation = one(shape::<Operation>);
            json!({
                "202": {
                    "description": "Begun; Location says where to follow it",
                    "headers": {"Location": {"schema": {"type": "string"}}},
                    "content": operation,
                },
                "200": {"description": "With `wait`: ended well", "content": operation},
            })
        }
    }
}

fn ok(content: &Value) -> Value {
    json!({"200": {"description": "As it is now", "content": content}})
}

fn content(content_type: &str, schema: Value) -> Value {
    json!({content_type: {"schema": schema}})
}

fn shape<T: JsonSchema>(shapes: &mut SchemaGenerator) -> Value {
    shapes.subschema_for::<T>().to_value()
}

fn parameters(route: &Route) -> Value {
    let parameter = |name: &str, place: &str, kind: &str, meaning: &str| json!({"name": name, "in": place, "required": place == "path", "description": meaning, "schema": {"type": kind}});
    let named = |name: &&str| PARAMETERS.iter().find(|(known, ..)| known == name);
    let mut list: Vec<Value> = route
        .query
        .iter()
        .filter_map(named)
        .map(|(name, kind, meaning)| parameter(name, "query", kind, meaning))
        .collect();
    if route.path.contains("{id}") {
        list.push(parameter("id", "path", "string", "Of the answer to the change, and of its Location"));
    }
    match route.target {
        Target::Change(_) => {
            let meaning = "The epoch on which the change rests, as the ETag of /status: 412 if it is another one by now";
            list.push(parameter("If-Match", "header", "string", meaning));
        }
        Target::Events => {
            let meaning = "The last entry that the client was told of: what came after it is told first";
            list.push(parameter("Last-Event-ID", "header", "integer", meaning));
        }
        _ => {}
    }
    Value::Array(list)
}
