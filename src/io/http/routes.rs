//! Which path answers what. The one table [`ROUTES`] finds, refuses and describes them (`/openapi.json`).

use super::query::Query;
use super::reply::{Reply, json, method_not_allowed, problem};
use super::{Service, changes, events, inquiries, openapi, operations, reads};
use crate::io::control_socket::Caller;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, HeaderMap};
use hyper::{Method, Request, StatusCode};
use std::sync::Arc;

/// One path.
pub(super) struct Route {
    /// As in OpenAPI: `/operations/{id}`.
    pub(super) path: &'static str,
    /// What it does.
    pub(super) target: Target,
    /// One line for the description.
    pub(super) summary: &'static str,
    /// What may stand behind the question mark.
    pub(super) query: &'static [&'static str],
}

/// What a path does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A health endpoint: 200 or 503.
    Verdict(Question),
    /// Where to go: 200, 307 or 503.
    Redirect,
    Status,
    Cluster,
    Explain,
    History,
    Timeline,
    Operations,
    Operation,
    Events,
    Metrics,
    OpenApi,
    /// A change, by its name.
    Change(&'static str),
}

/// What a health endpoint asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Primary,
    Replica,
    ReadOnly,
    Health,
    Liveness,
    Readiness,
}

const fn route(
    path: &'static str,
    target: Target,
    summary: &'static str,
    query: &'static [&'static str],
) -> Route {
    Route { path, target, summary, query }
}

const PRIMARY: &str = "Clients can write through the virtual address now";
const REPLICA: &str = "This node follows the active, no further behind than `lag` where one is given";

/// Every path.
pub(super) const ROUTES: &[Route] = &[
    route("/primary", Target::Verdict(Question::Primary), PRIMARY, &[]),
    route("/active", Target::Verdict(Question::Primary), PRIMARY, &[]),
    route("/read-write", Target::Verdict(Question::Primary), PRIMARY, &[]),
    route("/replica", Target::Verdict(Question::Replica), REPLICA, &["lag"]),
    route("/standby", Target::Verdict(Question::Replica), REPLICA, &["lag"]),
    route(
        "/read-only",
        Target::Verdict(Question::ReadOnly),
        "Reads can be served, from the active or from a running replica",
        &["lag"],
    ),
    route(
        "/health",
        Target::Verdict(Question::Health),
        "This node does all that its role asks for, and its checks pass",
        &[],
    ),
    route(
        "/liveness",
        Target::Verdict(Question::Liveness),
        "The control loop turns; a supervisor may restart the daemon when it does not",
        &[],
    ),
    route(
        "/readiness",
        Target::Verdict(Question::Readiness),
        "This node has a role and its database answers",
        &[],
    ),
    route(
        "/redirect",
        Target::Redirect,
        "200: stay, this node serves. 307: this node does not and the other one does. 503: nobody is known to serve",
        &[],
    ),
    route("/status", Target::Status, "The state of the pair; the ETag is the epoch", &[]),
    route("/cluster", Target::Cluster, "Both nodes in short, as this one sees them", &[]),
    route("/explain", Target::Explain, "Why this node is what it is, and what would change it", &[]),
    route(
        "/history",
        Target::History,
        "The journal, the newest entries, oldest first",
        &["epoch", "kinds", "limit"],
    ),
    route(
        "/timeline",
        Target::Timeline,
        "One takeover step by step, the newest if no epoch is given",
        &["epoch"],
    ),
    route("/operations", Target::Operations, "The operations of this run of the daemon", &[]),
    route(
        "/operations/{id}",
        Target::Operation,
        "One operation, after its next news or its end",
        &["wait", "seen"],
    ),
    route(
        "/events",
        Target::Events,
        "Server-sent events: `state` whenever the pair changes, and journal entries as they are written",
        &["kinds", "after"],
    ),
    route("/metrics", Target::Metrics, "Prometheus text, or OpenMetrics where it is accepted", &[]),
    route("/openapi.json", Target::OpenApi, "This description", &[]),
    route(
        "/switchover",
        Target::Change("switchover"),
        "Swap the roles in a planned way, losing nothing",
        &["wait"],
    ),
    route(
        "/failover",
        Target::Change("failover"),
        "Take over here now; the body must say `force`",
        &["wait"],
    ),
    route("/mode", Target::Change("mode"), "Change the mode of this node", &["wait"]),
    route(
        "/rejoin",
        Target::Change("rejoin"),
        "Prove the data of this node and let it follow again",
        &["wait"],
    ),
    route("/clear", Target::Change("clear"), "Clear a latched fault or the guarded state", &["wait"]),
    route("/start", Target::Change("start"), "Bring this node's services and its part up", &["wait"]),
    route("/stop", Target::Change("stop"), "Hand over, and bring both down until /start", &["wait"]),
    route(
        "/reload",
        Target::Change("reload"),
        "Read the configuration again: all of it or, if anything is wrong, nothing",
        &["wait"],
    ),
];

/// The route of a path, and what stands at the place of `{id}`.
fn find(path: &str) -> Option<(&'static Route, &str)> {
    ROUTES.iter().find_map(|route| match route.path.strip_suffix("{id}") {
        Some(start) => path.strip_prefix(start).filter(|id| !id.is_empty()).map(|id| (route, id)),
        None => (route.path == path).then_some((route, "")),
    })
}

/// Answers one request.
pub(super) async fn answer(service: &Arc<Service>, caller: &Caller, request: Request<Incoming>) -> Reply {
    let path = request.uri().path().trim_end_matches('/').to_owned();
    if inquiries::is_one(&path) {
        return inquiries::answer(service, caller, &path, request).await;
    }
    let Some((route, id)) = find(&path) else { return not_found(&path) };
    if let Target::Change(name) = route.target {
        if *request.method() != Method::POST {
            return method_not_allowed("POST");
        }
        return changes::command(service, caller, name, request).await;
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return method_not_allowed("GET, HEAD");
    }
    match Query::of(request.uri().query()) {
        Err(wrong) => problem(StatusCode::BAD_REQUEST, "E_USAGE", wrong, ""),
        Ok(query) if route.target == Target::Events => {
            events::answer(service, &query, request.method(), request.headers()).await
        }
        Ok(query) => read(service, route.target, id, &query, request.headers()).await,
    }
}

fn not_found(path: &str) -> Reply {
    let path = if path.is_empty() { "/" } else { path };
    let remedy = "GET /openapi.json names every path";
    problem(StatusCode::NOT_FOUND, "E_NOT_FOUND", format!("there is no {path} here"), remedy)
}

async fn read(service: &Service, target: Target, id: &str, query: &Query, headers: &HeaderMap) -> Reply {
    match target {
        Target::Verdict(question) => reads::verdict(service, question, query),
        Target::Redirect => reads::redirect(service),
        Target::Status => reads::status(service),
        Target::Cluster => reads::cluster(service),
        Target::Explain => reads::explain(service),
        Target::History => reads::history(service, query).await,
        Target::Timeline => reads::timeline(service, query.epoch).await,
        Target::Operations => operations::list(service),
        Target::Operation => operations::read(service, id, query).await,
        Target::Metrics => {
            let accepted = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
            let open_metrics = accepted.is_some_and(|accept| accept.contains("application/openmetrics-text"));
            reads::metrics(service, open_metrics)
        }
        Target::OpenApi => json(StatusCode::OK, &openapi::description()),
        Target::Events | Target::Change(_) => not_found(id),
    }
}
