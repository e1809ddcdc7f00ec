//! The laws of the house, each with its reason (DESIGN.md section 9, docs/architecture.md).
//!
//! They read the tree itself, so that a wall between two folders costs a hundredth of a second instead of a
//! crate. Whoever has a good reason to break one changes it here, where it is seen.

#[path = "architecture/source.rs"]
mod source;

use source::{Source, files, folders, root};
use std::fs;

/// Each folder of `src` with what its code may use of this package. The five layers are a line, each may use
/// what stands to its right: bin -> driver -> io -> wire -> decision. `config`, `gate`, `simulation` and `apctl` stand
/// beside the driver. `config::checked` holds plain values without behaviour, which is why `io` may read them.
const MAY_USE: &[(&str, &[&str])] = &[
    // The promises of every reader, for the fuzzer and for the corpora: it looks at them all.
    ("fuzz", &["fuzz", "config", "io", "wire", "decision"]),
    ("bin", &["apctl", "config", "driver", "gate", "io", "wire", "decision"]),
    (
        "driver",
        &[
            "driver",
            "config::checked",
            // A reload, and what the doctor and the peer are told of the configuration.
            "config::reload",
            "config::flat",
            "config::Loaded",
            "config::Sources",
            "config::ConfigErrors",
            // Only in the doctor's own tests.
            "config::Interface",
            "config::load",
            "io",
            "wire",
            "decision",
        ],
    ),
    ("gate", &["gate", "config::checked", "io", "wire", "decision"]),
    ("apctl", &["apctl", "config", "gate", "simulation", "io", "wire", "decision"]),
    ("config", &["config", "wire", "decision"]),
    ("simulation", &["simulation", "decision"]),
    ("io", &["io", "config::checked", "wire", "decision"]),
    ("wire", &["wire", "decision"]),
    ("decision", &["decision"]),
];

/// What a pure layer must not name, and why. Address types of `std::net` are plain numbers and allowed.
const IMPURE: &[(&str, &str)] = &[
    ("std::time::Instant", "time is an argument: decision::time::Instant"),
    ("SystemTime", "time is an argument"),
    ("clock_gettime", "time is an argument"),
    ("jiff", "time is an argument"),
    ("HashMap", "its order differs from run to run, a replay must not"),
    ("HashSet", "its order differs from run to run, a replay must not"),
    ("std::fs", "files belong to io"),
    ("File", "files belong to io"),
    ("std::io", "the outside belongs to io"),
    ("std::env", "what a decision depends on is in its settings"),
    ("std::process", "processes belong to io"),
    ("std::os", "the outside belongs to io"),
    ("TcpStream", "sockets belong to io"),
    ("TcpListener", "sockets belong to io"),
    ("UdpSocket", "sockets belong to io"),
    ("UnixStream", "sockets belong to io"),
    ("socket2", "sockets belong to io"),
    ("nix", "the kernel belongs to io"),
    ("libc", "the kernel belongs to io"),
    ("std::thread", "threads belong to the driver"),
    ("std::sync", "nothing here is shared between threads"),
    ("thread_local", "nothing here is shared between threads"),
    ("RefCell", "state changes through `&mut self` only"),
    ("async", "waiting belongs to the driver"),
    ("await", "waiting belongs to the driver"),
    ("tokio", "waiting belongs to the driver"),
    ("futures_util", "waiting belongs to the driver"),
    ("tracing", "reasons are data (decision::why), the driver writes them down"),
    ("println", "reasons are data (decision::why), the driver writes them down"),
    ("eprintln", "reasons are data (decision::why), the driver writes them down"),
    ("mysql_async", "the database belongs to io"),
    ("sqlx", "the journal belongs to io"),
    ("rand", "what is random is an event or a setting"),
    ("unsafe", "nothing here needs it"),
];

/// Where std's monotonic clock is read besides `io/clock.rs`. It stands still while the host is suspended, so no
/// lease may rest on it; each of these only bounds or measures a wait of its own.
const MEASURES_A_WAIT: &[(&str, &str)] = &[
    ("src/apctl/change.rs", "how long the operator's command waits; apctl holds no lease"),
    ("src/apctl/checks.rs", "how old a probe may be that answers the operator"),
    ("src/gate/tables.rs", "how long `nft` may take at the start of the gate process"),
    (
        "src/io/mariadb/files.rs",
        "how long no write to the disk has succeeded: a suspended host is no sick disk",
    ),
];

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

