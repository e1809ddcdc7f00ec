//! Which path answers what.

use super::reply::{Reply, body, json, method_not_allowed, problem};
use super::{Service, changes, operations};
use crate::io::control_socket::Caller;
use crate::io::journal::HistoryQuery;
use crate::io::metrics;
use crate::wire::control::{EntryKind, Verdict, health};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ETAG, HeaderValue};
use hyper::{Method, Request, StatusCode};
use std::time::Duration;

/// Answers one request.
pub(super) async fn answer(service: &Service, caller: &Caller, request: Request<Incoming>) -> Reply {
    let path = request.uri().path().trim_end_matches('/').to_owned();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if let Some(command) = changes::command_name(&path) {
        if *request.method() != Method::POST {
            return method_not_allowed("POST");
        }
        return changes::command(service, caller, command, request).await;
    }
    let known = is_read(&path) || path.starts_with("/operations/");
    match (known, reads) {
        (false, _) => not_found(&path),
        (true, false) => method_not_allowed("GET, HEAD"),
        (true, true) => match Query::of(request.uri().query()) {
            Err(unknown) => problem(StatusCode::BAD_REQUEST, "E_USAGE", unknown, ""),
            Ok(query) => {
                let open_metrics = request
                    .headers()
                    .get(ACCEPT)
                    .and_then(|accept| accept.to_str().ok())
                    .is_some_and(|accept| accept.contains("application/openmetrics-text"));
                read(service, &path, &query, open_metrics).await
            }
        },
    }
}

fn is_read(path: &str) -> bool {
    const READS: [&str; 15] = [
        "/primary",
        "/active",
        "/read-write",
        "/replica",
        "/standby",
        "/read-only",
        "/health",
        "/liveness",
        "/readiness",
        "/status",
        "/explain",
        "/history",
        "/timeline",
        "/metrics",
        "/operations",
    ];
    READS.contains(&path)
}

fn not_found(path: &str) -> Reply {
    let remedy = "paths: /primary /replica /read-only /health /liveness /readiness /status /explain /history \
                  /timeline /operations /metrics; POST /switchover /failover /mode /rejoin /clear";
    problem(StatusCode::NOT_FOUND, "E_NOT_FOUND", format!("there is no {path} here"), remedy)
}

async fn read(service: &Service, path: &str, query: &Query, open_metrics: bool) -> Reply {
    match path {
        "/primary" | "/active" | "/read-write" => judged(&health::primary(&service.status())),
        "/replica" | "/standby" => judged(&health::replica(&service.status(), query.lag)),
        "/read-only" => judged(&health::read_only(&service.status(), query.lag)),
        "/health" => judged(&health::healthy(&service.status())),
        "/liveness" => judged(&health::alive(&service.status())),
        "/readiness" => judged(&health::ready(&service.status())),
        "/status" => status(service),
        "/explain" => {
            let (snapshot, now) = service.snapshot();
            json(StatusCode::OK, &snapshot.explain_at(now))
        }
        "/metrics" => {
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
        "/history" => history(service, query).await,
        "/timeline" => timeline(service, query.epoch).await,
        _ => operations::read(service, path, query).await,
    }
}

fn judged(verdict: &Verdict) -> Reply {
    let status = if verdict.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, verdict)
}

fn status(service: &Service) -> Reply {
    let status = service.status();
    let mut reply = json(StatusCode::OK, &status);
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", status.node.epoch)) {
        reply.headers_mut().insert(ETAG, tag);
    }
    reply
}

/// Longest wait for the journal's disk.
const JOURNAL_WAIT: Duration = Duration::from_secs(5);

async fn history(service: &Service, query: &Query) -> Reply {
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

async fn timeline(service: &Service, epoch: Option<u64>) -> Reply {
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

/// What may stand behind the question mark.
#[derive(Clone, Debug, Default)]
pub(super) struct Query {
    pub(super) lag: Option<Duration>,
    pub(super) epoch: Option<u64>,
    pub(super) limit: Option<u32>,
    pub(super) kinds: Option<Vec<EntryKind>>,
    pub(super) wait: Option<Duration>,
    pub(super) seen: usize,
}

impl Query {
    /// Unknown names are ignored (load balancers add their own); values that cannot be read are not.
    pub(super) fn of(query: Option<&str>) -> Result<Self, String> {
        let mut read = Self::default();
        for pair in query.unwrap_or_default().split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let bad = |wanted: &str| format!("{name}={value}: expected {wanted}");
            match name {
                "lag" => read.lag = Some(duration(value).ok_or_else(|| bad("a duration such as 2s"))?),
                "wait" => read.wait = Some(duration(value).ok_or_else(|| bad("a duration such as 30s"))?),
                "epoch" => read.epoch = Some(value.parse().map_err(|_| bad("a number"))?),
                "limit" => read.limit = Some(value.parse().map_err(|_| bad("a number"))?),
                "seen" => read.seen = value.parse().map_err(|_| bad("a number"))?,
                "kinds" if value == "all" => read.kinds = Some(Vec::new()),
                "kinds" => {
                    let kinds: Result<Vec<EntryKind>, _> = value.split(',').map(str::parse).collect();
                    read.kinds = Some(kinds.map_err(|error| error.to_string())?);
                }
                _ => {}
            }
        }
        Ok(read)
    }
}

/// `300ms`, `2s`, `1m`, or plain seconds. At most a day.
fn duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<u64>() {
        return (seconds <= 86_400).then(|| Duration::from_secs(seconds));
    }
    let span: jiff::SignedDuration = text.parse().ok()?;
    Duration::try_from(span).ok().filter(|duration| *duration <= Duration::from_secs(86_400))
}
