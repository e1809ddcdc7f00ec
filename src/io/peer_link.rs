//! The peer link: TCP between the nodes, heartbeats and conversations over it.
//!
//! Each node dials the other and speaks over the connection that it dialled; what the other says arrives over
//! the connection that the other dialled. So neither side has to agree on who dials, and a one-way fault shows
//! as one. A connection's first frame says who is there: cluster name and configured address are checked.
//! Nothing here ever waits for the other side to read: what does not fit is dropped with the connection.

use crate::decision::peer::PeerMessage;
use crate::decision::words::InstanceId;
use crate::wire::peer::{Frames, Hello, PROTOCOL, Purpose, Welcome, encode, encode_message};
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// Frames that wait for the connection: some seconds of heartbeats; a connection that is further behind is dead.
const QUEUE: usize = 256;
/// How long a dial or a handshake may take.
const HANDSHAKE: Duration = Duration::from_millis(500);
/// How long the kernel keeps sending what nobody acknowledges before the connection is given up.
const UNACKNOWLEDGED: Duration = Duration::from_secs(2);

/// Who this node is, and whom it expects.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// Both must be of one cluster.
    pub cluster: String,
    /// This node's name.
    pub node: String,
    /// This node's address; listens here, dials from here.
    pub address: Ipv4Addr,
    /// Port here.
    pub port: u16,
    /// The other node's address and port.
    pub peer: SocketAddrV4,
    /// This run.
    pub instance: InstanceId,
    /// Between attempts to dial.
    pub redial: Duration,
}

/// What the link brings.
#[derive(Debug)]
pub enum LinkEvent {
    /// The peer accepted this node's connection: what is sent arrives.
    Up(InstanceId),
    /// The connection that this node dialled is gone.
    Down,
    /// The peer says something.
    Message(PeerMessage),
    /// The peer asks for bulk data over a connection of its own.
    Bulk(TcpStream, Hello),
    /// Somebody was refused, or refused us; for the log.
    Refused(String),
}

/// The link of one daemon. Made on, and used from, one tokio runtime.
#[derive(Debug)]
pub struct PeerLink {
    frames: mpsc::Sender<Vec<u8>>,
    events: mpsc::Receiver<LinkEvent>,
}

impl PeerLink {
    /// Binds the port, then dials and listens for as long as this value lives.
    ///
    /// # Errors
    /// When the port cannot be bound: another daemon, or an address that this host does not have.
    pub fn open(settings: LinkSettings) -> io::Result<Self> {
        let listener = listen(settings.address, settings.port)?;
        let (frames, outgoing) = mpsc::channel(QUEUE);
        let (report, events) = mpsc::channel(QUEUE);
        tokio::spawn(dial(settings.clone(), outgoing, report.clone()));
        tokio::spawn(accept(listener, settings, report));
        Ok(Self { frames, events })
    }

    /// Sends one message if the link is up and not clogged; never waits. False: it is lost.
    pub fn send(&self, message: &PeerMessage) -> bool {
        self.frames.try_send(encode_message(message)).is_ok()
    }

    /// The next thing that the link brings. Cancel-safe.
    pub async fn next(&mut self) -> LinkEvent {
        match self.events.recv().await {
            Some(event) => event,
            // The tasks end only with this value.
            None => std::future::pending().await,
        }
    }
}

fn listen(address: Ipv4Addr, port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    // The address may come later than the daemon (a link that is down at boot).
    SockRef::from(&socket).set_freebind_v4(true)?;
    socket.bind(SocketAddr::from((address, port)))?;
    socket.listen(16)
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(UNACKNOWLEDGED).with_interval(UNACKNOWLEDGED))?;
    socket.set_tos_v4(0xc0)
}

/// Dials, speaks until the connection ends, and dials again.
async fn dial(
    settings: LinkSettings,
    mut outgoing: mpsc::Receiver<Vec<u8>>,
    report: mpsc::Sender<LinkEvent>,
) {
    let mut refused = String::new();
    loop {
        // What was said while there was no connection is stale.
        while outgoing.try_recv().is_ok() {}
        match timeout(HANDSHAKE, connect(&settings, Purpose::Messages)).await {
            Ok(Ok((stream, instance))) => {
                refused.clear();
                if report.send(LinkEvent::Up(instance)).await.is_err() {
                    return;
                }
                speak(stream, &mut outgoing).await;
                if report.send(LinkEvent::Down).await.is_err() {
                    return;
                }
            }
            Ok(Err(DialError::Refused(reason))) if reason != refused => {
                refused.clone_from(&reason);
                if report.send(LinkEvent::Refused(reason)).await.is_err() {
                    return;
                }
            }
            Ok(Err(_)) | Err(_) => {}
        }
        if report.is_closed() {
            return;
        }
        sleep(settings.redial).await;
    }
}

/// Why a dial failed.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The network or the host says no.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The other side refuses, or is no apd.
    #[error("{0}")]
    Refused(String),
}

