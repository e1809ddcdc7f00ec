//! The page docs/requirements.md: every row of the requirements once, and everything that it names is there.
//!
//! A test that proves a row carries its number in its name (`r1_07_...`, also several: `r1_08_r1_23_...`), and stands
//! in the third column by that alone: `APD_RECORD=1` writes it there. The fourth column is written by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = "docs/requirements.md";
/// Every row that there is: series, first and last number.
const ROWS: &[(u8, u8, u8)] = &[
    (0, 1, 33),
    (1, 1, 12),
    (1, 20, 25),
    (1, 30, 38),
    (1, 40, 49),
    (1, 60, 81),
    (2, 1, 16),
    (3, 1, 28),
    (4, 1, 34),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below these folders.
fn sources(folders: &[&str]) -> Vec<PathBuf> {
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the tree") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// `file::name` of every test.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in sources(&["tests", "src"]) {
        let file = path.strip_prefix(root()).expect("below the tree").display().to_string();
        let text = fs::read_to_string(&path).expect("text");
        let mut marked = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                marked = true;
            } else if marked && let Some((_, rest)) = line.split_once("fn ") {
                let name = rest.split(['(', '<']).next().unwrap_or_default();
                names.insert(format!("{file}::{name}"));
                marked = false;
            }
        }
    }
    names
}

/// The rows whose numbers a test's name begins with: `r1_08_r1_23_interface_down` is of R1-08 and R1-23.
fn rows_of(name: &str) -> Vec<String> {
    let mut rows = Vec::new();
    let mut parts = name.split('_').peekable();
    while let (Some(series), Some(number)) = (parts.next(), parts.peek()) {
        let is_row = series.len() == 2 && series.starts_with('r') && series.as_bytes()[1].is_ascii_digit();
        if !is_row || number.len() != 2 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            break;
        }
        rows.push(format!("R{}-{number}", &series[1..]));
        parts.next();
    }
    rows
}

fn by_row(tests: &BTreeSet<String>) -> BTreeMap<String, Vec<String>> {
    let mut by_row: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for test in tests {
        for row in rows_of(test.split("::").last().unwrap_or_default()) {
            by_row.entry(row).or_default().push(format!("`{test}`"));
        }
    }
    by_row
}

/// One line of the page's tables.
struct Line {
    row: String,
    asks: String,
    tests: String,
    besides: String,
}

impl Line {
    fn read(line: &str) -> Option<Self> {
        let cells: Vec<&str> =
            line.strip_prefix("| ")?.strip_suffix('|')?.split('|').map(str::trim).collect();
        let [row, asks, tests, besides] = cells.as_slice() else { return None };
        let owned = |text: &&str| (*text).to_owned();
        row.starts_with('R').then(|| Self {
            row: owned(row),
            asks: owned(asks),
            tests: owned(tests),
            besides: owned(besides),
        })
    }

    fn written(&self, tests: &str) -> String {
        let cells = [&self.row, &self.asks, tests, &self.besides];
        let cell = |text: &str| if text.is_empty() { " |".to_owned() } else { format!(" {text} |") };
        cells.into_iter().fold("|".to_owned(), |line, text| line + &cell(text))
    }
}

fn page() -> String {
    fs::read_to_string(root().join(PAGE)).expect("the page is there")
}

#[test]
fn every_row_stands_there_once_and_says_what_shows_it() {
    let text = page();
    let lines: Vec<Line> = text.lines().filter_map(Line::read).collect();
    let found: Vec<&str> = lines.iter().map(|line| line.row.as_str()).collect();
    let mut wanted = Vec::new();
    for (series, first, last) in ROWS {
        wanted.extend((*first..=*last).map(|number| format!("R{series}-{number:02}")));
    }
    for row in &wanted {
        let times = found.iter().filter(|found| *found == row).count();
        assert_eq!(times, 1, "{PAGE}: {row} stands there {times} times");
    }
    for row in &found {
        assert!(wanted.iter().any(|wanted| wanted == row), "{PAGE}: {row} is no row of the requirements");
    }
    for line in &lines {
        let shown =
            line.tests.contains('`') || line.besides.contains('`') || line.besides.starts_with("later: ");
        assert!(shown, "{PAGE}: {} names neither a test nor a place, and does not say why later", line.row);
        assert!(!line.asks.is_empty(), "{PAGE}: {} says nothing", line.row);
    }
}

#[test]
fn every_test_and_every_place_that_it_names_is_there() {
    let tests = tests();
    assert!(tests.len() > 300, "{} tests were found", tests.len());
    let text = page();
    let mut missing = Vec::new();
    for line in text.lines().filter_map(Line::read) {
        for (index, named) in line.besides.split('`').enumerate() {
            // Between backticks stand a test or a file; commands and keys have a blank, an equals sign or no dot.
            let is_path = index % 2 == 1 && named.contains('/') && !named.contains([' ', '=']);
            let is_there =
                if named.contains("::") { tests.contains(named) } else { root().join(named).exists() };
            if is_path && !is_there {
                missing.push(format!("{}: {named}", line.row));
            }
        }
    }
    assert!(missing.is_empty(), "{PAGE} names what is not there:\n  {}", missing.join("\n  "));
}

/// A new test need not be written into the page at once; one that went must go from it.
#[test]
fn every_test_of_the_third_column_is_there_and_named_after_its_row() {
    let by_row = by_row(&tests());
    let text = page();
    if std::env::var_os("APD_RECORD").is_some() {
        let fresh = text.lines().map(|line| match Line::read(line) {
            None => line.to_owned(),
            Some(line) => {
                line.written(&by_row.get(&line.row).map_or_else(String::new, |tests| tests.join(" ")))
            }
        });
        let fresh = fresh.collect::<Vec<_>>().join("\n") + "\n";
        fs::write(root().join(PAGE), fresh).expect("the page can be written");
        return;
    }
    for line in text.lines().filter_map(Line::read) {
        let known = by_row.get(&line.row);
        for test in line.tests.split_whitespace() {
            let is_there = known.is_some_and(|tests| tests.iter().any(|known| known == test));
            assert!(
                is_there,
                "{PAGE}: {}: {test} is not there; APD_RECORD=1 writes the column anew",
                line.row
            );
        }
    }
    for row in by_row.keys() {
        assert!(text.contains(&format!("| {row} |")), "a test is named after {row}, which is no row");
    }
}

#[test]
fn a_name_tells_its_rows() {
    assert_eq!(rows_of("r1_08_r1_23_interface_down_and_up"), ["R1-08", "R1-23"]);
    assert_eq!(rows_of("r0_33_r4_20_units"), ["R0-33", "R4-20"]);
    assert!(rows_of("rise_and_fall").is_empty() && rows_of("r1_1_short").is_empty());
}
