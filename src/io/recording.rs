//! The flight recorder: everything that the decision was told and everything that it did, in a ring of files, so
//! that `apctl replay` can do it again.
//!
//! Each file begins with the whole state, so each can be replayed without the ones before it, and the oldest go
//! first. A file is a row of gzip members, one for each two seconds: `zcat` shows it, and a daemon that is killed
//! loses the last two seconds at most. The loop only appends a line to memory; a thread of its own compresses and
//! writes. A disk that is full or stalls costs the recording a gap and nothing else: it goes on in a new file.

mod read;

pub use read::{Damage, Members, files, lines};

use crate::decision::action::Action;
use crate::decision::event::Event;
use crate::decision::node::Node;
use crate::decision::time::Instant;
use crate::wire::recording as line;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// All files together, bytes.
pub const RING: u64 = 32 << 20;
/// One file, bytes: the next begins when it is passed.
pub const SEGMENT: u64 = 4 << 20;
/// Lines leave memory this often.
const EVERY: Duration = Duration::from_secs(2);
/// And when there are this many bytes of them.
const BLOCK: usize = 256 * 1024;
/// Blocks that wait for a slow disk.
const WAITING: usize = 16;
/// After a failure the disk is left alone for so long.
const PAUSE: Duration = Duration::from_secs(10);

/// The thread asks for nothing.
const GO_ON: u8 = 0;
/// It wants a new file that goes on where the last one ends.
const NEXT: u8 = 1;
/// It wants a new file after a gap.
const ANEW: u8 = 2;

/// Lines for the thread.
#[derive(Debug)]
struct Block {
    begins: bool,
    lines: Vec<u8>,
    written: Option<SyncSender<()>>,
}

/// The loop's end of the recorder. Nothing here waits.
#[derive(Debug)]
pub struct Recording {
    lines: Vec<u8>,
    begins: bool,
    due: Instant,
    to_disk: Option<SyncSender<Block>>,
    /// What the thread asks for.
    again: Arc<AtomicU8>,
}

impl Recording {
    /// Records into `folder`. A thread that cannot be started costs the recording and nothing else.
    pub fn start(folder: PathBuf) -> Self {
        let (to_disk, blocks) = sync_channel(WAITING);
        let again = Arc::new(AtomicU8::new(ANEW));
        let mut writer = Writer { folder, file: None, again: again.clone(), failing: false };
        let run = move || writer.run(&blocks);
        let thread = std::thread::Builder::new().name("recording".into()).spawn(run);
        if let Err(error) = &thread {
            tracing::warn!(code = "recording.failing", "no thread for the recording: {error}");
        }
        Self {
            lines: Vec::new(),
            begins: false,
            due: Instant::ZERO,
            to_disk: thread.is_ok().then_some(to_disk),
            again,
        }
    }

    /// An event, before `node` is told.
    pub fn event(&mut self, node: &Node, event: &Event, now: Instant) {
        if self.to_disk.is_none() {
            return;
        }
        if now >= self.due || self.lines.len() >= BLOCK {
            self.hand_over(None);
            self.due = now + EVERY;
        }
        let asked = self.again.swap(GO_ON, Ordering::Relaxed);
        if asked != GO_ON {
            self.hand_over(None);
            let asked = asked.max(self.again.swap(GO_ON, Ordering::Relaxed));
            self.begins = true;
            let wall = super::clock::wall().to_string();
            line::begin(&mut self.lines, &wall, asked == NEXT, node);
        }
        line::event(&mut self.lines, now, event);
    }

    /// An action that followed.
    pub fn action(&mut self, action: &Action) {
        if self.to_disk.is_some() {
            line::action(&mut self.lines, action);
        }
    }

    /// The last lines leave; waits for the disk, `limit` at most.
    pub fn end(&mut self, limit: Duration) {
        let (written, done) = sync_channel(1);
        self.hand_over(Some(written));
        // A disk that does not take them by then has had its time.
        let _ = done.recv_timeout(limit);
    }

    fn hand_over(&mut self, written: Option<SyncSender<()>>) {
        if self.lines.is_empty() {
            return;
        }
        let Some(to_disk) = &self.to_disk else { return };
        let room = Vec::with_capacity(self.lines.len() + self.lines.len() / 4);
        let lines = std::mem::replace(&mut self.lines, room);
        let begins = std::mem::take(&mut self.begins);
        if to_disk.try_send(Block { begins, lines, written }).is_err() {
            // A gap: what comes next begins anew, with the whole state.
            self.again.store(ANEW, Ordering::Relaxed);
        }
    }
}

impl Drop for Recording {
    /// A loop that panics takes its last lines along: they are those that matter.
    fn drop(&mut self) {
        self.end(Duration::from_millis(300));
    }
}

/// The thread's end.
struct Writer {
    folder: PathBuf,
    file: Option<(File, u64)>,
    again: Arc<AtomicU8>,
    failing: bool,
}

