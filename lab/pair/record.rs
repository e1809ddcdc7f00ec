//! What the clients saw: reads their records and counts outage, losses and time with two writers. Pure.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result};

/// Acknowledgements of one server with pauses up to this long count as one stretch of service: four periods of the
/// clients that are pinned to a server. Longer, and a swap there and back would look like a server that never stopped.
const STRETCH_PAUSE_NS: u64 = 100_000_000;

/// One attempt to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The lane of the client, e.g. `sql`.
    pub lane: String,
    /// The identity that was inserted.
    pub id: u64,
    /// When it began, ns.
    pub start_ns: u64,
    /// When its outcome was known, ns.
    pub end_ns: u64,
    /// `ok`, `error` or `unknown`.
    pub outcome: String,
    /// The server that acknowledged it; 0 for none.
    pub server: u32,
}

impl Attempt {
    /// Whether the server acknowledged it.
    pub fn accepted(&self) -> bool {
        self.outcome == "ok"
    }
}

/// Reads the records of a writer; a last line that is still being written is left out.
pub fn read(path: &Path) -> Result<Vec<Attempt>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    complete.lines().map(|line| parse(line).with_context(|| format!("bad record `{line}`"))).collect()
}

/// Reads the newest records of a writer, those of about half a second or more.
pub fn read_end(path: &Path) -> Result<Vec<Attempt>> {
    const END: u64 = 32 * 1024;
    let Ok(mut file) = fs::File::open(path) else { return Ok(Vec::new()) };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(END)))?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let first = if length > END { text.find('\n').map_or(text.len(), |end| end + 1) } else { 0 };
    let complete = text.rfind('\n').map_or(first, |end| end.max(first));
    Ok(text[first..complete].lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<Attempt> {
    let mut words = line.split(' ');
    Some(Attempt {
        lane: words.next()?.to_owned(),
        id: words.next()?.parse().ok()?,
        start_ns: words.next()?.parse().ok()?,
        end_ns: words.next()?.parse().ok()?,
        outcome: words.next()?.to_owned(),
        server: words.next()?.parse().ok()?,
    })
}

/// The longest time between two acknowledgements of a lane, among those that end in `from_ns..=until_ns`; ns.
///
/// The last acknowledgement before `from_ns` opens the first gap; `until_ns` closes the last one, so that a
/// service that never comes back shows the whole time that was watched.
pub fn longest_gap_ns(attempts: &[Attempt], lane: &str, from_ns: u64, until_ns: u64) -> u64 {
    let mut times: Vec<u64> =
        attempts.iter().filter(|one| one.accepted() && one.lane == lane).map(|one| one.end_ns).collect();
    times.sort_unstable();
    let mut previous = times.iter().copied().take_while(|time| *time <= from_ns).last().unwrap_or(from_ns);
    let mut longest = 0;
    for time in times.into_iter().filter(|time| *time > from_ns && *time <= until_ns).chain([until_ns]) {
        longest = longest.max(time.saturating_sub(previous));
        previous = time;
    }
    longest
}

/// How many acknowledged rows are missing among `present`.
pub fn lost(attempts: &[Attempt], present: &HashSet<u64>) -> usize {
    attempts.iter().filter(|one| one.accepted() && !present.contains(&one.id)).count()
}

/// How long two servers acknowledged writes at once, ns, from `from_ns` on.
///
/// The acknowledgements of each server form stretches of service; the result is how much of them overlaps.
pub fn two_writers_ns(attempts: &[Attempt], from_ns: u64) -> u64 {
    let mut times: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for one in attempts.iter().filter(|one| one.accepted() && one.end_ns >= from_ns) {
        times.entry(one.server).or_default().push(one.end_ns);
    }
    let servers: Vec<Vec<(u64, u64)>> = times.into_values().map(stretches).collect();
    let mut overlap = 0;
    for (index, one) in servers.iter().enumerate() {
        for other in &servers[index + 1..] {
            for (start, end) in one {
                overlap += other.iter().map(|(s, e)| e.min(end).saturating_sub(*s.max(start))).sum::<u64>();
            }
        }
    }
    overlap
}

fn stretches(mut times: Vec<u64>) -> Vec<(u64, u64)> {
    times.sort_unstable();
    let mut found: Vec<(u64, u64)> = Vec::new();
    for time in times {
        match found.last_mut() {
            Some((_, end)) if time - *end <= STRETCH_PAUSE_NS => *end = time,
            _ => found.push((time, time)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn ok(lane: &str, id: u64, end_ms: u64, server: u32) -> Attempt {
        let end_ns = end_ms * MS;
        Attempt { lane: lane.into(), id, start_ns: end_ns - MS, end_ns, outcome: "ok".into(), server }
    }

    #[test]
    fn the_gap_around_a_fault_is_found() {
        let all = [ok("sql", 1, 100, 1), ok("sql", 2, 110, 1), ok("api", 3, 200, 2), ok("sql", 4, 400, 2)];
        assert_eq!(longest_gap_ns(&all, "sql", 115 * MS, 420 * MS), 290 * MS);
    }

    #[test]
    fn a_service_that_never_returns_is_out_to_the_end() {
        assert_eq!(longest_gap_ns(&[ok("sql", 1, 100, 1)], "sql", 120 * MS, 5_100 * MS), 5_000 * MS);
    }

    #[test]
    fn a_clean_handover_has_no_overlap_and_a_split_has() {
        let clean = [ok("sql", 1, 100, 1), ok("sql", 2, 110, 1), ok("sql", 3, 115, 2), ok("sql", 4, 200, 2)];
        assert_eq!(two_writers_ns(&clean, 0), 0);
        let there_and_back =
            [ok("sql", 1, 100, 1), ok("sql", 2, 140, 2), ok("sql", 3, 200, 2), ok("sql", 4, 230, 1)];
        assert_eq!(two_writers_ns(&there_and_back, 0), 0);
        let split = [ok("a", 1, 100, 1), ok("a", 2, 180, 1), ok("b", 3, 110, 2), ok("b", 4, 170, 2)];
        assert_eq!(two_writers_ns(&split, 0), 60 * MS);
    }

    #[test]
    fn rows_that_are_missing_are_counted_only_when_acknowledged() {
        let mut refused = ok("sql", 9, 100, 0);
        refused.outcome = "error".into();
        let all = [ok("sql", 1, 100, 1), ok("sql", 2, 110, 1), refused];
        assert_eq!(lost(&all, &HashSet::from([1])), 1);
    }

    #[test]
    fn a_record_that_is_being_written_is_left_out() {
        let path = std::env::temp_dir().join(format!("apd-lab-record-{}", std::process::id()));
        fs::write(&path, "sql 1 10 20 ok 1\nsql 2 30").expect("temp folder is writable");
        assert_eq!(read(&path).expect("the first line is good").len(), 1);
        fs::remove_file(&path).expect("it exists");
    }
}
