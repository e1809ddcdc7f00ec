//! Containers by name over the API of the Docker Engine, which podman speaks too, on its unix socket.

use super::Outcome;
use crate::decision::service::ServiceState;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use nix::unistd::{AccessFlags, access};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Where engines listen.
const SOCKETS: [&str; 2] = ["/run/docker.sock", "/run/podman/podman.sock"];
/// An answer that is longer is none of those that are asked for.
const LARGEST_ANSWER: usize = 1 << 20;
/// What is killed is gone by then.
const DEATH: Duration = Duration::from_secs(10);
/// Exit codes of a container that ended as it was told: by itself, by SIGKILL, by SIGTERM.
const AS_TOLD: [i64; 3] = [0, 137, 143];

/// The engine's socket: of DOCKER_HOST, else the first that is there.
pub fn engine_socket() -> PathBuf {
    let told = std::env::var("DOCKER_HOST").ok();
    if let Some(path) = told.as_deref().and_then(|host| host.strip_prefix("unix://")) {
        return PathBuf::from(path);
    }
    let found = SOCKETS.into_iter().find(|path| Path::new(path).exists());
    PathBuf::from(found.unwrap_or(SOCKETS[0]))
}

/// The engine of this host.
#[derive(Debug)]
pub struct Engine {
    socket: PathBuf,
}

/// The part of an inspection that counts.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspection {
    state: State,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    status: String,
    #[serde(default)]
    exit_code: i64,
    #[serde(default)]
    error: String,
}

#[derive(Debug, Deserialize)]
struct Complaint {
    message: String,
}

/// Events of one container, as they come.
pub struct Events {
    body: Incoming,
    _connection: JoinSet<()>,
}

impl Events {
    /// Waits for the next; `false` when the engine hung up.
    pub async fn next(&mut self) -> bool {
        matches!(self.body.frame().await, Some(Ok(_)))
    }
}

impl Engine {
    /// The engine that listens there; nothing is opened yet.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Whether this process may talk to it.
    pub fn may_be_asked(&self) -> bool {
        access(&self.socket, AccessFlags::R_OK | AccessFlags::W_OK).is_ok()
    }

