//! This host: the configuration on disk, what the daemon may do, the gate, security modules, and how late it wakes.

use crate::config::checked::Config;
use crate::config::{Loaded, Sources, flat, reload};
use crate::io::{clock, sys};
use crate::wire::control::doctor::Symptom;
use crate::wire::control::{Counters, Status};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Capabilities of capabilities(7) by their number, and what each is for.
const CAPABILITIES: [(u32, &str, &str); 4] = [
    (13, "CAP_NET_RAW", "VRRP, ARP and probe sockets"),
    (12, "CAP_NET_ADMIN", "the fence after a stop, and reading interfaces"),
    (23, "CAP_SYS_NICE", "real-time priority"),
    (14, "CAP_IPC_LOCK", "locked memory"),
];
const UNIT_REMEDY: &str = "start it with the unit that is shipped (systemd/apd.service), or as root";

/// What is on disk, against what runs; and addresses that only this host understands.
pub(super) fn configuration(running: &Loaded, file: &Path) -> Vec<Symptom> {
    const AREA: &str = "configuration";
    let mut found = vec![match reload::reload(running, &Sources::from_host(file)) {
        Err(errors) => {
            let first = errors.problems.first().map(ToString::to_string).unwrap_or_default();
            let text = format!(
                "the file on disk has {} errors, the next start fails: {first}",
                errors.problems.len()
            );
            Symptom::error(AREA, text).resolved_by("apctl config check")
        }
        Ok(reloaded) if reloaded.applied.is_empty() && reloaded.pending.is_empty() => {
            Symptom::good(AREA, format!("{} is valid, and is what runs", file.display()))
        }
        Ok(reloaded) => {
            let named = |changes: &[flat::Change]| {
                changes.iter().map(|change| change.key.as_str()).collect::<Vec<_>>().join(", ")
            };
            let (live, pending) = (named(&reloaded.applied), named(&reloaded.pending));
            let text = format!(
                "the file on disk is not what runs: {}",
                [live.as_str(), pending.as_str()]
                    .iter()
                    .filter(|names| !names.is_empty())
                    .copied()
                    .collect::<Vec<_>>()
                    .join(", ")
            );
            let remedy =
                if pending.is_empty() { "apctl reload" } else { "systemctl restart apd keeps the lease" };
            Symptom::warning(AREA, text).resolved_by(remedy)
        }
    }];
    found.extend(running.warnings.iter().map(|warning| {
        Symptom::warning(AREA, format!("{}: {}", warning.key, warning.what))
            .resolved_by(warning.remedy.clone())
    }));
    found.extend(addresses(&running.config, &Sources::from_host(file)));
    found
}

/// Loopback where the other node is meant; a virtual address that its interface's network does not hold.
fn addresses(config: &Config, sources: &Sources) -> Vec<Symptom> {
    const AREA: &str = "configuration";
    let mut found = Vec::new();
    for node in [&config.me, &config.peer] {
        if node.mariadb_address.ip().is_loopback() {
            let text = format!(
                "nodes.{}.mariadb_address is {}: the other node would replicate from itself",
                node.name, node.mariadb_address
            );
            let remedy = format!("write an address that both nodes reach, as {}:3306", node.address);
            found.push(Symptom::error(AREA, text).resolved_by(remedy));
        }
    }
    for virtual_address in &config.cluster.virtual_addresses {
        let device = sources.interfaces.iter().find(|interface| interface.name == virtual_address.device);
        let Some(device) = device else { continue };
        let wanted = u32::from(virtual_address.address);
        let inside = device.addresses.iter().any(|(address, prefix)| {
            *address != virtual_address.address
                && (u32::from(*address) ^ wanted).checked_shr(32 - u32::from(*prefix)).unwrap_or(0) == 0
        });
        if !inside && !device.addresses.is_empty() {
            let text = format!(
                "the virtual address {} is in no network of {}: clients in other networks are routed elsewhere",
                virtual_address.address, virtual_address.device
            );
            let remedy =
                "take an address of the interface's own network (in a cloud: one that may move, a HAVIP)";
            found.push(Symptom::warning(AREA, text).resolved_by(remedy));
        }
    }
    found
}

