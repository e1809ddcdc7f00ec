//! A server that sends back what it gets, and a client that measures how long it does.

#![allow(dead_code, clippy::unwrap_used, reason = "each test binary uses a part of it; a test may panic")]

use crate::netns::Namespace;
use apd::decision::time::Instant;
use apd::io::clock;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

/// Listens on every address of `namespace`; dual-stack as MariaDB does. Threads end with the test.
pub fn serve(namespace: &Namespace, port: u16) {
    let (ready, started) = std::sync::mpsc::channel();
    namespace.spawn(move || {
        let listener = TcpListener::bind(("::", port)).unwrap();
        ready.send(()).unwrap();
        for stream in listener.incoming() {
            std::thread::spawn(move || echo(stream.unwrap()));
        }
    });
    started.recv().unwrap();
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 64];
    while let Ok(length) = stream.read(&mut buffer) {
        if length == 0 || stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

/// Connects from inside `namespace` within `limit`.
pub fn connect(
    namespace: &Namespace,
    address: Ipv4Addr,
    port: u16,
    limit: Duration,
) -> std::io::Result<TcpStream> {
    namespace.run(|| {
        let stream = TcpStream::connect_timeout(&SocketAddr::from((address, port)), limit)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    })
}

/// Whether a new connection is made and answers.
pub fn reaches(namespace: &Namespace, address: Ipv4Addr, port: u16) -> bool {
    connect(namespace, address, port, Duration::from_millis(300))
        .is_ok_and(|mut stream| answers(&mut stream, Duration::from_millis(300)).is_ok())
}

/// One message there and back.
pub fn answers(stream: &mut TcpStream, limit: Duration) -> std::io::Result<()> {
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])
}

/// How a connection in use ended.
#[derive(Debug)]
pub struct Ended {
    /// When that was sent which was answered last. What the client's thread waits for the processor after
    /// that does not count: the gate let the answer through no earlier.
    pub last_answered: Instant,
    /// When the end was seen.
    pub seen: Instant,
    /// What was seen.
    pub error: ErrorKind,
}

/// Uses a connection without pause until it ends, or no answer comes for `silence`.
pub fn use_until_end(mut stream: TcpStream, silence: Duration) -> JoinHandle<Ended> {
    std::thread::spawn(move || {
        let mut last_answered = Instant::ZERO;
        loop {
            let sent = clock::now();
            match answers(&mut stream, silence) {
                Ok(()) => last_answered = sent,
                Err(error) => return Ended { last_answered, seen: clock::now(), error: error.kind() },
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    })
}

/// Listens and, without being asked, tells each client the time over and over.
pub fn tell_time(namespace: &Namespace, port: u16) {
    let (ready, started) = std::sync::mpsc::channel();
    namespace.spawn(move || {
        let listener = TcpListener::bind(("0.0.0.0", port)).unwrap();
        ready.send(()).unwrap();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            std::thread::spawn(move || {
                while stream.write_all(&clock::now().0.to_be_bytes()).is_ok() {
                    std::thread::sleep(Duration::from_micros(500));
                }
            });
        }
    });
    started.recv().unwrap();
}

/// The newest time that arrives before `silence`: both ends read one clock, so nothing blurs it.
pub fn newest_time(mut stream: TcpStream, silence: Duration) -> Instant {
    stream.set_read_timeout(Some(silence)).unwrap();
    let mut newest = Instant::ZERO;
    let mut time = [0; 8];
    while stream.read_exact(&mut time).is_ok() {
        newest = Instant(u64::from_be_bytes(time));
    }
    newest
}
