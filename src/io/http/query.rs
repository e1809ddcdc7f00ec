//! What may stand behind the question mark.

use crate::wire::control::EntryKind;
use std::time::Duration;

/// Every parameter of every path; each path reads its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Query {
    pub(super) lag: Option<Duration>,
    pub(super) epoch: Option<u64>,
    pub(super) limit: Option<u32>,
    pub(super) kinds: Option<Vec<EntryKind>>,
    pub(super) wait: Option<Duration>,
    pub(super) seen: usize,
    pub(super) after: Option<i64>,
}

/// Name, type in the words of JSON Schema, and meaning: for the description.
pub(super) const PARAMETERS: &[(&str, &str, &str)] = &[
    ("lag", "string", "The most that the replica may be behind, as `2s` or `300ms`"),
    ("epoch", "integer", "Only this epoch"),
    ("limit", "integer", "The newest so many entries; 100 if absent, at most 10000"),
    (
        "kinds",
        "string",
        "Kinds of entries, with commas between: event, decision, action, step; or `all`. `decision` if absent",
    ),
    ("wait", "string", "Answer when it has ended, at the latest after this time, as `30s`"),
    ("seen", "integer", "Lines of progress that the caller knows already"),
    ("after", "integer", "Begin after this entry; the header Last-Event-ID goes before it"),
];

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
                "after" => read.after = Some(value.parse().map_err(|_| bad("the id of an entry"))?),
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
