//! The protection meter: what each single fault would do to the pair as it stands now. Never claims more than
//! holds.

use super::node::Node;
use super::phase::Phase;
use super::words::{Mode, Protection};
use serde::{Deserialize, Serialize};

/// One fault and what it would do now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SingleFault {
    /// For example `power loss of db1`.
    pub fault: String,
    /// `failover`, `none`, `outage`, `split`.
    pub outcome: String,
    /// `none`, `possible`, `certain`.
    pub data_loss: String,
}

impl Node {
    /// What each single fault would do now.
    pub fn single_faults(&self) -> Vec<SingleFault> {
        let serving = matches!(self.phase, Phase::Active(_) | Phase::HandingOver(_) | Phase::TakingOver(_));
        let (active, standby) = if serving {
            (&self.settings.name, &self.settings.peer_name)
        } else {
            (&self.settings.peer_name, &self.settings.name)
        };
        let ready = if serving {
            self.peer_can_serve() && self.mode.mode == Mode::Ap
        } else {
            let granted = self.durable.eligible == Some(self.durable.epoch);
            granted && self.blocked().is_none() && self.mode.mode == Mode::Ap
        };
        let served = serving || self.peer_is_active();
        let fault = |fault: String, outcome: &str, data_loss: &str| SingleFault {
            fault,
            outcome: outcome.into(),
            data_loss: data_loss.into(),
        };
        if !served {
            return vec![fault("none needed: nobody serves".into(), "outage", "none")];
        }
        let takes_over = if ready { "failover" } else { "outage" };
        let tail = if ready { "possible" } else { "none" };
        let cut = match self.settings.protection {
            Protection::Vrrp => "split",
            Protection::Gateway => {
                "split if both still reach the gateway and nobody answers ARP for the address"
            }
        };
        let mut faults = vec![
            fault(format!("power loss of {active}"), takes_over, tail),
            fault(format!("network of {active} cut off"), takes_over, tail),
            fault(format!("mariadbd of {active} killed"), takes_over, "none"),
            fault(format!("daemon of {active} killed or paused"), takes_over, tail),
            fault(format!("API of {active} down"), if ready { "failover" } else { "outage" }, "none"),
            fault(format!("power loss of {standby}"), "none", "none"),
        ];
        if ready {
            faults.push(fault("link between the nodes cut".into(), cut, "possible"));
        }
        if self.gate.degraded.is_some() {
            faults.push(fault(format!("daemon and gate process of {active} paused"), "split", "possible"));
        }
        faults
    }
}
