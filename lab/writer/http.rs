//! One write over the API on a kept HTTP/1.1 connection.

use anyhow::{Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Writes one row; `None` is a refusal, an error an unknown outcome.
pub async fn write(stream: &mut TcpStream, id: u64) -> Result<Option<u32>> {
    let request = format!("POST /write?id={id} HTTP/1.1\r\nHost: pair\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = [0u8; 2048];
    let mut length = 0;
    loop {
        ensure!(length < answer.len(), "the answer is too long");
        let count = stream.read(&mut answer[length..]).await?;
        ensure!(count > 0, "the API closed the connection");
        length += count;
        let text = std::str::from_utf8(&answer[..length])?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if body.len() < content_length(head) {
            continue;
        }
        if !head.starts_with("HTTP/1.1 200") {
            return Ok(None);
        }
        match body.trim().parse() {
            Ok(server) => return Ok(Some(server)),
            Err(_) => bail!("the API answered {body:?}"),
        }
    }
}

fn content_length(head: &str) -> usize {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}
