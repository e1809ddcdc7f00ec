//! Everything that a configuration is read from, so that it can be checked without the host that it is for.

use nix::ifaddrs::getifaddrs;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Where a configuration comes from, and what it needs to know of the host.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The main file; `conf.d` is looked for beside it.
    pub main_file: PathBuf,
    /// `APD__SECTION__KEY` variables, and `CREDENTIALS_DIRECTORY`; others are ignored.
    pub environment: Vec<(String, String)>,
    /// Dotted key and value, as (`node.name`, `db1`): the last layer.
    pub flags: Vec<(String, String)>,
    /// As `hostname` prints it.
    pub hostname: String,
    /// The host's network interfaces.
    pub interfaces: Vec<Interface>,
    /// Next hop and interface of the IPv4 default route.
    pub default_route: Option<(Ipv4Addr, String)>,
    /// Files that hold secrets are looked for below this folder: `/` on a host.
    pub root: PathBuf,
    /// Whether a secret that cannot be read is an error, as for the daemon, or a warning, as for commands
    /// that only show the configuration or that create the secret.
    pub secrets_required: bool,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// As `eth0`.
    pub name: String,
    /// IPv4 addresses with the length of their prefix.
    pub addresses: Vec<(Ipv4Addr, u8)>,
}

impl Sources {
    /// This host, as it is now, and the environment of this process.
    pub fn from_host(main_file: impl Into<PathBuf>) -> Sources {
        let variables = std::env::vars_os().filter_map(|(name, text)| {
            let name = name.into_string().ok()?;
            let wanted = name.starts_with("APD__") || name == "CREDENTIALS_DIRECTORY";
            wanted.then(|| (name, text.to_string_lossy().into_owned()))
        });
        Sources {
            main_file: main_file.into(),
            environment: variables.collect(),
            flags: Vec::new(),
            hostname: nix::unistd::gethostname()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            interfaces: interfaces(),
            default_route: default_route(),
            root: PathBuf::from("/"),
            secrets_required: true,
        }
    }

    /// The same, but a secret that cannot be read is only a warning.
    pub fn without_secrets(mut self) -> Sources {
        self.secrets_required = false;
        self
    }

    /// The interface that holds an address.
    pub fn holder(&self, address: Ipv4Addr) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.addresses.iter().any(|(held, _)| *held == address))
    }

    /// A variable of the environment.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.iter().find(|(key, _)| key == name).map(|(_, text)| text.as_str())
    }
}

fn interfaces() -> Vec<Interface> {
    let mut found: BTreeMap<String, Vec<(Ipv4Addr, u8)>> = BTreeMap::new();
    for entry in getifaddrs().into_iter().flatten() {
        let addresses = found.entry(entry.interface_name).or_default();
        let address = entry.address.as_ref().and_then(|address| address.as_sockaddr_in());
        let mask = entry.netmask.as_ref().and_then(|mask| mask.as_sockaddr_in());
        if let (Some(address), Some(mask)) = (address, mask) {
            addresses.push((address.ip(), u32::from(mask.ip()).leading_ones() as u8));
        }
    }
    found.into_iter().map(|(name, addresses)| Interface { name, addresses }).collect()
}

/// The default route of this thread's network namespace with the lowest metric.
fn default_route() -> Option<(Ipv4Addr, String)> {
    let thread = Path::new("/proc/thread-self/net/route");
    parse_default_route(&std::fs::read_to_string(thread).ok()?)
}

/// Reads the table of proc_pid_net(5): addresses are hexadecimal in the byte order of the host.
fn parse_default_route(table: &str) -> Option<(Ipv4Addr, String)> {
    const UP_AND_GATEWAY: u32 = 0x3;
    let routes = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [interface, "00000000", gateway, flags, _, _, metric, "00000000", ..] = fields.as_slice() else {
            return None;
        };
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let next_hop = Ipv4Addr::from(u32::from_str_radix(gateway, 16).ok()?.to_ne_bytes());
        let usable = flags & UP_AND_GATEWAY == UP_AND_GATEWAY;
        usable.then(|| (metric.parse().unwrap_or(u32::MAX), next_hop, (*interface).to_owned()))
    });
    routes.min().map(|(_, next_hop, interface)| (next_hop, interface))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_default_route_with_the_lowest_metric() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            wlan0\t00000000\t0102A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
            eth0\t00000000\t0121A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
            ppp0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t0021A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(parse_default_route(table), Some((Ipv4Addr::new(192, 168, 33, 1), "eth0".to_owned())));
        assert_eq!(parse_default_route("Iface\n"), None);
    }

    #[test]
    fn sees_the_loopback_interface_of_this_host() {
        assert!(interfaces().iter().any(|interface| interface.name == "lo"));
    }
}
