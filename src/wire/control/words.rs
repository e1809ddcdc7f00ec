//! The words of the decision, as the JSON Schema of the answers names them. The decision itself knows no schemas;
//! a test holds the two lists together.
#![allow(dead_code, reason = "only their schema is used")]

use schemars::JsonSchema;

/// What a node does.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(crate) enum Role {
    Active,
    Standby,
    Fault,
    Out,
}

/// What the operator allows.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(crate) enum Mode {
    Ap,
    Maintenance,
    Standalone,
}

/// Weight of a reason in log and alerts.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(crate) enum Severity {
    Info,
    Warning,
    Error,
}

/// Who may go on alone.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(crate) enum Protection {
    Vrrp,
    Gateway,
}

/// What a service does.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(crate) enum ServiceState {
    Running,
    Starting,
    Stopping,
    Stopped,
    Failed,
    Masked,
    Unknown,
}

/// In which role a service runs.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(crate) enum RunsOn {
    Both,
    Active,
    Never,
}

/// What a takeover begins with.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(crate) enum Readiness {
    Cold,
    Warm,
    Hot,
}

/// What a commit waits for.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(crate) enum Durability {
    Async,
    Synced,
}

/// What a fault does to clients.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(crate) enum FaultOutcome {
    None,
    Failover,
    Handover,
    Degraded,
    Split,
    Outage,
}

/// Whether acknowledged writes can be lost.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(crate) enum DataLoss {
    None,
    Possible,
}

/// One finding, with what resolves it.
#[derive(JsonSchema)]
pub(crate) struct Why {
    /// Which; a stable word for programs (docs/operating.md lists them).
    code: String,
    /// One sentence, facts included.
    text: String,
    /// What resolves it, as a command where one does; empty if nothing need be done.
    remedy: String,
    /// How loud.
    severity: Severity,
}

#[cfg(test)]
mod tests {
    use crate::decision::code::Code;
    use crate::decision::service::{RunsOn, ServiceState};
    use crate::decision::service_view::Readiness;
    use crate::decision::why::{self, Severity};
    use crate::decision::words::{Mode, Protection, Role};
    use schemars::{JsonSchema, SchemaGenerator};
    use serde::Serialize;
    use serde_json::{Value, json};

    fn schema<T: JsonSchema>() -> Value {
        SchemaGenerator::default().into_root_schema_for::<T>().to_value()
    }

    /// The words of a schema, whether they are an `enum` or one `const` each.
    fn words(schema: &Value) -> Vec<Value> {
        let choices =
            schema["oneOf"].as_array().map(|list| list.iter().map(|one| one["const"].clone()).collect());
        choices.or_else(|| schema["enum"].as_array().cloned()).unwrap()
    }

    fn written<T: Serialize>(all: &[T]) -> Vec<Value> {
        all.iter().map(|one| json!(one)).collect()
    }

    #[test]
    fn the_words_of_the_schema_are_those_of_the_decision() {
        let roles = [Role::Active, Role::Standby, Role::Fault, Role::Out];
        assert_eq!(words(&schema::<super::Role>()), written(&roles));
        let modes = [Mode::Ap, Mode::Maintenance, Mode::Standalone];
        assert_eq!(words(&schema::<super::Mode>()), written(&modes));
        let severities = [Severity::Info, Severity::Warning, Severity::Error];
        assert_eq!(words(&schema::<super::Severity>()), written(&severities));
        let levels = [Protection::Vrrp, Protection::Gateway];
        assert_eq!(words(&schema::<super::Protection>()), written(&levels));
        let states = [
            ServiceState::Running,
            ServiceState::Starting,
            ServiceState::Stopping,
            ServiceState::Stopped,
            ServiceState::Failed,
            ServiceState::Masked,
            ServiceState::Unknown,
        ];
        assert_eq!(words(&schema::<super::ServiceState>()), states.map(|state| json!(state.word())));
        let places = [RunsOn::Both, RunsOn::Active, RunsOn::Never];
        assert_eq!(words(&schema::<super::RunsOn>()), places.map(|place| json!(place.word())));
        let kinds = [Readiness::Cold, Readiness::Warm, Readiness::Hot];
        assert_eq!(words(&schema::<super::Readiness>()), kinds.map(|kind| json!(kind.word())));
        let why = json!(why::Why::new(Code::LoopStuck, "text"));
        let fields: Vec<&String> = why.as_object().unwrap().keys().collect();
        let shape = schema::<super::Why>();
        let mut named: Vec<&String> = shape["properties"].as_object().unwrap().keys().collect();
        named.sort();
        assert_eq!(named, {
            let mut fields = fields;
            fields.sort();
            fields
        });
    }
}
