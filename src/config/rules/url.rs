//! URLs as an operator writes them, for checks and alerts. What they may hold of a password is never repeated.

use super::Scene;

/// The parts of a URL that are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// `https`.
    pub tls: bool,
    /// Name or IPv4 address.
    pub host: String,
    /// As written, or that of the scheme.
    pub port: u16,
    /// Path and query, beginning with `/`.
    pub path: String,
}

/// Reads a URL; what is wrong with it is reported at `key`, with `remedy` where no better one is known.
pub fn read(scene: &mut Scene<'_>, key: &[&str], text: &str, remedy: &str) -> Option<Url> {
    match parse(text) {
        Ok(url) => Some(url),
        Err((what, better)) => {
            scene.refuse(key, what, better.unwrap_or(remedy));
            None
        }
    }
}

type Refusal = (&'static str, Option<&'static str>);

fn parse(text: &str) -> Result<Url, Refusal> {
    let Some((scheme, rest)) = text.split_once("://") else { return Err(("this is no URL", None)) };
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => return Err(("only http and https are spoken here", None)),
    };
    if rest.contains('#') || !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(("a URL has no white space, no `#` and no letters beyond ASCII here", None));
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.contains('@') {
        let better = "leave them out; a health address should need none";
        return Err(("not yet supported: user and password in a URL", Some(better)));
    }
    if authority.starts_with('[') {
        return Err(("not yet supported: IPv6", Some("write an IPv4 address")));
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)),
        None => (authority, Some(if tls { 443 } else { 80 })),
    };
    let (Some(port), true) = (port, is_host(host)) else {
        return Err(("host or port cannot be read", None));
    };
    let path = match path {
        path if path.starts_with('/') => path.to_owned(),
        query => format!("/{query}"),
    };
    Ok(Url { tls, host: own_address(host).to_owned(), port, path })
}

/// `HOST:PORT`, both required.
pub fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    is_host(host).then(|| (own_address(host).to_owned(), port))
}

fn is_host(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

/// What listens on IPv4 only must not be missed because the resolver prefers IPv6.
fn own_address(host: &str) -> &str {
    if host.eq_ignore_ascii_case("localhost") { "127.0.0.1" } else { host }
}
