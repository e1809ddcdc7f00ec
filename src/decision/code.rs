//! Every reason that this program can give, in one closed list: its stable word, its weight, what it means, and
//! what resolves it.
//!
//! A [`super::why::Why`] is made from a code and nothing else, so that no reason reaches status, log, journal,
//! metrics or `apctl explain` that is not in this list. The tables of codes in `docs/operating.md` are written
//! from it.

use super::why::Severity;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// When a reason stands, and who gives it; the tables of the manual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Read off the status; stands as long as its condition does.
    Finding,
    /// Told by the control loop; stands until it is put right.
    Standing,
    /// Told by the control loop once; for the record.
    Record,
}

/// What resolves a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing need be done.
    None,
    /// Given with the reason, unless the place that gives it knows a better one.
    Told(&'static str),
    /// In the manual alone: the text of the reason says what is wrong, or it heals by itself.
    Manual(&'static str),
}

/// One line for each code: name, word, weight, kind, meaning, remedy.
macro_rules! codes {
    ($($name:ident $word:literal $severity:ident $kind:ident $meaning:literal $remedy:expr;)*) => {
        /// A reason, by its stable word.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $meaning] $name,)*
            /// A word of another version of this program.
            Foreign,
        }

        impl Code {
            /// Every code that this program gives, in the order of the manual.
            pub const ALL: &[Code] = &[$(Code::$name,)*];

            /// The stable word, for example `takeover.started`.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Code::$name => $word,)*
                    Code::Foreign => "foreign",
                }
            }

            /// How loud it is, unless the place that gives it says otherwise.
            pub const fn severity(self) -> Severity {
                match self {
                    $(Code::$name => Severity::$severity,)*
                    Code::Foreign => Severity::Info,
                }
            }

            /// Which table of the manual it is in.
            pub const fn kind(self) -> Kind {
                match self {
                    $(Code::$name => Kind::$kind,)*
                    Code::Foreign => Kind::Record,
                }
            }

            /// What it means, in one sentence.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Code::$name => $meaning,)*
                    Code::Foreign => "a reason that another version of this program gave",
                }
            }

            /// What resolves it.
            pub const fn remedy(self) -> Remedy {
                match self {
                    $(Code::$name => $remedy,)*
                    Code::Foreign => Remedy::None,
                }
            }
        }
    };
}

use Remedy::{Manual, Told};
const NOTHING: Remedy = Remedy::None;