/// Everything that is written in Rust here.
fn rust() -> Vec<Source> {
    ["src", "lab", "tests", "benches", "fuzz", "mutants"]
        .iter()
        .flat_map(|folder| files(folder, ".rs"))
        .collect()
}

/// Fails with every breach at once.
fn none(law: &str, breaches: &[String]) {
    assert!(breaches.is_empty(), "{law}:\n  {}", breaches.join("\n  "));
}

#[test]
fn a_layer_uses_only_what_stands_to_its_right() {
    let known: Vec<&str> = MAY_USE.iter().map(|(layer, _)| *layer).collect();
    let mut sorted = known.clone();
    sorted.sort_unstable();
    assert_eq!(folders("src"), sorted, "every folder of src has its place in MAY_USE");
    let mut breaches = Vec::new();
    for (layer, allowed) in MAY_USE {
        for source in files(&format!("src/{layer}"), ".rs") {
            for (line, path) in source.package_paths() {
                let joined = path.join("::");
                let fits =
                    |allowed: &&&str| joined == **allowed || joined.starts_with(&format!("{allowed}::"));
                let is_folder = known.contains(&path[0].as_str());
                if is_folder && !allowed.iter().any(|one| fits(&one)) {
                    breaches.push(format!("{}:{line}: {layer} uses {joined}", source.path));
                }
            }
        }
    }
    none("bin -> driver -> io -> wire -> decision, never back", &breaches);
}

#[test]
fn the_pure_layers_name_nothing_of_the_outside() {
    let mut breaches = Vec::new();
    for source in
        ["src/decision", "src/wire", "src/simulation"].iter().flat_map(|folder| files(folder, ".rs"))
    {
        let code = source.code_outside_tests();
        for (word, reason) in IMPURE {
            for line in Source::lines_with(&code, word) {
                breaches.push(format!("{}:{line}: {word}: {reason}", source.path));
            }
        }
        // `use std::{fs, io}` says the same in another way.
        for line in Source::lines_with(&code, "use std::{") {
            breaches.push(format!(
                "{}:{line}: one `use` for each module of std, so that it can be read",
                source.path
            ));
        }
    }
    none("decision, wire and simulation are pure", &breaches);
}

#[test]
fn only_the_clock_reads_time() {
    let words = ["SystemTime", "clock_gettime", "Timestamp::now", "Zoned::now", "Utc::now"];
    let mut breaches = Vec::new();
    let mut measuring = Vec::new();
    let sources = files("src", ".rs");
    for source in sources.iter().filter(|source| source.path != "src/io/clock.rs") {
        let code = source.code_outside_tests();
        for word in words {
            for line in Source::lines_with(&code, word) {
                breaches.push(format!("{}:{line}: {word}: use io::clock", source.path));
            }
        }
        let imports_std = code.lines().any(|line| {
            let line = line.trim();
            line.starts_with("use std::time::") && !Source::lines_with(line, "Instant").is_empty()
        });
        if imports_std || !Source::lines_with(&code, "std::time::Instant").is_empty() {
            measuring.push(source.path.as_str());
        }
    }
    let listed: Vec<&str> = MEASURES_A_WAIT.iter().map(|(path, _)| *path).collect();
    for path in measuring.iter().filter(|path| !listed.contains(path)) {
        breaches.push(format!("{path}: std::time::Instant stands still in suspend: use io::clock::now"));
    }
    for path in listed.iter().filter(|path| !measuring.contains(path)) {
        breaches.push(format!("{path}: listed as an exception, but it needs none"));
    }
    none("time is read in io/clock.rs (tokio's timers are for pacing and allowed)", &breaches);
}

#[test]
fn every_file_opens_by_saying_what_it_is() {
    let silent: Vec<String> = rust()
        .iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| format!("{}: opens with `//! what this is and why`", source.path))
        .collect();
    none("a file opens by saying what it is", &silent);
}

#[test]
fn files_and_functions_fit_their_screens() {
    let mut breaches = Vec::new();
    for source in rust() {
        let lines = source.text.lines().count();
        if lines > FILE_LINES {
            breaches.push(format!("{}: {lines} lines, {FILE_LINES} at most: one idea a file", source.path));
        }
        for function in source.functions().iter().filter(|function| function.lines > FUNCTION_LINES) {
            let (name, line, lines) = (&function.name, function.line, function.lines);
            breaches
                .push(format!("{}:{line}: {name} has {lines} lines, {FUNCTION_LINES} at most", source.path));
        }
    }
    none("a file is one idea, a function fits a screen", &breaches);
}

