//! `[[check]]` as written. One struct for all kinds: which keys belong to which kind is checked later, so
//! that the message can say so.

use super::{Period, words};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[[check]]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Check {
    /// Unique. `mariadb`, `link` and `gateway` tune the checks that exist by default.
    #[schemars(required)]
    pub name: String,
    /// What is checked. Required, except for the three names above.
    #[serde(rename = "type")]
    pub kind: Option<CheckKind>,
    /// From start to start. Default: http 1s, mariadb 500ms, link 100ms, gateway 1s.
    pub interval: Option<Period>,
    /// No answer by then is a failure; at most `interval`. Default: http and mariadb 500ms, link 100ms,
    /// gateway 200ms.
    pub timeout: Option<Period>,
    /// Consecutive passes to become healthy. Default: http 2, mariadb, link and gateway 1.
    #[schemars(range(min = 1, max = 100))]
    pub rise: Option<u32>,
    /// Consecutive failures to become unhealthy. Default: http, mariadb and gateway 2, link 1.
    #[schemars(range(min = 1, max = 100))]
    pub fall: Option<u32>,
    /// 0: a failure means not fit; otherwise added to the priority while failing.
    #[schemars(range(min = -253, max = 253))]
    pub weight: i16,
    /// Where it counts. Default: both.
    pub roles: Option<Vec<RoleWord>>,
    /// http: `http://HOST[:PORT][/PATH]`.
    pub url: Option<String>,
    /// http: request method. Default GET.
    pub method: Option<String>,
    /// http: statuses that pass. Default `[200]`.
    #[schemars(inner(range(min = 100, max = 599)))]
    pub status: Option<Vec<u16>>,
    /// http: the body must contain this.
    pub body_contains: Option<String>,
    /// http: a place in the JSON body and the value that it must have.
    pub json: Option<JsonMatch>,
    /// http: the `Host:` header, where it differs from the URL's.
    pub host: Option<String>,
    /// http: not yet supported.
    pub tls: Option<serde_json::Value>,
    /// tcp: not yet supported.
    pub address: Option<String>,
    /// command: not yet supported.
    pub argv: Option<Vec<String>>,
    /// command: not yet supported.
    pub user: Option<String>,
    /// unit: not yet supported.
    pub unit: Option<String>,
    /// link: the interface. Default: the node's.
    pub interface: Option<String>,
}

words!(
    /// Words of `type`.
    CheckKind { Http, Tcp, Command, Unit, Gateway, Mariadb, Link }
);

impl CheckKind {
    /// The word, as written.
    pub const fn word(self) -> &'static str {
        match self {
            CheckKind::Http => "http",
            CheckKind::Tcp => "tcp",
            CheckKind::Command => "command",
            CheckKind::Unit => "unit",
            CheckKind::Gateway => "gateway",
            CheckKind::Mariadb => "mariadb",
            CheckKind::Link => "link",
        }
    }
}

words!(
    /// Words of `roles`.
    RoleWord { Active, Standby }
);

/// `json = { ... }`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JsonMatch {
    /// JSON pointer (RFC 6901), as `/db`. Empty: the whole body.
    pub pointer: String,
    /// The value that must stand there. Required.
    pub equals: Option<serde_json::Value>,
}
