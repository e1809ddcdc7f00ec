//! `[http]`: where it listens, who may change things, the certificate, and where `/redirect` leads.

use super::{Scene, secret};
use crate::config::checked::{Http, Node};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

/// `[http]`, and `public_url` of the peer.
pub fn check(scene: &mut Scene<'_>, nodes: Option<&(Node, Node)>) -> Http {
    let written = scene.file.http.clone();
    let listen = listen(scene, &written.listen);
    let token = secret::read(scene, &["http", "token_file"], &written.token_file);
    if token.as_ref().is_some_and(|token| secret::length(token) < 16) {
        let what = "the token is shorter than 16 characters and can be guessed";
        scene.warn(&["http", "token_file"], what, "make a longer one, as by `openssl rand -hex 32`");
    }
    let tls = tls(scene);
    if token.is_some() && tls.is_none() && !listen.ip().is_loopback() {
        let what = format!("the token crosses the network to {listen} in clear text");
        scene.warn(&["http", "token_file"], what, "write tls = { cert_file = ..., key_file = ... } too");
    }
    public_urls(scene);
    let scheme = if tls.is_some() { "https" } else { "http" };
    let peer_url = nodes.map_or_else(String::new, |(_, peer)| match peer.public_url.as_str() {
        "" => format!("{scheme}://{}:{}/redirect", peer.address, listen.port()),
        url => url.to_owned(),
    });
    Http { listen, token, tls, peer_url }
}

fn listen(scene: &mut Scene<'_>, written: &str) -> SocketAddrV4 {
    let path = ["http", "listen"];
    let default = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7410);
    let listen = match written.parse::<SocketAddrV4>() {
        Ok(listen) if listen.port() != 0 => listen,
        _ => {
            let what = format!("{written:?} is no IPv4 address with a port");
            scene.refuse(&path, what, format!("write both, as \"{default}\""));
            default
        }
    };
    let own = listen.ip().to_string();
    let is_virtual = |written: &String| written.split(['/', '%']).next() == Some(&*own);
    if scene.file.cluster.virtual_addresses.iter().any(is_virtual) {
        let what = format!("{own} is a virtual address: the standby could not answer there");
        scene.refuse(&path, what, "write the node's own address in conf.d, or \"0.0.0.0:7410\"");
    }
    listen
}

/// Clients are sent there as it is written: it must be an address for them.
fn public_urls(scene: &mut Scene<'_>) {
    let written: Vec<(String, String)> =
        scene.file.nodes.iter().map(|(name, node)| (name.clone(), node.public_url.clone())).collect();
    for (name, url) in written.iter().filter(|(_, url)| !url.is_empty()) {
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
        let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
        if host.is_empty() || host.contains('@') || !url.bytes().all(is_plain) {
            let what = "this is no address that a client could be sent to";
            scene.refuse(&["nodes", name, "public_url"], what, "write as \"https://db1.example.com/\"");
        }
    }
}

/// `tls = { ... }`, ready to serve.
fn tls(scene: &mut Scene<'_>) -> Option<Arc<ServerConfig>> {
    let written = scene.file.http.tls.clone();
    let [has_certificate, has_key, has_ca] = [&written.cert_file, &written.key_file, &written.client_ca_file]
        .map(|file| !file.as_os_str().is_empty());
    if !has_certificate && !has_key && !has_ca {
        return None;
    }
    if !has_certificate || !has_key {
        let missing = if has_certificate { "key_file" } else { "cert_file" };
        let what = format!("{missing} is missing, and a certificate serves only with its key");
        scene.refuse(&["http", "tls"], what, "write tls = { cert_file = \"...\", key_file = \"...\" }");
        return None;
    }
    let certificates = certificates(scene, "cert_file", &written.cert_file);
    let key = key(scene, &written.key_file);
    let authorities = if has_ca { Some(authorities(scene, &written.client_ca_file)?) } else { None };
    assemble(scene, certificates?, key?, authorities)
}

fn assemble(
    scene: &mut Scene<'_>,
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authorities: Option<RootCertStore>,
) -> Option<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = match ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
    {
        Ok(builder) => builder,
        Err(error) => {
            scene.refuse(&["http", "tls"], error.to_string(), "leave tls out; this build cannot serve it");
            return None;
        }
    };
    let builder = match authorities {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            // Reads stay open: who shows no certificate is not turned away, and may change nothing.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            match verifier.allow_unauthenticated().build() {
                Ok(verifier) => builder.with_client_cert_verifier(verifier),
                Err(error) => {
                    let path = ["http", "tls", "client_ca_file"];
                    scene.refuse(
                        &path,
                        error.to_string(),
                        "write the CA that signs the clients' certificates",
                    );
                    return None;
                }
            }
        }
    };
    match builder.with_single_cert(certificates, key) {
        Ok(mut config) => {
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Some(Arc::new(config))
        }
        Err(error) => {
            let what = format!("the certificate and the key do not serve: {error}");
            scene.refuse(
                &["http", "tls", "cert_file"],
                what,
                "write the key that belongs to this certificate",
            );
            None
        }
    }
}

fn authorities(scene: &mut Scene<'_>, file: &Path) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(scene, "client_ca_file", file)? {
        if let Err(error) = roots.add(certificate) {
            let what = format!("{} holds no usable CA: {error}", file.display());
            scene.refuse(&["http", "tls", "client_ca_file"], what, "write the CA's own certificate (PEM)");
            return None;
        }
    }
    Some(roots)
}

fn certificates(scene: &mut Scene<'_>, key: &str, file: &Path) -> Option<Vec<CertificateDer<'static>>> {
    let bytes = read(scene, key, file)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Some(certificates),
        _ => {
            let what = format!("{} holds no certificate in PEM", file.display());
            let remedy = "let it hold -----BEGIN CERTIFICATE----- blocks";
            scene.refuse(&["http", "tls", key], what, remedy);
            None
        }
    }
}

fn key(scene: &mut Scene<'_>, file: &Path) -> Option<PrivateKeyDer<'static>> {
    let bytes = read(scene, "key_file", file)?;
    let path = ["http", "tls", "key_file"];
    let mode = secret::place(scene, &path, file)
        .and_then(|place| std::fs::metadata(place).ok())
        .map_or(0, |about| about.permissions().mode());
    if mode & 0o007 != 0 {
        let what = format!("everybody on this host can use {} (mode {:03o})", file.display(), mode & 0o777);
        scene.warn(&path, what, format!("chmod 600 {}, or 640 with a group", file.display()));
    }
    let key = PrivateKeyDer::from_pem_slice(&bytes).ok();
    if key.is_none() {
        let what = format!("{} holds no private key in PEM", file.display());
        scene.refuse(&path, what, "let it hold a -----BEGIN PRIVATE KEY----- block, without a passphrase");
    }
    key
}

/// The file as it is. As a secret: for a command that only looks, one that it may not read is a warning.
fn read(scene: &mut Scene<'_>, key: &str, file: &Path) -> Option<Vec<u8>> {
    let path = ["http", "tls", key];
    let place = secret::place(scene, &path, file)?;
    match std::fs::read(place) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            let what = format!("{} cannot be read: {error}", file.display());
            let remedy = "put the PEM file there, readable for the user of apd";
            match scene.sources.secrets_required {
                true => scene.refuse(&path, what, remedy),
                false => scene.warn(&path, what, remedy),
            }
            None
        }
    }
}