#[test]
fn the_program_never_unwraps() {
    let mut breaches = Vec::new();
    for source in files("src", ".rs") {
        let code = source.code_outside_tests();
        for word in [".unwrap()", ".unwrap_err()", "panic!(", "todo!(", "unimplemented!(", "dbg!("] {
            for (at, _) in code.match_indices(word) {
                let line = code[..at].matches('\n').count() + 1;
                breaches
                    .push(format!("{}:{line}: {word}: an error, or expect(\"why it holds\")", source.path));
            }
        }
    }
    none("errors are input, panics are bugs", &breaches);
}

#[test]
fn unsafe_code_lives_in_one_file() {
    let elsewhere: Vec<String> = rust()
        .iter()
        .filter(|source| source.path != "src/io/sys.rs")
        .flat_map(|source| {
            let lines = Source::lines_with(&source.code, "unsafe");
            lines.into_iter().map(|line| format!("{}:{line}: unsafe", source.path)).collect::<Vec<_>>()
        })
        .collect();
    none("unsafe code is in io/sys.rs, each block with its SAFETY line", &elsewhere);
}

#[test]
fn nothing_names_the_machine_it_was_built_on() {
    // Spelt apart, or this file would be the first to break the law.
    let places =
        [concat!("/ho", "me/"), concat!("/Us", "ers/"), concat!("/wo", "rk/"), concat!("/tm", "p/h/")];
    let mut breaches = Vec::new();
    for source in files("", "") {
        for (number, line) in source.text.lines().enumerate() {
            for place in places.iter().filter(|place| line.contains(**place)) {
                // `${HOME}/work/x` and the like: a place is one only where a path begins.
                let begins = line.match_indices(*place).any(|(at, _)| {
                    !line[..at]
                        .chars()
                        .next_back()
                        .is_some_and(|char| char.is_alphanumeric() || "}).*-_".contains(char))
                });
                if begins {
                    breaches.push(format!("{}:{}: {place}", source.path, number + 1));
                }
            }
        }
    }
    none("no path of a build machine", &breaches);
}

#[test]
fn statements_to_the_database_are_files_that_somebody_uses() {
    let code: String = files("src", ".rs").into_iter().map(|source| source.text).collect();
    let unused: Vec<String> = files("sql", ".sql")
        .iter()
        .filter(|source| {
            let file = source.path.rsplit('/').next().unwrap_or_default();
            let name = file.trim_end_matches(".sql");
            // By path, or by name through the macro that includes it.
            ![file.to_owned(), format!("\"{name}\"")].iter().any(|said| code.contains(said.as_str()))
        })
        .map(|source| source.path.clone())
        .collect();
    none("every file of sql/ is included somewhere", &unused);
}

#[test]
fn the_map_is_true() {
    let map =
        fs::read_to_string(root().join("docs/architecture.md")).expect("docs/architecture.md is the map");
    let mut breaches = Vec::new();
    for folder in folders("src") {
        if !map.contains(&format!("`{folder}/")) {
            breaches.push(format!("docs/architecture.md does not name src/{folder}/"));
        }
    }
    // In the map a place is written `folder/file.rs` or `folder/file.rs::item`, below src or from the top.
    for place in map.split('`').skip(1).step_by(2).filter(|place| place.contains('/')) {
        let (path, item) = place.split_once("::").unwrap_or((place, ""));
        let written = [root().join("src").join(path), root().join(path)];
        let Some(found) = written.iter().find(|path| path.exists()) else {
            if !path.starts_with('/') && !path.contains(' ') {
                breaches.push(format!("docs/architecture.md names {path}, which is not there"));
            }
            continue;
        };
        let text = fs::read_to_string(found).unwrap_or_default();
        let name = item.rsplit("::").next().unwrap_or_default().trim_end_matches("()");
        if !name.is_empty() && Source::lines_with(&text, name).is_empty() {
            breaches.push(format!("docs/architecture.md names {place}, but the file has no {name}"));
        }
    }
    none("the map is true", &breaches);
}
