//! Questions that need no decision: pages about this node and the other one, and how much is logged. They are
//! answered on the control socket alone: what they tell is for operators, not for whoever reaches the port.

use super::Service;
use super::changes::{authorised, body as body_of};
use super::reply::{Reply, json, method_not_allowed, problem};
use crate::io::control_socket::{Caller, Inquiry, Unanswered};
use crate::wire::control::SCHEMA_VERSION;
use crate::wire::peer::Page;
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json as object};
use std::time::Duration;
use tokio::sync::oneshot;

/// Longest that an answer may take: the doctor asks servers and networks.
const ANSWER: Duration = Duration::from_secs(30);

/// Whether a path is one of these.
pub(super) fn is_one(path: &str) -> bool {
    path == "/log-level" || page(path).is_some()
}

/// The page behind a path, and whether it is the other node's.
fn page(path: &str) -> Option<(Page, bool)> {
    let (path, of_peer) = match path.strip_prefix("/peer") {
        Some(path) => (path, true),
        None => (path, false),
    };
    match path {
        "/configuration" => Some((Page::Configuration, of_peer)),
        "/doctor" => Some((Page::Doctor, of_peer)),
        _ => None,
    }
}

/// Answers one of them.
pub(super) async fn answer(
    service: &Service,
    caller: &Caller,
    path: &str,
    request: Request<Incoming>,
) -> Reply {
    if matches!(caller, Caller::Tcp { .. }) {
        let detail = format!("{path} is answered on the control socket only");
        return problem(StatusCode::FORBIDDEN, "E_NOT_PERMITTED", detail, "use apctl on the node");
    }
    match (page(path), request.method()) {
        (Some((page, of_peer)), &Method::GET) => about(service, page, of_peer).await,
        (Some(_), _) => method_not_allowed("GET"),
        (None, &Method::GET) => log_level(service, None).await,
        (None, &Method::POST) => {
            if let Err(refusal) = authorised(service, caller, request.headers()).await {
                return *refusal;
            }
            match body_of(request).await {
                Ok(body) => log_level(service, body.level).await,
                Err(refusal) => *refusal,
            }
        }
        (None, _) => method_not_allowed("GET, POST"),
    }
}

async fn about(service: &Service, page: Page, of_peer: bool) -> Reply {
    let (reply, answered) = oneshot::channel();
    let answer: Option<Result<Value, Unanswered>> =
        ask(service, Inquiry::Page { page, of_peer, reply }, answered).await;
    match answer {
        Some(Ok(page)) => json(StatusCode::OK, &page),
        Some(Err(Unanswered::PeerUnreachable(detail))) => {
            let remedy = "apctl status shows what is known of the peer";
            problem(StatusCode::BAD_GATEWAY, "E_PEER_UNREACHABLE", detail, remedy)
        }
        Some(Err(Unanswered::Failed(detail))) => {
            problem(StatusCode::INTERNAL_SERVER_ERROR, "E_FAILED", detail, "")
        }
        None => busy(),
    }
}

async fn log_level(service: &Service, level: Option<String>) -> Reply {
    let (reply, answered) = oneshot::channel();
    match ask(service, Inquiry::LogLevel { level, reply }, answered).await {
        Some(Ok(level)) => json(StatusCode::OK, &object!({"schema_version": SCHEMA_VERSION, "level": level})),
        Some(Err(detail)) => problem(StatusCode::BAD_REQUEST, "E_USAGE", detail, ""),
        None => busy(),
    }
}

async fn ask<T>(service: &Service, inquiry: Inquiry, answered: oneshot::Receiver<T>) -> Option<T> {
    service.inquiries.try_send(inquiry).ok()?;
    tokio::time::timeout(ANSWER, answered).await.ok()?.ok()
}

fn busy() -> Reply {
    let detail = "the daemon is busy or on its way out";
    problem(StatusCode::SERVICE_UNAVAILABLE, "E_BUSY", detail, "try again")
}
