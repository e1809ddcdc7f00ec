//! `apctl local-fence`: the fence without the daemon, for `ExecStopPost=` and for an operator.

use super::answers::Fence;
use super::arguments::Common;
use super::configuration::loaded_without_secrets;
use super::exit::{Exit, Failure};
use super::output::{Output, Tone};
use super::view::{painted, wrapped};
use crate::gate::{Outcome, local_fence};
use crate::wire::control::SCHEMA_VERSION;

/// Exit 0 when nothing is left to do by hand, 7 when a part failed.
pub(super) fn fence(output: &Output, common: &Common, if_lease_expired: bool) -> Result<Exit, Failure> {
    // Without a readable password the database part fails, and the rest is done all the same.
    let loaded = loaded_without_secrets(common)?;
    let outcome = local_fence(&loaded.config, if_lease_expired)
        .map_err(|error| Failure::failed(format!("{error:#}")))?;
    let (network, database) = match &outcome {
        Outcome::LeaseLives => {
            let value = Fence { schema_version: SCHEMA_VERSION, lease_lives: true, ..Fence::default() };
            output.show(&value, |_| "a lease lives: nothing was done\n".to_owned())?;
            return Ok(if common.exit_code { Exit::ALREADY } else { Exit::OK });
        }
        Outcome::Fenced { network, database } => (network, database),
    };
    let complete = outcome.is_complete();
    let value = Fence {
        schema_version: SCHEMA_VERSION,
        code: if complete { "" } else { "E_FENCE_INCOMPLETE" },
        fenced: complete,
        lease_lives: false,
        network: Some(network.as_ref().map_or_else(Clone::clone, |_| "closed".to_owned())),
        connections_reset: network.as_ref().ok().copied(),
        database: Some(database.as_ref().map_or_else(Clone::clone, |()| "read-only".to_owned())),
    };
    output.show(&value, |output| {
        let failed = |what: &str, error: &str| painted(Tone::Bad, &format!("{what}: {error}"), output);
        let network = match network {
            Ok(reset) => {
                let line = format!("gate closed, virtual addresses removed, {reset} connections reset");
                wrapped(&line, "", output.width())
            }
            Err(error) => failed("gate and addresses", error),
        };
        let database = match database {
            Ok(()) => "database read-only, client sessions ended\n".to_owned(),
            Err(error) => failed("database", error),
        };
        network + &database
    })?;
    Ok(if complete { Exit::OK } else { Exit::DEGRADED })
}
