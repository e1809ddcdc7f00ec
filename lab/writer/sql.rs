//! The least of a MariaDB client: connect with a password, insert one row and learn which server took it.
//!
//! A client of its own, so that a hanging connection can be abandoned at once and that exactly the server's final
//! packet counts as the acknowledgement. Packets: the protocol pages of the MariaDB knowledge base.

use anyhow::{Context, Result, bail, ensure};
use ring::digest::{Context as Digest, SHA1_FOR_LEGACY_USE_ONLY};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// LONG_PASSWORD, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION, PLUGIN_AUTH, CONNECT_WITH_DB.
const CAPABILITIES: u32 = 0x1 | 0x200 | 0x2000 | 0x8000 | 0x8_0000 | 0x8;
const USER: &str = "app";
const PASSWORD: &str = "app";
const DATABASE: &str = "appdb";

/// An authenticated connection.
pub struct Connection {
    stream: TcpStream,
}

impl Connection {
    /// Authenticates with `mysql_native_password`.
    pub async fn open(stream: TcpStream) -> Result<Self> {
        let mut connection = Self { stream };
        let (_, greeting) = connection.read().await?;
        ensure!(greeting.first() == Some(&10), "the server refuses: {}", error_text(&greeting));
        let salt = salt(&greeting).context("the greeting is too short")?;
        let token = token(&salt);
        let mut answer = Vec::with_capacity(128);
        answer.extend_from_slice(&CAPABILITIES.to_le_bytes());
        answer.extend_from_slice(&(1u32 << 24).to_le_bytes());
        answer.push(45);
        answer.extend_from_slice(&[0; 23]);
        answer.extend_from_slice(USER.as_bytes());
        answer.extend_from_slice(&[0, 20]);
        answer.extend_from_slice(&token);
        answer.extend_from_slice(DATABASE.as_bytes());
        answer.extend_from_slice(b"\0mysql_native_password\0");
        connection.send(1, &answer).await?;
        let (sequence, mut reply) = connection.read().await?;
        if reply.first() == Some(&0xFE) {
            let end = reply[1..].iter().position(|byte| *byte == 0).context("auth switch without a name")?;
            let salt: Vec<u8> = reply[end + 2..].iter().copied().take(20).collect();
            connection.send(sequence.wrapping_add(1), &self::token(&salt)).await?;
            (_, reply) = connection.read().await?;
        }
        ensure!(reply.first() == Some(&0), "no entry: {}", error_text(&reply));
        Ok(connection)
    }

    /// Inserts one row; `None` is a refusal by the server, an error an unknown outcome. Only the packet that ends
    /// the result counts: the server sends it after the commit.
    pub async fn write(&mut self, id: u64) -> Result<Option<u32>> {
        let statement = format!("\x03INSERT INTO writes VALUES ({id}, @@server_id) RETURNING server");
        self.send(0, statement.as_bytes()).await?;
        let (_, head) = self.read().await?;
        if head.first() == Some(&0xFF) {
            return Ok(None);
        }
        ensure!(head.first() == Some(&1), "one column was expected");
        self.read().await?; // the column
        self.read().await?; // the end of the columns
        let mut server = None;
        loop {
            let (_, row) = self.read().await?;
            match row.first() {
                Some(0xFF) => return Ok(None),
                Some(0xFE) if row.len() < 9 => return Ok(Some(server.context("no row came back")?)),
                Some(length) => {
                    let text = row.get(1..1 + usize::from(*length)).context("a row is cut")?;
                    server = Some(std::str::from_utf8(text)?.parse()?);
                }
                None => bail!("an empty packet"),
            }
        }
    }

    async fn send(&mut self, sequence: u8, payload: &[u8]) -> Result<()> {
        let mut packet = Vec::with_capacity(payload.len() + 4);
        packet.extend_from_slice(&(payload.len() as u32).to_le_bytes()[..3]);
        packet.push(sequence);
        packet.extend_from_slice(payload);
        Ok(self.stream.write_all(&packet).await?)
    }

    async fn read(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut head = [0u8; 4];
        self.stream.read_exact(&mut head).await?;
        let length = u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await?;
        Ok((head[3], payload))
    }
}

/// The 20 bytes of salt in the server's greeting: 8 after the version and the thread number, 12 near its end.
fn salt(greeting: &[u8]) -> Option<Vec<u8>> {
    let version_end = greeting.iter().skip(1).position(|byte| *byte == 0)? + 2;
    let first = version_end + 4;
    let mut salt = greeting.get(first..first + 8)?.to_vec();
    let second = first + 8 + 1 + 2 + 1 + 2 + 2 + 1 + 10;
    salt.extend_from_slice(greeting.get(second..second + 12)?);
    Some(salt)
}

/// SHA1(password) xor SHA1(salt, SHA1(SHA1(password))).
fn token(salt: &[u8]) -> Vec<u8> {
    let digest = |parts: &[&[u8]]| {
        let mut digest = Digest::new(&SHA1_FOR_LEGACY_USE_ONLY);
        parts.iter().for_each(|part| digest.update(part));
        digest.finish()
    };
    let once = digest(&[PASSWORD.as_bytes()]);
    let twice = digest(&[once.as_ref()]);
    let mask = digest(&[salt, twice.as_ref()]);
    once.as_ref().iter().zip(mask.as_ref()).map(|(left, right)| left ^ right).collect()
}

fn error_text(packet: &[u8]) -> String {
    String::from_utf8_lossy(packet.get(3..).unwrap_or_default()).into_owned()
}
