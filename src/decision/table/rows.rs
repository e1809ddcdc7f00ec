//! The rows. Read a state's rows from top to bottom: the first whose conditions all hold is carried out.
//!
//! Columns: state, what happened (`Any`: whatever it was, once it is noted), conditions, where to (`Stay`: nowhere,
//! and the search ends; `GoOn`: nowhere, and the search goes on), the reason given, what is done.

use super::{Class, Guard, On, Row, Run, State, To};
use crate::decision::code::Code;
use crate::decision::node::Node;

macro_rules! rows {
    ($($from:ident | $($on:ident)+ | $($guard:ident)+ | $to:ident | $code:ident | $run:ident ;)*) => {
        /// The transition table.
        pub const ROWS: &[Row] = &[$(
            Row {
                from: State::$from,
                on: rows!(@on $($on)+),
                when: &[$(Guard::$guard),+],
                to: rows!(@to $to),
                code: rows!(@code $code),
                run: rows!(@run $to $run),
            },
        )*];
    };
    (@on Any) => { On::Any };
    (@on $($class:ident)+) => { On::Events(&[$(Class::$class),+]) };
    (@to Stay) => { To::Stay };
    (@to GoOn) => { To::GoOn };
    (@to $state:ident) => { To::Move(State::$state) };
    (@code none) => { None };
    (@code $code:ident) => { Some(Code::$code) };
    (@run Stay $run:ident) => { Run::Do(Node::$run) };
    (@run GoOn $run:ident) => { Run::Do(Node::$run) };
    (@run $state:ident $run:ident) => { Run::Enter(Node::$run) };
}