codes! {
    // Findings: the worst of the pair first, then this node, then what surrounds it.
    PairNoActive "pair.no_active" Error Finding
        "nobody is known to serve clients"
        Told("apctl explain --why-not active; to serve from here alone: apctl mode standalone (with --peer-is-off when the other node cannot be seen and is certainly off)");
    PairSplit "pair.split" Error Finding
        "both nodes are active"
        Told("apctl explain on both nodes; the one whose writes count less: apctl mode maintenance");
    PairAlone "pair.alone" Warning Finding
        "the active has nobody behind it"
        Manual("`apctl rejoin`, or start the other node");
    PairGuarded "pair.guarded" Warning Finding
        "more automatic failovers within the hour than allowed: none by itself"
        Told("find out why (apctl history), then apctl clear");
    ActiveNotServing "active.not_serving" Error Finding
        "active, but gate, address or database is not open"
        Told("apctl explain");
    NodeFault "node.fault" Error Finding
        "not fit for a role"
        Told("put right what it names; a latched fault: apctl clear");
    NodeMaintenance "node.maintenance" Warning Finding
        "in maintenance"
        Told("apctl rejoin (back to the pair), when the work is done");
    DatabaseUnreachable "database.unreachable" Error Finding
        "the local server does not answer"
        Told("start MariaDB, or look at its error log");
    DatabaseWritableStandby "database.writable_standby" Error Finding
        "the standby's server takes writes"
        Told("SET GLOBAL read_only=1; then find out who changed it (apctl history)");
    DatabaseSetting "database.setting" Warning Finding
        "a server setting is not as it must be"
        Manual("set it as the text says");
    ReplicaMissing "replica.missing" Error Finding
        "the standby has no replica: it receives nothing"
        Told("apctl rejoin");
    ReplicaStopped "replica.stopped" Error Finding
        "the standby receives or applies nothing"
        Told("apctl rejoin --dry-run shows what is missing");
    CheckFailed "check.failed" Warning Finding
        "a configured check fails"
        Manual("repair what it asks; `apctl check NAME`");
    LinkDown "link.down" Error Finding
        "interface down, no carrier, or its address gone"
        Told("look at cable, switch port and address");
    GatewaySilent "gateway.silent" Warning Finding
        "too few gateway targets answer"
        Manual("look at the network behind this node");
    PeerDisconnected "peer.disconnected" Warning Finding
        "contact with the peer is lost"
        Manual("its daemon, the network between");
    VrrpBlocked "vrrp.blocked" Warning Finding
        "the active's heartbeats arrive, its VRRP advertisements do not"
        Told("let IP protocol 112 pass between the nodes on both hosts; apctl doctor names the rule");
    ConfigMismatch "config.mismatch" Warning Finding
        "the nodes' configurations differ in what they must share"
        Told("apctl config diff --peer names the keys; make both files equal, then apctl reload on both");
    JournalFailing "journal.failing" Warning Finding
        "the journal's disk is full, read-only or stalled; nothing depends on it"
        Manual("free space; it goes on by itself");
    JournalProblem "journal.problem" Warning Finding
        "the journal cannot be written or read; nothing depends on it"
        Manual("free space; it goes on by itself");
    HttpNotListening "http.not_listening" Warning Finding
        "`http.listen` cannot be bound; the control socket answers all the same"
        Manual("free the port; it is tried again every second");
    LoopStuck "loop.stuck" Error Finding
        "the control loop says nothing; the lease runs out by itself"
        Told("systemctl restart apd");

    // Told by the control loop, and standing until put right.
    TakeoverBlocked "takeover.blocked" Error Standing
        "this standby does not take over, with the reasons"
        Told("apctl explain --why-not active");
    BootUnproven "boot.unproven" Warning Standing
        "started, the peer is not seen, nothing proves that this node has the newest data"
        Told("start the peer, or: apctl failover --force --peer-is-off");
    ContactPeerUnfit "contact.peer_unfit" Warning Standing
        "both see each other, the peer has the better data and cannot serve"
        Told("apctl explain --why-not active there; or here: apctl failover --force --accept-data-loss");
    ContactUnknown "contact.unknown" Warning Standing
        "both see each other and neither may serve by itself"
        Told("apctl failover --force on the node to serve");
    EligibleLapsed "eligible.lapsed" Error Standing
        "contact was lost for long: the old active may have gone on alone"
        Told("apctl failover --force --peer-is-off --accept-data-loss");
    ProofOfLife "proof_of_life" Error Standing
        "the peer is silent on VRRP and peer link, but lives: no takeover"
        Told("repair the path between the nodes (protocol 112 and the peer port)");
    LastOneStanding "last_one_standing" Error Standing
        "something is wrong here, but the peer cannot serve: this node goes on"
        Manual("repair either node");
    MaintenanceLastOne "maintenance.last_one" Error Standing
        "maintenance was asked for, but the peer cannot serve: this node goes on until it can"
        Told("apctl mode standalone");
    MaintenanceLong "maintenance.long" Warning Standing
        "maintenance lasts longer than `--for`"
        Told("apctl rejoin");
    ModeGarbage "mode.garbage" Error Standing
        "the mode file holds no mode: read as maintenance"
        Told("apctl mode ap|maintenance|standalone");
    ModePair "mode.pair" Error Standing
        "both nodes are standalone"
        Told("apctl mode ap on the node that does not serve");
    ModeRefused "mode.refused" Error Standing
        "the mode file was edited by hand to something unsafe; put back"
        Manual("use `apctl mode`, which explains");
    FollowFailed "follow.failed" Error Standing
        "this node cannot follow the active"
        Told("apctl rejoin --dry-run");
    DatabasePrivileged "database.privileged" Warning Standing
        "clients use accounts that bypass read_only"
        Told("revoke READ_ONLY ADMIN and SUPER from them");
    GateDegraded "gate.degraded" Warning Standing
        "what the gate cannot do on this host"
        Manual("see the protection meter");
    GateGone "gate.gone" Error Standing
        "the gate process is gone; the kernel closes the gate at lease end"
        Manual("it is restarted; see the log");
    GateCloseFailed "gate.close_failed" Error Standing
        "the gate could not be closed; the kernel closes it at lease end"
        Manual("`apctl local-fence`");
    DatabaseNotReadOnly "database.not_read_only" Warning Standing
        "the server was not made read-only in a step-down; the gate is closed"
        Manual("look at the server; `apctl local-fence`");
    StateUnwritable "state.unwritable" Error Standing
        "the state folder does not take writes: no takeover without it"
        Manual("free or repair the disk");
    StateSlow "state.slow" Error Standing
        "the state folder does not take writes in time: no takeover without it"
        Manual("free or repair the disk");
    VrrpForeign "vrrp.foreign" Error Standing
        "another router uses this virtual router id"
        Told("give the pairs different vrrp.virtual_router_id");
    HookFailed "hook.failed" Warning Standing
        "a hook failed, or did not end in time and was killed; until it ends well"
        Manual("run it by hand as its user, with INSTANCE NAME STATE PRIORITY behind its arguments");
    RoleFileFailed "role_file.failed" Warning Standing
        "`node.state_file` or `node.transition_log` cannot be written"
        Manual("let apd write there: its user, and `ReadWritePaths=` under systemd");
    AlertFailed "alert.failed" Warning Standing
        "alerts cannot be delivered; they wait, and are tried again"
        Manual("the relay or the receiver of the webhook, and the way to it");

    ServiceFailed "service.failed" Error Standing
        "a service does not run, and its local restarts are used"
        Told("repair it, then apctl clear");
    ServiceStuck "service.stuck" Error Standing
        "a service does not stop, not even by the kill"
        Manual("look at it with its own manager (systemctl status, docker inspect)");
    ServicePolicy "service.policy" Warning Standing
        "what boot and hands may do with the services could not be set"
        Manual("the text says why; it is tried again by itself");

    // For the record.
    Start "start" Info Record
        "a run begins" NOTHING;
    StopAsked "stop.asked" Info Record
        "the daemon was told to stop" NOTHING;
    ConfigReloaded "config.reloaded" Info Record
        "the configuration was read again, and what may change in a run has changed" NOTHING;
    ConfigRefused "config.refused" Error Record
        "a reload was refused: the configuration has errors, and the old one stays"
        Told("apctl config check");
    Resume "resume" Info Record
        "a run goes on within its living lease" NOTHING;
    PeerSilent "peer.silent" Warning Record
        "the peer's heartbeats stopped"
        Manual("its host, its daemon, the network between; `apctl status`");
    PeerReleased "peer.released" Warning Record
        "the peer closed its gate and said so" NOTHING;
    BidStarted "bid.started" Warning Record
        "the peer is silent: its lease is waited out, and proofs of life are looked for" NOTHING;
    BidCalledOff "bid.called_off" Info Record
        "the peer lives, or something stands against a takeover" NOTHING;
    TakeoverStarted "takeover.started" Warning Record
        "the right is held: the steps of a takeover begin" NOTHING;
    TakeoverDraining "takeover.draining" Warning Record
        "the relay log is being applied" NOTHING;
    TakeoverDone "takeover.done" Warning Record
        "clients are served"
        Manual("after a failover: find the cause (`apctl timeline`), then `apctl rejoin`");
    TakeoverChore "takeover.chore" Warning Record
        "something off the critical path failed after a takeover" NOTHING;
    TakeoverFailed "takeover.failed" Error Record
        "a takeover was undone; it is tried again, and the third failure is latched"
        Told("apctl explain");
    TakeoverUndrained "takeover.undrained" Error Record
        "a takeover left unapplied events behind (`on_undrained = \"promote\"`)"
        Manual("`apctl rejoin --dry-run` names what only the old active has");
    TakeoverBehind "takeover.behind" Error Record
        "the peer's living server has more than arrived here, and it does not come or cannot be fetched; the takeover goes on without it"
        Manual("`apctl rejoin --dry-run` names what only the old active has");
    TakeoverOutrun "takeover.outrun" Error Record
        "the peer's server has served in an epoch of which this node had not heard"
        Told("start apd on the peer; or here: apctl failover --force --accept-data-loss");
    TakeoverRelayLeft "takeover.relay_left" Warning Record
        "a relay log that was never applied is left behind, on the peer's or the operator's word"
        Manual("the old active is compared at `apctl rejoin`");
    ForkNotes "fork.notes" Info Record
        "both have what the other lacks, but here it is only apd's own rows: they are dropped and this node follows"
        NOTHING;
    FenceFailed "fence.failed" Warning Record
        "the old active's server was not fenced by SQL; its lease was waited out all the same" NOTHING;
    RescueFailed "rescue.failed" Error Record
        "the tail of the dead server's binary log could not be used"
        Manual("what it holds is compared at `apctl rejoin`");
    SwitchoverStarted "switchover.started" Warning Record
        "a planned swap begins" NOTHING;
    SwitchoverDone "switchover.done" Warning Record
        "the peer serves, this node follows"
        Manual("where a check caused it: repair what failed, then `apctl rejoin`");
    SwitchoverCalledOff "switchover.called_off" Error Record
        "a planned swap was undone: the active goes on"
        Manual("`apctl switchover --dry-run`");
    FailoverForced "failover.forced" Warning Record
        "an operator forces a takeover"
        Manual("`apctl rejoin`, once the other node is repaired");
    Cleared "cleared" Info Record
        "an operator cleared the latched fault and the guard" NOTHING;
    ModeSet "mode.set" Info Record
        "the mode was changed" NOTHING;
    ModeLoser "mode.loser" Warning Record
        "the peer took over: this node entered maintenance"
        Told("apctl rejoin");
    StepDown "step_down" Error Record
        "an activity ends, with its cause"
        Manual("the cause is in its text; `apctl timeline`, then `apctl explain`");
    StepDownDone "step_down.done" Info Record
        "gate closed, database read-only: not active any more" NOTHING;
    LeaseLost "lease.lost" Error Record
        "the lease ended, or its element was found gone: the gate is closed"
        Manual("what ended it: `apctl timeline`; what keeps it closed: `apctl explain`");
    StateFromLedger "state.from_ledger" Warning Record
        "the state file was lost; the newest epoch was read from the ledger in the database"
        Manual("find out who removed it");
    NodePaused "node.paused" Error Record
        "this node stood still for longer than its lease"
        Manual("find out what held the host up: its hypervisor, load or memory");
    Solo "solo" Warning Record
        "the peer no longer acknowledges: the active goes on alone"
        Manual("the other node, and the network to it; `apctl status`");
    Eligible "eligible" Info Record
        "the active granted or revoked the right to take over" NOTHING;
    DatabaseUnhealthy "database.unhealthy" Error Record
        "the server does not answer as it must"
        Manual("start it; its error log");
    DatabaseHealthy "database.healthy" Info Record
        "the server answers" NOTHING;
    DatabaseRole "database.role" Warning Record
        "the server had not the role of its node: put right" NOTHING;
    ServiceStarted "service.started" Info Record
        "a service runs" NOTHING;
    ServiceStopped "service.stopped" Info Record
        "a service was stopped" NOTHING;
    ServiceRestart "service.restart" Warning Record
        "a service ended or did not start: it is restarted here" NOTHING;
    ServiceLastOne "service.last_one" Error Record
        "a service does not start and nobody else can serve: the gate opens without it"
        Told("repair it, then apctl clear");
    PartStarted "part.started" Info Record
        "an operator started this node: it takes part" NOTHING;
    PartStopped "part.stopped" Warning Record
        "an operator stopped this node: it takes no part"
        Told("apctl start");
    CheckPassed "check.passed" Info Record
        "a configured check passes again" NOTHING;
    FollowStarted "follow.started" Info Record
        "the replica was set up" NOTHING;
    FollowWell "follow.well" Info Record
        "the replica follows the active again, or there is none to follow" NOTHING;
    RejoinStarted "rejoin.started" Info Record
        "the way back to (ap, ap) begins: both servers are compared" NOTHING;
    RejoinGranted "rejoin.granted" Info Record
        "the peer rejoined: the pair is (ap, ap)" NOTHING;
    RejoinDone "rejoin.done" Info Record
        "this node rejoined, or had already" NOTHING;
    RejoinFailed "rejoin.failed" Error Record
        "this node did not rejoin"
        Manual("the text says why; `apctl rejoin --dry-run`");
    AddressRestored "address.restored" Warning Record
        "someone else deleted a virtual address; it is back"
        Manual("find out who: a network manager, keepalived, a script");
    AddressRemoved "address.removed" Warning Record
        "a virtual address was on a node that is not active; it was removed"
        Manual("find out who added it: a network manager, keepalived, a script");
    GateFlushed "gate.flushed" Error Record
        "someone flushed the nftables rules of the gate; they are back"
        Told("keep `table inet apd` out of what reloads the firewall");
    JournalLost "journal.lost" Warning Record
        "entries that found no room in the journal" NOTHING;
}

