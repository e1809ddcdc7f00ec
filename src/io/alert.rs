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

impl Channel {
    /// Those that are configured.
    pub fn all(alerts: &Alerts) -> Vec<Self> {
        let mail = alerts.smtp.clone().map(|smtp| Self::Smtp(Box::new(smtp::Mailer::new(smtp))));
        let hook = alerts.webhook.clone().map(|url| Self::Webhook(Box::new(webhook::Webhook::new(url))));
        mail.into_iter().chain(hook).collect()
    }

    /// As in the configuration.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Smtp(_) => "alerts.smtp",
            Self::Webhook(_) => "alerts.webhook",
        }
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