    /// Starts a container; done once it runs.
    pub async fn start(&self, name: &str) -> Outcome<()> {
        let (status, answer) = self.ask(Method::POST, &format!("/containers/{name}/start")).await?;
        // 304: it runs already.
        if ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status) {
            return Err(refusal(name, "start", status, &answer));
        }
        match self.state(name).await? {
            (ServiceState::Running, _) => Ok(()),
            (state, detail) => Err(format!("container {name} is {} after its start: {detail}", state.word())),
        }
    }

    /// Stops a container; kills it when it takes longer than that.
    pub async fn stop(&self, name: &str, patience: Duration) -> Outcome<()> {
        // The engine counts whole seconds; what is shorter is counted here.
        let path = format!("/containers/{name}/stop?t={}", patience.as_secs_f64().ceil());
        match timeout(patience, self.ask(Method::POST, &path)).await {
            Ok(result) => {
                let (status, answer) = result?;
                let fits = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED, StatusCode::NOT_FOUND];
                if !fits.contains(&status) {
                    return Err(refusal(name, "stop", status, &answer));
                }
            }
            Err(_) => {
                tracing::warn!(
                    code = "service.killed",
                    name,
                    "the container did not stop in time and is killed"
                );
                self.send_kill(name).await?;
            }
        }
        self.is_down(name).await
    }

    /// Kills a container at once, and keeps the engine from starting it again.
    pub async fn kill(&self, name: &str) -> Outcome<()> {
        self.send_kill(name).await?;
        // A stop tells the engine that its end is wanted, whatever its restart policy says.
        let (status, answer) = self.ask(Method::POST, &format!("/containers/{name}/stop?t=0")).await?;
        match status {
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::NOT_FOUND => {
                self.is_down(name).await
            }
            _ => Err(refusal(name, "stop", status, &answer)),
        }
    }

    async fn send_kill(&self, name: &str) -> Outcome<()> {
        let path = format!("/containers/{name}/kill?signal=SIGKILL");
        let (status, answer) = self.ask(Method::POST, &path).await?;
        match status {
            // 409: it does not run, as docker says it.
            StatusCode::NO_CONTENT | StatusCode::CONFLICT | StatusCode::NOT_FOUND => Ok(()),
            // podman 4 says 500 for the same: its state tells which it is.
            _ => match self.state(name).await {
                Ok((ServiceState::Stopped | ServiceState::Failed, _)) => Ok(()),
                _ => Err(refusal(name, "kill", status, &answer)),
            },
        }
    }

    async fn is_down(&self, name: &str) -> Outcome<()> {
        let path = format!("/containers/{name}/wait?condition=not-running");
        let (status, answer) = timeout(DEATH, self.ask(Method::POST, &path))
            .await
            .map_err(|_| format!("container {name} outlives a kill"))??;
        match status {
            StatusCode::OK | StatusCode::NOT_FOUND => Ok(()),
            _ => Err(refusal(name, "wait for", status, &answer)),
        }
    }

    /// How a container is doing.
    pub async fn state(&self, name: &str) -> Outcome<(ServiceState, String)> {
        let (status, answer) = self.ask(Method::GET, &format!("/containers/{name}/json")).await?;
        if status != StatusCode::OK {
            return Err(refusal(name, "inspect", status, &answer));
        }
        let seen: Inspection = serde_json::from_slice(&answer).map_err(|error| {
            format!("the engine at {} says what it should not: {error}", self.socket.display())
        })?;
        let State { status, exit_code, error } = seen.state;
        let state = match status.as_str() {
            "running" => ServiceState::Running,
            "restarting" => ServiceState::Starting,
            "removing" | "stopping" => ServiceState::Stopping,
            "created" | "initialized" | "configured" => ServiceState::Stopped,
            "exited" | "stopped" if AS_TOLD.contains(&exit_code) => ServiceState::Stopped,
            "exited" | "stopped" | "dead" | "paused" => ServiceState::Failed,
            _ => ServiceState::Unknown,
        };
        let mut detail = status;
        if matches!(state, ServiceState::Stopped | ServiceState::Failed) && exit_code != 0 {
            detail += &format!(" with {exit_code}");
        }
        if !error.is_empty() {
            detail += &format!(": {error}");
        }
        Ok((state, detail))
    }

    /// What happens to a container from now on.
    pub async fn events(&self, name: &str) -> Outcome<Events> {
        // The filter is JSON, percent-encoded; a name holds nothing that needs it.
        let filter =
            format!("%7B%22type%22%3A%5B%22container%22%5D%2C%22container%22%3A%5B%22{name}%22%5D%7D");
        let (response, connection) = self.send(Method::GET, &format!("/events?filters={filter}")).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("the engine tells no events: {}", response.status()));
        }
        Ok(Events { body: response.into_body(), _connection: connection })
    }

    async fn ask(&self, method: Method, path: &str) -> Outcome<(StatusCode, Bytes)> {
        let (response, _connection) = self.send(method, path).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
        Ok((status, body.map_err(|error| self.broken(&error))?.to_bytes()))
    }

    /// One request on a connection of its own, which ends with what is returned.
    async fn send(&self, method: Method, path: &str) -> Outcome<(Response<Incoming>, JoinSet<()>)> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.broken(&error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(&error))?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Its end is the end of the answer, which tells the reader more.
            let _ended = connection.await;
        });
        let request = Request::builder().method(method).uri(path).header(HOST, "localhost");
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(|error| self.broken(&error))?;
        Ok((response, driver))
    }

    fn broken(&self, error: &dyn std::fmt::Display) -> String {
        format!("the engine's socket {}: {error}", self.socket.display())
    }
}

/// In the engine's own words, where it has some.
fn refusal(name: &str, act: &str, status: StatusCode, answer: &[u8]) -> String {
    let said = serde_json::from_slice::<Complaint>(answer).map(|said| said.message);
    let said = said.unwrap_or_else(|_| String::from_utf8_lossy(answer).into_owned());
    format!("container {name}: cannot {act} it: {status}: {}", said.trim())
}
