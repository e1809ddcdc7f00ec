//! Alerts by mail, over SMTP to a relay that takes them without a password, as keepalived does.
//!
//! `lettre` speaks it and writes the message: header lines, encodings and dates have more rules than they look.

use crate::config::checked::Smtp;
use crate::io::clock;
use crate::wire::alert::AlertMessage;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use std::error::Error;
use std::time::Duration;

/// For the conversation, once connected.
const CONVERSATION: Duration = Duration::from_secs(30);
/// The longest subject: more is cut off by most that show it.
const SUBJECT: usize = 200;

/// Sends mail through one relay; each on a connection of its own.
#[derive(Debug)]
pub struct Mailer {
    settings: Smtp,
}

impl Mailer {
    /// Nothing is connected yet.
    pub(super) const fn new(settings: Smtp) -> Self {
        Self { settings }
    }

    /// How long one try may take.
    pub(super) fn limit(&self) -> Duration {
        self.settings.connect_timeout + CONVERSATION
    }

    /// Sends one mail to all recipients.
    pub(super) async fn send(&self, message: &AlertMessage) -> Result<(), String> {
        let Smtp { host, port, connect_timeout, .. } = &self.settings;
        let mail = self.mail(message)?;
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host.as_str())
            .port(*port)
            .timeout(Some(*connect_timeout))
            .hello_name(ClientId::Domain(message.node.clone()))
            .build::<Tokio1Executor>();
        transport.send(mail).await.map(drop).map_err(|error| in_full(&error))
    }

    fn mail(&self, message: &AlertMessage) -> Result<Message, String> {
        let Smtp { from, to, .. } = &self.settings;
        let mailbox = |text: &String| text.parse::<Mailbox>().map_err(|error| format!("{text:?}: {error}"));
        let subject: String = message.subject().chars().take(SUBJECT).collect();
        let id = format!("<{}.{}@{}>", clock::wall().as_nanosecond(), message.node, message.cluster);
        let mut builder = Message::builder()
            .from(mailbox(from)?)
            .subject(subject)
            .message_id(Some(id))
            .header(ContentType::TEXT_PLAIN);
        for recipient in to {
            builder = builder.to(mailbox(recipient)?);
        }
        builder.body(message.body()).map_err(|error| error.to_string())
    }
}

/// An error with its causes: the outermost alone says only which step failed.
fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}
