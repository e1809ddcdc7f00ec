//! `[[hook]]` and `[alerts]`: who is told of changes.

use super::{Scene, program, secret, trust, url};
use crate::config::checked::{Alerts, Hook, Smtp, Webhook};
use crate::config::typed::{HookWord, Period};
use crate::wire::role_change::Word;
use lettre::message::Mailbox;
use secrecy::ExposeSecret;

/// `[[hook]]`, in the order in which they are run.
pub fn hooks(scene: &mut Scene<'_>) -> Vec<Hook> {
    let mut hooks = Vec::new();
    for (index, written) in scene.file.hook.clone().into_iter().enumerate() {
        let position = (index + 1).to_string();
        let key = |name| ["hook", position.as_str(), name];
        if written.on.is_empty() && !scene.is_broken(&key("on")) {
            let remedy = "write on = [\"active\", \"standby\"], or leave the hook out";
            scene.refuse(&key("on"), "an empty list: the hook is never run", remedy);
        }
        let argv = program::argv(scene, &key("argv"), &written.argv);
        let user = program::user(scene, &key("user"), &written.user);
        let (least, most) = (Period::milliseconds(100), Period::seconds(3600));
        let timeout = scene.period(&key("timeout"), written.timeout, least, most);
        let Some(argv) = argv else { continue };
        hooks.push(Hook { on: written.on.into_iter().map(word).collect(), argv, timeout, user });
    }
    hooks
}

const fn word(written: HookWord) -> Word {
    match written {
        HookWord::Active => Word::Active,
        HookWord::Standby => Word::Standby,
        HookWord::Fault => Word::Fault,
        HookWord::Out => Word::Out,
        HookWord::Stop => Word::Stop,
    }
}

/// `[alerts]`.
pub fn alerts(scene: &mut Scene<'_>) -> Alerts {
    Alerts { smtp: smtp(scene), webhook: webhook(scene) }
}

fn smtp(scene: &mut Scene<'_>) -> Option<Smtp> {
    const TABLE: [&str; 2] = ["alerts", "smtp"];
    let key = |name| [TABLE[0], TABLE[1], name];
    let written = scene.file.alerts.smtp.clone();
    let (least, most) = (Period::milliseconds(100), Period::seconds(300));
    let connect_timeout = scene.period(&key("connect_timeout"), written.connect_timeout, least, most);
    if written.to.is_empty() {
        if !written.from.is_empty() {
            let remedy = "write to = [\"oncall@shop.example\"], or leave the table out";
            scene.refuse(&key("to"), "mail has a sender and no recipient", remedy);
        }
        return None;
    }
    if !scene.is_written(&key("server")) {
        let remedy = "write server = \"192.168.33.1:25\", a relay that takes mail from this host";
        scene.refuse(&key("server"), "missing, and the default is only an example", remedy);
    }
    let server = url::host_and_port(&written.server);
    if server.is_none() {
        scene.refuse(&key("server"), "host or port cannot be read", "write both, as \"192.168.33.1:25\"");
    }
    let from = mailbox(scene, &key("from"), &written.from);
    let mut to = Vec::new();
    for (index, text) in written.to.iter().enumerate() {
        let position = (index + 1).to_string();
        to.extend(mailbox(scene, &["alerts", "smtp", "to", &position], text));
    }
    let (host, port) = server?;
    Some(Smtp { host, port, from: from?, to, connect_timeout })
}

/// An address of mail, with or without a name.
fn mailbox(scene: &mut Scene<'_>, key: &[&str], text: &str) -> Option<String> {
    match text.parse::<Mailbox>() {
        Ok(_) => Some(text.to_owned()),
        Err(error) => {
            let what = format!("{text:?} is no address of mail: {error}");
            scene.refuse(key, what, "write it as \"apd@shop.example\" or \"apd <apd@shop.example>\"");
            None
        }
    }
}

fn webhook(scene: &mut Scene<'_>) -> Option<Webhook> {
    const REMEDY: &str = "write https://HOST/PATH";
    let key = |name| ["alerts", "webhook", name];
    let written = scene.file.alerts.webhook.clone();
    let from_file = secret::read(scene, &key("url_file"), &written.url_file);
    let (name, text) = match (&from_file, written.url.as_str()) {
        (Some(_), url) if !url.is_empty() => {
            scene.refuse(&key("url"), "there is a url_file too", "leave one of them out");
            return None;
        }
        (Some(secret), _) => ("url_file", secret.expose_secret().to_owned()),
        (None, "") => return None,
        (None, url) => ("url", url.to_owned()),
    };
    let url::Url { tls, host, port, path } = url::read(scene, &key(name), &text, REMEDY)?;
    let tls = trust::read(scene, &key("tls"), tls, written.tls.as_ref());
    Some(Webhook { host, port, path: path.into(), tls })
}
