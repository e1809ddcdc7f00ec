//! Tells others of each change of this node's role: the operator's hooks, one after the other, and the files of old
//! scripts beside them. All of it on the work threads: the loop puts a change into a bounded queue and goes on.

use crate::config::checked::{Hook, Paths};
use crate::decision::code::Code;
use crate::decision::why::Why;
use crate::io::clock;
use crate::io::journal::{Entry, JournalHandle};
use crate::io::process::{Program, Survivors};
use crate::io::role_files;
use crate::wire::role_change::{RoleChange, Word};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

/// Changes that wait: hooks that take so long that more come together are told of no further ones.
const QUEUE: usize = 64;
/// What the name of a hook begins with, among those of which something is wrong.
const HOOK: &str = "hook ";
/// When the daemon stops, a hook that still runs gets this much more time.
const LAST_CHANCE: Duration = Duration::from_secs(3);

/// One change, and who wants to know when all have been told.
#[derive(Debug)]
struct Told {
    change: RoleChange,
    done: Option<oneshot::Sender<()>>,
}

/// What is wrong with each hook and file, by its name; for the status.
type Problems = watch::Sender<BTreeMap<String, Why>>;

/// Hands changes to the workers. Never waits.
#[derive(Debug)]
pub struct HookQueue {
    hooks: Sender<Told>,
    files: Sender<Told>,
    stopping: watch::Sender<bool>,
    problems: watch::Receiver<BTreeMap<String, Why>>,
}

impl HookQueue {
    /// Starts the workers on the present runtime. Each change is told to the hooks that there are when its turn comes.
    pub fn spawn(hooks_in_order: watch::Receiver<Vec<Hook>>, paths: Paths, journal: JournalHandle) -> Self {
        let (hooks, to_hooks) = channel(QUEUE);
        let (files, to_files) = channel(QUEUE);
        let (stopping, stopped) = watch::channel(false);
        let (problems, shown) = watch::channel(BTreeMap::new());
        let problems_of_hooks = problems.clone();
        let worker =
            Worker { hooks: hooks_in_order, journal, problems: problems_of_hooks, stopping: stopped };
        tokio::spawn(worker.run(to_hooks));
        tokio::spawn(write_files(paths, to_files, problems));
        Self { hooks, files, stopping, problems: shown }
    }

    /// Tells a change; one that finds no room is lost to the hooks, and said so.
    pub fn tell(&self, change: RoleChange) {
        let event = change.event;
        let told = || Told { change: change.clone(), done: None };
        if self.hooks.try_send(told()).is_err() {
            tracing::error!(
                code = Code::HookFailed.word(),
                "hooks were not told of {}: too many changes wait for slow ones",
                event.word()
            );
        }
        // A disk that has stood still for so many changes will not show this one either.
        let _ = self.files.try_send(told());
    }

    /// Tells that the daemon stops, and waits until everybody has been told, for `limit` at most. What runs is ended
    /// soon, and what waits is not told any more.
    pub async fn stop(&self, change: RoleChange, limit: Duration) {
        self.stopping.send_replace(true);
        if timeout(limit, self.stop_after_all(change)).await.is_err() {
            tracing::error!(code = Code::HookFailed.word(), "hooks for stop did not end within {limit:?}");
        }
    }

    /// Tells the last change, and waits until everybody has been told of it.
    async fn stop_after_all(&self, change: RoleChange) {
        let mut waiting = Vec::new();
        for queue in [&self.files, &self.hooks] {
            let (done, end) = oneshot::channel();
            if queue.send(Told { change: change.clone(), done: Some(done) }).await.is_ok() {
                waiting.push(end);
            }
        }
        for end in waiting {
            // A worker that is gone has told what it could.
            let _ = end.await;
        }
    }

    /// What is wrong with hooks and files now.
    pub fn problems(&self) -> Vec<Why> {
        self.problems.borrow().values().cloned().collect()
    }
}

/// Runs the hooks.
struct Worker {
    hooks: watch::Receiver<Vec<Hook>>,
    journal: JournalHandle,
    problems: Problems,
    stopping: watch::Receiver<bool>,
}