impl Writer {
    fn run(&mut self, blocks: &Receiver<Block>) {
        while let Ok(block) = blocks.recv() {
            if self.file.is_none() && !block.begins {
                // Lines without the state before them are of no use.
                continue;
            }
            if let Err(error) = self.write(&block) {
                self.file = None;
                if !std::mem::replace(&mut self.failing, true) {
                    let folder = self.folder.display();
                    tracing::warn!(
                        code = "recording.failing",
                        "{folder}: {error}; nothing else depends on the recording"
                    );
                }
                std::thread::sleep(PAUSE);
                self.again.store(ANEW, Ordering::Relaxed);
            } else if std::mem::take(&mut self.failing) {
                tracing::info!(code = "recording.recovered", "the recording is written again");
            }
            if let Some(written) = block.written {
                // Who waited may have given up.
                let _ = written.try_send(());
            }
        }
    }

    fn write(&mut self, block: &Block) -> io::Result<()> {
        if block.begins {
            self.file = Some((self.next_file()?, 0));
        }
        let Some((file, length)) = &mut self.file else { return Ok(()) };
        let mut encoder = GzEncoder::new(Vec::with_capacity(block.lines.len() / 8), Compression::fast());
        encoder.write_all(&block.lines)?;
        let member = encoder.finish()?;
        file.write_all(&member)?;
        let before = *length;
        *length += member.len() as u64;
        if before < SEGMENT && *length >= SEGMENT {
            self.again.store(NEXT, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Begins the next file, and removes the oldest ones while there is no room for it.
    fn next_file(&self) -> io::Result<File> {
        match fs::create_dir(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let old = files(&self.folder)?;
        let number = old.last().map_or(0, |path| number(path)) + 1;
        let lengths: Vec<u64> =
            old.iter().map(|path| fs::metadata(path).map_or(0, |metadata| metadata.len())).collect();
        let mut total: u64 = lengths.iter().sum();
        for (path, length) in old.iter().zip(lengths) {
            if total + SEGMENT <= RING {
                break;
            }
            fs::remove_file(path)?;
            total -= length;
        }
        let path = self.folder.join(format!("{number:08}.jsonl.gz"));
        OpenOptions::new().write(true).create_new(true).mode(0o640).open(path)
    }
}

/// The number in a file's name.
fn number(path: &Path) -> u64 {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::replay::{Record, Replay};
    use crate::decision::settings::tests::settings;

    /// A short run, recorded; the files.
    fn recorded(folder: &Path) -> Vec<PathBuf> {
        let mut recording = Recording::start(folder.to_owned());
        let mut node = Node::new(settings());
        let found = crate::decision::event::Found {
            instance: crate::decision::words::InstanceId(7),
            durable: None,
            mode: crate::io::mode_file::read(&folder.join("no such file")),
            gate: crate::decision::event::GateState::default(),
            started: None,
        };
        let mut event = Event::Started(found);
        for step in 0..100 {
            let now = Instant::from_millis(1_000 + 100 * step);
            recording.event(&node, &event, now);
            node.handle(event, now);
            while let Some(action) = node.poll_action() {
                recording.action(&action);
            }
            event = Event::Deadline;
        }
        recording.end(Duration::from_secs(5));
        files(folder).expect("the folder is there")
    }

    fn replayed(path: &Path) -> Replay {
        let bytes = fs::read(path).expect("a file");
        let mut replay = Replay::default();
        for member in Members::of(&bytes) {
            let (_, member) = member.expect("whole");
            for record in lines(&member) {
                replay.feed(record.expect("a record").1).expect("the same");
            }
        }
        replay.finish().expect("the same");
        replay
    }

    #[test]
    fn each_run_begins_a_file_that_replays() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("recording");
        assert_eq!(recorded(&folder).len(), 1);
        let both = recorded(&folder);
        assert_eq!(both.iter().map(|path| number(path)).collect::<Vec<_>>(), [1, 2]);
        for path in &both {
            let replay = replayed(path);
            assert_eq!(replay.events, 100);
            assert!(replay.actions > 50, "{}", replay.actions);
        }
    }

    #[test]
    fn the_ring_stays_within_its_bound() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("recording");
        fs::create_dir(&folder).expect("made");
        for number in 1..=9 {
            let file = File::create(folder.join(format!("{number:08}.jsonl.gz"))).expect("made");
            file.set_len(SEGMENT).expect("long");
        }
        let left = recorded(&folder);
        let numbers: Vec<u64> = left.iter().map(|path| number(path)).collect();
        assert_eq!(numbers, [3, 4, 5, 6, 7, 8, 9, 10], "seven old ones and the new one");
    }

    #[test]
    fn a_disk_that_refuses_costs_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("in the way");
        fs::write(&file, "").expect("written");
        let mut recording = Recording::start(file.join("recording"));
        let node = Node::new(settings());
        for step in 0..1_000 {
            recording.event(&node, &Event::Deadline, Instant::from_millis(3_000 * step));
        }
        drop(recording);
        assert!(matches!(fs::read(&file), Ok(bytes) if bytes.is_empty()));
    }

    #[test]
    fn a_record_has_the_line_that_it_was_written_as() {
        let mut bytes = Vec::new();
        line::event(&mut bytes, Instant::from_millis(1), &Event::Stop);
        let found: Vec<_> = lines(&bytes).collect();
        let expected = Record::Event { at: Instant::from_millis(1), event: Event::Stop };
        assert!(matches!(found.as_slice(), [Ok((1, record))] if *record == expected), "{found:?}");
    }
}
