//! Answers: JSON, text, and problems.

use super::events::EventBody;
use crate::wire::control::Problem;
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

/// An answer: complete in memory, or events as they come.
pub(super) type Reply = Response<Either<Full<Bytes>, EventBody>>;

pub(super) fn body(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    with_type(status, content_type, Either::Left(Full::new(body.into())))
}

/// Events as they come.
pub(super) fn stream(content_type: &'static str, events: EventBody) -> Reply {
    with_type(StatusCode::OK, content_type, Either::Right(events))
}

fn with_type(status: StatusCode, content_type: &'static str, body: Either<Full<Bytes>, EventBody>) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // A health answer of a moment ago is worth nothing.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(mut text) => {
            text.push(b'\n');
            body(status, "application/json", text)
        }
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, "E_FAILED", error.to_string(), ""),
    }
}

/// RFC 9457.
pub(super) fn problem(status: StatusCode, code: &str, detail: impl Into<String>, remedy: &str) -> Reply {
    problem_of(status, code, detail.into(), remedy, None)
}

pub(super) fn problem_of(
    status: StatusCode,
    code: &str,
    detail: String,
    remedy: &str,
    operation: Option<String>,
) -> Reply {
    let problem = Problem {
        r#type: "about:blank".to_owned(),
        title: status.canonical_reason().unwrap_or("problem").to_owned(),
        status: status.as_u16(),
        detail,
        code: code.to_owned(),
        remedy: remedy.to_owned(),
        operation,
    };
    let mut text = serde_json::to_vec(&problem).unwrap_or_default();
    text.push(b'\n');
    body(status, "application/problem+json", text)
}

/// RFC 9110 section 15.5.6: names what is allowed.
pub(super) fn method_not_allowed(allowed: &'static str) -> Reply {
    let detail = format!("this path allows {allowed}");
    let mut reply = problem(StatusCode::METHOD_NOT_ALLOWED, "E_METHOD", detail, "");
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    reply
}
