//! TLS towards others: whose certificates are believed. One provider (ring), one place that chooses it.

use crate::config::checked::CertificateTrust;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where distributions keep the authorities that their administrators trust.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Why there is no connection with TLS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The authorities cannot be read.
    #[error("{path}: {source}")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The file holds no authority.
    #[error("{0}: no certificate in it")]
    Empty(PathBuf),
    /// This host trusts nobody.
    #[error("this host has no list of authorities: install ca-certificates, or write ca_file")]
    NoBundle,
    /// The name cannot be in a certificate.
    #[error("{0}")]
    Name(InvalidDnsNameError),
    /// The library refuses its own settings.
    #[error("{0}")]
    Settings(rustls::Error),
    /// The other side is not who it should be, or speaks no TLS.
    #[error("TLS: {0}")]
    Handshake(io::Error),
}

/// Opens connections whose other side must be certified by somebody who is trusted.
#[derive(Debug)]
pub struct Trusting {
    trust: CertificateTrust,
    /// Made when first needed, and anew after a failure: the authorities may have been renewed.
    config: Option<Arc<ClientConfig>>,
}

impl Trusting {
    /// Nothing is read yet.
    pub const fn new(trust: CertificateTrust) -> Self {
        Self { trust, config: None }
    }

    /// TLS over `stream`, with the side that has a certificate for `host`.
    ///
    /// # Errors
    /// When the authorities cannot be read, or the other side is not believed.
    pub async fn connect(&mut self, host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, Error> {
        let name = server_name(host)?;
        let config = match self.config.take() {
            Some(config) => config,
            None => Arc::new(client(&self.trust)?),
        };
        let stream = TlsConnector::from(config.clone()).connect(name, stream).await;
        let stream = stream.map_err(Error::Handshake)?;
        self.config = Some(config);
        Ok(stream)
    }
}

/// A name or address, without the port that a `Host:` header may have.
fn server_name(host: &str) -> Result<ServerName<'static>, Error> {
    let name = host.split_once(':').map_or(host, |(name, _port)| name);
    ServerName::try_from(name.to_owned()).map_err(Error::Name)
}

fn client(trust: &CertificateTrust) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(Error::Settings)?;
    if !trust.verify {
        let anybody = Arc::new(Anybody(provider));
        return Ok(builder.dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth());
    }
    let authorities = match &trust.ca_file {
        Some(file) => authorities(file)?,
        None => {
            let found = BUNDLES.iter().map(Path::new).find(|path| path.exists());
            authorities(found.ok_or(Error::NoBundle)?)?
        }
    };
    Ok(builder.with_root_certificates(authorities).with_no_client_auth())
}

/// The certificates of a file. Old authorities that this library cannot read are left out, as everybody does.
fn authorities(path: &Path) -> Result<RootCertStore, Error> {
    let failed = |source| Error::Authorities { path: path.to_owned(), source };
    let mut store = RootCertStore::empty();
    let mut certificates = Vec::new();
    for certificate in CertificateDer::pem_file_iter(path).map_err(failed)? {
        certificates.push(certificate.map_err(failed)?);
    }
    let (added, _left_out) = store.add_parsable_certificates(certificates);
    if added == 0 { Err(Error::Empty(path.to_owned())) } else { Ok(store) }
}

/// `verify = false`: encrypted, with whomever. Signatures are checked all the same.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
