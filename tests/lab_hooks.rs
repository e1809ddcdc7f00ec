//! What others are told of a pair: hooks, the files of old scripts, and alerts; none of it ever holds the pair up. The
//! names of the tests are the rows of the requirements that they prove.

#[path = "support/lab.rs"]
mod lab;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::pair::fault::{Fault, Target};
use lab::pair::tools::now_ns;
use lab::{BOUND_MS, Lab};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;

/// An old script that only knows keepalived's arguments, one that reads what is new, one that hangs, one that fails.
const HOOKS: &str = r#"
[node]
state_file = "/var/lib/apd/keepalived-state"
transition_log = "/var/lib/apd/keepalived.log"

[[hook]]
argv = ["/etc/apd/notify.sh", "mine"]
user = "root"

[[hook]]
argv = ["/etc/apd/broken.sh"]
on = ["standby"]
user = "root"

[[hook]]
argv = ["/etc/apd/slow.sh"]
on = ["active"]
timeout = "60s"
user = "root"
"#;

const SCRIPTS: &str = r#"
cat >/etc/apd/notify.sh <<'END'
#!/bin/sh
read -r json
echo "$1 $2 $3 $4 $5" >>/var/lib/apd/notified
echo "$json" >>/var/lib/apd/events
END
cat >/etc/apd/broken.sh <<'END'
#!/bin/sh
echo "no such service" >&2
exit 3
END
cat >/etc/apd/slow.sh <<'END'
#!/bin/sh
echo $$ >/var/lib/apd/slow
sleep 60
END
chmod 755 /etc/apd/*.sh
"#;

fn file(lab: &Lab, index: usize, name: &str) -> Result<String> {
    lab.shell(index, &format!("cat /var/lib/apd/{name} 2>/dev/null || true"))
}

fn wait_state(lab: &Lab, index: usize, word: &str) -> Result<()> {
    lab.eventually(&format!("the state file says {word}"), || {
        Ok(file(lab, index, "keepalived-state")? == word)
    })
}

fn notified(lab: &Lab, index: usize) -> Result<Vec<String>> {
    Ok(file(lab, index, "notified")?.lines().map(str::to_owned).collect())
}

/// A hook that sleeps for a minute holds nothing up: advertisements go on, clients are served, the roles can be
/// swapped meanwhile, and a stop ends it. The others are told in order, with keepalived's arguments and JSON; one that
/// fails is shown; the state file and the transition log follow; the daemon says STOP before it exits.
#[test]
fn r0_19_r4_11_r4_16_r4_18_hooks_are_told_and_never_waited_for() -> Result<()> {
    let lab = Lab::prepared(|text| text + HOOKS)?;
    (0..2).try_for_each(|index| lab.shell(index, SCRIPTS).map(|_| ()))?;
    lab.bring_up()?;
    let active = lab.active()?;
    lab.eventually("the slow hook runs", || Ok(!file(&lab, active, "slow")?.is_empty()))?;
    let (role, other) = (if active == 0 { 110 } else { 100 }, if active == 0 { 100 } else { 110 });
    lab.eventually("the standby is told", || {
        Ok(notified(&lab, 1 - active)?.last() == Some(&format!("mine INSTANCE lab BACKUP {other}")))
    })?;
    let told = notified(&lab, active)?;
    ensure!(told.last() == Some(&format!("mine INSTANCE lab MASTER {role}")), "{told:?}");
    wait_state(&lab, active, "MASTER")?;
    wait_state(&lab, 1 - active, "BACKUP")?;
    lab.eventually("the failed hook is shown", || {
        Ok(lab.warnings(1 - active)?.contains("exit code 3: no such service"))
    })?;

    // The slow one runs, and the pair does not notice.
    lab.stays_served_by(active)?;
    let age = lab.status(1 - active)?["peer"]["advert_age_ms"].as_u64().context("no advertisement")?;
    ensure!(age < BOUND_MS, "the last advertisement is {age} ms old");
    let at = now_ns();
    lab.apctl(active, &["switchover", "--yes"]).with_context(|| lab.pair.logs())?;
    lab.wait_served_by(1 - active)?;
    lab.outage_at_most(at, 500)?;
    wait_state(&lab, 1 - active, "MASTER")?;
    wait_state(&lab, active, "BACKUP")?;
    let slow = file(&lab, active, "slow")?;
    lab.shell(active, &format!("kill -0 {}", slow.trim())).context("the slow hook was not left alone")?;

    stop_is_told(&lab, active, slow.trim())?;
    let lines = file(&lab, active, "keepalived.log")?;
    let words: Vec<&str> =
        lines.lines().filter_map(|line| line.split_once("] ")).map(|(_, word)| word).collect();
    ensure!(words.ends_with(&["notify_master", "notify_backup", "notify_stop"]), "{lines}");
    for line in lines.lines() {
        let time = line.strip_prefix('[').and_then(|rest| rest.get(..19)).context("no time")?;
        jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", time).with_context(|| line.to_owned())?;
    }
    let events = file(&lab, active, "events")?;
    let last: serde_json::Value = serde_json::from_str(events.lines().last().context("no event")?)?;
    ensure!(
        last["event"] == "stop" && last["state"] == "STOP" && last["node"] == ["db1", "db2"][active],
        "{last}"
    );
    lab.stays_served_by(1 - active)?;
    lab.one_writer()
}

/// A stop: the slow hook is ended, STOP is told before the daemon exits, and that takes seconds.
fn stop_is_told(lab: &Lab, index: usize, slow: &str) -> Result<()> {
    let begin = Instant::now();
    lab.signal(index, Target::Daemon, Signal::SIGTERM)?;
    lab.eventually("the daemon has exited", || {
        Ok(lab.pair.setup.daemon(lab.pair.nodes[index].machine()?).is_empty())
    })?;
    ensure!(begin.elapsed() < Duration::from_secs(20), "the stop took {:?}", begin.elapsed());
    ensure!(file(lab, index, "keepalived-state")? == "STOP", "the state file was not told");
    let told = notified(lab, index)?;
    ensure!(told.last().is_some_and(|line| line.contains(" STOP ")), "{told:?}");
    ensure!(lab.shell(index, &format!("kill -0 {slow} 2>/dev/null")).is_err(), "the slow hook still runs");
    Ok(())
}

/// Listens in the network of the client, and hands on each connection.
fn listen(lab: &Lab) -> Result<(u16, mpsc::Receiver<TcpStream>)> {
    let network = File::open(format!("/proc/{}/ns/net", lab.pair.client().process))?;
    let bound = std::thread::spawn(move || -> Result<TcpListener> {
        setns(network, CloneFlags::CLONE_NEWNET)?;
        Ok(TcpListener::bind("10.77.0.10:0")?)
    });
    let listener = bound.join().map_err(|_| anyhow::anyhow!("the listener panicked"))??;
    let port = listener.local_addr()?.port();
    let (sender, connections) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if sender.send(stream).is_err() {
                return;
            }
        }
    });
    Ok((port, connections))
}

/// Reads one POST and answers it; the codes of its alerts.
fn take_post(mut stream: &TcpStream, status: &str) -> Result<Vec<String>> {
    stream.set_read_timeout(Some(lab::PATIENCE))?;
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line)?;
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    std::io::Read::read_exact(&mut reader, &mut body)?;
    stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes())?;
    let message: serde_json::Value = serde_json::from_slice(&body)?;
    let alerts = message["alerts"].as_array().context("no alerts")?;
    Ok(alerts.iter().filter_map(|alert| alert["code"].as_str().map(str::to_owned)).collect())
}

/// A relay that never says a word, and a webhook that first refuses: the failover takes as long as ever, the alert
/// arrives at the webhook at a later try, and the status says which way does not work.
#[test]
fn r4_06_alerts_are_tried_again_and_hold_nothing_up() -> Result<()> {
    let mut lab = Lab::prepared(|text| text + "\n# The alerts' ports follow.\n")?;
    let (smtp, _mute) = listen(&lab)?;
    let (webhook, posts) = listen(&lab)?;
    for index in 0..2 {
        lab.shell(
            index,
            &format!(
                "printf '[alerts.smtp]\\nserver = \"10.77.0.10:{smtp}\"\\nfrom = \"apd@lab.example\"\\n\
                 to = [\"oncall@lab.example\"]\\nconnect_timeout = \"1s\"\\n\
                 [alerts.webhook]\\nurl = \"http://10.77.0.10:{webhook}/alert\"\\n' >>/etc/apd/apd.toml"
            ),
        )?;
    }
    lab.bring_up()?;
    let active = lab.active()?;
    // What the start had to say is taken.
    let begin = Instant::now();
    while let Ok(stream) = posts.recv_timeout(Duration::from_secs(3)) {
        take_post(&stream, "200 OK")?;
        ensure!(begin.elapsed() < lab::PATIENCE, "alerts without end at the start of a healthy pair");
    }
    let at = lab.inject(Fault::PowerOff, active)?;
    lab.wait_served_by(1 - active)?;
    lab.outage_at_most(at, BOUND_MS)?;
    let refused = take_post(&posts.recv_timeout(lab::PATIENCE)?, "503 Later")?;
    lab.eventually("the way that fails is shown", || {
        Ok(lab.warnings(1 - active)?.contains("alerts.webhook"))
    })?;
    let taken = take_post(&posts.recv_timeout(lab::PATIENCE)?, "200 OK")?;
    ensure!(taken.starts_with(&refused), "{refused:?} was refused, and then came {taken:?}");
    ensure!(taken.iter().any(|code| code == "takeover.done"), "{taken:?}");
    lab.eventually("the way works again", || Ok(!lab.warnings(1 - active)?.contains("alerts.webhook")))?;
    lab.eventually("the mute relay is shown", || Ok(lab.warnings(1 - active)?.contains("alerts.smtp")))?;
    lab.stays_served_by(1 - active)?;
    lab.one_writer()
}
