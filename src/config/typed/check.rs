//! `[[check]]` as written. One struct for all kinds: which keys belong to which kind is checked later, so
//! that the message can say so.

use super::{Period, words};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

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
    /// From start to start. Default: mariadb 500ms, link 100ms, others 1s.
    pub interval: Option<Period>,
    /// No answer by then is a failure. Default: link 100ms, gateway 200ms, command 5s, others 500ms.
    pub timeout: Option<Period>,
    /// Consecutive passes to become healthy. Default: mariadb, link and gateway 1, others 2.
    #[schemars(range(min = 1, max = 100))]
    pub rise: Option<u32>,
    /// Consecutive failures to become unhealthy. Default: link and `gateway` 1, others 2.
    #[schemars(range(min = 1, max = 100))]
    pub fall: Option<u32>,
    /// 0: a failure means not fit; otherwise added to the priority while failing.
    #[schemars(range(min = -253, max = 253))]
    pub weight: i16,
    /// Where it counts. Default: both.
    pub roles: Option<Vec<RoleWord>>,
    /// http: `http://HOST[:PORT][/PATH]`, or `https`.
    pub url: Option<String>,
    /// http: request method, default GET. gateway: `arp` or `icmp`, default that of `[gateway]`.
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
    /// http with `https`: whose certificate is believed.
    pub tls: Option<CheckTls>,
    /// tcp: `HOST:PORT`.
    pub address: Option<String>,
    /// command: program (its whole path) and arguments. No shell reads them.
    pub argv: Option<Vec<String>>,
    /// command: who runs it, where apd itself runs as root. Default `nobody`.
    pub user: Option<String>,
    /// unit: the whole name, as `shop-api.service`.
    pub unit: Option<String>,
    /// gateway, under another name: IPv4 addresses. Default: those of `[gateway]`.
    pub targets: Option<Vec<String>>,
    /// gateway, under another name: how many must answer. Default: that of `[gateway]`.
    #[schemars(range(min = 1, max = 64))]
    pub need: Option<u32>,
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

/// `tls = { ... }` of a check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CheckTls {
    /// Authorities that may have signed the certificate. Empty: those of the host.
    pub ca_file: PathBuf,
    /// Believe only a certificate that they signed for this name.
    pub verify: bool,
}

impl Default for CheckTls {
    fn default() -> Self {
        Self { ca_file: PathBuf::new(), verify: true }
    }
}
