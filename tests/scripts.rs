//! Every shell script of the tree, as shellcheck reads it: nothing is said of any. What is left out on purpose is said
//! in the script, or in the `.shellcheckrc` beside it.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage fails")]
#![allow(dead_code, reason = "each test binary uses a part of the support")]

#[path = "support/tools.rs"]
mod tools;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tools::find_tool;

/// Folders that are no part of the tree.
const NOT_OURS: [&str; 2] = [".git", "target"];

fn shellcheck(files: &[PathBuf]) -> Output {
    let mut command = Command::new(find_tool("shellcheck"));
    command.args(["--format", "gcc", "--severity", "style"]).args(files).output().unwrap()
}

/// Files whose first line names a shell.
fn scripts(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() && !NOT_OURS.iter().any(|name| entry.file_name() == *name) {
            scripts(&path, found);
        } else if kind.is_file() && is_script(&path) {
            found.push(path);
        }
    }
}

fn is_script(path: &Path) -> bool {
    let mut first = Vec::new();
    BufReader::new(std::fs::File::open(path).unwrap()).read_until(b'\n', &mut first).unwrap();
    let first = String::from_utf8_lossy(&first);
    let program = first.strip_prefix("#!").and_then(|line| line.split_whitespace().last());
    program.is_some_and(|program| matches!(program.rsplit('/').next(), Some("sh" | "bash" | "dash")))
}

#[test]
fn shellcheck_has_nothing_to_say_of_any_script() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    scripts(root, &mut found);
    for known in
        ["lab/fetch-tools", "lab/compose/test", "lab/systemd/make-tree", ".ci/run", "tests/data/tls/make"]
    {
        assert!(found.contains(&root.join(known)), "the search does not find {known}");
    }
    let said = shellcheck(&found);
    assert!(said.status.success() && said.stdout.is_empty(), "{}", String::from_utf8_lossy(&said.stdout));
}

/// The linter runs, and it bites.
#[test]
fn shellcheck_names_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("script");
    std::fs::write(&file, "#!/bin/sh\nrm -rf $1\n").unwrap();
    let said = shellcheck(&[file]);
    assert!(!said.status.success() && String::from_utf8_lossy(&said.stdout).contains("SC2086"), "{said:?}");
}
