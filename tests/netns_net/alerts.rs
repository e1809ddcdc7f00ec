//! Alerts by mail and webhook: a whole conversation with a small receiver, and receivers that are dead, mute or rude.

use crate::netns::Namespace;
use crate::{LIMIT, run, soon};
use apd::config::checked::{Alerts, Smtp, Webhook};
use apd::decision::code::Code;
use apd::io::alert::Channel;
use apd::wire::alert::{Alert, AlertMessage};
use std::future::Future;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

fn message() -> AlertMessage {
    let alert = Alert {
        code: Code::ModeLoser,
        severity: Code::ModeLoser.severity(),
        text: "the peer took over: Größe zählt".into(),
        remedy: "apctl rejoin".into(),
        epoch: 7,
        time: "2026-11-20T12:00:00Z".into(),
    };
    let alerts = vec![alert];
    AlertMessage { schema_version: 1, cluster: "shop".into(), node: "db1".into(), alerts, dropped: 0 }
}

fn mailer(port: u16, connect_timeout: Duration) -> Channel {
    let smtp = Smtp {
        host: "127.0.0.1".into(),
        port,
        from: "apd <apd@shop.example>".into(),
        to: ["one", "two", "three"].map(|name| format!("{name}@shop.example")).to_vec(),
        connect_timeout,
    };
    only(Alerts { smtp: Some(smtp), webhook: None })
}

fn webhook(port: u16) -> Channel {
    let path = "/hunter2".to_owned().into();
    only(Alerts { smtp: None, webhook: Some(Webhook { host: "127.0.0.1".into(), port, path, tls: None }) })
}

fn only(alerts: Alerts) -> Channel {
    Channel::all(&alerts).pop().expect("one is configured")
}

/// Listens on a port of its own, and serves each connection; what the server hands on comes out at the end.
async fn listen<F, S>(serve: S) -> (u16, mpsc::UnboundedReceiver<String>)
where
    F: Future<Output = ()> + Send,
    S: Fn(TcpStream, mpsc::UnboundedSender<String>) -> F + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback is up");
    let port = listener.local_addr().expect("bound").port();
    let (sender, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            serve(stream, sender.clone()).await;
        }
    });
    (port, received)
}

/// RFC 5321, as far as a relay needs it; refuses a recipient of this name.
async fn relay(stream: TcpStream, sender: mpsc::UnboundedSender<String>, refused: &'static str) {
    let (reading, mut writing) = stream.into_split();
    let mut lines = BufReader::new(reading).lines();
    let mut mail = String::new();
    let mut answer = "220 relay.example\r\n";
    loop {
        if writing.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
        let Ok(Some(line)) = lines.next_line().await else { return };
        mail += &format!("{line}\n");
        answer = match line.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" => "250-relay.example\r\n250 8BITMIME\r\n",
            "RCPT" if line.contains(refused) => "550 nobody here\r\n",
            "MAIL" | "RCPT" | "RSET" | "NOOP" => "250 ok\r\n",
            "DATA" => {
                if writing.write_all(b"354 go on\r\n").await.is_err() {
                    return;
                }
                while let Ok(Some(line)) = lines.next_line().await {
                    if line == "." {
                        break;
                    }
                    mail += &format!("{line}\n");
                }
                // Whoever waits for it may have seen enough.
                let _ = sender.send(std::mem::take(&mut mail));
                "250 taken\r\n"
            }
            "QUIT" => {
                let _ = writing.write_all(b"221 bye\r\n").await;
                return;
            }
            _ => "500 what?\r\n",
        };
    }
}

fn in_namespace(label: &str, test: impl AsyncFnOnce() + Send) {
    Namespace::new(label).run(|| run(test()));
}

#[test]
fn r4_06_a_mail_goes_to_all_recipients() {
    in_namespace("mail", async || {
        let (port, mut mails) = listen(|stream, sender| relay(stream, sender, "nobody")).await;
        mailer(port, LIMIT).deliver(&message()).await.expect("the relay takes it");
        let mail = soon("a mail", mails.recv()).await.expect("the relay lives");
        for part in [
            "EHLO db1",
            "MAIL FROM:<apd@shop.example>",
            "RCPT TO:<one@shop.example>",
            "RCPT TO:<two@shop.example>",
            "RCPT TO:<three@shop.example>",
            "From: apd <apd@shop.example>",
            "Date: ",
            "Message-ID: <",
            "Content-Type: text/plain; charset=utf-8",
            "mode.loser (epoch 7)",
            "Gr=C3=B6=C3=9Fe",
            "-> apctl rejoin",
        ] {
            assert!(mail.contains(part), "`{part}` is missing in:\n{mail}");
        }
        assert!(mail.lines().any(|line| line.starts_with("Subject: ")), "{mail}");
    });
}

#[test]
fn r4_06_a_relay_that_is_dead_mute_or_refuses_ends_the_try_in_time() {
    in_namespace("mailless", async || {
        let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback is up");
        let dead = gone.local_addr().expect("bound").port();
        drop(gone);
        let refused = mailer(dead, LIMIT).deliver(&message()).await.expect_err("nobody listens");
        assert!(refused.contains("refused"), "{refused}");

        let (mute, _kept) = listen(|stream, _| async move {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            drop(stream);
        })
        .await;
        let begin = Instant::now();
        let limit = Duration::from_millis(300);
        let late = mailer(mute, limit).deliver(&message()).await;
        assert!(late.is_err() && begin.elapsed() < Duration::from_secs(35), "{late:?} {:?}", begin.elapsed());

        let (strict, _mails) = listen(|stream, sender| relay(stream, sender, "two@")).await;
        let refused = mailer(strict, LIMIT).deliver(&message()).await.expect_err("one is refused");
        assert!(refused.contains("nobody here"), "{refused}");
    });
}

async fn receiver(mut stream: TcpStream, sender: mpsc::UnboundedSender<String>, status: &'static str) {
    let mut text = String::new();
    let mut part = [0; 4096];
    // The body ends with the object.
    while !text.ends_with("}") {
        match stream.read(&mut part).await {
            Ok(length @ 1..) => text += &String::from_utf8_lossy(&part[..length]),
            _ => return,
        }
    }
    let _ = sender.send(text);
    let _ = stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await;
}

#[test]
fn r4_06_a_webhook_takes_json_and_its_status_counts() {
    in_namespace("webhook", async || {
        for (status, taken) in
            [("200 OK", true), ("204 No Content", true), ("500 Broken", false), ("302 Found", false)]
        {
            let (port, mut posts) = listen(move |stream, sender| receiver(stream, sender, status)).await;
            let delivered = webhook(port).deliver(&message()).await;
            assert_eq!(delivered.is_ok(), taken, "{status}: {delivered:?}");
            let post = soon("a post", posts.recv()).await.expect("the receiver lives");
            let (head, body) = post.split_once("\r\n\r\n").expect("a head and a body");
            assert!(head.starts_with("POST /hunter2 HTTP/1.1\r\n"), "{head}");
            assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
            let sent: AlertMessage = serde_json::from_str(body).expect("JSON");
            assert_eq!(sent, message());
            assert!(!format!("{delivered:?}").contains("hunter2"), "{delivered:?}");
        }
    });
}