/// What this process may do.
pub(super) fn privileges(config: &Config) -> Vec<Symptom> {
    const AREA: &str = "privileges";
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().trim().to_owned()
    };
    let effective = u64::from_str_radix(&field("CapEff"), 16).unwrap_or(0);
    let missing = CAPABILITIES.iter().filter(|(number, ..)| effective >> number & 1 == 0);
    let mut found: Vec<Symptom> = missing
        .map(|(_, name, purpose)| {
            Symptom::error(AREA, format!("apd lacks {name}: {purpose}")).resolved_by(UNIT_REMEDY)
        })
        .collect();
    if found.is_empty() {
        found.push(Symptom::good(AREA, "apd has the four capabilities that it needs"));
    }
    if !config.lease.realtime {
        found.push(Symptom::note(AREA, "lease.realtime = false: a busy host can delay heartbeats"));
        return found;
    }
    found.push(match policy_of("pair").as_deref() {
        Some("2") => Symptom::good(AREA, "the control loop runs at real-time priority"),
        _ => Symptom::warning(
            AREA,
            "the control loop has no real-time priority: a busy host can cost it the lease",
        )
        .resolved_by("LimitRTPRIO=50 and CAP_SYS_NICE (systemd/apd.service), or a longer lease.duration"),
    });
    let locked = field("VmLck").split(' ').next().and_then(|kilobytes| kilobytes.parse::<u64>().ok());
    found.push(match locked {
        Some(kilobytes) if kilobytes > 0 => Symptom::good(AREA, "memory is locked"),
        _ => Symptom::warning(AREA, "memory is not locked: a swapping host can cost the lease")
            .resolved_by("LimitMEMLOCK=infinity and CAP_IPC_LOCK (systemd/apd.service)"),
    });
    found
}

/// The scheduling policy (2: round robin) of the first thread of this process with this name, as in proc_pid_stat(5).
fn policy_of(name: &str) -> Option<String> {
    let threads = fs::read_dir("/proc/self/task").ok()?;
    threads.flatten().find_map(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).ok()?;
        let (head, fields) = stat.rsplit_once(')')?;
        // The 41st field; the name in brackets was the second.
        head.ends_with(&format!("({name}")).then(|| fields.split_whitespace().nth(38).map(str::to_owned))?
    })
}

/// Security modules that could say no.
pub(super) fn security(enforce: &Path) -> Vec<Symptom> {
    vec![match fs::read_to_string(enforce).ok().as_deref().map(str::trim) {
        None => Symptom::good("privileges", "SELinux is not in force here"),
        Some("0") => Symptom::note("privileges", "SELinux is permissive: what it would deny is only logged"),
        Some(_) => Symptom::note("privileges", "SELinux is enforcing; it need not be turned off")
            .resolved_by(
                "if something is refused, this names it: ausearch -m AVC -c apd -c apd-gate -c mariadbd",
            ),
    }]
}

/// What the gate cannot do here.
pub(super) fn gate(status: &Status) -> Vec<Symptom> {
    if status.protection.limits.is_empty() {
        return vec![Symptom::good("gate", "the gate's nftables rules are in place")];
    }
    let limits = status.protection.limits.iter();
    limits
        .map(|limit| {
            Symptom::warning("gate", limit.clone())
                .resolved_by("nftables in the kernel and its program `nft` make the gate whole")
        })
        .collect()
}

