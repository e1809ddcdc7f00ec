//! One server's data copied into another by a dump, over the network, as replication's account.

use super::statement::Statement;
use crate::decision::gtid::GtidState;
use secrecy::{ExposeSecret, SecretString};
use std::io::Write as _;
use std::net::SocketAddrV4;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// Bytes moved at a time, and between two words about progress.
const CHUNK: usize = 256 * 1024;
const WORD_EVERY: u64 = 8 << 20;
/// So much of the dump's end is kept, to find the position in it.
const ENDING: usize = 4096;

/// Why a copy failed.
#[derive(Debug, thiserror::Error)]
pub enum CloneError {
    /// A program is missing.
    #[error("{program} cannot be run: {error}; install mariadb-client")]
    Program {
        /// Which.
        program: String,
        /// Why.
        error: std::io::Error,
    },
    /// A program ended with an error.
    #[error("{program} failed: {words}")]
    Failed {
        /// Which.
        program: &'static str,
        /// Its own words.
        words: String,
    },
    /// A file could not be written.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The dump ended early or names no position.
    #[error("the dump is incomplete: {0}")]
    Incomplete(&'static str),
}

/// Where a copy comes from and where it goes.
#[derive(Clone, Debug)]
pub struct Copy<'a> {
    /// The server that has the data.
    pub source: SocketAddrV4,
    /// Replication's account there.
    pub user: &'a str,
    /// Its password.
    pub password: &'a SecretString,
    /// CA, where TLS is wanted.
    pub tls_ca_file: Option<&'a Path>,
    /// Socket of the local server.
    pub socket: &'a Path,
    /// Administrator's account there, by unix_socket.
    pub administrator: &'a str,
    /// A folder that only root reads, for the password's file.
    pub scratch: &'a Path,
    /// Where the programs are, if not in PATH.
    pub tools: Option<&'a Path>,
}

