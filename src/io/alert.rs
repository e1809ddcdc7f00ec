//! Delivers alerts: one file for each way. Each tries once; when to try again is for whoever asks.

mod smtp;
mod webhook;

use crate::config::checked::Alerts;
use crate::wire::alert::AlertMessage;
use std::time::Duration;
use tokio::time::timeout;

/// One way to whoever is to be alerted.
#[derive(Debug)]
pub enum Channel {
    /// Mail.
    Smtp(Box<smtp::Mailer>),
    /// A POST of JSON.
    Webhook(Box<webhook::Webhook>),
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Mail.
    Smtp,
    /// A POST of JSON.
    Webhook,
}

impl Kind {
    /// Each.
    pub const ALL: [Self; 2] = [Self::Smtp, Self::Webhook];

    /// The way, where it is configured.
    pub fn of(self, alerts: &Alerts) -> Option<Channel> {
        match self {
            Self::Smtp => alerts.smtp.clone().map(|smtp| Channel::Smtp(Box::new(smtp::Mailer::new(smtp)))),
            Self::Webhook => {
                alerts.webhook.clone().map(|url| Channel::Webhook(Box::new(webhook::Webhook::new(url))))
            }
        }
    }

    /// As in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Smtp => "alerts.smtp",
            Self::Webhook => "alerts.webhook",
        }
    }
}

impl Channel {
    /// Those that are configured.
    pub fn all(alerts: &Alerts) -> Vec<Self> {
        Kind::ALL.iter().filter_map(|kind| kind.of(alerts)).collect()
    }

    /// Tries once, within a time that the configuration bounds.
    ///
    /// # Errors
    /// Why it was not delivered, in one line.
    pub async fn deliver(&mut self, message: &AlertMessage) -> Result<(), String> {
        let (limit, tried) = match self {
            Self::Smtp(mailer) => {
                let limit = mailer.limit();
                (limit, timeout(limit, mailer.send(message)).await)
            }
            Self::Webhook(webhook) => (webhook::LIMIT, timeout(webhook::LIMIT, webhook.post(message)).await),
        };
        tried.unwrap_or_else(|_late| Err(late(limit)))
    }
}

fn late(limit: Duration) -> String {
    format!("no answer within {limit:?}")
}
