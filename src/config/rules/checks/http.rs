//! `type = "http"`: what is asked, and which answers pass.

use super::target;
use crate::config::checked::HttpProbe;
use crate::config::rules::url::{self, Url};
use crate::config::rules::{Scene, trust};
use crate::config::typed;

const REMEDY: &str = "write http://HOST:PORT/PATH, as \"http://127.0.0.1:8085/health\"";

/// The question of one check.
pub fn probe(scene: &mut Scene<'_>, written: &typed::Check) -> Option<HttpProbe> {
    let name = written.name.as_str();
    let method = written.method.clone().unwrap_or_else(|| "GET".into());
    if method.is_empty() || method.len() > 16 || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        let what = format!("{method:?} is no request method");
        scene.refuse(&["check", name, "method"], what, "write it in capitals, as \"GET\" or \"HEAD\"");
    }
    let status = written.status.clone().unwrap_or_else(|| vec![200]);
    if status.is_empty() {
        let what = "an empty list: no answer could pass";
        scene.refuse(&["check", name, "status"], what, "write the statuses that pass, as [200]");
    }
    let wants_body = written.body_contains.is_some() || written.json.is_some();
    if method == "HEAD" && wants_body {
        let what = "an answer to HEAD has no body to look at";
        scene.refuse(&["check", name, "method"], what, "write method = \"GET\"");
    }
    if written.body_contains.as_deref() == Some("") {
        let what = "an empty text stands in every body";
        scene.refuse(&["check", name, "body_contains"], what, "write the text to look for, or leave it out");
    }
    let json = written.json.as_ref().and_then(|json| json_match(scene, name, json));
    let plain = |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !written.host.as_ref().is_none_or(plain) {
        scene.refuse(
            &["check", name, "host"],
            "this cannot be a Host header",
            "write a name, as \"shop.example\"",
        );
    }
    let Some(text) = &written.url else {
        let path = ["check", name, "url"];
        if !scene.is_broken(&path) {
            scene.refuse(&path, "missing", "write url = \"http://127.0.0.1:8085/health\"");
        }
        return None;
    };
    let key = ["check", name, "url"];
    let Url { tls, host, port, path } = url::read(scene, &key, text, REMEDY)?;
    target(scene, &key, &host);
    let tls = trust::read(scene, &["check", name, "tls"], tls, written.tls.as_ref());
    let (body_contains, host_header) = (written.body_contains.clone(), written.host.clone());
    Some(HttpProbe { host, port, path, method, status, body_contains, json, host_header, tls })
}

/// JSON pointer and the value that must stand there.
fn json_match(
    scene: &mut Scene<'_>,
    name: &str,
    written: &typed::JsonMatch,
) -> Option<(String, serde_json::Value)> {
    let pointer = &written.pointer;
    if !pointer.is_empty() && !pointer.starts_with('/') {
        let what = format!("{pointer:?} is no JSON pointer");
        scene.refuse(&["check", name, "json", "pointer"], what, format!("write \"/{pointer}\""));
    }
    if written.equals.is_none() && !scene.is_broken(&["check", name, "json", "equals"]) {
        let remedy = "write the value that must stand there, as equals = \"ok\"";
        scene.refuse(&["check", name, "json", "equals"], "missing", remedy);
    }
    Some((pointer.clone(), written.equals.clone()?))
}
