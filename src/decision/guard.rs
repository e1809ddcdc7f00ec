//! The conditions of the transition table, each with its meaning.
//!
//! A condition looks, and changes nothing. Those that speak of the event in hand ([`Guard::of_event`]) hold only
//! while that event is handled.

use super::node::Node;
use super::phase::Phase;
use super::settings::OnStop;
use super::standby::InContact;
use super::table::Matter;
use super::words::Mode;

/// One line for each: name, meaning, what holds.
macro_rules! guards {
    ($($name:ident $meaning:literal $holds:expr;)*) => {
        /// A condition of a row.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Guard {
            $(#[doc = $meaning] $name,)*
        }

        impl Guard {
            /// Every condition.
            pub const ALL: &[Guard] = &[$(Guard::$name,)*];

            /// What it says, in one sentence.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Guard::$name => $meaning,)*
                }
            }

            /// Whether it holds now.
            pub(super) fn holds(self, node: &Node) -> bool {
                let holds: fn(&Node) -> bool = match self {
                    $(Guard::$name => $holds,)*
                };
                holds(node)
            }
        }
    };
}

guards! {
    Always "always" |_| true;

    // What the operator wants
    ToldToStop "the daemon was told to stop" |node| node.stopping.is_some();
    TakeoverUnfinished "what follows a takeover is not done yet" |node| node.takeover_is_unfinished();
    StopKeeps "a stop keeps the gate for the restart (on_stop = \"keep\")" |node| node.settings.on_stop == OnStop::Keep;
    StopHandsOver "a stop hands over (on_stop = \"handover\")" |node| node.settings.on_stop == OnStop::Handover;
    TakesNoPart "the mode is maintenance, or no operator has started this node" |node| !node.takes_part();
    MayTakePart "the mode is ap or standalone, and the node was started" Node::takes_part;
    NotInModeAp "the mode is not ap" |node| node.mode.mode != Mode::Ap || !node.takes_part();
    NotForced "no operator forces it" |node| !node.bid_is_forced();

    // What the event in hand brings
    Granted "nothing stands against what is asked" |node| matches!(node.course.matter, Matter::Request(_));
    NewerEpoch "the peer knows a newer epoch" |node| matches!(node.course.matter, Matter::NewerEpoch { .. });
    PausedTooLong "the daemon stood still for longer than its lease" |node| matches!(node.course.matter, Matter::Paused(_));
    StepFailed "a step failed that cannot be done without" |node| matches!(node.course.matter, Matter::StepFailed(..));
    PeerLedgerNewer "the peer's ledger has an epoch that this node never heard of" |node| matches!(node.course.matter, Matter::Outrun(_));
    HandoverFailed "the peer refuses, misses the position, or a step fails" |node| matches!(node.course.matter, Matter::HandoverFailed(_));
    SealedReadOnly "the old active's gate is closed and its server sealed, read-only" |node| matches!(node.course.matter, Matter::Released { read_only: true, .. });
    LosesElection "the peer advertises too while its link is silent, and wins the tie" Node::loses_election;

    // What gives the right, and what stands against it
    PeerReleased "the peer closed its gate in the epoch for which this node was granted the right" Node::released_to_this_node;
    RightHeld "this node holds a right to serve alone: eligible, solo or standalone" |node| node.right_in_silence().is_some();
    NothingBlocks "nothing stands against a takeover" |node| node.blocked().is_none();
    SomethingBlocks "something stands against a takeover" |node| node.blocked().is_some();
    Latched "takeovers failed three times: latched until an operator clears it" |node| node.latched.is_some();
    Pausing "a pause after a failed attempt is not over" |node| node.now < node.retry_at;
    NotPausing "no pause after a failed attempt" |node| node.now >= node.retry_at;
    NotGuarded "fewer automatic failovers within the hour than allowed" |node| !node.guarded();
    KeepsRoleFromPeer "a service cannot be started here, the peer could serve, and lacks only what this side wrote meanwhile" Node::keeps_role_from_peer;
    BetterHere "neither is active, and this node has the better right: data, then epoch, then address" |node| matches!(node.in_contact(), InContact::Mine(_));
    ForkUnjudged "both have what the other lacks, and it is not known yet whether it is data" |node| matches!(node.in_contact(), InContact::Unjudged);
    BetterThereUnfit "the peer has the better data and cannot serve" |node| matches!(node.in_contact(), InContact::PeerUnfit(_));
    NobodyBetter "neither node has all of the data, or the peer's cannot be asked" |node| matches!(node.in_contact(), InContact::Unknown(_));

    // What is seen of the peer
    Contact "the peer's heartbeats arrive" Node::contact;
    PeerSilent "the peer's heartbeats do not arrive" |node| !node.contact();
    PeerHeard "the peer is heard again, by heartbeat or advertisement" |node| node.contact() || node.peer_is_active();
    PeerActive "the peer is active" Node::peer_is_active;
    PeerCanServe "the peer could take over now, without loss" Node::peer_can_serve;
    PeerCannotServe "the peer could not take over" |node| !node.peer_can_serve();
    PeerNearlyServes "the peer follows and will be able to serve in a moment" Node::peer_nearly_serves;
    SilentLongEnough "the peer has been silent for three heartbeats, at a start for `peer_wait`" |node| node.bid_time().is_some_and(|at| node.now >= at);
    PeerWaitedFor "`peer_wait` has passed since the start" |node| node.now >= node.started.unwrap_or_default() + node.settings.peer_wait;

    // At the start
    OwnLeaseLives "the gate is open under a living lease of this node's own epoch" Node::own_lease_lives;
    GateHeld "the gate is open or the address held, without a right" |node| node.gate.state.open || node.gate.state.address_held;

    // A bid
    Prepared "the applying thread is stopped, or nothing is to be prepared" Node::bid_is_prepared;
    TimeToPrepare "the lease is dead and the wait is nearly over" Node::bid_begins_to_prepare;
    WaitOver "the takeover wait is over" |node| node.now >= node.bid_ends_at();
    TargetsAnswered "at `gateway`: a target answered since the bid began to prepare" Node::targets_heard_in_bid;
    LifeShownLate "the peer showed that it lives after the preparation began" Node::life_shown_in_preparation;

    // A takeover
    LooksForLife "proofs of life are looked for, and the gate is not being opened yet" Node::takeover_looks_for_life;
    PeerServesInContact "a takeover by consent, and the peer serves already" Node::overtaken_in_contact;
    ConsentOver "a takeover by consent, the peer is silent, and what it granted is over" Node::consent_is_over;
    TargetsSilent "a takeover in silence, and no gateway target answers any more" Node::cut_off_in_takeover;
    LeaseNotGranted "a takeover by consent, and the peer grants no lease for four leases" Node::lease_is_refused;
    ServiceNotStarted "a service does not start, and the peer could serve instead" |node| node.service_fails_takeover().is_some();
    AllStepsDone "every step of the takeover has ended" Node::takeover_is_complete;

    // Serving
    LinkUnusable "the interface is unusable" Node::link_is_unusable;
    DatabaseUnfit "the database is dead, or sick for longer than is borne" Node::database_ends_activity;
    GateClosed "the gate is closed: its lease was lost" |node| node.gate.connected && !node.gate.state.open;
    LeaseOver "the lease is over" |node| node.now >= node.lease.end;
    LeaseLongOver "the lease is over for longer than a slice" |node| node.now >= node.lease.end + node.settings.slice();
    MayNotGoSolo "the level does not let this node go on alone" |node| !node.may_go_solo();
    FencedByPeer "somebody else made the running server read-only while the peer is silent" Node::fenced_by_peer;
    Unwell "a check or a service fails in a way that makes the peer the better active" |node| node.reason_to_give_up().is_some();

    // A switchover
    Late "the other side did not go on in time" Node::switchover_is_late;
    PositionReached "this node has applied all that the old active wrote" Node::position_is_reached;
    BeforeSealing "the gate is not being closed yet" |node| !node.handover_closing();
    Sealing "gate and database are being closed for the release" Node::handover_closing;
    BeforeRelease "the point of no return is not passed" |node| !node.handover_is_released();
    AfterRelease "the point of no return is passed" Node::handover_is_released;
    PeerReleasedNext "the peer opened and closed again" Node::peer_released_next;
    WellAgain "the check that caused it passes again" Node::handover_is_needless;

    // On the way down
    GateShut "the gate is closed, or the kernel closed it at lease end" |node| matches!(node.phase.now(), Phase::SteppingDown(down) if down.gate_is_shut());
    DatabaseQuiet "the database is read-only, or dead" Node::database_is_quiet;
    ServicesHoldEnd "services are still being stopped" Node::services_hold_the_end;
    RoleServicesHold "services that run on the active alone still run" Node::role_services_hold_the_role;
    PatienceOver "the database was waited for long enough" Node::stop_is_due;
}

impl Guard {
    /// It speaks of the event in hand, not of what stands.
    pub const fn of_event(self) -> bool {
        matches!(
            self,
            Guard::Granted
                | Guard::NewerEpoch
                | Guard::PausedTooLong
                | Guard::StepFailed
                | Guard::PeerLedgerNewer
                | Guard::HandoverFailed
                | Guard::SealedReadOnly
                | Guard::LosesElection
        )
    }
}