/// One connection to the peer, for `purpose`, welcomed.
///
/// # Errors
/// When it cannot be made, or the other side refuses.
pub async fn connect(
    settings: &LinkSettings,
    purpose: Purpose,
) -> Result<(TcpStream, InstanceId), DialError> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((settings.address, 0)))?;
    let mut stream = socket.connect(settings.peer.into()).await?;
    tune(&stream)?;
    let hello = Hello {
        protocol: PROTOCOL,
        cluster: settings.cluster.clone(),
        node: settings.node.clone(),
        address: settings.address,
        instance: settings.instance,
        version: env!("CARGO_PKG_VERSION").into(),
        purpose,
    };
    stream.write_all(&encode(&hello)).await?;
    match read_frame::<Welcome>(&mut stream).await? {
        Welcome::Accepted { instance } => Ok((stream, instance)),
        Welcome::Refused { reason } => Err(DialError::Refused(format!("the peer refuses: {reason}"))),
    }
}

/// Exactly one frame, and not a byte more.
///
/// # Errors
/// When the connection ends or says something else.
pub async fn read_frame<T: serde::de::DeserializeOwned>(stream: &mut TcpStream) -> io::Result<T> {
    let mut frames = Frames::default();
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    frames.push(&length);
    let bad = |error: crate::wire::peer::FrameError| io::Error::new(io::ErrorKind::InvalidData, error);
    if let Some(value) = frames.next_frame::<T>().map_err(bad)? {
        return Ok(value);
    }
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut body).await?;
    frames.push(&body);
    frames.next_frame::<T>().map_err(bad)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Writes frames until either side ends; the peer says nothing on this connection, so that a readable end is
/// its end.
async fn speak(mut stream: TcpStream, outgoing: &mut mpsc::Receiver<Vec<u8>>) {
    let mut nothing = [0; 16];
    loop {
        let frame = tokio::select! {
            frame = outgoing.recv() => match frame { Some(frame) => frame, None => return },
            _ = stream.read(&mut nothing) => return,
        };
        if timeout(UNACKNOWLEDGED, stream.write_all(&frame)).await.is_ok_and(|written| written.is_ok()) {
            continue;
        }
        return;
    }
}

async fn accept(listener: TcpListener, settings: LinkSettings, report: mpsc::Sender<LinkEvent>) {
    while !report.is_closed() {
        match listener.accept().await {
            Ok((stream, from)) => {
                tokio::spawn(welcome(stream, from, settings.clone(), report.clone()));
            }
            // Out of descriptors, for example: do not spin.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn welcome(
    mut stream: TcpStream,
    from: SocketAddr,
    settings: LinkSettings,
    report: mpsc::Sender<LinkEvent>,
) {
    let Ok(Ok(hello)) = timeout(HANDSHAKE, read_frame::<Hello>(&mut stream)).await else {
        let text = format!("{from} spoke no peer protocol on the peer port");
        let _ = report.try_send(LinkEvent::Refused(text));
        return;
    };
    if let Some(reason) = refuse(&hello, from, &settings) {
        let _ = stream.write_all(&encode(&Welcome::Refused { reason: reason.clone() })).await;
        let _ = report.try_send(LinkEvent::Refused(format!("refused {from}: {reason}")));
        return;
    }
    let accepted = encode(&Welcome::Accepted { instance: settings.instance });
    if tune(&stream).is_err() || stream.write_all(&accepted).await.is_err() {
        return;
    }
    match &hello.purpose {
        Purpose::Messages => listen_to(stream, report).await,
        Purpose::Tail { .. } | Purpose::Page { .. } => {
            let _ = report.send(LinkEvent::Bulk(stream, hello)).await;
        }
    }
}

/// Why a caller is not the peer.
fn refuse(hello: &Hello, from: SocketAddr, settings: &LinkSettings) -> Option<String> {
    if hello.protocol != PROTOCOL {
        return Some(format!("protocol {}, this node speaks {PROTOCOL}: upgrade both", hello.protocol));
    }
    if hello.cluster != settings.cluster {
        return Some(format!("cluster `{}`, this node is of `{}`", hello.cluster, settings.cluster));
    }
    if from.ip() != *settings.peer.ip() || hello.address != *settings.peer.ip() {
        return Some(format!("address {}, the peer is {}", from.ip(), settings.peer.ip()));
    }
    if hello.instance == settings.instance || hello.node == settings.node {
        return Some(format!("it calls itself `{}`, as this node does", hello.node));
    }
    None
}

async fn listen_to(mut stream: TcpStream, report: mpsc::Sender<LinkEvent>) {
    let mut frames = Frames::default();
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read) = stream.read(&mut buffer).await {
        if read == 0 {
            return;
        }
        frames.push(&buffer[..read]);
        loop {
            match frames.next_frame::<PeerMessage>() {
                Ok(Some(message)) => {
                    if report.send(LinkEvent::Message(message)).await.is_err() {
                        return;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    let _ = report.try_send(LinkEvent::Refused(error.to_string()));
                    return;
                }
            }
        }
    }
}