/// How late a real-time thread wakes now, and how late the loop woke in this run.
pub(super) async fn timing(config: &Config, counters: &Counters) -> Vec<Symptom> {
    const AREA: &str = "timing";
    let lease = config.lease.duration;
    let measured = tokio::task::spawn_blocking(jitter).await.unwrap_or(Duration::MAX);
    let text = format!("a real-time thread wakes at most {:.1} ms late now", measured.as_secs_f64() * 1e3);
    let longer = "find what keeps the processors busy (steal time of a virtual machine?), or take a longer \
                  lease.duration (profile = \"tolerant\")";
    let mut found = vec![if measured > lease / 8 {
        Symptom::warning(AREA, format!("{text}; a slice of the lease is {} ms", (lease / 8).as_millis()))
            .resolved_by(longer)
    } else {
        Symptom::good(AREA, text)
    }];
    let stall = counters.loop_stall_max_ms;
    let text = format!("the control loop was at most {stall:.1} ms late in this run");
    found.push(if stall > lease.as_secs_f64() * 1e3 / 2.0 {
        Symptom::warning(AREA, format!("{text}, the lease is {} ms", lease.as_millis())).resolved_by(longer)
    } else {
        Symptom::good(AREA, text)
    });
    found
}

/// The latest of a hundred waits of a millisecond each.
fn jitter() -> Duration {
    let measure = || {
        sys::make_realtime(1);
        let wait = Duration::from_millis(1);
        let late = (0..100).map(|_| {
            let begun = clock::now();
            std::thread::sleep(wait);
            clock::now().since(begun).saturating_sub(wait)
        });
        late.max().unwrap_or_default()
    };
    // A thread of its own: the priority must not stay with one that others use.
    std::thread::scope(|scope| scope.spawn(measure).join()).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::control::doctor::Grade;

    #[test]
    fn r1_05_selinux_is_named_when_it_is_enforcing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("enforce");
        assert_eq!(security(&file)[0].grade, Grade::Good);
        fs::write(&file, "1").unwrap();
        let enforcing = &security(&file)[0];
        assert!(enforcing.text.contains("need not be turned off") && enforcing.remedy.contains("ausearch"));
        fs::write(&file, "0\n").unwrap();
        assert!(security(&file)[0].text.contains("permissive"));
    }

    #[test]
    fn the_policy_of_a_thread_is_read() {
        let named = std::thread::Builder::new().name("a (thread)".into());
        let policy = named.spawn(|| policy_of("a (thread)")).unwrap().join().unwrap();
        // SCHED_OTHER, or what a runner out of everybody's way has: SCHED_BATCH, SCHED_IDLE.
        assert!(["0", "3", "5"].map(Some).contains(&policy.as_deref()), "{policy:?}");
        assert_eq!(policy_of("no such thread"), None);
    }

    #[test]
    fn r4_01_a_virtual_address_outside_of_its_interface_s_network_is_named() {
        use crate::config::{Interface, load};
        let folder = tempfile::tempdir().unwrap();
        let sources = |address: &str| {
            let text = format!(
                "[cluster]\nname = \"shop\"\nvirtual_addresses = [\"{address}/24\"]\n[nodes.db1]\n\
                 address = \"192.168.33.101\"\n[nodes.db2]\naddress = \"192.168.33.102\"\n"
            );
            fs::write(folder.path().join("apd.toml"), text).unwrap();
            let address = std::net::Ipv4Addr::new(192, 168, 33, 101);
            Sources {
                hostname: "db1".into(),
                interfaces: vec![Interface { name: "eth0".into(), addresses: vec![(address, 24)] }],
                default_route: Some((std::net::Ipv4Addr::new(192, 168, 33, 1), "eth0".into())),
                ..Sources::from_host(folder.path().join("apd.toml"))
            }
        };
        let found = |address: &str| {
            let sources = sources(address);
            addresses(&load(&sources).unwrap().config, &sources)
        };
        assert_eq!(found("192.168.33.100"), []);
        let outside = found("192.168.34.100");
        assert_eq!(outside.len(), 1, "{outside:?}");
        assert!(outside[0].text.contains("192.168.34.100 is in no network of eth0"), "{outside:?}");
    }
}
