//! The only module with `unsafe`: thin wrappers for system calls that neither nix nor socket2 offers
//! safely. Each is safe to call with any argument; each block says why it is sound.
//!
//! Safe calls that belong to the same purpose (memory locking, timer slack) stand here too, so that what
//! makes a thread real-time is read in one place.
#![allow(unsafe_code)]

use nix::net::if_::if_nametoindex;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::prctl;
use socket2::{SockAddr, SockAddrStorage, Socket};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor whose readiness the current tokio runtime watches.
///
/// A type of our own around [`AsyncFd`], because `AsyncFd::get_mut` would let a caller swap the descriptor,
/// on which its soundness rests.
#[derive(Debug)]
pub struct Watched(AsyncFd<OwnedFd>);

impl Watched {
    /// Registers a descriptor, which must be non-blocking already. Panics outside a runtime with its I/O
    /// driver enabled.
    pub fn new(descriptor: impl Into<OwnedFd>) -> io::Result<Self> {
        let descriptor: OwnedFd = descriptor.into();
        // SAFETY: an OwnedFd is open until it is dropped and always gives the same number; nothing hands
        // out a `&mut` to it; AsyncFd deregisters it before it drops it.
        let registered = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
        Ok(Self(registered?))
    }

    /// The descriptor, for calls that do not wait.
    pub fn descriptor(&self) -> &OwnedFd {
        self.0.get_ref()
    }

    /// Waits until `attempt` does something else than would-block. Cancel-safe, if `attempt` consumes
    /// nothing when it would block.
    pub async fn when_readable<R>(
        &self,
        mut attempt: impl FnMut(&OwnedFd) -> io::Result<R>,
    ) -> io::Result<R> {
        self.0.async_io(Interest::READABLE, |descriptor| attempt(descriptor)).await
    }
}

/// What [`make_realtime`] achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduling {
    /// SCHED_RR with this priority.
    RoundRobin(i32),
    /// SCHED_RR was refused (rlimit, capability, or a cpu cgroup without real-time budget); nice -20 instead.
    Nice {
        /// Why SCHED_RR was refused, as an errno.
        refused: i32,
    },
    /// Both were refused: an ordinary thread.
    Ordinary {
        /// Why SCHED_RR was refused, as an errno.
        refused: i32,
    },
}

/// Makes the calling thread real-time: SCHED_RR with `priority` (1 to 99), not inherited by what it forks
/// (sched(7)); where that is refused, nice -20. Also asks for exact timers (PR_SET_TIMERSLACK).
///
/// Measured (4 CPU hogs): an ordinary thread wakes up to 237 ms late, nice -20 78 ms, SCHED_RR 7 ms.
pub fn make_realtime(priority: i32) -> Scheduling {
    let exact = prctl::set_timerslack(1);
    debug_assert!(exact.is_ok(), "PR_SET_TIMERSLACK takes any value");
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the call reads `parameters`, which lives across it, and changes the calling thread only.
    let result =
        unsafe { libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &parameters) };
    if result == 0 {
        return Scheduling::RoundRobin(priority);
    }
    let refused = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EPERM);
    // SAFETY: takes integers only; on Linux `who` 0 is the calling thread (setpriority(2)).
    let nice = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
    if nice == 0 { Scheduling::Nice { refused } } else { Scheduling::Ordinary { refused } }
}

/// The SCHED_RR priority of the calling thread; `None` for an ordinary thread. For threads that serve a
/// real-time one: RESET_ON_FORK means that they start ordinary.
pub fn realtime_priority() -> Option<i32> {
    // SAFETY: takes an integer only; 0 is the calling thread.
    let policy = unsafe { libc::sched_getscheduler(0) };
    if policy & !libc::SCHED_RESET_ON_FORK != libc::SCHED_RR {
        return None;
    }
    let mut parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the call writes one sched_param, and `parameters` is one.
    let result = unsafe { libc::sched_getparam(0, &raw mut parameters) };
    (result == 0).then_some(parameters.sched_priority)
}

/// Makes another process of ours real-time, one that the calling thread waits for: what a real-time thread
/// starts begins as an ordinary one. False where that is refused, or the process is gone.
pub fn make_child_realtime(process: u32, priority: i32) -> bool {
    let Ok(process) = i32::try_from(process) else { return false };
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the call reads `parameters`, which lives across it; a process id is a plain number, and one
    // that no longer exists is refused.
    unsafe { libc::sched_setscheduler(process, libc::SCHED_RR, &parameters) == 0 }
}

/// As whom a program runs that an operator configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub user: u32,
    /// Group id.
    pub group: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// Makes a program of an operator an ordinary one: as `identity` where one is given (only root may change it),
