//! The gate's nftables tables as text, and `nft` to install them: once at the start, and again when
//! someone else flushed them. The elements in them are written by [`crate::io::nft`].
//!
//! One command a line: `nft` 1.0.6 (Debian 12) does not accept two closing braces on one line. All lines of
//! a text are one transaction of the kernel.

use super::plan::Plan;
use crate::io::sys;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use thiserror::Error;

/// `nft` needs about 10 ms; one that hangs must not hold up the lease.
const NFT_WITHIN: Duration = Duration::from_secs(2);

/// Why the tables are not installed.
#[derive(Debug, Error)]
pub enum TablesError {
    /// No such program.
    #[error("cannot run `nft`: {0}; install the package nftables")]
    Missing(std::io::Error),
    /// It did not end in time.
    #[error("`nft` did not end within {} s", NFT_WITHIN.as_secs())]
    Hung,
    /// It refused.
    #[error("`nft` failed: {0}")]
    Refused(String),
}

/// What a kernel's nf_tables may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Tables of the arp family.
    pub arp: bool,
    /// `reject with tcp reset` in prerouting (Linux 5.9, module nft_reject_inet).
    pub reset: bool,
}

impl Features {
    /// From all to none.
    pub const ALL: [Self; 4] = [
        Self { arp: true, reset: true },
        Self { arp: true, reset: false },
        Self { arp: false, reset: true },
        Self { arp: false, reset: false },
    ];

    /// What an operator should know about what is lacking; `None` if nothing is.
    pub fn lacking(self) -> Option<&'static str> {
        match (self.arp, self.reset) {
            (true, true) => None,
            (true, false) => {
                Some("no reject in nf_tables: who connects to a closed node waits instead of being refused")
            }
            (false, true) => Some("no arp family in nf_tables: a closed node may answer ARP"),
            (false, false) => Some("no arp family and no reject in nf_tables: a closed node may answer ARP"),
        }
    }
}

/// The tables of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    /// Commands for `nft -f -`. Replaces tables of the same name; closed, whatever was open before.
    pub text: String,
    /// Name of a set that marks exactly this text.
    pub mark: String,
    /// How many rules it has.
    pub rules: usize,
}

impl Tables {
    /// Writes the text. Without a virtual address there is no table of the arp family.
    pub fn new(plan: &Plan, features: Features) -> Self {
        let mut families = vec![("inet", inet_rules(plan, features.reset))];
        if features.arp && !plan.addresses.is_empty() {
            families.push(("arp", arp_rules(plan)));
        }
        let bodies: String = families.iter().map(|(_, body)| body.as_str()).collect();
        let mark = format!("text_{:016x}", fnv1a(bodies.as_bytes()));
        let mut text = String::new();
        for (family, body) in &families {
            let table = &plan.table;
            let _ = writeln!(text, "add table {family} {table}\ndelete table {family} {table}");
            let _ = writeln!(text, "add table {family} {table}");
            let _ = writeln!(text, "add set {family} {table} {mark} {{ type mark; }}");
            text.push_str(body);
        }
        let rules = bodies.lines().filter(|line| line.starts_with("add rule")).count();
        Self { text, mark, rules }
    }

    /// With the replication stream cut from the start.
    pub fn with_cut(&self, plan: &Plan) -> String {
        format!("{}add element inet {} cut {{ ipv4 }}\n", self.text, plan.table)
    }
}

/// Sees packets before any address translation (prerouting at raw) and after it (postrouting, late), so that
/// a service in a container is gated too; ports only where they are this host's own (input, output).
fn inet_rules(plan: &Plan, reset: bool) -> String {
    let t = format!("inet {}", plan.table);
    let shut = "meta nfproto != @lease drop";
    let peers = list(&plan.peers);
    let (own, theirs) = (plan.own_database_port, plan.peer_database_port);
    let mut text = format!(
        "add set {t} lease {{ type nf_proto; flags timeout; }}\n\
         add set {t} guard {{ type nf_proto; flags timeout; }}\n\
         add set {t} cut {{ type nf_proto; }}\n\
         add set {t} port {{ type inet_service; }}\n\
         add chain {t} to_port {{ type filter hook input priority -300; policy accept; }}\n\
         add rule {t} to_port iifname \"lo\" accept\n\
         add rule {t} to_port ip saddr {{ {peers} }} tcp dport {own} meta nfproto @cut drop\n\
         add rule {t} to_port ip saddr {{ {peers} }} tcp sport {theirs} meta nfproto @cut drop\n\
         add rule {t} to_port ip saddr {{ {peers} }} accept\n\
         add rule {t} to_port tcp dport @port {shut}\n\
         add chain {t} from_port {{ type filter hook output priority -300; policy accept; }}\n\
         add rule {t} from_port oifname \"lo\" accept\n\
         add rule {t} from_port ip daddr {{ {peers} }} tcp sport {own} meta nfproto @cut drop\n\
         add rule {t} from_port ip daddr {{ {peers} }} tcp dport {theirs} meta nfproto @cut drop\n\
         add rule {t} from_port ip daddr {{ {peers} }} accept\n\
         add rule {t} from_port tcp sport @port tcp flags & rst == rst accept\n\
         add rule {t} from_port tcp sport @port {shut}\n"
    );
    if !plan.ports.is_empty() {
        let _ = writeln!(text, "add element {t} port {{ {} }}", list(&plan.ports));
    }
    if !plan.addresses.is_empty() {
        let connects = "tcp flags & (syn | ack) == syn meta nfproto != @lease reject with tcp reset";
        // A client whose connection was reset is back at once, before the other node has announced itself: dropped,
        // its SYN would be sent again after a second.
        let refuse = match reset {
            true => format!("add rule {t} to_address ip daddr @address {connects}\n"),
            false => String::new(),
        };
        let _ = write!(
            text,
            "add set {t} address {{ type ipv4_addr; }}\n\
             add element {t} address {{ {} }}\n\
             add chain {t} to_address {{ type filter hook prerouting priority -300; policy accept; }}\n\
             {refuse}\
             add rule {t} to_address ip daddr @address {shut}\n\
             add chain {t} from_address {{ type filter hook postrouting priority 300; policy accept; }}\n\
             add rule {t} from_address ip saddr @address tcp flags & rst == rst accept\n\
             add rule {t} from_address ip saddr @address {shut}\n",
            virtual_addresses(plan)
        );
    }
    text
}

