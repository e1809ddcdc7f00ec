//! Where a value came from, what is wrong with it, and the collection of everything that is wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A line of a file.
    File {
        /// As it was given.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
    /// `profile`, by name.
    Profile(&'static str),
    /// Read off this host.
    Host(&'static str),
    /// Follows from other keys.
    Derived(&'static str),
    /// Built in.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { path, line } => write!(formatter, "{}:{line}", path.display()),
            Origin::Environment(name) => write!(formatter, "environment {name}"),
            Origin::Flag(name) => write!(formatter, "flag {name}"),
            Origin::Profile(name) => write!(formatter, "profile {name}"),
            Origin::Host(what) => write!(formatter, "host: {what}"),
            Origin::Derived(what) => write!(formatter, "from {what}"),
            Origin::Default => formatter.write_str("default"),
        }
    }
}

/// The place of a key: its parts from the top, as `cluster`, `name`. Entries of `[[check]]` and
/// `[[service]]` go by their name, so that layers and messages can name them.
pub type KeyPath = Vec<String>;

/// The path as an operator would write it.
pub fn dotted(path: &[String]) -> String {
    let quoted = |part: &String| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        match !part.is_empty() && part.bytes().all(plain) {
            true => part.clone(),
            false => format!("{part:?}"),
        }
    };
    path.iter().map(quoted).collect::<Vec<_>>().join(".")
}

/// One thing that is wrong, or that deserves a second look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// Which key, dotted.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
    /// It is about this host as it is now (an interface without its address, no default route) and may
    /// pass by itself, as while the network comes up.
    pub may_pass: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { origin, key, what, remedy, .. } = self;
        write!(formatter, "{origin}: {key}: {what}\n    remedy: {remedy}")
    }
}

/// All errors of one run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    /// In the order of files and lines. Never empty.
    pub problems: Vec<Problem>,
}

impl ConfigErrors {
    /// Nothing written is wrong: the host lacks something that may come, as an address or a default
    /// route during boot. A daemon may try again instead of giving up.
    pub fn may_pass(&self) -> bool {
        self.problems.iter().all(|problem| problem.may_pass)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(formatter, "{problem}")?;
        }
        match self.problems.len() {
            1 => formatter.write_str("1 error in the configuration"),
            count => write!(formatter, "{count} errors in the configuration"),
        }
    }
}

/// Where each key's value came from.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    written: BTreeMap<KeyPath, Origin>,
    filled: BTreeMap<KeyPath, Origin>,
}

impl Origins {
    /// Notes that `path` was written at `origin`. The latest layer wins, as for the values.
    pub fn note(&mut self, path: KeyPath, origin: Origin) {
        self.written.insert(path, origin);
    }

    /// Notes that the value of `path` was filled in, from what is not written at that key.
    pub fn fill(&mut self, path: KeyPath, origin: Origin) {
        self.filled.insert(path, origin);
    }

    /// Where the keys of `taken` came from in `other`, and all others here.
    #[must_use]
    pub fn blended(&self, other: &Origins, taken: impl Fn(&[String]) -> bool) -> Origins {
        let blend = |mine: &BTreeMap<KeyPath, Origin>, theirs: &BTreeMap<KeyPath, Origin>| {
            let mine = mine.iter().filter(|(path, _)| !taken(path));
            let theirs = theirs.iter().filter(|(path, _)| taken(path));
            mine.chain(theirs).map(|(path, origin)| (path.clone(), origin.clone())).collect()
        };
        Origins { written: blend(&self.written, &other.written), filled: blend(&self.filled, &other.filled) }
    }

    /// Where exactly this key was written.
    pub fn written(&self, path: &[String]) -> Option<&Origin> {
        self.written.get(path)
    }

    /// Where to point a reader at: the key, else the table around it.
    pub fn nearest(&self, path: &[String]) -> Option<&Origin> {
        (1..=path.len()).rev().find_map(|length| self.written.get(&path[..length]))
    }

    /// Where the value in effect came from.
    pub fn effective(&self, path: &[String]) -> &Origin {
        self.filled.get(path).or_else(|| self.written.get(path)).unwrap_or(&Origin::Default)
    }
}

/// Collects errors and warnings while everything else is still looked at.
#[derive(Debug, Default)]
pub struct Problems {
    /// Each makes the configuration invalid.
    pub errors: Vec<Problem>,
    /// Each is worth a line.
    pub warnings: Vec<Problem>,
    /// Keys that are known to be bad: whatever follows from them is not reported as well.
    broken: Vec<KeyPath>,
}

impl Problems {
    /// Adds an error about `path`.
    pub fn error(&mut self, origin: Origin, path: &[String], what: String, remedy: String) {
        self.broken.push(path.to_vec());
        self.errors.push(Problem { origin, key: dotted(path), what, remedy, may_pass: false });
    }

    /// The last error is about the host as it is now.
    pub fn last_may_pass(&mut self) {
        if let Some(problem) = self.errors.last_mut() {
            problem.may_pass = true;
        }
    }

    /// Adds a warning about `path`.
    pub fn warning(&mut self, origin: Origin, path: &[String], what: String, remedy: String) {
        self.warnings.push(Problem { origin, key: dotted(path), what, remedy, may_pass: false });
    }

    /// An error about this key, or something above or below it, was reported already.
    pub fn is_broken(&self, path: &[String]) -> bool {
        self.broken.iter().any(|broken| broken.starts_with(path) || path.starts_with(broken))
    }

    /// Puts errors and warnings in the order in which a reader meets them.
    pub fn sort(&mut self, files: &[PathBuf]) {
        let rank = |problem: &Problem| match &problem.origin {
            Origin::File { path, line } => {
                (files.iter().position(|file| file == path).unwrap_or(files.len()), *line)
            }
            _ => (files.len() + 1, 0),
        };
        self.errors.sort_by_key(rank);
        self.warnings.sort_by_key(rank);
        self.errors.dedup();
        self.warnings.dedup();
    }
}