/// without the capabilities that apd hands down, with ordinary priority, and killed under memory pressure before apd.
pub fn make_ordinary(command: &mut Command, identity: Option<Identity>) {
    let in_child = move || {
        reset_inherited();
        if let Some(Identity { user, group, groups }) = &identity {
            // SAFETY: setgroups reads `groups.len()` numbers from a vector that lives across the call; the others
            // take numbers only.
            let changed = unsafe {
                libc::setgroups(groups.len(), groups.as_ptr()) == 0
                    && libc::setgid(*group) == 0
                    && libc::setuid(*user) == 0
            };
            if !changed {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls on memory that it owns, and nothing else: no
    // allocation, no lock. An error without a text of its own allocates nothing either.
    unsafe { command.pre_exec(in_child) };
}

/// What a child has from apd and an ordinary program must not have. Where the kernel refuses, it stays.
fn reset_inherited() {
    const SCORE: &std::ffi::CStr = c"/proc/self/oom_score_adj";
    // SAFETY: the paths and buffers are constants or live on this stack, and each length is theirs; the rest takes
    // numbers only.
    unsafe {
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        if libc::getpriority(libc::PRIO_PROCESS, 0) < 0 {
            libc::setpriority(libc::PRIO_PROCESS, 0, 0);
        }
        let file = libc::open(SCORE.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        if file >= 0 {
            let mut first = 0_u8;
            if libc::read(file, (&raw mut first).cast(), 1) == 1 && first == b'-' {
                libc::write(file, c"0".as_ptr().cast(), 1);
            }
            libc::close(file);
        }
    }
}

/// Keeps every page of the process, present and future, in memory once it was touched (mlockall(2)).
///
/// Fails with EPERM or ENOMEM without CAP_IPC_LOCK beyond RLIMIT_MEMLOCK. ONFAULT, because without it the
/// stacks of all threads would be filled at once.
pub fn lock_memory() -> io::Result<()> {
    let on_fault = MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault)?;
    Ok(())
}

/// The index of an interface in this network namespace; ENODEV if there is none of that name.
pub fn interface_index(interface: &str) -> io::Result<u32> {
    Ok(if_nametoindex(interface)?)
}

/// The link-layer address to give to `bind` and `send_to` of an AF_PACKET socket (packet(7)).
/// `protocol` is an EtherType in host order.
pub fn packet_address(interface_index: u32, protocol: u16) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_ll is one of this platform's sockaddr types, and fits into the storage.
    let address: &mut libc::sockaddr_ll = unsafe { storage.view_as() };
    address.sll_family = libc::AF_PACKET as libc::sa_family_t;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = interface_index.cast_signed();
    address.sll_halen = 6;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the storage holds an initialised sockaddr_ll of this length.
    unsafe { SockAddr::new(storage, length) }
}

/// The Ethernet address of an interface (SIOCGIFHWADDR, netdevice(7)): no netlink dump, no routing lock.
/// `socket` is any socket of the namespace. An interface that is not Ethernet gives `Unsupported`.
pub fn hardware_address(socket: &Socket, interface: &str) -> io::Result<[u8; 6]> {
    let name = interface.as_bytes();
    if name.is_empty() || name.len() >= libc::IFNAMSIZ {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    // SAFETY: ifreq is plain data for which all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (target, byte) in request.ifr_name.iter_mut().zip(name) {
        *target = byte.cast_signed();
    }
    // SAFETY: the name is terminated by the zeros behind it; the kernel writes ifr_hwaddr within `request`.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFHWADDR as _, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: after SIOCGIFHWADDR the kernel has filled the union's ifru_hwaddr.
    let address = unsafe { request.ifr_ifru.ifru_hwaddr };
    if address.sa_family != libc::ARPHRD_ETHER {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("interface {interface} is not Ethernet (hardware type {})", address.sa_family),
        ));
    }
    let mut mac = [0; 6];
    for (target, byte) in mac.iter_mut().zip(address.sa_data) {
        *target = byte.cast_unsigned();
    }
    Ok(mac)
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Type};

    #[test]
    fn unknown_and_unsuitable_interfaces_are_errors() {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        assert_eq!(interface_index("no-such-if").unwrap_err().raw_os_error(), Some(libc::ENODEV));
        for name in ["no-such-if", "", "a-name-that-is-too-long"] {
            let error = hardware_address(&socket, name).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENODEV), "{name}");
        }
        assert_eq!(hardware_address(&socket, "lo").unwrap_err().kind(), io::ErrorKind::Unsupported);
    }

    #[test]
    fn realtime_is_granted_or_the_refusal_is_named() {
        // On a thread of its own, because the scheduling of the test runner's must not change.
        let outcome = std::thread::spawn(|| {
            let granted = make_realtime(2);
            (granted, realtime_priority())
        });
        match outcome.join().unwrap() {
            (Scheduling::RoundRobin(2), priority) => assert_eq!(priority, Some(2)),
            (Scheduling::Nice { refused } | Scheduling::Ordinary { refused }, priority) => {
                assert_eq!(refused, libc::EPERM);
                assert_eq!(priority, None);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(realtime_priority(), None, "only that thread");
    }
}
