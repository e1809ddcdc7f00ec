//! Asks whether somebody accepts connections at an address.

use super::Outcome;
use crate::config::checked::TcpProbe;
use std::io::ErrorKind;
use tokio::net::TcpStream;

/// Connects, and hangs up.
pub(super) struct TcpProber(pub TcpProbe);

impl TcpProber {
    /// Asks once. A refusal is certain: nobody listens.
    pub(super) async fn outcome(&self) -> Outcome {
        match TcpStream::connect((self.0.host.as_str(), self.0.port)).await {
            Ok(_) => Outcome::passed("accepts connections"),
            Err(error) => Outcome {
                passed: false,
                certain: error.kind() == ErrorKind::ConnectionRefused,
                detail: format!("cannot connect: {error}"),
            },
        }
    }
}
