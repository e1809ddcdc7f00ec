//! The small API of a node: it writes through its own node's MariaDB, and its health path exercises the database.
//!
//! `GET /health` reads from the database, `POST /write?id=N` inserts one row and answers with the server's number.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

/// What the API is told on its command line.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Where it listens.
    #[arg(long, default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// The socket of the local server.
    #[arg(long, default_value = "/run/mysqld/mysqld.sock")]
    socket: String,
    /// Where its process number is written.
    #[arg(long)]
    pid_file: Option<PathBuf>,
}

/// Kept connections to the local server.
struct Database {
    options: Opts,
    idle: Mutex<Vec<Conn>>,
}

impl Database {
    /// Runs `work` on a kept connection; a connection that fails or is slow is not kept.
    async fn query(&self, sql: String) -> Result<Option<u32>> {
        let work = async {
            let mut connection = self.connection().await?;
            let row = connection.query_first(sql).await?;
            self.idle.lock().await.push(connection);
            anyhow::Ok(row)
        };
        tokio::time::timeout(Duration::from_secs(2), work).await.context("the database does not answer")?
    }
}

impl Database {
    /// A kept connection that still answers, or a new one: kept ones may have been killed by a change of roles.
    async fn connection(&self) -> Result<Conn> {
        while let Some(mut kept) = self.idle.lock().await.pop() {
            if kept.ping().await.is_ok() {
                return Ok(kept);
            }
        }
        Ok(Conn::new(self.options.clone()).await?)
    }
}

/// Serves until it is killed.
#[tokio::main(flavor = "current_thread")]
pub async fn run(options: Options) -> Result<()> {
    if let Some(path) = &options.pid_file {
        std::fs::write(path, std::process::id().to_string())?;
    }
    let connection = OptsBuilder::default()
        .socket(Some(options.socket))
        .user(Some("app"))
        .pass(Some("app"))
        .max_allowed_packet(Some(1 << 20))
        .wait_timeout(Some(28_800));
    let database = Arc::new(Database { options: connection.into(), idle: Mutex::new(Vec::new()) });
    let listener = TcpListener::bind(options.listen).await.context("cannot listen")?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let database = Arc::clone(&database);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&database)));
            // A client that goes away in the middle is its own affair.
            let _ended = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    database: Arc<Database>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let result = match (request.method(), request.uri().path()) {
        (&Method::GET, "/health") => database.query("SELECT COUNT(*) FROM appdb.health".to_owned()).await,
        (&Method::POST, "/write") => write(&request, &database).await,
        _ => return Ok(reply(StatusCode::NOT_FOUND, "no such path\n".to_owned())),
    };
    Ok(match result {
        Ok(server) => reply(StatusCode::OK, format!("{}\n", server.unwrap_or(0))),
        Err(error) => reply(StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n")),
    })
}

async fn write(request: &Request<Incoming>, database: &Database) -> Result<Option<u32>> {
    let query = request.uri().query().unwrap_or_default();
    let id: u64 = query.strip_prefix("id=").context("id is missing")?.parse().context("id is no number")?;
    database.query(format!("INSERT INTO appdb.writes VALUES ({id}, @@server_id) RETURNING server")).await
}

fn reply(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}