impl Code {
    /// Whether somebody who does not look should be told, when it is given with this weight: whatever is lost, and
    /// what an operator has to undo or to follow up.
    pub fn alerts(self, severity: Severity) -> bool {
        let worth = matches!(
            self,
            Code::TakeoverDone
                | Code::SwitchoverDone
                | Code::FailoverForced
                | Code::ModeLoser
                | Code::PeerSilent
                | Code::Solo
                | Code::CheckFailed
                | Code::GatewaySilent
                | Code::BootUnproven
                | Code::ContactPeerUnfit
                | Code::ContactUnknown
                | Code::TakeoverRelayLeft
                | Code::MaintenanceLong
                | Code::DatabasePrivileged
                | Code::DatabaseNotReadOnly
                | Code::GateDegraded
                | Code::AddressRestored
                | Code::AddressRemoved
                | Code::StateFromLedger
                | Code::RejoinDone
                | Code::RejoinGranted
        );
        worth || severity == Severity::Error
    }

    /// The code with this word, if this version has one.
    pub fn of_word(word: &str) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.word() == word)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl<'de> Deserialize<'de> for Code {
    /// A word that this version does not know is read as [`Code::Foreign`]: `apctl` and `apd` may differ by a version.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Ok(Code::of_word(&word).unwrap_or(Code::Foreign))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_word_is_plain_and_stands_for_one_code() {
        let words: BTreeSet<&str> = Code::ALL.iter().map(|code| code.word()).collect();
        assert_eq!(words.len(), Code::ALL.len(), "two codes have one word");
        for code in Code::ALL {
            let word = code.word();
            let plain = word.chars().all(|char| char.is_ascii_lowercase() || "._".contains(char));
            assert!(plain && !word.starts_with('.') && !word.ends_with('.'), "{word}");
            assert!(
                !code.meaning().ends_with('.') && !code.meaning().is_empty(),
                "{word}: {}",
                code.meaning()
            );
        }
    }

    #[test]
    fn a_word_of_another_version_is_no_error() {
        let read = |word: &str| serde_json::from_value::<Code>(word.into()).unwrap();
        assert_eq!(read("takeover.done"), Code::TakeoverDone);
        assert_eq!(read("weather.changed"), Code::Foreign);
    }
}
