//! `docs/operating.md` names every code that the program can show, and every verb that `apctl` has.

use apd::decision::code::{Code, Kind, Remedy};
use apd::decision::why::Severity;
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

/// Everything that is written in `src`.
fn program() -> String {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    files.sort();
    let texts = files.into_iter().filter(|file| !file.ends_with("decision/code.rs"));
    texts.map(|file| std::fs::read_to_string(file).unwrap()).collect()
}

fn manual() -> String {
    std::fs::read_to_string(root().join("docs/operating.md")).unwrap()
}

/// One table of codes, as the manual has it.
fn table(kind: Kind) -> String {
    let mut table = "| code | weight | means | do |\n|---|---|---|---|\n".to_owned();
    for code in Code::ALL.iter().filter(|code| code.kind() == kind) {
        let (word, weight, meaning) = (code.word(), code.severity().word(), code.meaning());
        let remedy = match code.remedy() {
            Remedy::None => "",
            Remedy::Told(remedy) | Remedy::Manual(remedy) => remedy,
        };
        // A bar inside a cell would end it.
        let remedy = remedy.replace('|', "\\|");
        table.push_str(&format!("| `{word}` | {weight} | {meaning} | {remedy} |\n"));
    }
    table
}

/// The manual with its tables as the program has them.
fn with_tables(manual: &str) -> String {
    let mut text = manual.to_owned();
    for (name, kind) in [("findings", Kind::Finding), ("standing", Kind::Standing), ("record", Kind::Record)]
    {
        let begin = format!("<!-- codes: {name} -->\n");
        let end = "<!-- end of codes -->";
        let from = text.find(&begin).expect("the manual has a place for each table") + begin.len();
        let length = text[from..].find(end).expect("... with an end");
        text.replace_range(from..from + length, &table(kind));
    }
    text
}

#[test]
fn the_codes_of_the_manual_are_those_of_the_program() {
    let manual = manual();
    let current = with_tables(&manual);
    if std::env::var_os("APD_RECORD").is_some() {
        std::fs::write(root().join("docs/operating.md"), &current).unwrap();
        return;
    }
    assert!(
        manual == current,
        "docs/operating.md is out of date: APD_RECORD=1 cargo nextest run -E 'binary(apctl)'"
    );
}

/// What alerts although it is no error is listed, and nothing else.
#[test]
fn the_manual_names_the_codes_that_alert() {
    let manual = manual();
    let from = manual.find("\n## Alerts").expect("the manual has a section on alerts");
    let section =
        &manual[from..from + 1 + manual[from + 1..].find("\n## ").expect("... and others after it")];
    for code in Code::ALL {
        let louder = code.severity() == Severity::Error;
        // The one of alerts themselves says that none can be delivered.
        let named = section.contains(&format!("`{code}`")) && *code != Code::AlertFailed;
        assert_eq!(named, code.alerts(code.severity()) && !louder, "{code}");
    }
}

/// Whoever is told of something bad finds what to do about it.
#[test]
fn every_alarm_has_a_remedy() {
    let told = |code: &&Code| code.alerts(code.severity()) && code.severity() != Severity::Info;
    let lacks: Vec<&Code> =
        Code::ALL.iter().filter(told).filter(|code| code.remedy() == Remedy::None).collect();
    assert!(lacks.is_empty(), "nothing is said to be done about {lacks:?}");
}

/// journald's message catalogue, as the program has it.
fn catalogue() -> String {
    let mut text = "\
# Message catalogue of apd for journald, shown by `journalctl -x`. Installed as /usr/lib/systemd/catalog/apd.catalog;
# `journalctl --update-catalog` makes it known. The number of an entry is the first half of the SHA-256 of its code.
# Written from the list of codes: APD_RECORD=1 cargo nextest run -E 'binary(apctl)'
"
    .to_owned();
    for code in Code::ALL {
        let (word, meaning) = (code.word(), code.meaning().replace('`', ""));
        let number = apd::io::log::catalogue_number(word);
        text.push_str(&format!(
            "\n-- {number}\nSubject: {word}\nDefined-By: apd\n\
             Documentation: file:/usr/share/doc/apd/operating.md\n\n{word}: {meaning}.\n"
        ));
        if let Remedy::Told(remedy) | Remedy::Manual(remedy) = code.remedy() {
            text.push_str(&format!("\nWhat to do: {}.\n", remedy.replace('`', "")));
        }
    }
    text
}

#[test]
fn the_message_catalogue_has_the_codes_of_the_program() {
    let path = root().join("systemd/apd.catalog");
    if std::env::var_os("APD_RECORD").is_some() {
        std::fs::write(path, catalogue()).unwrap();
        return;
    }
    assert!(
        std::fs::read_to_string(path).unwrap() == catalogue(),
        "systemd/apd.catalog is out of date: APD_RECORD=1 cargo nextest run -E 'binary(apctl)'"
    );
}

#[test]
fn every_code_is_given_somewhere() {
    let program = program();
    let used = |code: &Code| program.contains(&format!("{code:?}"));
    let idle: Vec<&Code> = Code::ALL.iter().filter(|code| !used(code)).collect();
    assert!(idle.is_empty(), "nothing gives {idle:?}");
}

/// Refusals and failures of commands, `E_...`, each behind this mark.
fn refusals(text: &str, mark: char) -> BTreeSet<String> {
    let start = format!("{mark}E_");
    let letters = |piece: &str| -> String {
        piece.chars().take_while(|letter| letter.is_ascii_uppercase() || *letter == '_').collect()
    };
    text.split(&start).skip(1).map(|piece| format!("E_{}", letters(piece))).collect()
}

#[test]
fn every_refusal_is_in_the_manual_and_none_besides() {
    let manual = manual();
    let tables = manual.split("### Refusals and failures of commands").nth(1).unwrap();
    let (named, given) = (refusals(tables, '`'), refusals(&program(), '"'));
    assert!(given.len() > 20, "the search finds what is there: {given:?}");
    let missing: Vec<&String> = given.difference(&named).collect();
    assert!(missing.is_empty(), "docs/operating.md does not name {missing:?}");
    let stale: Vec<&String> = named.difference(&given).collect();
    assert!(stale.is_empty(), "docs/operating.md names {stale:?}, which nothing gives");
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