impl Worker {
    async fn run(mut self, mut changes: Receiver<Told>) {
        loop {
            let told = tokio::select! {
                biased;
                Ok(()) = self.hooks.changed() => {
                    // What was wrong with a hook of before says nothing of one of now.
                    self.problems.send_modify(|shown| shown.retain(|name, _| !name.starts_with(HOOK)));
                    continue;
                }
                told = changes.recv() => told,
            };
            let Some(Told { change, done }) = told else { return };
            let last = done.is_some();
            let hooks = self.hooks.borrow().clone();
            for (place, hook) in hooks.iter().enumerate() {
                if hook.on.contains(&change.event) && (last || !*self.stopping.borrow()) {
                    self.run_one(place + 1, hook, &change, last).await;
                }
            }
            if let Some(done) = done {
                // Whoever stops the daemon may have given up waiting.
                let _ = done.send(());
            }
        }
    }

    /// Runs one hook to its end, or kills it at its timeout.
    async fn run_one(&mut self, place: usize, hook: &Hook, change: &RoleChange, last: bool) {
        let name = hook.argv.first().cloned().unwrap_or_default();
        let mut argv = hook.argv.clone();
        argv.extend(change.arguments());
        let program = Program {
            argv,
            user: hook.user.clone(),
            environment: Vec::new(),
            // A notify script may leave a job of its own behind.
            survivors: Survivors::Left,
        };
        let mut input = serde_json::to_vec(change).unwrap_or_default();
        input.push(b'\n');
        let begin = Instant::now();
        let ended = tokio::select! {
            ended = timeout(hook.timeout, program.run(input)) => ended.ok(),
            () = told_to_stop(&mut self.stopping), if !last => None,
        };
        let took = begin.elapsed();
        let event = change.event.word();
        let problem = match ended {
            Some(Ok(ended)) if ended.status.success() => None,
            Some(Ok(ended)) if ended.complaint.is_empty() => Some(ended.how()),
            Some(Ok(ended)) => Some(format!("{}: {}", ended.how(), ended.complaint)),
            Some(Err(error)) => Some(error.to_string()),
            None => Some(format!("did not end within {took:.1?} and was killed")),
        };
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let what = format!("hook {place} ({name}) on {event}");
        let why = problem.map(|problem| Why::new(Code::HookFailed, format!("{what}: {problem}")));
        let now = clock::now();
        let entry = match &why {
            None => {
                tracing::info!(code = "hook.done", took_ms = milliseconds, "{what}");
                Entry::action(now, change.epoch, "hook.done", what)
            }
            Some(why) => {
                tracing::warn!(code = why.code.word(), took_ms = milliseconds, "{}", why.text);
                Entry::decision(now, change.epoch, why)
            }
        };
        self.journal.record(entry.with("event", event).with("took_ms", milliseconds));
        note(&self.problems, format!("{HOOK}{place}"), why);
    }
}

/// The daemon stops, and the hook that runs has had its last chance.
async fn told_to_stop(stopping: &mut watch::Receiver<bool>) {
    if stopping.wait_for(|stopping| *stopping).await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(LAST_CHANCE).await;
}

async fn write_files(paths: Paths, mut changes: Receiver<Told>, problems: Problems) {
    if let Some(word) = paths.state_file.as_deref().and_then(role_files::foreign_state) {
        tracing::warn!(code = "role_file.unknown", "node.state_file held {word:?}, which is no state");
    }
    while let Some(Told { change, done }) = changes.recv().await {
        let paths = paths.clone();
        let word = change.event;
        let written = spawn_blocking(move || write_both(&paths, word)).await.unwrap_or_default();
        for (key, problem) in written {
            let why = problem.map(|problem| Why::new(Code::RoleFileFailed, problem));
            if let Some(why) = &why {
                tracing::warn!(code = why.code.word(), "{}", why.text);
            }
            note(&problems, key.to_owned(), why);
        }
        if let Some(done) = done {
            let _ = done.send(());
        }
    }
}

fn write_both(paths: &Paths, word: Word) -> Vec<(&'static str, Option<String>)> {
    let mut written = Vec::new();
    let mut note = |key, result: Result<(), role_files::RoleFileError>| {
        written.push((key, result.err().map(|error| error.to_string())));
    };
    if let Some(path) = &paths.state_file {
        note("node.state_file", role_files::write_state(path, word));
    }
    if let Some(path) = &paths.transition_log {
        note("node.transition_log", role_files::append_notification(path, word, clock::wall()));
    }
    written
}

