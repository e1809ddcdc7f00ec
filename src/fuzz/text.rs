//! What people and programs write: the configuration, the mode file, lists of GTIDs, requests and answers.

use crate::config::{Interface, Sources, load, render_effective};
use crate::decision::gtid::{Gtid, GtidState};
use crate::decision::words::Mode;
use crate::io::mode_file;
use crate::wire::control::operation::command;
use crate::wire::control::{
    Explain, History, Operation, Problem, RequestBody, Status, Timeline, health, meter,
};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::fs::File;
use std::io::{Error, ErrorKind, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// A mode file, and after a zero byte the note beside it. What is no mode is maintenance, with a problem.
pub fn mode(bytes: &[u8]) {
    let (word, note) = match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[][..]),
    };
    let text = String::from_utf8(word.to_vec()).map_err(|error| Error::new(ErrorKind::InvalidData, error));
    let plain = text.as_ref().ok().map(|text| text.trim().to_owned());
    let reading = mode_file::judge(text, note, Path::new("mode"));
    assert!(reading.problem.is_none() || reading.mode == Mode::Maintenance, "garbage is maintenance");
    if reading.problem.is_none() {
        let plain = plain.unwrap_or_default();
        let word = plain.strip_prefix("being ").unwrap_or(&plain).trim();
        assert_eq!(word.parse(), Ok(reading.mode));
        assert_eq!(reading.interrupted, plain.starts_with("being "));
    }
}

/// Two lists of GTIDs, a line each: read and written again as the same, and the laws of sets.
pub fn gtid(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (first, second) = text.split_once('\n').unwrap_or((text, ""));
    let (Ok(a), Ok(b)) = (first.parse::<GtidState>(), second.parse::<GtidState>()) else { return };
    assert_eq!(a.to_string().parse::<GtidState>().as_ref(), Ok(&a));
    let both = a.union(&b);
    assert_eq!(both, b.union(&a));
    assert!(both.covers(&a) && both.covers(&b) && a.covers(&a));
    assert_eq!(a.covers(&b) && b.covers(&a), a == b || same_without_zeros(&a, &b));
    assert_eq!(a.covers(&b), b.beyond(&a).is_empty());
    assert!(a.reaches(&a.position()) && both.reaches(&a.position()));
    assert!(!a.covers(&b) || a.distance_from(&b) >= b.distance_from(&a));
    for missing in a.beyond(&b) {
        assert!(missing.after < missing.last && !missing.to_string().is_empty());
    }
}

/// No server counts from 0; where a list says so, it says nothing.
fn same_without_zeros(a: &GtidState, b: &GtidState) -> bool {
    let counted =
        |state: &GtidState| -> Vec<Gtid> { state.iter().filter(|gtid| gtid.sequence > 0).collect() };
    counted(a) == counted(b)
}

/// What is said over the control socket, both ways.
pub fn control(bytes: &[u8]) {
    if let Some(body) = again::<RequestBody>(bytes) {
        for name in ["switchover", "failover", "mode", "rejoin", "clear", "start", "stop", ""] {
            if let Ok(command) = command(name, body.clone()) {
                let text = serde_json::to_vec(&command).unwrap_or_default();
                assert_eq!(serde_json::from_slice(&text).ok(), Some(command));
            }
        }
    }
    if let Some(status) = again::<Status>(bytes) {
        let _ = (health::primary(&status), health::replica(&status, None), health::healthy(&status));
        let _ = meter(&status);
    }
    again::<Explain>(bytes);
    again::<History>(bytes);
    again::<Timeline>(bytes);
    again::<Operation>(bytes);
    again::<Problem>(bytes);
}

fn again<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(bytes).ok()?;
    let text = serde_json::to_vec(&value).unwrap_or_default();
    assert_eq!(serde_json::from_slice::<T>(&text).ok().as_ref(), Some(&value));
    Some(value)
}

/// A configuration file. What is refused names place and remedy; what is accepted can be written out in full, read
/// again, and written out as the same. (Its hash may be another: defaults are each node's own until written out.)
pub fn configuration(bytes: &[u8]) {
    let Some(loaded) = read(bytes) else { return };
    let full = render_effective(&loaded, false);
    let again = read(full.as_bytes()).map(|again| render_effective(&again, false));
    assert_eq!(again.as_ref(), Some(&full), "written out in full");
}

fn read(bytes: &[u8]) -> Option<crate::config::Loaded> {
    let file = memfd_create("configuration", MFdFlags::MFD_CLOEXEC).ok()?;
    let mut file = File::from(file);
    file.write_all(bytes).ok()?;
    let sources = Sources {
        main_file: PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())),
        environment: Vec::new(),
        flags: Vec::new(),
        hostname: "db1".into(),
        interfaces: vec![Interface {
            name: "eth0".into(),
            addresses: vec![(Ipv4Addr::new(192, 168, 33, 101), 24)],
        }],
        default_route: Some((Ipv4Addr::new(192, 168, 33, 1), "eth0".into())),
        root: PathBuf::from("/nonexistent"),
        secrets_required: false,
    };
    match load(&sources) {
        Ok(loaded) => Some(loaded),
        Err(errors) => {
            assert!(!errors.problems.is_empty(), "refused without a reason");
            for problem in &errors.problems {
                assert!(!problem.what.is_empty() && !problem.remedy.is_empty(), "{problem}");
            }
            None
        }
    }
}
