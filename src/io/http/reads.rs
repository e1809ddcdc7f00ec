//! What is read from the snapshot and from the journal.

use super::Service;
use super::query::Query;
use super::reply::{Reply, body, json, problem};
use super::routes::Question;
use crate::io::journal::HistoryQuery;
use crate::io::metrics;
use crate::wire::control::{Cluster, Verdict, Way, health};
use hyper::StatusCode;
use hyper::header::{ETAG, HeaderValue, LOCATION};
use std::time::Duration;

/// Longest wait for the journal's disk.
pub(super) const JOURNAL_WAIT: Duration = Duration::from_secs(5);

pub(super) fn verdict(service: &Service, question: Question, query: &Query) -> Reply {
    let status = service.status();
    judged(&match question {
        Question::Primary => health::primary(&status),
        Question::Replica => health::replica(&status, query.lag),
        Question::ReadOnly => health::read_only(&status, query.lag),
        Question::Health => health::healthy(&status),
        Question::Liveness => health::alive(&status),
        Question::Readiness => health::ready(&status),
    })
}

fn judged(verdict: &Verdict) -> Reply {
    let status = if verdict.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, verdict)
}

pub(super) fn redirect(service: &Service) -> Reply {
    let (way, verdict) = health::way(&service.status());
    let location = HeaderValue::from_str(&service.peer_url);
    match (way, location) {
        (Way::There, Ok(location)) => {
            let mut reply = json(StatusCode::TEMPORARY_REDIRECT, &verdict);
            reply.headers_mut().insert(LOCATION, location);
            reply
        }
        _ => judged(&verdict),
    }
}

pub(super) fn status(service: &Service) -> Reply {
    let status = service.status();
    with_epoch(json(StatusCode::OK, &status), status.node.epoch)
}

pub(super) fn cluster(service: &Service) -> Reply {
    let cluster = Cluster::of(&service.status());
    with_epoch(json(StatusCode::OK, &cluster), cluster.epoch)
}

/// The entity tag of the pair, for `If-Match`.
fn with_epoch(mut reply: Reply, epoch: u64) -> Reply {
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{epoch}\"")) {
        reply.headers_mut().insert(ETAG, tag);
    }
    reply
}

pub(super) fn explain(service: &Service) -> Reply {
    let (snapshot, now) = service.snapshot();
    json(StatusCode::OK, &snapshot.explain_at(now))
}

pub(super) fn metrics(service: &Service, open_metrics: bool) -> Reply {
    let (snapshot, now) = service.snapshot();
    let (content_type, text) = metrics::render(
        &service.status(),
        &snapshot.counters,
        &service.journal.health(),
        now.since(snapshot.taken),
        open_metrics,
    );
    body(StatusCode::OK, content_type, text)
}

pub(super) async fn history(service: &Service, query: &Query) -> Reply {
    let default = HistoryQuery::default();
    let wanted = HistoryQuery {
        epoch: query.epoch,
        kinds: query.kinds.clone().unwrap_or(default.kinds),
        limit: query.limit.unwrap_or(default.limit),
    };
    match tokio::time::timeout(JOURNAL_WAIT, service.journal.history(&wanted)).await {
        Ok(history) => json(StatusCode::OK, &history),
        Err(_elapsed) => disk_does_not_answer(),
    }
}

pub(super) async fn timeline(service: &Service, epoch: Option<u64>) -> Reply {
    match tokio::time::timeout(JOURNAL_WAIT, service.journal.timeline(epoch)).await {
        Err(_elapsed) => disk_does_not_answer(),
        Ok(Err(error)) => problem(StatusCode::SERVICE_UNAVAILABLE, "E_JOURNAL", error.to_string(), ""),
        Ok(Ok(Some(timeline))) => json(StatusCode::OK, &timeline),
        Ok(Ok(None)) => {
            let what =
                epoch.map_or("no takeover".to_owned(), |epoch| format!("no takeover of epoch {epoch}"));
            let detail = format!("the journal of this node holds {what}");
            problem(StatusCode::NOT_FOUND, "E_NO_TIMELINE", detail, "apctl history shows what it holds")
        }
    }
}

fn disk_does_not_answer() -> Reply {
    let detail = "the journal's disk does not answer";
    problem(StatusCode::SERVICE_UNAVAILABLE, "E_JOURNAL", detail, "look at the disk under node.state_dir")
}
