//! `docs/operating.md` names every code that the program can show, and every verb that `apctl` has.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The literal that opens directly behind `text`'s start.
fn literal(text: &str) -> Option<&str> {
    text.trim_start().strip_prefix('"')?.split('"').next()
}

fn codes() -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let mut codes = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        // What tests make up is not shown to anybody.
        let text = text.split("#[cfg(test)]").next().unwrap();
        for start in ["Why::info(", "Why::warning(", "Why::error("] {
            let found = text.split(start).skip(1).filter_map(literal);
            codes.extend(found.map(str::to_owned));
        }
        for piece in text.split("\"E_").skip(1) {
            let rest: String =
                piece.chars().take_while(|letter| letter.is_ascii_uppercase() || *letter == '_').collect();
            codes.insert(format!("E_{rest}"));
        }
    }
    codes
}

#[test]
fn every_code_is_in_the_manual() {
    let manual = std::fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let codes = codes();
    assert!(codes.len() > 60, "the search finds what is there: {codes:?}");
    let missing: Vec<&String> = codes.iter().filter(|code| !manual.contains(&format!("`{code}`"))).collect();
    assert!(missing.is_empty(), "docs/operating.md does not name {missing:?}");
}

#[test]
fn every_code_of_the_manual_exists() {
    let manual = std::fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let mut all = String::new();
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    for file in files {
        all.push_str(&std::fs::read_to_string(file).unwrap());
    }
    let tables = manual.split("## Alarms and decisions by code").nth(1).unwrap();
    for line in tables.lines().filter(|line| line.starts_with("| `")) {
        let cell = line.split('|').nth(1).unwrap();
        for code in cell.split('`').skip(1).step_by(2) {
            assert!(
                all.contains(&format!("\"{code}\"")),
                "docs/operating.md names `{code}`, which nothing tells"
            );
        }
    }
}

#[test]
fn every_verb_is_in_the_manual() {
    let manual = std::fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let help = Command::new(env!("CARGO_BIN_EXE_apctl")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let verbs = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let verbs: Vec<&str> = verbs
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(verbs.len() > 12, "{help}");
    for verb in verbs {
        let known = manual.contains(&format!("`{verb}")) || manual.contains(&format!("apctl {verb}"));
        assert!(known, "docs/operating.md does not name `{verb}`");
    }
}
