//! The names of the table's columns: the states of a node, and the classes of what can happen to it.

use super::event::{Command, Event};
use super::peer::{PeerMessage, Switchover};
use super::phase::Phase;

/// Where a node is in its life, without what it does there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Before the start, and after the end.
    Stopped,
    /// Mode maintenance.
    Out,
    /// Follows, or waits for proof, or is not fit; may bid.
    Standby,
    /// The active is silent: waiting out its lease and looking for proofs of life.
    Bidding,
    /// Taking part in a switchover, up to the old active's release.
    Receiving,
    /// The right is held; effects follow in order.
    TakingOver,
    /// Serves.
    Active,
    /// Serves, and hands over to the peer.
    HandingOver,
    /// Closing the gate, forbidding writes.
    SteppingDown,
}

impl State {
    /// All, from the outside in.
    pub const ALL: &[State] = &[
        State::Stopped,
        State::Out,
        State::Standby,
        State::Bidding,
        State::Receiving,
        State::TakingOver,
        State::Active,
        State::HandingOver,
        State::SteppingDown,
    ];

    /// The word, as shown.
    pub const fn word(self) -> &'static str {
        match self {
            State::Stopped => "stopped",
            State::Out => "out",
            State::Standby => "standby",
            State::Bidding => "bidding",
            State::Receiving => "receiving",
            State::TakingOver => "taking_over",
            State::Active => "active",
            State::HandingOver => "handing_over",
            State::SteppingDown => "stepping_down",
        }
    }

    /// What a node does there, in one sentence.
    pub const fn meaning(self) -> &'static str {
        match self {
            State::Stopped => "before the start, and after the end",
            State::Out => "mode maintenance: serves nothing, holds nothing",
            State::Standby => "follows, or waits for proof, or is not fit; may bid",
            State::Bidding => "the active is silent: its lease is waited out, proofs of life are looked for",
            State::Receiving => "takes part in a switchover, up to the old active's release",
            State::TakingOver => "the right is held: the steps of a takeover follow in order",
            State::Active => "serves",
            State::HandingOver => "serves, and hands over to the peer",
            State::SteppingDown => "closes its gate, forbids writes",
        }
    }
}

impl Phase {
    /// The name of this phase.
    pub(super) const fn state(&self) -> State {
        match self {
            Phase::Stopped => State::Stopped,
            Phase::Out => State::Out,
            Phase::Standby => State::Standby,
            Phase::Bidding(_) => State::Bidding,
            Phase::Receiving(_) => State::Receiving,
            Phase::TakingOver(_) => State::TakingOver,
            Phase::Active(_) => State::Active,
            Phase::HandingOver(_) => State::HandingOver,
            Phase::SteppingDown(_) => State::SteppingDown,
        }
    }
}

/// One line for each class: name, and what happens.
macro_rules! classes {
    ($($name:ident $meaning:literal;)*) => {
        /// What kind of thing happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Class {
            $(#[doc = $meaning] $name,)*
        }

        impl Class {
            /// Every class.
            pub const ALL: &[Class] = &[$(Class::$name,)*];

            /// What happens, in one sentence.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Class::$name => $meaning,)*
                }
            }
        }
    };
}

classes! {
    Start "the daemon starts";
    Advert "a VRRP advertisement arrives";
    PeerUp "the peer link comes up";
    PeerDown "the peer link goes down";
    Heartbeat "a heartbeat of the peer arrives";
    Acknowledge "the peer acknowledges a heartbeat";
    Eligible "the active grants or revokes the right to bid";
    Released "the peer says that its gate is closed";
    HandedOver "the old active releases this node in a switchover";
    SwitchoverRequest "the peer's operator asks for a switchover";
    Answered "the peer says how a switchover that was asked for ended";
    Prepare "the active asks whether this node is ready to take over";
    Ready "the peer says whether it is ready to take over";
    Reach "the active names the position to reach";
    Reached "the peer says whether it reached the position";
    Abort "the active calls the switchover off";
    Opened "the peer says that it serves";
    Rejoin "a part of a rejoin arrives";
    Gate "the gate process reports";
    Link "the state of the interface is read";
    Database "the database watcher reports";
    Check "a probe of a check ends";
    Service "what a service does is read";
    Gateway "a probe of the gateway targets ends";
    Life "somebody answers for the address, or writes heartbeat rows";
    StepEnded "a step ends";
    ModeFile "the mode file is read";
    ModeCommand "an operator sets the mode";
    SwitchoverCommand "an operator asks for a switchover";
    FailoverCommand "an operator forces a failover";
    RejoinCommand "an operator asks for a rejoin";
    ClearCommand "an operator clears a latched fault";
    PartCommand "an operator starts or stops this node's part";
    Reload "the configuration is reloaded";
    Stop "the daemon is told to stop";
    Restart "the daemon is told to stop for a restart";
    Resumed "the daemon was paused and goes on";
    Deadline "a deadline passes";
}

impl Class {
    /// The class of an event.
    pub const fn of(event: &Event) -> Class {
        match event {
            Event::Started(_) => Class::Start,
            Event::Advert(_) => Class::Advert,
            Event::PeerUp { .. } => Class::PeerUp,
            Event::PeerDown => Class::PeerDown,
            Event::Peer(message) => Class::of_message(message),
            Event::Gate(_) => Class::Gate,
            Event::Link(_) => Class::Link,
            Event::Database(_) => Class::Database,
            Event::Check(_) => Class::Check,
            Event::Service(_) => Class::Service,
            Event::Gateway { .. } => Class::Gateway,
            Event::AddressClaimed { .. } | Event::StreamAlive => Class::Life,
            Event::StepEnded { .. } => Class::StepEnded,
            Event::ModeFile(_) => Class::ModeFile,
            Event::Command { command: Command::SetMode { .. }, .. } => Class::ModeCommand,
            Event::Command { command: Command::Switchover { .. }, .. } => Class::SwitchoverCommand,
            Event::Command { command: Command::Failover { .. }, .. } => Class::FailoverCommand,
            Event::Command { command: Command::Rejoin { .. }, .. } => Class::RejoinCommand,
            Event::Command { command: Command::Clear, .. } => Class::ClearCommand,
            Event::Command { command: Command::Start { .. } | Command::Stop { .. }, .. } => {
                Class::PartCommand
            }
            Event::Reload(_) => Class::Reload,
            Event::Stop => Class::Stop,
            Event::Restart => Class::Restart,
            Event::Resumed { .. } => Class::Resumed,
            Event::Deadline => Class::Deadline,
        }
    }

    const fn of_message(message: &PeerMessage) -> Class {
        match message {
            PeerMessage::Heartbeat(_) => Class::Heartbeat,
            PeerMessage::Acknowledge(_) => Class::Acknowledge,
            PeerMessage::Eligible { .. } => Class::Eligible,
            PeerMessage::Released(released) if released.operation.is_some() => Class::HandedOver,
            PeerMessage::Released(_) => Class::Released,
            PeerMessage::Rejoin(_) => Class::Rejoin,
            PeerMessage::Switchover(part) => match part {
                Switchover::Request { .. } => Class::SwitchoverRequest,
                Switchover::Answered { .. } => Class::Answered,
                Switchover::Prepare { .. } => Class::Prepare,
                Switchover::Ready { .. } => Class::Ready,
                Switchover::Reach { .. } => Class::Reach,
                Switchover::Reached { .. } => Class::Reached,
                Switchover::Abort { .. } => Class::Abort,
                Switchover::Opened { .. } => Class::Opened,
            },
        }
    }
}
