//! The daemon's end of the gate socket, and how a gate process is started where no systemd does it.

use crate::wire::gate::{FromGate, LineError, Lines, ToGate, encode};
use std::io::{self, ErrorKind};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use thiserror::Error;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// A gate process that does not read while this much waits for it is taken for stuck.
const MOST_PENDING: usize = 64 * 1024;

/// Why the link is down. After any of these, connect again.
#[derive(Debug, Error)]
pub enum GateLinkError {
    /// A call failed.
    #[error("gate socket: {0}; is apd-gate running?")]
    Socket(#[from] io::Error),
    /// The gate process closed the connection.
    #[error("the gate process closed the connection; it ended, or another daemon is connected")]
    Closed,
    /// What came was no message.
    #[error(transparent)]
    Line(#[from] LineError),
    /// The gate process does not read.
    #[error("the gate process does not read what is sent to it; it hangs, or is stopped")]
    Stuck,
}

/// A connection to the gate process. The first message that comes is always its state.
#[derive(Debug)]
pub struct GateLink {
    stream: UnixStream,
    lines: Lines,
    pending: Vec<u8>,
}

impl GateLink {
    /// Connects; fails at once when nobody listens.
    pub async fn connect(path: &Path) -> Result<Self, GateLinkError> {
        let stream = UnixStream::connect(path).await?;
        Ok(Self { stream, lines: Lines::default(), pending: Vec::new() })
    }

    /// The next message. Cancel-safe: what was read of a message is kept. Also goes on sending what did not
    /// fit when it was sent, so keep awaiting it.
    pub async fn next(&mut self) -> Result<FromGate, GateLinkError> {
        loop {
            if let Some(message) = self.lines.next_message()? {
                return Ok(message);
            }
            let mut interest = Interest::READABLE;
            if !self.pending.is_empty() {
                interest |= Interest::WRITABLE;
            }
            let ready = self.stream.ready(interest).await?;
            if ready.is_writable() {
                self.flush()?;
            }
            if ready.is_readable() || ready.is_read_closed() {
                self.read()?;
            }
        }
    }

    /// Sends without ever waiting.
    pub fn send(&mut self, message: &ToGate) -> Result<(), GateLinkError> {
        self.pending.extend_from_slice(&encode(message));
        self.flush()?;
        if self.pending.len() > MOST_PENDING { Err(GateLinkError::Stuck) } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), GateLinkError> {
        while !self.pending.is_empty() {
            match self.stream.try_write(&self.pending) {
                Ok(length) => drop(self.pending.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), GateLinkError> {
        let mut piece = [0; 4096];
        match self.stream.try_read(&mut piece) {
            Ok(0) => Err(GateLinkError::Closed),
            Ok(length) => {
                self.lines.push(&piece[..length]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Starts a gate process from this very program, for hosts where systemd does not. It puts itself into a
/// session of its own, and outlives the caller; only its end must be waited for (`Child::try_wait`).
pub fn spawn_gate(configuration: &Path) -> io::Result<Child> {
    Command::new("/proc/self/exe")
        .arg0("apd-gate")
        .arg("--config")
        .arg(configuration)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .current_dir("/")
        .spawn()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::event::GateState;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn pair(directory: &tempfile::TempDir) -> (GateLink, UnixStream) {
        let path = directory.path().join("gate.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let (link, accepted) = tokio::join!(GateLink::connect(&path), listener.accept());
        (link.unwrap(), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn a_message_in_pieces_survives_a_cancelled_wait() {
        let directory = tempfile::tempdir().unwrap();
        let (mut link, mut gate) = pair(&directory).await;
        let line = encode(&FromGate::State(GateState::default()));
        gate.write_all(&line[..10]).await.unwrap();
        let waited = tokio::time::timeout(std::time::Duration::from_millis(20), link.next()).await;
        assert!(waited.is_err(), "half a message is none");
        gate.write_all(&line[10..]).await.unwrap();
        assert_eq!(link.next().await.unwrap(), FromGate::State(GateState::default()));
        drop(gate);
        assert!(matches!(link.next().await, Err(GateLinkError::Closed)));
    }

    #[tokio::test]
    async fn a_gate_that_does_not_read_is_stuck_and_never_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let (mut link, mut gate) = pair(&directory).await;
        let mut sent = 0;
        let error = loop {
            match link.send(&ToGate::Close { ticket: sent }) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, GateLinkError::Stuck), "{error}");
        // What was kept goes out while the link is awaited.
        let reader = async {
            let mut lines = Lines::default();
            let mut next = 0;
            while next <= sent {
                let mut piece = vec![0; 65536];
                let length = gate.read(&mut piece).await.unwrap();
                lines.push(&piece[..length]);
                while let Some(message) = lines.next_message::<ToGate>().unwrap() {
                    assert_eq!(message, ToGate::Close { ticket: next });
                    next += 1;
                }
            }
        };
        tokio::select! {
            () = reader => {}
            ended = link.next() => panic!("{ended:?}"),
        }
    }
}