/// Shows a problem until the same thing goes well again.
fn note(problems: &Problems, name: String, why: Option<Why>) {
    problems.send_if_modified(|shown| match why {
        Some(why) => shown.insert(name, why.clone()) != Some(why),
        None => shown.remove(&name).is_some(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::journal::Journal;
    use crate::wire::role_change::tests::change;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    /// A script that notes its arguments, and then does what `text` says.
    fn hook(folder: &Path, name: &str, text: &str, timeout: Duration) -> Hook {
        let path = folder.join(name);
        let script = format!("#!/bin/sh\necho {name} $4 >>{}\n{text}\n", folder.join("log").display());
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let argv = vec![path.display().to_string(), "mine".into()];
        Hook { on: Word::ALL.to_vec(), argv, timeout, user: "root".into() }
    }

    fn queue(folder: &Path, hooks: Vec<Hook>) -> HookQueue {
        reloadable(folder, watch::channel(hooks).1)
    }

    fn reloadable(folder: &Path, hooks: watch::Receiver<Vec<Hook>>) -> HookQueue {
        let paths = Paths {
            state_dir: folder.into(),
            run_dir: folder.into(),
            mode_file: folder.join("mode"),
            state_file: Some(folder.join("state")),
            transition_log: Some(folder.join("no/such/folder/log")),
        };
        HookQueue::spawn(hooks, paths, Journal::spawn(folder.join("journal.db")))
    }

    fn log(folder: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn r0_19_hooks_run_in_order_and_what_fails_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let long = Duration::from_secs(20);
        let hooks = vec![
            hook(path, "first", "sleep 0.05; grep -q '\"state\":\"MASTER\"'", long),
            hook(path, "hangs", "sleep 600", Duration::from_millis(300)),
            hook(path, "last", "test $3 = shop && test $5 = 90", long),
        ];
        let queue = queue(path, hooks);
        queue.tell(change(Word::Active));
        queue.tell(change(Word::Standby));
        // Waits its turn behind both.
        queue.stop_after_all(change(Word::Stop)).await;
        let told: Vec<String> = ["MASTER", "BACKUP", "STOP"]
            .iter()
            .flat_map(|state| ["first", "hangs", "last"].map(|name| format!("{name} {state}")))
            .collect();
        assert_eq!(log(path), told);
        let problems: Vec<String> = queue.problems().into_iter().map(|why| why.text).collect();
        let [first, hangs, file] = problems.as_slice() else { panic!("{problems:?}") };
        assert!(first.contains("first) on stop: exit code 1"), "not MASTER in its input: {first}");
        assert!(hangs.contains("hangs) on stop: did not end within"), "{hangs}");
        assert!(file.starts_with("node.transition_log "), "{file}");
        assert_eq!(std::fs::read(path.join("state")).unwrap(), b"STOP");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn r4_11_a_stop_ends_what_runs_skips_what_waits_and_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let slow = hook(path, "slow", "test $4 = STOP || sleep 600", Duration::from_secs(600));
        let queue = queue(path, vec![slow]);
        queue.tell(change(Word::Active));
        queue.tell(change(Word::Standby));
        while log(path).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let begin = Instant::now();
        queue.stop(change(Word::Stop), Duration::from_secs(60)).await;
        assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
        assert_eq!(log(path), ["slow MASTER", "slow STOP"]);
        assert_eq!(queue.problems().len(), 1, "only the file: {:?}", queue.problems());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn r2_11_a_reload_changes_the_hooks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let long = Duration::from_secs(20);
        let (hooks, current) = watch::channel(vec![hook(path, "before", "exit 3", long)]);
        let queue = reloadable(path, current);
        let shown = |count| {
            let mut problems = queue.problems.clone();
            async move { problems.wait_for(|shown| shown.len() == count).await.map(drop).unwrap() }
        };
        queue.tell(change(Word::Active));
        // The hook that failed, and the file that cannot be written.
        timeout(long, shown(2)).await.unwrap();
        hooks.send_replace(vec![hook(path, "after", "", long), hook(path, "more", "", long)]);
        timeout(long, shown(1)).await.expect("a hook that is no more has no problem");
        queue.tell(change(Word::Standby));
        queue.stop_after_all(change(Word::Stop)).await;
        assert_eq!(log(path), ["before MASTER", "after BACKUP", "more BACKUP", "after STOP", "more STOP"]);
    }
}