rows! {
    // Before the start
    Stopped      | Start     | OwnLeaseLives                                 | Active       | Resume              | resume ;
    Stopped      | Start     | GateHeld                                      | SteppingDown | StepDown            | shut_found_gate ;
    Stopped      | Start     | TakesNoPart                                   | Out          | Start               | enter_out ;
    Stopped      | Start     | Always                                        | Standby      | Start               | enter_standby ;
    Stopped      | Any       | Always                                        | Stay         | none                | nothing ;

    // Maintenance
    Out          | Any       | ToldToStop ServicesHoldEnd                    | Stay         | none                | nothing ;
    Out          | Any       | ToldToStop                                    | Stopped      | StopAsked           | leave ;
    Out          | Any       | MayTakePart                                   | Standby      | ModeSet             | enter_standby ;
    Out          | Any       | Always                                        | GoOn         | none                | keep_out ;
    Out          | Any       | Always                                        | Stay         | none                | nothing ;

    // Standby: the surest way to serve first, the most careful last
    Standby      | Prepare   | Granted                                       | Receiving    | SwitchoverStarted   | receive ;
    Standby      | FailoverCommand | Granted Contact                         | TakingOver   | TakeoverStarted     | force_takeover ;
    Standby      | FailoverCommand | Granted                                 | Bidding      | BidStarted          | force_bid ;
    Standby      | Any       | ToldToStop ServicesHoldEnd                    | Stay         | none                | nothing ;
    Standby      | Any       | ToldToStop                                    | Stopped      | StopAsked           | leave ;
    Standby      | Any       | TakesNoPart                                   | Out          | ModeSet             | enter_out ;
    Standby      | Any       | Always                                        | GoOn         | none                | keep_following ;
    Standby      | Any       | KeepsRoleFromPeer                             | Stay         | none                | judge_fork ;
    Standby      | Any       | Latched                                       | Stay         | none                | nothing ;
    Standby      | Any       | Pausing                                       | Stay         | none                | nothing ;
    Standby      | Any       | PeerReleased NothingBlocks                    | TakingOver   | TakeoverStarted     | take_over_released ;
    Standby      | Any       | PeerActive                                    | Stay         | none                | forget_blocked ;
    Standby      | Any       | Contact BetterHere                            | TakingOver   | TakeoverStarted     | take_over_in_contact ;
    Standby      | Any       | Contact ForkUnjudged                          | Stay         | none                | judge_fork ;
    Standby      | Any       | Contact BetterThereUnfit                      | Stay         | ContactPeerUnfit    | say_peer_unfit ;
    Standby      | Any       | Contact NobodyBetter                          | Stay         | ContactUnknown      | say_nobody_better ;
    Standby      | Any       | Contact                                       | Stay         | none                | nothing ;
    Standby      | Any       | RightHeld SilentLongEnough NothingBlocks      | Bidding      | BidStarted          | bid ;
    Standby      | Any       | RightHeld SilentLongEnough                    | Stay         | TakeoverBlocked     | say_blocked ;
    Standby      | Any       | RightHeld                                     | Stay         | none                | nothing ;
    Standby      | Any       | PeerWaitedFor                                 | Stay         | BootUnproven        | say_unproven ;
    Standby      | Any       | Always                                        | Stay         | none                | nothing ;

    // Bidding: looks and waits; whatever stands against it ends it
    Bidding      | Heartbeat | NewerEpoch                                    | SteppingDown | StepDown            | yield_to_newer_epoch ;
    Bidding      | Any       | PeerHeard                                     | Standby      | BidCalledOff        | call_off_heard_bid ;
    Bidding      | Any       | TakesNoPart                                   | Standby      | BidCalledOff        | call_off_bid_for_mode ;
    Bidding      | Any       | ToldToStop                                    | Standby      | BidCalledOff        | call_off_bid_to_stop ;
    Bidding      | Any       | SomethingBlocks NotForced                     | Standby      | BidCalledOff        | call_off_blocked_bid ;
    Bidding      | Any       | LifeShownLate                                 | Stay         | none                | undo_preparation ;
    Bidding      | Any       | Prepared WaitOver TargetsAnswered             | TakingOver   | TakeoverStarted     | take_over_after_bid ;
    Bidding      | Any       | Prepared WaitOver                             | Stay         | none                | ask_targets_again ;
    Bidding      | Any       | TimeToPrepare                                 | Stay         | none                | prepare_takeover ;
    Bidding      | Any       | Always                                        | Stay         | none                | nothing ;

    // The new side of a switchover
    Receiving    | Abort     | Always                                        | Standby      | SwitchoverCalledOff | hear_abort ;
    Receiving    | Released  | Always                                        | Standby      | PeerReleased        | enter_standby ;
    Receiving    | HandedOver | PositionReached SealedReadOnly               | TakingOver   | TakeoverStarted     | take_over_handed ;
    Receiving    | Any       | Late                                          | Standby      | SwitchoverCalledOff | give_up_receiving ;
    Receiving    | Any       | PeerSilent                                    | Standby      | SwitchoverCalledOff | give_up_receiving ;
    Receiving    | Any       | NotInModeAp                                   | Standby      | SwitchoverCalledOff | give_up_receiving ;
    Receiving    | Any       | Always                                        | Stay         | none                | nothing ;

    // The right is held: the steps of `TAKE_OVER`, in their order
    TakingOver   | Heartbeat | NewerEpoch                                    | SteppingDown | StepDown            | yield_to_newer_epoch ;
    TakingOver   | Resumed   | PausedTooLong                                 | SteppingDown | StepDown            | end_by_pause ;
    TakingOver   | Life      | LooksForLife                                  | SteppingDown | StepDown            | meet_life ;
    TakingOver   | StepEnded | PeerLedgerNewer                               | SteppingDown | TakeoverOutrun      | outrun ;
    TakingOver   | StepEnded | StepFailed                                    | SteppingDown | TakeoverFailed      | fail_by_step ;
    TakingOver   | Any       | LinkUnusable                                  | SteppingDown | TakeoverFailed      | fail_by_link ;
    TakingOver   | Any       | DatabaseUnfit                                 | SteppingDown | TakeoverFailed      | fail_by_database ;
    TakingOver   | Any       | ServiceNotStarted                             | SteppingDown | TakeoverFailed      | fail_by_service ;
    TakingOver   | Any       | TakesNoPart                                   | SteppingDown | StepDown            | end_for_mode ;
    TakingOver   | Any       | PeerServesInContact                           | SteppingDown | StepDown            | yield_in_contact ;
    TakingOver   | Any       | ConsentOver                                   | SteppingDown | StepDown            | end_without_consent ;
    TakingOver   | Any       | TargetsSilent                                 | SteppingDown | StepDown            | end_cut_off ;
    TakingOver   | Any       | LeaseNotGranted                               | SteppingDown | TakeoverFailed      | fail_without_lease ;
    TakingOver   | Any       | Always                                        | GoOn         | none                | begin_steps ;
    TakingOver   | Any       | AllStepsDone                                  | Active       | TakeoverDone        | serve ;
    TakingOver   | Any       | Always                                        | Stay         | none                | nothing ;

    // Active: first what ends it at once, then its daily work, then what makes it hand over
    Active       | Heartbeat | NewerEpoch                                    | SteppingDown | StepDown            | yield_to_newer_epoch ;
    Active       | Advert    | LosesElection                                 | SteppingDown | StepDown            | yield_to_election ;
    Active       | Resumed   | PausedTooLong                                 | SteppingDown | StepDown            | end_by_pause ;
    Active       | SwitchoverRequest SwitchoverCommand | Granted             | HandingOver  | SwitchoverStarted   | hand_over_as_asked ;
    Active       | Any       | LinkUnusable                                  | SteppingDown | StepDown            | end_by_link ;
    Active       | Any       | DatabaseUnfit                                 | SteppingDown | StepDown            | end_by_database ;
    Active       | Any       | GateClosed                                    | SteppingDown | StepDown            | end_by_gate ;
    Active       | Any       | LeaseOver MayNotGoSolo                        | SteppingDown | StepDown            | end_isolated ;
    Active       | Any       | LeaseLongOver                                 | SteppingDown | StepDown            | end_by_lease ;
    Active       | Any       | Always                                        | GoOn         | none                | keep_serving ;
    Active       | Any       | FencedByPeer                                  | SteppingDown | StepDown            | end_fenced ;
    Active       | Any       | Always                                        | GoOn         | none                | keep_pair ;
    Active       | Any       | ToldToStop TakeoverUnfinished                 | Stay         | none                | nothing ;
    Active       | Any       | ToldToStop StopKeeps                          | Stay         | none                | stop_keeping_gate ;
    Active       | Any       | ToldToStop StopHandsOver PeerCanServe NotPausing | HandingOver | SwitchoverStarted  | hand_over_to_stop ;
    Active       | Any       | ToldToStop StopHandsOver PeerNearlyServes     | Stay         | none                | nothing ;
    Active       | Any       | ToldToStop RoleServicesHold                   | Stay         | none                | rest_role_services ;
    Active       | Any       | ToldToStop                                    | SteppingDown | StepDown            | end_by_stop ;
    Active       | Any       | TakesNoPart PeerCanServe NotPausing           | HandingOver  | SwitchoverStarted   | hand_over_for_mode ;
    Active       | Any       | TakesNoPart                                   | Stay         | MaintenanceLastOne  | say_last_one_for_mode ;
    Active       | Any       | Unwell PeerCanServe NotPausing NotGuarded     | HandingOver  | SwitchoverStarted   | hand_over_unwell ;
    Active       | Any       | Unwell PeerCannotServe                        | Stay         | LastOneStanding     | say_last_one ;
    Active       | Any       | Unwell                                        | Stay         | none                | nothing ;
    Active       | Any       | Always                                        | Stay         | none                | forget_last_one ;

    // The old side of a switchover: what happened to it after its release no longer matters
    HandingOver  | Heartbeat | NewerEpoch BeforeRelease                      | SteppingDown | StepDown            | yield_to_newer_epoch ;
    HandingOver  | Resumed   | PausedTooLong                                 | SteppingDown | StepDown            | end_by_pause ;
    HandingOver  | Opened    | Always                                        | Standby      | SwitchoverDone      | follow_opened_peer ;
    HandingOver  | Ready Reached StepEnded | HandoverFailed Sealing          | SteppingDown | SwitchoverCalledOff | break_off_for_failure ;
    HandingOver  | Ready Reached StepEnded | HandoverFailed                  | Active       | SwitchoverCalledOff | call_off_for_failure ;
    HandingOver  | Any       | AfterRelease PeerReleasedNext                 | Standby      | SwitchoverDone      | stand_by_after_peer_closed ;
    HandingOver  | Any       | AfterRelease Late                             | Standby      | SwitchoverDone      | stand_by_after_silence ;
    HandingOver  | Any       | AfterRelease                                  | Stay         | none                | nothing ;
    HandingOver  | Any       | BeforeSealing LinkUnusable                    | SteppingDown | StepDown            | abort_by_link ;
    HandingOver  | Any       | BeforeSealing DatabaseUnfit                   | SteppingDown | StepDown            | abort_by_database ;
    HandingOver  | Any       | BeforeSealing GateClosed                      | SteppingDown | StepDown            | abort_by_gate ;
    HandingOver  | Any       | BeforeSealing LeaseOver MayNotGoSolo          | SteppingDown | StepDown            | abort_isolated ;
    HandingOver  | Any       | BeforeSealing LeaseLongOver                   | SteppingDown | StepDown            | abort_by_lease ;
    HandingOver  | Any       | BeforeSealing                                 | GoOn         | none                | keep_lease ;
    HandingOver  | Any       | PeerSilent Sealing                            | SteppingDown | SwitchoverCalledOff | break_off_in_silence ;
    HandingOver  | Any       | PeerSilent                                    | Active       | SwitchoverCalledOff | call_off_in_silence ;
    HandingOver  | Any       | Late Sealing                                  | SteppingDown | SwitchoverCalledOff | break_off_late ;
    HandingOver  | Any       | Late                                          | Active       | SwitchoverCalledOff | call_off_late ;
    HandingOver  | Any       | BeforeSealing WellAgain                       | Active       | SwitchoverCalledOff | call_off_well_again ;
    HandingOver  | Any       | Always                                        | Stay         | none                | nothing ;

    // Down, until gate and database say so
    SteppingDown | Any       | Always                                        | GoOn         | none                | press_on ;
    SteppingDown | Any       | GateShut DatabaseQuiet                        | Standby      | StepDownDone        | stand_by ;
    SteppingDown | Any       | GateShut ToldToStop PatienceOver              | Standby      | StepDownDone        | stand_by ;
    SteppingDown | Any       | Always                                        | Stay         | none                | nothing ;
}
