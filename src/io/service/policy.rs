//! What boot and hands may do with the managed units: links below /etc/systemd, and a record of how they were before.
//!
//! Disabled: the links by which boot would start a unit are taken away. Masked: a link to /dev/null stands in
//! `system.control`, which systemd reads before every other folder, so that it also masks a unit that lies in
//! /etc/systemd/system itself, and never replaces a file of the operator. Restored: exactly the links of the record.
//! The record is durable before the first link changes and is removed after the last one is back, so whatever was cut
//! short is finished by the next policy.

use super::Outcome;
use crate::decision::service::UnitPolicy;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Where boot finds what it starts.
const FOLDERS: [&str; 2] = ["etc/systemd/system", "run/systemd/system"];
/// Folders of what a unit pulls in.
const PULLS: [&str; 3] = [".wants", ".requires", ".upholds"];
/// Where a mask stands.
const MASKS: &str = "etc/systemd/system.control";
const NOTHING: &str = "/dev/null";

/// How the managed units were before apd changed them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    units: BTreeMap<String, Earlier>,
}

/// How one unit was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Earlier {
    /// Each link, below the root, and where it points.
    links: BTreeMap<PathBuf, PathBuf>,
    /// It was masked where apd masks.
    masked: bool,
    /// It is a socket or path, and was active.
    listened: bool,
}

/// A unit to manage.
#[derive(Clone, Copy, Debug)]
pub struct Managed<'a> {
    /// With its ending.
    pub unit: &'a str,
    /// It is a socket or path that is active now, and would start a service.
    pub listens: bool,
}

/// What is left to do once the files are as they are to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// systemd has to read them again.
    pub reload: bool,
    /// Sockets that listened before.
    pub listen: Vec<String>,
}

impl Record {
    /// Reads the record; none is an empty one. One that cannot be read as such begins anew with what is there now.
    pub fn read(file: &Path) -> Outcome<Self> {
        let bytes = match fs::read(file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(format!("{}: {error}", file.display())),
        };
        Ok(serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(code = "service.record", "{} is no record of units: {error}", file.display());
            Self::default()
        }))
    }

    /// Nothing is managed, and nothing was.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Makes the files below `root` what the policy says. Units that are managed no more get back what they had.
    pub fn apply(
        &mut self,
        policy: UnitPolicy,
        managed: &[Managed<'_>],
        root: &Path,
        file: &Path,
    ) -> Outcome<Left> {
        let mut left = Left::default();
        if policy != UnitPolicy::Restored {
            self.remember(managed, root, file)?;
        }
        for (unit, earlier) in &self.units {
            let is_managed = managed.iter().any(|managed| managed.unit == unit);
            let changed = match policy {
                UnitPolicy::Masked if is_managed => remove_links(root, unit)? | set_mask(root, unit, true)?,
                UnitPolicy::Disabled if is_managed => {
                    remove_links(root, unit)? | set_mask(root, unit, earlier.masked)?
                }
                _ => {
                    left.listen.extend(earlier.listened.then(|| unit.clone()));
                    restore_links(root, &earlier.links)? | set_mask(root, unit, earlier.masked)?
                }
            };
            left.reload |= changed;
        }
        Ok(left)
    }

    /// Forgets what has been restored: all with that policy, else what is managed no more.
    pub fn settle(&mut self, policy: UnitPolicy, managed: &[Managed<'_>], file: &Path) -> Outcome<()> {
        let before = self.units.len();
        let kept = |unit: &String| managed.iter().any(|managed| managed.unit == unit);
        self.units.retain(|unit, _| policy != UnitPolicy::Restored && kept(unit));
        match (self.units.len() == before, self.units.is_empty()) {
            (true, _) => Ok(()),
            (_, false) => self.write(file),
            (_, true) => match fs::remove_file(file) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    Err(format!("{}: {error}", file.display()))
                }
                _ => sync_folder_of(file),
            },
        }
    }

    fn remember(&mut self, managed: &[Managed<'_>], root: &Path, file: &Path) -> Outcome<()> {
        let mut grown = false;
        for Managed { unit, listens } in managed {
            if self.units.contains_key(*unit) {
                continue;
            }
            let links = links_to(root, unit)?;
            let masked = is_mask(&root.join(MASKS).join(unit));
            self.units.insert((*unit).to_owned(), Earlier { links, masked, listened: *listens });
            grown = true;
        }
        if grown { self.write(file) } else { Ok(()) }
    }

    fn write(&self, file: &Path) -> Outcome<()> {
        let failed = |error: io::Error| format!("{}: {error}", file.display());
        let text = serde_json::to_vec_pretty(self).expect("a record has text keys only");
        let mut name = file.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        let mut handle = File::create(&new).map_err(failed)?;
        handle.write_all(&text).and_then(|()| handle.sync_all()).map_err(failed)?;
        fs::rename(&new, file).map_err(failed)?;
        sync_folder_of(file)
    }
}

