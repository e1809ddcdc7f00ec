//! `apctl watch` on a terminal of the test's own: what it draws, how it ends, and that the terminal is as it was.

use super::canned::{Canned, shop};
use super::control::{Daemon, Setup, active_at, alone_at, apctl_command, boot_clock, until};
use super::pages::golden;
use super::{code, err};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

const LEAVE_SCREEN: &str = "\x1b[?1049l";
const SHOW_CURSOR: &str = "\x1b[?25h";

struct Terminal {
    child: Child,
    keyboard: File,
    line: File,
    before: Termios,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn watching(daemon: &Daemon) -> Self {
        Self::of_width(120, &daemon.socket())
    }

    fn of_width(ws_col: u16, socket: &Path) -> Self {
        let size = Winsize { ws_row: 50, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(Some(&size), None).unwrap();
        let line = File::from(slave);
        let before = tcgetattr(&line).unwrap();
        let end = || Stdio::from(line.try_clone().unwrap());
        let mut command = apctl_command();
        command.env("TERM", "xterm-256color").arg("--socket").arg(socket).arg("watch");
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let keyboard = File::from(master);
        let mut reader = keyboard.try_clone().unwrap();
        let shown = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read) = reader.read(&mut buffer) {
                kept.lock().unwrap().extend_from_slice(&buffer[..read]);
            }
        });
        Self { child, keyboard, line, before, shown }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Waits until this was drawn since the last [`Terminal::forget`].
    fn draws(&self, words: &str) {
        until(&format!("`{words}` is drawn"), || plain(&self.text()).contains(words).then_some(()));
    }

    fn forget(&self) {
        self.shown.lock().unwrap().clear();
    }

    /// It has ended with 0, left the other screen, shows the cursor, and the line is as it was.
    fn ends_clean(mut self) {
        let status = until("apctl watch ends", || self.child.try_wait().unwrap());
        assert_eq!(status.code(), Some(0), "{:?}", self.text());
        until("the screen is given back", || {
            let text = self.text();
            (text.contains(LEAVE_SCREEN) && text.contains(SHOW_CURSOR)).then_some(())
        });
        let after = tcgetattr(&self.line).unwrap();
        assert!(after.local_flags.contains(LocalFlags::ICANON | LocalFlags::ECHO));
        assert_eq!(after, self.before);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Gone already, in a test that passes.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What was drawn, without the sequences that move and colour.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\x1b' {
            plain.push(letter);
            continue;
        }
        if letters.next() == Some('[') {
            let end = letters.by_ref().find(|letter| letter.is_ascii_alphabetic());
            // A move skips what is blank already, or begins another line.
            if end == Some('H') {
                plain.push(' ');
            }
        }
    }
    plain
}

/// What a terminal with room for this shows after all that was drawn; colours are not looked at.
fn screen(text: &str, rows: usize, columns: usize) -> String {
    let mut cells = vec![vec![' '; columns]; rows];
    let (mut row, mut column) = (0, 0);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\x1b' {
            assert!(
                row < rows && column < columns,
                "`{letter}` is drawn beside the screen, at {row};{column}"
            );
            cells[row][column] = letter;
            column += 1;
            continue;
        }
        assert_eq!(letters.next(), Some('['), "a sequence of another kind");
        let mut numbers = String::new();
        let end = letters.by_ref().find(|letter| {
            let is_end = letter.is_ascii_alphabetic();
            numbers.extend((!is_end).then_some(*letter));
            is_end
        });
        match (end, numbers.as_str()) {
            (Some('H'), place) => {
                let (down, right) = place.split_once(';').unwrap_or(("1", "1"));
                (row, column) = (down.parse::<usize>().unwrap() - 1, right.parse::<usize>().unwrap() - 1);
            }
            (Some('J'), "2") => cells.iter_mut().for_each(|row| row.fill(' ')),
            (Some('m' | 'h' | 'l'), _) => {}
            (end, numbers) => panic!("nobody knows {numbers}{end:?}"),
        }
    }
    let lines = cells.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned() + "\n");
    lines.collect()
}

fn daemon() -> Daemon {
    Daemon::start(Setup { snapshot: active_at(boot_clock()), clock: boot_clock, ..Setup::default() })
}

#[test]
fn it_draws_the_pair_follows_it_and_ends_by_a_key() {
    let daemon = daemon();
    let mut terminal = Terminal::watching(&daemon);
    for words in
        ["db1", "db2", "active", "standby", "heartbeat", "check api", "last", "transitions", "lease", "quit"]
    {
        terminal.draws(words);
    }
    assert!(
        !tcgetattr(&terminal.line).unwrap().local_flags.contains(LocalFlags::ECHO),
        "keys are not echoed"
    );
    daemon.snapshots.send_replace(Arc::new(alone_at(boot_clock())));
    terminal.draws("check.failed");
    terminal.keyboard.write_all(b"\x1b[B\x1b[A").unwrap();
    terminal.forget();
    terminal.keyboard.write_all(b"q").unwrap();
    terminal.ends_clean();
}

/// The whole screen, on a wide terminal and on a narrow one.
#[test]
fn its_screen_fits_both_widths() {
    let daemon = Canned::serve(shop);
    let mut pages = String::new();
    for columns in [100, 60] {
        let mut terminal = Terminal::of_width(columns, &daemon.socket());
        // The last line that is drawn.
        terminal.draws("arrows scroll the transitions ");
        let page = screen(&terminal.text(), 50, columns.into());
        pages.push_str(&format!("==== apctl watch, {columns} columns\n{page}"));
        terminal.keyboard.write_all(b"q").unwrap();
        terminal.ends_clean();
    }
    golden("watch.txt", &pages);
}

#[test]
fn it_says_that_the_daemon_is_gone_and_comes_back_to_it() {
    let mut daemon = daemon();
    let mut terminal = Terminal::watching(&daemon);
    terminal.draws("db1");
    daemon.stop();
    terminal.draws("does not answer");
    terminal.keyboard.write_all(b"\x03").unwrap();
    terminal.ends_clean();
}

#[test]
fn a_signal_gives_the_terminal_back_too() {
    let daemon = daemon();
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let terminal = Terminal::watching(&daemon);
        terminal.draws("db1");
        kill(Pid::from_raw(i32::try_from(terminal.child.id()).unwrap()), signal).unwrap();
        terminal.ends_clean();
    }
}

#[test]
fn without_a_terminal_it_says_what_to_use_instead() {
    let daemon = daemon();
    let output = daemon.apctl(&["watch"]);
    assert_eq!(code(&output), 2);
    assert!(err(&output).contains("apctl status --watch"), "{output:?}");
}