/// The kernel answers for a virtual address only while the lease lives.
fn arp_rules(plan: &Plan) -> String {
    let t = format!("arp {}", plan.table);
    let shut = "meta protocol != @lease drop";
    format!(
        "add set {t} lease {{ type ether_type; flags timeout; }}\n\
         add set {t} address {{ type ipv4_addr; }}\n\
         add element {t} address {{ {} }}\n\
         add chain {t} asked {{ type filter hook input priority 0; policy accept; }}\n\
         add rule {t} asked arp operation request arp daddr ip @address {shut}\n\
         add chain {t} said {{ type filter hook output priority 0; policy accept; }}\n\
         add rule {t} said arp saddr ip @address {shut}\n",
        virtual_addresses(plan)
    )
}

fn virtual_addresses(plan: &Plan) -> String {
    list(&plan.addresses.iter().map(|virtual_address| virtual_address.address).collect::<Vec<_>>())
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// FNV-1a: tells one text from another; nobody is kept from forging it.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Deletes the tables of a name, whichever exist.
pub fn remove(table: &str) -> Result<(), TablesError> {
    for family in ["inet", "arp"] {
        let removed = run_nft(&format!("add table {family} {table}\ndelete table {family} {table}\n"));
        if family == "inet" {
            removed?;
        }
    }
    Ok(())
}

/// Runs `nft -f -` on a text, bounded.
pub fn run_nft(text: &str) -> Result<(), TablesError> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(TablesError::Missing)?;
    // The gate's thread waits for it, and meanwhile no lease is written.
    if let Some(priority) = sys::realtime_priority() {
        sys::make_child_realtime(child.id(), priority);
    }
    if let Some(mut input) = child.stdin.take() {
        // A few kilobytes, less than a pipe holds; whether `nft` liked them shows in its end.
        let _ = input.write_all(text.as_bytes());
    }
    let outcome = wait(&mut child);
    if outcome.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    outcome
}

/// Reads what `nft` complains of until it ends or its time is over.
fn wait(child: &mut Child) -> Result<(), TablesError> {
    let deadline = Instant::now() + NFT_WITHIN;
    let mut complaint = Vec::new();
    if let Some(mut errors) = child.stderr.take() {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(TablesError::Hung);
            }
            let mut waiting = [PollFd::new(errors.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            if !poll(&mut waiting, timeout).is_ok_and(|ready| ready > 0) {
                continue;
            }
            let mut piece = [0; 1024];
            match errors.read(&mut piece) {
                Ok(0) | Err(_) => break,
                Ok(length) => complaint.extend_from_slice(&piece[..length]),
            }
        }
    }
    // Its end of the pipe is closed: it is at its end.
    let status = child.wait().map_err(TablesError::Missing)?;
    let first = String::from_utf8_lossy(&complaint).lines().next().unwrap_or("no reason given").to_owned();
    if status.success() { Ok(()) } else { Err(TablesError::Refused(first)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::checked::VirtualAddress;
    use std::net::Ipv4Addr;
    use std::path::PathBuf;

    fn plan() -> Plan {
        Plan {
            table: "apd_51".into(),
            addresses: vec![VirtualAddress {
                address: Ipv4Addr::new(10, 0, 0, 100),
                prefix: 24,
                device: "eth0".into(),
            }],
            ports: vec![3306, 8085],
            peers: vec![Ipv4Addr::new(10, 0, 0, 2)],
            own_database_port: 3306,
            peer_database_port: 3306,
            run_dir: PathBuf::from("/run/apd"),
        }
    }

    #[test]
    fn the_mark_changes_with_the_rules_and_only_with_them() {
        let tables = Tables::new(&plan(), Features::ALL[0]);
        assert_eq!(tables, Tables::new(&plan(), Features::ALL[0]));
        let mut other = plan();
        other.ports.push(9000);
        assert_ne!(tables.mark, Tables::new(&other, Features::ALL[0]).mark);
        assert_ne!(tables.mark, Tables::new(&plan(), Features::ALL[1]).mark);
        assert!(tables.text.contains(&tables.mark));
    }

    #[test]
    fn without_an_address_only_ports_are_gated() {
        let mut bare = plan();
        bare.addresses.clear();
        let tables = Tables::new(&bare, Features::ALL[0]);
        assert!(!tables.text.contains("arp") && !tables.text.contains("prerouting"), "{}", tables.text);
        bare.ports.clear();
        assert!(!Tables::new(&bare, Features::ALL[0]).text.contains("add element"));
    }

    #[test]
    fn no_line_closes_two_braces() {
        assert!(!Tables::new(&plan(), Features::ALL[0]).text.contains("} }"));
    }
}
