//! Commands over HTTP: who may, under which condition, and how the answer looks.

use super::query::Query;
use super::reply::{Reply, json, problem, problem_of};
use super::{Service, operations};
use crate::io::control_socket::{Caller, ControlRequest, Inquiry};
use crate::wire::control::operation::{RequestBody, command as command_of};
use crate::wire::control::{Operation, Outcome};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, IF_MATCH, LOCATION, WWW_AUTHENTICATE};
use hyper::{Request, StatusCode};
use std::time::Duration;
use tokio::sync::mpsc;

/// An answer that ends a request early; boxed because answers are large.
pub(super) type Refusal = Box<Reply>;

/// Longest body of a command, bytes.
const BODY_MAX: usize = 16 * 1024;
/// The body must have arrived by then.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers that wait for the collecting task.
const REPLIES: usize = 64;

/// `POST /NAME`: 202 with the operation, or how it ended when `?wait=30s` is given.
pub(super) async fn command(
    service: &Service,
    caller: &Caller,
    name: &'static str,
    request: Request<Incoming>,
) -> Reply {
    match begin(service, caller, name, request).await {
        Ok(reply) => reply,
        Err(refusal) => *refusal,
    }
}

async fn begin(
    service: &Service,
    caller: &Caller,
    name: &'static str,
    request: Request<Incoming>,
) -> Result<Reply, Refusal> {
    let actor = authorised(service, caller, request.headers()).await?;
    unchanged(service, request.headers())?;
    let usage = |detail: String| refusal(StatusCode::BAD_REQUEST, "E_USAGE", detail, "");
    let query = Query::of(request.uri().query()).map_err(usage)?;
    let body = body(request).await?;
    let (replies, answers) = mpsc::channel(REPLIES);
    let id = service.operations.next_id();
    let taken = if name == "reload" {
        let inquiry = Inquiry::Reload { actor: actor.clone(), replies };
        service.inquiries.try_send(inquiry).is_ok()
    } else {
        let command = command_of(name, body).map_err(|error| usage(error.to_string()))?;
        let request = ControlRequest { command, actor: actor.clone(), operation: id.clone(), replies };
        service.commands.try_send(request).is_ok()
    };
    if !taken {
        let detail = "the control loop takes no commands now; nothing was changed";
        let remedy = "apctl status shows how it is; try again";
        return Err(refusal(StatusCode::SERVICE_UNAVAILABLE, "E_BUSY", detail, remedy));
    }
    let mut operation = service.operations.begin(id, name, &actor, answers);
    let Some(wait) = query.wait else {
        return Ok(accepted(&operation.borrow().clone()));
    };
    // Nobody sees lines of progress here: only the end counts.
    let ended = operations::news(&mut operation, usize::MAX, wait).await;
    Ok(reply(&ended))
}

/// Who asks, or why not.
pub(super) async fn authorised(
    service: &Service,
    caller: &Caller,
    headers: &HeaderMap,
) -> Result<String, Refusal> {
    if let Caller::Tcp { certificate, .. } = caller {
        if certificate.is_none() {
            token(service, headers)?;
        }
        return Ok(caller.actor());
    }
    let asked = caller.clone();
    // Names may be looked up in a directory service: not on the thread that serves.
    let known = tokio::task::spawn_blocking(move || asked.may_change().then(|| asked.actor())).await;
    known.ok().flatten().ok_or_else(|| {
        let detail = "only root, the daemon's own user and members of the group apd may change things";
        refusal(StatusCode::FORBIDDEN, "E_NOT_PERMITTED", detail, "use sudo, or join the group apd")
    })
}

fn token(service: &Service, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(token) = &service.token else {
        let detail =
            "changes over TCP need a client certificate or a token, and no http.token_file is configured";
        let remedy = "use apctl on the node, or configure http.token_file or http.tls.client_ca_file";
        return Err(refusal(StatusCode::FORBIDDEN, "E_NOT_PERMITTED", detail, remedy));
    };
    let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    if given.is_some_and(|given| token.is(given)) {
        return Ok(());
    }
    let detail = "changes need the token: Authorization: Bearer TOKEN";
    let mut reply = refusal(StatusCode::UNAUTHORIZED, "E_NOT_PERMITTED", detail, "");
    reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"apd\""));
    Err(reply)
}

/// RFC 9110 section 13.1.1: the entity tag of the pair is its epoch.
fn unchanged(service: &Service, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(wanted) = headers.get(IF_MATCH).and_then(|value| value.to_str().ok()) else {
        return Ok(());
    };
    let epoch = service.snapshot().0.status.node.epoch.to_string();
    let matches =
        wanted.split(',').map(|tag| tag.trim().trim_matches('"')).any(|tag| tag == "*" || tag == epoch);
    if matches {
        return Ok(());
    }
    let detail = format!("the epoch is {epoch}, not {wanted}: the roles have changed since you looked");
    Err(refusal(StatusCode::PRECONDITION_FAILED, "E_EPOCH_CHANGED", detail, "look at the status again"))
}

pub(super) async fn body(request: Request<Incoming>) -> Result<RequestBody, Refusal> {
    let collect = Limited::new(request.into_body(), BODY_MAX).collect();
    let bytes: Bytes = match tokio::time::timeout(BODY_TIMEOUT, collect).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let detail = format!("the body is longer than {BODY_MAX} bytes");
            return Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, "E_USAGE", detail, ""));
        }
        Ok(Err(error)) => return Err(refusal(StatusCode::BAD_REQUEST, "E_USAGE", error.to_string(), "")),
        Err(_elapsed) => {
            let detail = "the body did not arrive in time";
            return Err(refusal(StatusCode::REQUEST_TIMEOUT, "E_USAGE", detail, ""));
        }
    };
    if bytes.is_empty() {
        return Ok(RequestBody::default());
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| refusal(StatusCode::BAD_REQUEST, "E_USAGE", format!("the body: {error}"), ""))
}

fn accepted(operation: &Operation) -> Reply {
    let mut reply = json(StatusCode::ACCEPTED, operation);
    if let Ok(location) = HeaderValue::from_str(&format!("/operations/{}", operation.id)) {
        reply.headers_mut().insert(LOCATION, location);
    }
    reply
}

/// How the operation ended, for one who waited.
fn reply(operation: &Operation) -> Reply {
    let status = match operation.outcome {
        Outcome::Running => return accepted(operation),
        Outcome::Done | Outcome::Degraded | Outcome::Already => return json(StatusCode::OK, operation),
        Outcome::Refused => StatusCode::CONFLICT,
        Outcome::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        Outcome::PeerUnreachable => StatusCode::SERVICE_UNAVAILABLE,
    };
    let id = Some(operation.id.clone());
    problem_of(status, &operation.code, operation.text.clone(), &operation.remedy, id)
}

fn refusal(status: StatusCode, code: &str, detail: impl Into<String>, remedy: &str) -> Refusal {
    Box::new(problem(status, code, detail, remedy))
}
