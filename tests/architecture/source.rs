//! Rust sources as the guards read them: comments and literals blanked, so that only code is judged.
//!
//! A small scanner instead of a parser: it knows comments, strings, raw strings, characters and lifetimes, and
//! that is enough to match braces and to read paths. Lines keep their numbers.

use std::fs;
use std::path::{Path, PathBuf};

/// One file of the tree.
#[derive(Debug)]
pub struct Source {
    /// Relative to the package, with `/`.
    pub path: String,
    /// As written.
    pub text: String,
    /// The same lines with comments and literals blanked.
    pub code: String,
}

/// One function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Where it begins, counted from 1.
    pub line: usize,
    /// From `fn` to the closing brace.
    pub lines: usize,
}

impl Source {
    /// A file's text under a name.
    pub fn new(path: &str, text: String) -> Self {
        let code = blank(&text);
        Self { path: path.to_owned(), text, code }
    }

    /// The code without what is compiled for tests only.
    pub fn code_outside_tests(&self) -> String {
        if self.path.ends_with("_tests.rs") || self.path.ends_with("/tests.rs") {
            return String::new();
        }
        let mut code = self.code.clone();
        while let Some(start) = code.find("#[cfg(test)]") {
            let end = item_end(&code, start + "#[cfg(test)]".len());
            let blanked: String =
                code[start..end].chars().map(|char| if char == '\n' { '\n' } else { ' ' }).collect();
            code.replace_range(start..end, &blanked);
        }
        code
    }

    /// Every function with a body.
    pub fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for (at, word) in words(&self.code) {
            if word != "fn" {
                continue;
            }
            let after = &self.code[at + 2..];
            let name: String = after.trim_start().chars().take_while(|char| is_word(*char)).collect();
            // `fn(u8) -> u8` is a type.
            let Some(open) = body_start(&self.code, at).filter(|_| !name.is_empty()) else { continue };
            let close = matching_brace(&self.code, open);
            let lines = self.code[at..close].matches('\n').count() + 1;
            found.push(Function { name, line: line_of(&self.code, at), lines });
        }
        found
    }

    /// Every path of this package that the file names, spelt from its root: `crate::io::clock` is
    /// `["io", "clock"]`. Groups are spread; at most the first two segments are given.
    pub fn package_paths(&self) -> Vec<(usize, Vec<String>)> {
        let mut found = Vec::new();
        for (at, word) in words(&self.code) {
            let after = &self.code[at + word.len()..];
            let is_root = word == "crate" || (word == "apd" && !self.code[..at].ends_with("::"));
            if is_root && after.trim_start().starts_with("::") {
                let mut paths = Vec::new();
                spread(&mut after.trim_start()[2..].chars().peekable(), Vec::new(), &mut paths);
                let line = line_of(&self.code, at);
                found.extend(paths.into_iter().map(|path| (line, path)));
            }
        }
        found.extend(self.paths_through_super());
        found
    }

    /// `super::super::io` says the same as `crate::io` if it climbs that far.
    fn paths_through_super(&self) -> Vec<(usize, Vec<String>)> {
        let inside = self.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        let depth = inside.split('/').count();
        let mut found = Vec::new();
        for (at, _) in self.code.match_indices("super::") {
            let climbed = self.code[at..].split("::").take_while(|part| *part == "super").count();
            let continues = self.code[..at].ends_with("super::");
            if climbed >= depth && !continues {
                let rest = &self.code[at + climbed * "super::".len()..];
                let mut paths = Vec::new();
                spread(&mut rest.chars().peekable(), Vec::new(), &mut paths);
                found.extend(paths.into_iter().map(|path| (line_of(&self.code, at), path)));
            }
        }
        found
    }

    /// Lines of `code` that hold `word` as a whole word or path.
    pub fn lines_with(code: &str, word: &str) -> Vec<usize> {
        let boundary = |char: Option<char>| !char.is_some_and(is_word);
        code.match_indices(word)
            .filter(|(at, _)| {
                boundary(code[..*at].chars().next_back()) && boundary(code[at + word.len()..].chars().next())
            })
            .map(|(at, _)| line_of(code, at))
            .collect()
    }
}

/// All files below `folder` whose name ends in `ending`, sorted.
pub fn files(folder: &str, ending: &str) -> Vec<Source> {
    let root = root();
    let mut paths = Vec::new();
    collect(&root.join(folder), &mut paths);
    let mut sources: Vec<Source> = paths
        .into_iter()
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .filter_map(|path| {
            let text = fs::read_to_string(&path).ok()?;
            let relative = path.strip_prefix(&root).ok()?.to_string_lossy().into_owned();
            Some(Source::new(&relative, text))
        })
        .collect();
    sources.sort_by(|left, right| left.path.cmp(&right.path));
    sources
}

/// The package's folder.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Folders directly in `folder`, sorted.
pub fn folders(folder: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root().join(folder)) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // In a second working tree of git, `.git` is a file.
        if name == "target" || name == ".git" {
            continue;
        }
        if path.is_dir() {
            collect(&path, paths);
        } else {
            paths.push(path);
        }
    }
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// Every word of the code with its place.
fn words(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut start = None;
    for (at, char) in code.char_indices().chain([(code.len(), ' ')]) {
        match (is_word(char), start) {
            (true, None) => start = Some(at),
            (false, Some(begin)) => {
                found.push((begin, &code[begin..at]));
                start = None;
            }
            _ => {}
        }
    }
    found
}

