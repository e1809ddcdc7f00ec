//! The gate process's end of `gate.sock`: one daemon at a time, never waited for.

use crate::wire::gate::{FromGate, LineError, Lines, ToGate, encode};
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Uid;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// A daemon that does not read while this much waits for it is taken for stuck; it may connect again.
const MOST_PENDING: usize = 64 * 1024;

/// Listens, and speaks with the daemon.
pub struct Server {
    listener: UnixListener,
    client: Option<Client>,
}

struct Client {
    stream: UnixStream,
    process: i32,
    lines: Lines,
    pending: Vec<u8>,
}

impl Server {
    /// Listens on `path`. The caller holds the lock, so whatever is there is of a process that is gone.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Nobody else may connect even for a moment. This process has one thread so far.
        let before = umask(Mode::S_IRWXG | Mode::S_IRWXO | Mode::S_IXUSR);
        let listener = UnixListener::bind(path);
        umask(before);
        let listener = listener?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, client: None })
    }

    /// Whether a daemon is connected.
    pub fn connected(&self) -> bool {
        self.client.is_some()
    }

    /// Whether something waits to be sent.
    pub fn wants_to_write(&self) -> bool {
        self.client.as_ref().is_some_and(|client| !client.pending.is_empty())
    }

    /// For poll: who wants to connect.
    pub fn listener_descriptor(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// For poll: what the daemon says.
    pub fn client_descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.client.as_ref().map(|client| client.stream.as_fd())
    }

    /// Takes whoever wants to connect; true if there is a new daemon. It must be this user or root. A daemon
    /// that is connected and alive stays; one that is dead, or connects again, is replaced.
    pub fn accept(&mut self) -> bool {
        let mut new = false;
        while let Ok((stream, _)) = self.listener.accept() {
            let Ok(peer) = getsockopt(&stream, sockopt::PeerCredentials) else { continue };
            let uid = Uid::from_raw(peer.uid());
            if stream.set_nonblocking(true).is_err() || !(uid.is_root() || uid == Uid::effective()) {
                tracing::warn!(uid = peer.uid(), "a connection to the gate socket was refused: wrong user");
                continue;
            }
            let mut client =
                Client { stream, process: peer.pid(), lines: Lines::default(), pending: Vec::new() };
            if let Some(present) = &self.client
                && present.process != client.process
                && present.is_alive()
            {
                let reason = format!("the daemon with process id {} is connected", present.process);
                let _ = client.send(&FromGate::Refused { reason });
                continue;
            }
            self.client = Some(client);
            new = true;
        }
        new
    }

    /// Sends, or keeps for later what does not fit now. A daemon that is not there misses it.
    pub fn send(&mut self, message: &FromGate) {
        if let Some(client) = &mut self.client
            && let Err(error) = client.send(message)
        {
            tracing::warn!(%error, "the daemon is gone from the gate socket");
            self.client = None;
        }
    }

    /// Goes on sending what is pending.
    pub fn flush(&mut self) {
        if let Some(client) = &mut self.client
            && client.flush().is_err()
        {
            self.client = None;
        }
    }

    /// What the daemon said since the last call. The end of the connection is no message: it changes nothing.
    pub fn receive(&mut self) -> Vec<ToGate> {
        let Some(client) = &mut self.client else { return Vec::new() };
        let mut messages = Vec::new();
        let ended = client.read().unwrap_or(true);
        loop {
            match client.lines.next_message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => {
                    end_after(error, &mut self.client);
                    return messages;
                }
            }
        }
        if ended {
            tracing::info!("the daemon left the gate socket");
            self.client = None;
        }
        messages
    }
}

fn end_after(error: LineError, client: &mut Option<Client>) {
    tracing::error!(%error, "the daemon is sent away");
    *client = None;
}

impl Client {
    /// The process that connected exists. A connection can outlive it in a child that inherited it.
    fn is_alive(&self) -> bool {
        Path::new("/proc").join(self.process.to_string()).exists()
    }

    /// True at the end of the connection.
    fn read(&mut self) -> io::Result<bool> {
        let mut piece = [0; 4096];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return Ok(true),
                Ok(length) => self.lines.push(&piece[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn send(&mut self, message: &FromGate) -> io::Result<()> {
        self.pending.extend_from_slice(&encode(message));
        self.flush()?;
        if self.pending.len() > MOST_PENDING {
            return Err(io::Error::other("it does not read"));
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match self.stream.write(&self.pending) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(length) => drop(self.pending.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
