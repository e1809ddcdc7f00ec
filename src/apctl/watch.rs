//! `apctl watch`: the pair on the whole screen, drawn anew as it changes. The terminal is given back as it was, however
//! the program ends: by a key, by a signal, or by a panic.

use super::client::Client;
use super::exit::{Exit, Failure};
use super::view::screen::{self, Scene};
use crate::wire::control::{History, Status};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Between two looks at the daemon.
const LOOK: Duration = Duration::from_millis(500);
/// Keys, signals and news are noticed within this.
const PULSE: Duration = Duration::from_millis(100);
/// Transitions that are shown.
const TRANSITIONS: u32 = 100;

/// What a look brought.
type News = Result<(Box<Status>, History), Failure>;

/// `watch`.
pub(super) fn watch(socket: PathBuf) -> Result<Exit, Failure> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Failure::usage("watch draws on a terminal, and there is none")
            .resolved_by("apctl status prints once, apctl status --watch every second"));
    }
    // Where the daemon cannot be reached at all, that is an answer and not a screen.
    Client::new(socket.clone())?.status()?;
    let ended = end_by_signal()?;
    let news = look(socket);
    let terminal = ratatui::try_init().map_err(unusable)?;
    // Given back on every way out of this function; `try_init` has seen to panics.
    let _restored = Restored;
    draw(terminal, &news, &ended)
}

struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn unusable(error: io::Error) -> Failure {
    Failure::failed(format!("the terminal: {error}"))
}

fn draw(
    mut terminal: ratatui::DefaultTerminal,
    news: &Receiver<News>,
    ended: &AtomicBool,
) -> Result<Exit, Failure> {
    let mut scene = Scene::default();
    while !ended.load(Ordering::Relaxed) {
        loop {
            match news.try_recv() {
                Ok(Ok((status, history))) => scene.show(*status, history),
                Ok(Err(failure)) => scene.lose(failure.message),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(Exit::FAILED),
            }
        }
        terminal.draw(|frame| screen::draw(frame, &mut scene)).map_err(unusable)?;
        if event::poll(PULSE).map_err(unusable)?
            && let Event::Key(key) = event::read().map_err(unusable)?
            && key.kind == KeyEventKind::Press
            && !press(&mut scene, key)
        {
            break;
        }
    }
    Ok(Exit::OK)
}

/// Whether to go on.
fn press(scene: &mut Scene, key: KeyEvent) -> bool {
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return false,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
        KeyCode::Up | KeyCode::Char('k') => scene.scroll(-1),
        KeyCode::Down | KeyCode::Char('j') => scene.scroll(1),
        KeyCode::PageUp => scene.scroll(-10),
        KeyCode::PageDown => scene.scroll(10),
        _ => {}
    }
    true
}

/// Asks the daemon again and again, on a thread of its own: a daemon that is slow must not hold the keys up.
fn look(socket: PathBuf) -> Receiver<News> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let Ok(client) = Client::new(socket) else { return };
        loop {
            let path = format!("/history?kinds=decision&limit={TRANSITIONS}");
            let news = client.status().and_then(|status| Ok((Box::new(status), client.get(&path)?)));
            if sender.send(news).is_err() {
                return;
            }
            thread::sleep(LOOK);
        }
    });
    receiver
}

/// True once a signal asked for the end: the screen is given back first.
fn end_by_signal() -> Result<Arc<AtomicBool>, Failure> {
    let ended = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&ended);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("no event loop: {error}")))?;
    thread::spawn(move || {
        runtime.block_on(async {
            let heard = |kind| async move {
                match signal(kind) {
                    Ok(mut signal) => drop(signal.recv().await),
                    Err(_) => std::future::pending().await,
                }
            };
            tokio::select! {
                () = heard(SignalKind::terminate()) => {}
                () = heard(SignalKind::hangup()) => {}
                () = heard(SignalKind::interrupt()) => {}
            }
        });
        flag.store(true, Ordering::Relaxed);
    });
    Ok(ended)
}
