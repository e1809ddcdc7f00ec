//! The client: inserts unique rows through the virtual address every few milliseconds, over SQL and over the API,
//! and records every attempt with its times, its outcome and the server that acknowledged it.
//!
//! An attempt that hangs does not stop the measurement: after a short patience further attempts on connections of
//! their own race against it, so that the first write that can succeed does, whatever became of the older ones.

mod http;
mod sql;

use std::cell::Cell;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{MissedTickBehavior, timeout};

use crate::pair::tools::now_ns;

/// An attempt to connect is given up after this time: a retry of our own is sooner than TCP's, which waits 1 s.
const CONNECT_PATIENCE: Duration = Duration::from_millis(150);
/// A write that was sent is given up, with its outcome unknown, after this time.
const WRITE_PATIENCE: Duration = Duration::from_millis(900);
/// How long the present attempt may take before another one races against it, and between two such races.
const RACE_AFTER_NS: u64 = 20_000_000;
const RACE_PERIOD_NS: u64 = 10_000_000;
/// The most attempts under way in one lane.
const ATTEMPTS_MAX: usize = 100;
/// Identities of one lane lie this far from those of the next.
const LANE_STRIDE: u64 = 1_000_000_000;

/// What the writer is told on its command line.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// A lane: `NAME=KIND@ADDRESS:PORT` with KIND `sql` or `api`. May be repeated.
    #[arg(long = "lane", required = true)]
    lanes: Vec<String>,
    /// Milliseconds between two writes of a lane.
    #[arg(long, default_value_t = 5)]
    period: u64,
    /// The first identity to insert.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Open further connections while an attempt hangs.
    #[arg(long)]
    race: bool,
    /// Where attempts are recorded, one line each: lane, id, start, end (ns), outcome, server.
    #[arg(long)]
    log: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sql,
    Api,
}

/// A kept connection of a lane.
enum Connection {
    Sql(sql::Connection),
    Api(TcpStream),
}

/// How an attempt ended.
#[derive(Debug)]
enum Outcome {
    /// Acknowledged by this server.
    Accepted(u32),
    /// Refused, or never sent.
    Refused,
    /// Sent, and then no answer.
    Unknown,
}

struct Ended {
    line: String,
    kept: Option<Connection>,
}

/// Writes until SIGTERM.
#[tokio::main(flavor = "current_thread")]
pub async fn run(options: Options) -> Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let log = BufWriter::new(File::create(&options.log).with_context(|| options.log.display().to_string())?);
    let (lines, received) = unbounded_channel();
    let local = tokio::task::LocalSet::new();
    for (index, lane) in options.lanes.iter().enumerate() {
        let lane = Lane::parse(lane, &options, index as u64)?;
        local.spawn_local(lane.run(lines.clone()));
    }
    let recorder = record(log, received);
    tokio::select! {
        _ = local => Ok(()),
        result = recorder => result,
        _ = terminate.recv() => Ok(()),
    }
}

/// Writes lines to the log, at most 20 ms late. Dropped at the end, it flushes by the drop of its writer.
async fn record(mut log: BufWriter<File>, mut lines: UnboundedReceiver<String>) -> Result<()> {
    let mut flush = tokio::time::interval(Duration::from_millis(20));
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) => log.write_all(line.as_bytes())?,
                None => return Ok(()),
            },
            _ = flush.tick() => log.flush()?,
        }
    }
}

struct Lane {
    name: Rc<str>,
    kind: Kind,
    address: SocketAddr,
    period: Duration,
    race: bool,
    next: Cell<u64>,
}

impl Lane {
    fn parse(text: &str, options: &Options, index: u64) -> Result<Self> {
        let parts = text.split_once('=').and_then(|(name, rest)| Some((name, rest.split_once('@')?)));
        let Some((name, (kind, address))) = parts else { bail!("`{text}` is not NAME=KIND@ADDRESS:PORT") };
        let kind = match kind {
            "sql" => Kind::Sql,
            "api" => Kind::Api,
            _ => bail!("`{kind}` is neither sql nor api"),
        };
        Ok(Self {
            name: name.into(),
            kind,
            address: address.parse().with_context(|| address.to_owned())?,
            period: Duration::from_millis(options.period),
            race: options.race,
            next: Cell::new(options.first + index * LANE_STRIDE),
        })
    }

    /// One attempt every period on the kept connection; while it hangs, races on new ones.
    async fn run(self, lines: UnboundedSender<String>) {
        let mut tick = tokio::time::interval(self.period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (ended, mut endings) = unbounded_channel::<Ended>();
        let mut kept: Option<Connection> = None;
        let (mut under_way, mut last_start, mut racing) = (0usize, 0u64, false);
        loop {
            tokio::select! {
                biased;
                Some(ending) = endings.recv() => {
                    under_way -= 1;
                    // The recorder lives as long as the lanes.
                    let _sent = lines.send(ending.line);
                    if ending.kept.is_some() {
                        kept = ending.kept;
                        racing = false;
                    }
                }
                _ = tick.tick() => {
                    let wait = if racing { RACE_PERIOD_NS } else { RACE_AFTER_NS };
                    let may_race = self.race && now_ns().saturating_sub(last_start) >= wait;
                    if under_way >= ATTEMPTS_MAX || !(kept.is_some() || under_way == 0 || may_race) {
                        continue;
                    }
                    racing = kept.is_none() && under_way > 0;
                    under_way += 1;
                    last_start = now_ns();
                    let attempt = attempt(self.kind, self.address, self.take_id(), kept.take());
                    let (ended, name) = (ended.clone(), Rc::clone(&self.name));
                    tokio::task::spawn_local(async move {
                        let (start, (id, outcome, kept)) = (now_ns(), attempt.await);
                        let _sent = ended.send(Ended { line: line(&name, id, start, &outcome), kept });
                    });
                }
            }
        }
    }

    fn take_id(&self) -> u64 {
        let id = self.next.get();
        self.next.set(id + 1);
        id
    }
}

fn line(name: &str, id: u64, start: u64, outcome: &Outcome) -> String {
    let (word, server) = match outcome {
        Outcome::Accepted(server) => ("ok", *server),
        Outcome::Refused => ("error", 0),
        Outcome::Unknown => ("unknown", 0),
    };
    format!("{name} {id} {start} {} {word} {server}\n", now_ns())
}

async fn connect(kind: Kind, address: SocketAddr) -> Result<Connection> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    // A reset instead of a long farewell: nothing of an abandoned attempt may linger.
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    Ok(match kind {
        Kind::Sql => Connection::Sql(sql::Connection::open(stream).await?),
        Kind::Api => Connection::Api(stream),
    })
}

async fn attempt(
    kind: Kind,
    address: SocketAddr,
    id: u64,
    kept: Option<Connection>,
) -> (u64, Outcome, Option<Connection>) {
    let connection = match kept {
        Some(connection) => Some(connection),
        None => timeout(CONNECT_PATIENCE, connect(kind, address)).await.ok().and_then(Result::ok),
    };
    let Some(mut connection) = connection else { return (id, Outcome::Refused, None) };
    let write = async {
        match &mut connection {
            Connection::Sql(connection) => connection.write(id).await,
            Connection::Api(stream) => http::write(stream, id).await,
        }
    };
    match timeout(WRITE_PATIENCE, write).await {
        Ok(Ok(Some(server))) => (id, Outcome::Accepted(server), Some(connection)),
        Ok(Ok(None)) => (id, Outcome::Refused, None),
        Ok(Err(_)) | Err(_) => (id, Outcome::Unknown, None),
    }
}
