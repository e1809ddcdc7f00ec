//! Who asks: by the kernel's word on the control socket, by a certificate or a token over TCP.

use super::listen::{GROUP, group};
use nix::unistd::{Gid, Group, Uid, User};
use std::net::SocketAddr;
use tokio::net::UnixStream;

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Over the control socket, as the kernel says.
    Socket {
        /// Effective user at the time of `connect`.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// Over TCP: anybody, unless there is a client certificate or a request carries the token.
    Tcp {
        /// From where.
        address: SocketAddr,
        /// SHA-256 of the client's certificate, where one was shown that the configured CA has signed.
        certificate: Option<String>,
    },
    /// The kernel would not say.
    Unknown,
}

pub(super) fn of_socket(stream: &UnixStream) -> Caller {
    match stream.peer_cred() {
        Ok(credentials) => Caller::Socket { uid: credentials.uid(), gid: credentials.gid() },
        Err(_unknown) => Caller::Unknown,
    }
}

impl Caller {
    /// The name for journal and mode file: `operator NAME`, `http ADDRESS`, with a certificate its digest. Looks names up, which can block:
    /// not for the serving thread itself.
    pub fn actor(&self) -> String {
        match self {
            Caller::Socket { uid, .. } => match User::from_uid(Uid::from_raw(*uid)) {
                Ok(Some(user)) => format!("operator {}", user.name),
                _ => format!("operator uid {uid}"),
            },
            Caller::Tcp { address, certificate: None } => format!("http {}", address.ip()),
            Caller::Tcp { address, certificate: Some(digest) } => {
                format!("http {} certificate {digest}", address.ip())
            }
            Caller::Unknown => "operator unknown".to_owned(),
        }
    }

    /// Whether somebody on the control socket may change things: root, the daemon's own user, and members of
    /// the group `apd`. Looks names up, which can block.
    pub fn may_change(&self) -> bool {
        let Caller::Socket { uid, gid } = *self else { return false };
        if uid == 0 || Uid::from_raw(uid) == Uid::effective() {
            return true;
        }
        let Some(apd) = group() else { return false };
        Gid::from_raw(gid) == apd || is_member(Uid::from_raw(uid))
    }
}

/// The user is listed in the group, or has it as its first.
fn is_member(uid: Uid) -> bool {
    let Ok(Some(user)) = User::from_uid(uid) else { return false };
    let Ok(Some(group)) = Group::from_name(GROUP) else { return false };
    user.gid == group.gid || group.mem.contains(&user.name)
}