/// Reads one use tree and writes down each path in it, cut after two segments.
fn spread(
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    before: Vec<String>,
    paths: &mut Vec<Vec<String>>,
) {
    skip_blank(rest);
    if rest.peek() == Some(&'{') {
        rest.next();
        loop {
            spread(rest, before.clone(), paths);
            skip_blank(rest);
            match rest.next() {
                Some(',') => skip_blank(rest),
                _ => return,
            }
            if rest.peek() == Some(&'}') {
                rest.next();
                return;
            }
        }
    }
    let mut segment = String::new();
    while let Some(char) = rest.next_if(|char| is_word(*char) || *char == '*') {
        segment.push(char);
    }
    let mut path = before;
    path.push(segment);
    let mut ahead = rest.clone();
    if ahead.next() == Some(':') && ahead.next() == Some(':') {
        rest.nth(1);
        spread(rest, path, paths);
        return;
    }
    // `x as y` ends at the comma or brace that the caller looks for.
    while rest.next_if(|char| !matches!(char, ',' | '}' | ';' | '{' | '(' | ')' | '>' | '\n')).is_some() {}
    path.truncate(2);
    paths.push(path);
}

fn skip_blank(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while rest.next_if(|char| char.is_whitespace()).is_some() {}
}

/// Where the body of the function at `at` opens; `None` if it ends with `;`.
fn body_start(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (offset, char) in code[at..].char_indices() {
        match char {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ';' if depth == 0 => return None,
            '{' if depth == 0 => return Some(at + offset),
            _ => {}
        }
        if depth < 0 {
            return None;
        }
    }
    None
}

fn matching_brace(code: &str, open: usize) -> usize {
    let mut depth = 0_i32;
    for (offset, char) in code[open..].char_indices() {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + offset + 1;
        }
    }
    code.len()
}

/// The end of the item that begins at `at`: its closing brace, or its semicolon.
fn item_end(code: &str, at: usize) -> usize {
    match code[at..].find(['{', ';']) {
        Some(offset) if code[at + offset..].starts_with('{') => matching_brace(code, at + offset),
        Some(offset) => at + offset + 1,
        None => code.len(),
    }
}

/// Blanks comments, strings and characters; everything keeps its line.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => line_end(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => comment_end(&chars, at),
            '"' => string_end(&chars, at),
            'r' | 'b' if at == 0 || !is_word(chars[at - 1]) => raw_string_end(&chars, at),
            '\'' => character_end(&chars, at),
            _ => at,
        };
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            code.extend(chars[at..end].iter().map(|char| if *char == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

fn line_end(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|char| *char == '\n').map_or(chars.len(), |offset| at + offset)
}

fn comment_end(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn string_end(chars: &[char], mut at: usize) -> usize {
    at += 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// Of `r"..."`, `r#"..."#`, `b"..."`, `br"..."`; `at` itself if it is an ordinary word.
fn raw_string_end(chars: &[char], at: usize) -> usize {
    let mut next = at + 1;
    let raw = chars[at] == 'r' || chars.get(next) == Some(&'r');
    if chars[at] == 'b' && raw {
        next += 1;
    }
    let hashes = chars[next.min(chars.len())..].iter().take_while(|char| **char == '#').count();
    if chars.get(next + hashes) != Some(&'"') || (!raw && hashes > 0) {
        return at;
    }
    if !raw {
        return string_end(chars, next);
    }
    let closing: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = next + hashes + 1;
    let end = chars[body..].windows(closing.len()).position(|window| window == closing);
    end.map_or(chars.len(), |offset| body + offset + closing.len())
}

/// Of `'x'` and `'\n'`; `at` itself for a lifetime.
fn character_end(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => {
            let close = chars[at + 3..].iter().position(|char| *char == '\'');
            close.map_or(chars.len(), |offset| at + 3 + offset + 1)
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

#[test]
fn comments_and_literals_are_no_code() {
    let text = "let a = \"fn x() {\"; // fn y() {\nlet b = r#\"}\"}\"#; /* { /* { */ */ let c = '{'; let d: &'a str; b'{'";
    let source = Source::new("src/x.rs", text.to_owned());
    assert!(!source.code.contains('{') && !source.code.contains("fn"), "{}", source.code);
    assert!(source.code.contains("let c") && source.code.contains("&'a str"), "{}", source.code);
    assert_eq!(source.code.matches('\n').count(), 1);
}

#[test]
fn functions_are_measured_from_their_name_to_their_brace() {
    let text = "trait T { fn only_said(&self); }\nconst F: fn(u8) -> u8 = g;\nfn two<T>(x: [u8; 3]) -> u8\nwhere T: A {\n  if x { 1 }\n}\n";
    let found = Source::new("src/x.rs", text.to_owned()).functions();
    assert_eq!(found, [Function { name: "two".into(), line: 3, lines: 4 }]);
}

#[test]
fn paths_are_spread_and_climbing_is_seen() {
    let text = "use crate::io::{clock, sys::{a, b as c}};\nuse crate::{wire::x::Y, config};\nlet z = crate::driver::run();\nuse super::super::gate::plan;\nuse super::words::A;\n";
    let source = Source::new("src/decision/lease.rs", text.to_owned());
    let found: Vec<String> = source.package_paths().into_iter().map(|(_, path)| path.join("::")).collect();
    let expected = ["io::clock", "io::sys", "io::sys", "wire::x", "config", "driver::run", "gate::plan"];
    assert_eq!(found, expected);
}

#[test]
fn what_is_compiled_for_tests_only_is_left_out() {
    let text = "fn a() { x.unwrap() }\n#[cfg(test)]\nmod tests { fn b() { y.unwrap(); } }\n#[cfg(test)]\nuse z;\nfn c() {}\n";
    let code = Source::new("src/x.rs", text.to_owned()).code_outside_tests();
    assert_eq!(Source::lines_with(&code, "unwrap"), [1]);
    assert!(code.contains("fn c()") && !code.contains("use z"));
}
