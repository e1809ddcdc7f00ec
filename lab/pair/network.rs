//! The switch between the machines: a bridge in a network of its own, with a gateway address, and the faults of
//! cables and paths.

use std::io::Write;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::machine::Machine;
use super::tools::run;

/// The address of the switch: the default route of both nodes, the usual probe target.
pub const GATEWAY: &str = "10.77.0.254";
/// The virtual address of the pair.
pub const VIRTUAL: &str = "10.77.0.100";
/// The length of the network's prefix.
pub const PREFIX: u8 = 24;

/// The hardware address of a machine, fixed so that a client can be pinned to it.
pub fn hardware_address(last_octet: u8) -> String {
    format!("02:77:00:00:00:{last_octet:02x}")
}

/// The switch.
pub struct Switch {
    /// The machine that holds the bridge.
    pub machine: Machine,
}

impl Switch {
    /// Makes the bridge with its gateway address.
    pub fn build(machine: Machine) -> Result<Self> {
        let switch = Self { machine };
        switch.batch(&format!(
            "link add bridge type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
             link set bridge address {}\naddress add {GATEWAY}/{PREFIX} dev bridge\nlink set bridge up\n",
            hardware_address(254)
        ))?;
        Ok(switch)
    }

    /// Plugs a machine in: its `eth0` gets the address 10.77.0.`octet` and, for a node, the default route.
    pub fn plug(&self, machine: &Machine, octet: u8) -> Result<()> {
        let (name, process, hardware) = (&machine.name, machine.process, hardware_address(octet));
        self.batch(&format!(
            "link add {name} type veth peer name eth0 address {hardware} netns {process}\n\
             link set {name} master bridge\nlink set {name} up\n"
        ))?;
        batch(
            machine,
            &format!(
                "address add 10.77.0.{octet}/{PREFIX} dev eth0\nlink set eth0 up\nroute add default via {GATEWAY}\n"
            ),
        )
    }

    /// Pulls the cable out for good; the port is gone afterwards.
    pub fn unplug(&self, name: &str) -> Result<()> {
        self.batch(&format!("link delete {name}\n"))
    }

    /// Takes a port down or up: the machine on it loses or regains its carrier.
    pub fn port(&self, name: &str, up: bool) -> Result<()> {
        self.batch(&format!("link set {name} {}\n", if up { "up" } else { "down" }))
    }

    /// Drops everything between two machines; both still reach everyone else.
    pub fn cut_between(&self, one: &str, other: &str) -> Result<()> {
        self.filter(&format!(
            "add table bridge cut\n\
             add chain bridge cut between {{ type filter hook forward priority 0; }}\n\
             add rule bridge cut between iifname {one} oifname {other} drop\n\
             add rule bridge cut between iifname {other} oifname {one} drop\n"
        ))
    }

    /// Drops everything from and to a machine; its carrier stays.
    pub fn isolate(&self, name: &str) -> Result<()> {
        self.filter(&format!(
            "add table bridge cut\n\
             add chain bridge cut in {{ type filter hook prerouting priority 0; }}\n\
             add chain bridge cut out {{ type filter hook postrouting priority 0; }}\n\
             add rule bridge cut in iifname {name} drop\n\
             add rule bridge cut out oifname {name} drop\n"
        ))
    }

    /// Ends `cut_between` and `isolate`.
    pub fn heal(&self) -> Result<()> {
        self.filter("add table bridge cut\ndelete table bridge cut\n")
    }

    /// Counts from now on the advertisements to each of these addresses.
    pub fn count_adverts(&self, to: &[&str]) -> Result<()> {
        let rules: String = to
            .iter()
            .map(|to| format!("add rule bridge count adverts ip protocol 112 ip daddr {to} counter\n"))
            .collect();
        self.filter(&format!(
            "add table bridge count\n\
             add chain bridge count adverts {{ type filter hook prerouting priority -1; }}\n{rules}"
        ))
    }

    /// How many advertisements to this address [`Switch::count_adverts`] has seen.
    pub fn adverts(&self, to: &str) -> Result<u64> {
        let rules =
            run(self.machine.in_network("nft").args(["list", "chain", "bridge", "count", "adverts"]))?;
        let line =
            rules.lines().find(|line| line.contains(&format!("daddr {to} "))).context("no such rule")?;
        let count =
            line.split_once("packets ").and_then(|(_, rest)| rest.split(' ').next()).context("no counter")?;
        Ok(count.parse()?)
    }

    /// Feeds lines to `nft`.
    pub fn filter(&self, lines: &str) -> Result<()> {
        feed(&self.machine, "nft", &["-f", "-"], lines)
    }

    fn batch(&self, lines: &str) -> Result<()> {
        batch(&self.machine, lines)
    }
}

/// Feeds lines to `ip` in the network of a machine.
pub fn batch(machine: &Machine, lines: &str) -> Result<()> {
    feed(machine, "ip", &["-batch", "-"], lines)
}

fn feed(machine: &Machine, program: &str, arguments: &[&str], lines: &str) -> Result<()> {
    let mut command = machine.in_network(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    let mut input = child.stdin.take().context("the child has no standard input")?;
    input.write_all(lines.as_bytes())?;
    drop(input);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "{program} on {}: {} in:\n{lines}",
            machine.name,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