impl Copy<'_> {
    /// Copies whole databases, replacing those of the same name, past the local binary log. Ends with the
    /// position at which the copy was taken.
    ///
    /// # Errors
    /// See [`CloneError`]. What was copied until then is in the local server.
    pub async fn databases(
        &self,
        names: &[String],
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<GtidState, CloneError> {
        let mut options: Vec<&str> = vec![
            "--single-transaction",
            "--master-data=2",
            "--gtid",
            "--quick",
            "--routines",
            "--events",
            "--triggers",
            "--hex-blob",
            "--no-tablespaces",
            "--add-drop-database",
            "--default-character-set=utf8mb4",
            "--databases",
        ];
        options.extend(names.iter().map(String::as_str));
        let ending = self.pipe(&options, progress).await?;
        position(&ending)
    }

    /// Copies accounts with their passwords and grants; those that exist keep what they have besides.
    ///
    /// # Errors
    /// See [`CloneError`].
    pub async fn accounts(&self) -> Result<(), CloneError> {
        let ending =
            self.pipe(&["--system=users", "--insert-ignore", "--no-tablespaces"], &mut |_| {}).await?;
        is_complete(&ending).then_some(()).ok_or(CloneError::Incomplete("its last line is missing"))
    }

    /// The dump's output into the local client; the last bytes of it.
    async fn pipe(
        &self,
        options: &[&str],
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<String, CloneError> {
        let secret = SecretFile::write(self)?;
        let mut dump = self.program("mariadb-dump");
        // The password comes from a file that only root reads: arguments are seen by everybody.
        dump.arg(format!("--defaults-file={}", secret.0.display())).args(options);
        let mut load = self.program("mariadb");
        load.args(["--no-defaults", "--binary-mode", "--init-command=SET SESSION sql_log_bin = 0"]);
        load.arg(format!("--socket={}", self.socket.display())).arg(format!("--user={}", self.administrator));
        let mut dump = start("mariadb-dump", dump.stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let mut load = start("mariadb", load.stdin(Stdio::piped()).stdout(Stdio::null()))?;
        let pumped = pump(&mut dump, &mut load, progress).await;
        drop(load.stdin.take());
        // The reader's words first: when it stops, the dump only complains about a broken pipe.
        finish("mariadb", load).await?;
        finish("mariadb-dump", dump).await?;
        pumped
    }

    fn program(&self, name: &str) -> Command {
        let path = self.tools.map_or_else(|| PathBuf::from(name), |folder| folder.join(name));
        let mut command = Command::new(path);
        command.kill_on_drop(true).stderr(Stdio::piped());
        command
    }
}

fn start(name: &str, command: &mut Command) -> Result<Child, CloneError> {
    command.spawn().map_err(|error| CloneError::Program { program: name.to_owned(), error })
}

async fn pump(
    dump: &mut Child,
    load: &mut Child,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<String, CloneError> {
    let (mut from, mut to) = match (dump.stdout.take(), load.stdin.take()) {
        (Some(from), Some(to)) => (from, to),
        _ => return Err(CloneError::Incomplete("no pipe to its programs")),
    };
    let mut buffer = vec![0; CHUNK];
    let mut ending: Vec<u8> = Vec::new();
    let (mut moved, mut said) = (0_u64, 0_u64);
    let broken = |_| CloneError::Incomplete("the pipe between its programs broke");
    loop {
        let length = from.read(&mut buffer).await.map_err(broken)?;
        if length == 0 {
            break;
        }
        let part = &buffer[..length];
        to.write_all(part).await.map_err(broken)?;
        ending.extend_from_slice(&part[length.saturating_sub(ENDING)..]);
        ending.drain(..ending.len().saturating_sub(ENDING));
        moved += length as u64;
        if moved - said >= WORD_EVERY {
            said = moved;
            progress(moved);
        }
    }
    to.shutdown().await.map_err(broken)?;
    progress(moved);
    Ok(String::from_utf8_lossy(&ending).into_owned())
}

async fn finish(program: &'static str, child: Child) -> Result<(), CloneError> {
    let output = child
        .wait_with_output()
        .await
        .map_err(|error| CloneError::Program { program: program.to_owned(), error })?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(CloneError::Failed { program, words })
}

fn is_complete(ending: &str) -> bool {
    ending.contains("-- Dump completed")
}

/// `-- SET GLOBAL gtid_slave_pos='0-1-14';` near the end of a dump.
fn position(ending: &str) -> Result<GtidState, CloneError> {
    if !is_complete(ending) {
        return Err(CloneError::Incomplete("its last line is missing"));
    }
    ending
        .rsplit_once("gtid_slave_pos='")
        .and_then(|(_, rest)| rest.split('\'').next())
        .and_then(|text| text.parse().ok())
        .ok_or(CloneError::Incomplete("it names no position: is the source's binary log on?"))
}

/// An option file with the password, gone when dropped.
struct SecretFile(PathBuf);

impl SecretFile {
    fn write(copy: &Copy<'_>) -> Result<SecretFile, CloneError> {
        let path = copy.scratch.join(format!("clone.{}.cnf", std::process::id()));
        let failed = |error| CloneError::File { path: path.clone(), error };
        let _ = std::fs::remove_file(&path);
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        let secret = SecretFile(path.clone());
        let mut text = format!(
            "[client]\nprotocol=tcp\nhost={}\nport={}\nuser=\"{}\"\npassword=\"{}\"\n",
            copy.source.ip(),
            copy.source.port(),
            escaped(copy.user),
            escaped(copy.password.expose_secret())
        );
        if let Some(ca) = copy.tls_ca_file {
            text.push_str(&format!(
                "ssl-ca=\"{}\"\nssl-verify-server-cert\n",
                escaped(&ca.to_string_lossy())
            ));
        }
        file.write_all(text.as_bytes()).map_err(failed)?;
        Ok(secret)
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// As option files want it within double quotes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Names the statement that empties one database.
pub fn drop_database(name: &str) -> Statement {
    super::statement::statement!("drop_database", database = super::statement::identifier(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_is_read_from_the_dumps_end() {
        let ending = "x\n-- SET GLOBAL gtid_slave_pos='0-1-14,1-2-3';\n\n-- Dump completed on 2026-11-21\n";
        assert_eq!(position(ending).expect("there").to_string(), "0-1-14,1-2-3");
        assert!(matches!(position("-- SET GLOBAL gtid_slave_pos='0-1-14';"), Err(CloneError::Incomplete(_))));
        assert!(matches!(position("-- Dump completed"), Err(CloneError::Incomplete(_))));
    }
}
