//! Answers and messages, as a story says them.

use apd::decision::action::Answer;
use apd::decision::peer::PeerMessage;

pub(super) fn answer_text(answer: &Answer) -> String {
    match answer {
        Answer::Progress(text) => format!("... {text}"),
        Answer::Done(text) => format!("done: {text}"),
        Answer::Degraded(text) => format!("done but degraded: {text}"),
        Answer::Already(text) => format!("already so: {text}"),
        Answer::Refused { code, reason, remedy } => format!("refused ({code}): {reason} [{remedy}]"),
        Answer::Failed(text) => format!("failed: {text}"),
        Answer::PeerUnreachable(text) => format!("peer unreachable: {text}"),
    }
}

/// A message of a conversation, without its numbers.
pub(super) fn message_text(message: &PeerMessage) -> String {
    let kind = |text: String| text.chars().take_while(char::is_ascii_alphanumeric).collect::<String>();
    match message {
        PeerMessage::Eligible { epoch, granted } => {
            format!("eligible in epoch {epoch}: {}", if *granted { "yes" } else { "no" })
        }
        PeerMessage::Released(released) => {
            let tail = if released.tail { ", its tail can be fetched" } else { "" };
            format!("released epoch {} ({}{tail})", released.epoch, released.reason)
        }
        PeerMessage::Switchover(part) => format!("switchover: {}", kind(format!("{part:?}"))),
        PeerMessage::Rejoin(part) => format!("rejoin: {}", kind(format!("{part:?}"))),
        PeerMessage::Heartbeat(_) | PeerMessage::Acknowledge(_) => String::new(),
    }
}