/// The links by which boot starts a unit, or by which it has another name; not one to a unit file of that name.
fn links_to(root: &Path, unit: &str) -> Outcome<BTreeMap<PathBuf, PathBuf>> {
    let mut found = BTreeMap::new();
    for folder in FOLDERS {
        for path in entries(&root.join(folder))? {
            let name = file_name(&path);
            if PULLS.iter().any(|ending| name.ends_with(ending)) && !path.is_symlink() {
                for link in entries(&path)?.into_iter().filter(|link| file_name(link) == unit) {
                    note(&mut found, root, link)?;
                }
            } else if name != unit && fs::read_link(&path).is_ok_and(|to| file_name(&to) == unit) {
                note(&mut found, root, path)?;
            }
        }
    }
    Ok(found)
}

fn note(found: &mut BTreeMap<PathBuf, PathBuf>, root: &Path, link: PathBuf) -> Outcome<()> {
    // A file in place of a link is the operator's own.
    let Ok(to) = fs::read_link(&link) else { return Ok(()) };
    let below = link.strip_prefix(root).map_err(|error| error.to_string())?;
    found.insert(below.to_owned(), to);
    Ok(())
}

fn remove_links(root: &Path, unit: &str) -> Outcome<bool> {
    let links = links_to(root, unit)?;
    for path in links.keys().map(|below| root.join(below)) {
        fs::remove_file(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        sync_folder_of(&path)?;
    }
    Ok(!links.is_empty())
}

fn restore_links(root: &Path, links: &BTreeMap<PathBuf, PathBuf>) -> Outcome<bool> {
    let mut changed = false;
    for (below, to) in links {
        let path = root.join(below);
        if !path.is_symlink() && !path.exists() {
            make_link(&path, to)?;
            changed = true;
        }
    }
    Ok(changed)
}

fn set_mask(root: &Path, unit: &str, wanted: bool) -> Outcome<bool> {
    let path = root.join(MASKS).join(unit);
    match (is_mask(&path), wanted) {
        (false, true) => make_link(&path, Path::new(NOTHING)).map(|()| true),
        (true, false) => {
            fs::remove_file(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            sync_folder_of(&path).map(|()| true)
        }
        _ => Ok(false),
    }
}

fn is_mask(path: &Path) -> bool {
    fs::read_link(path).is_ok_and(|to| to == Path::new(NOTHING))
}

fn make_link(path: &Path, to: &Path) -> Outcome<()> {
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(path.parent().unwrap_or(path)).map_err(failed)?;
    symlink(to, path).map_err(failed)?;
    sync_folder_of(path)
}

fn entries(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let failed = |error: io::Error| format!("{}: {error}", folder.display());
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect()
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn sync_folder_of(path: &Path) -> Outcome<()> {
    let folder = path.parent().unwrap_or(path);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| format!("{}: {error}", folder.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot set its stage fails")]

    use super::*;

    const UNITS: [Managed<'_>; 2] =
        [Managed { unit: "db.service", listens: false }, Managed { unit: "db.socket", listens: true }];

    /// A host on which boot starts the server in two ways, and where it has a second name.
    fn host() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc/systemd/system");
        for (link, to) in [
            ("multi-user.target.wants/db.service", "/lib/systemd/system/db.service"),
            ("shop.target.requires/db.service", "../db.service"),
            ("sockets.target.wants/db.socket", "/lib/systemd/system/db.socket"),
            ("mysql.service", "/lib/systemd/system/db.service"),
            ("multi-user.target.wants/ssh.service", "/lib/systemd/system/ssh.service"),
        ] {
            make_link(&etc.join(link), Path::new(to)).unwrap();
        }
        root
    }

    /// Every link below the root.
    fn links(root: &Path) -> Vec<(PathBuf, PathBuf)> {
        let mut found = Vec::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for path in entries(&folder).unwrap() {
                match fs::read_link(&path) {
                    Ok(to) => found.push((path.strip_prefix(root).unwrap().to_owned(), to)),
                    Err(_) if path.is_dir() => folders.push(path),
                    Err(_) => {}
                }
            }
        }
        found.sort();
        found
    }

    fn apply(root: &Path, file: &Path, policy: UnitPolicy, managed: &[Managed<'_>]) -> Left {
        let mut record = Record::read(file).unwrap();
        let left = record.apply(policy, managed, root, file).unwrap();
        record.settle(policy, managed, file).unwrap();
        left
    }

    #[test]
    fn r1_31_the_earlier_state_comes_back_exactly() {
        let root = host();
        let (root, file) = (root.path(), root.path().join("units"));
        let before = links(root);
        assert!(apply(root, &file, UnitPolicy::Disabled, &UNITS).reload);
        let other = PathBuf::from("etc/systemd/system/multi-user.target.wants/ssh.service");
        assert_eq!(links(root).len(), 1, "what is not managed stays");
        assert_eq!(links(root)[0].0, other);
        assert!(!apply(root, &file, UnitPolicy::Disabled, &UNITS).reload, "a second time nothing changes");
        assert!(apply(root, &file, UnitPolicy::Masked, &UNITS).reload);
        for unit in ["db.service", "db.socket"] {
            assert!(is_mask(&root.join(MASKS).join(unit)), "{unit}");
        }
        let left = apply(root, &file, UnitPolicy::Restored, &UNITS);
        assert_eq!(left, Left { reload: true, listen: vec!["db.socket".into()] });
        assert_eq!(links(root), before);
        assert!(!file.exists(), "the record is settled");
    }

    /// Cut short at each of its changes, the next policy ends where it would have ended.
    #[test]
    fn r1_35_a_policy_that_was_cut_short_is_finished_or_undone() {
        for cut in 0..5 {
            let root = host();
            let (root, file) = (root.path(), root.path().join("units"));
            let before = links(root);
            let mut record = Record::default();
            record.remember(&UNITS, root, &file).unwrap();
            for path in links_to(root, "db.service").unwrap().keys().take(cut) {
                fs::remove_file(root.join(path)).unwrap();
            }
            if cut > 3 {
                set_mask(root, "db.service", true).unwrap();
            }
            // The next start knows only what is on the disk.
            apply(root, &file, UnitPolicy::Masked, &UNITS);
            assert_eq!(links(root).len(), 3, "two masks, and the link of another unit");
            let mut record = Record::read(&file).unwrap();
            record.apply(UnitPolicy::Restored, &UNITS, root, &file).unwrap();
            // Cut short before it is settled: done once more.
            apply(root, &file, UnitPolicy::Restored, &UNITS);
            assert_eq!(links(root), before);
        }
    }

    /// A unit that is taken out of the configuration gets back what it had; a mask of the operator stays.
    #[test]
    fn a_unit_that_is_managed_no_more_is_restored() {
        let root = host();
        let (root, file) = (root.path(), root.path().join("units"));
        set_mask(root, "db.socket", true).unwrap();
        let before = links(root);
        apply(root, &file, UnitPolicy::Masked, &UNITS);
        apply(root, &file, UnitPolicy::Disabled, &UNITS[1..]);
        let of = |unit: &str| links_to(root, unit).unwrap();
        assert_eq!(of("db.service").len(), 3);
        assert!(!is_mask(&root.join(MASKS).join("db.service")));
        assert!(of("db.socket").is_empty() && is_mask(&root.join(MASKS).join("db.socket")));
        apply(root, &file, UnitPolicy::Restored, &UNITS);
        assert_eq!(links(root), before);
    }
}
