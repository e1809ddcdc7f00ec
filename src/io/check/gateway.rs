//! Asks several hosts of the network whether they are there: enough of them must answer.

use super::Outcome;
use crate::config::checked::GatewayProbe;
use crate::io::gateway::GatewayProber;
use std::time::Duration;

/// The targets of one `[[check]]` of type `gateway`.
pub(super) struct Targets {
    probe: GatewayProbe,
    prober: Option<GatewayProber>,
}

impl Targets {
    /// Nothing is opened yet.
    pub(super) const fn new(probe: GatewayProbe) -> Self {
        Self { probe, prober: None }
    }

    /// Asks all of them once; ends as soon as enough have answered, or after `limit`.
    pub(super) async fn outcome(&mut self, limit: Duration) -> Outcome {
        let GatewayProbe { interface, source, gateway } = &self.probe;
        if self.prober.is_none() {
            match GatewayProber::open(interface, *source, &gateway.targets, gateway.need, gateway.method) {
                Ok(prober) => self.prober = Some(prober),
                Err(error) => return Outcome::failed(format!("{error}: {}", error.source)),
            }
        }
        let Some(prober) = &mut self.prober else { return Outcome::failed("not opened") };
        let result = prober.probe(limit).await;
        Outcome {
            passed: result.answered >= gateway.need,
            certain: false,
            detail: format!("{} of {} answer, {} must", result.answered, result.asked, gateway.need),
        }
    }
}
