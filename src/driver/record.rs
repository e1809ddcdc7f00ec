//! The record lane: durable facts and the mode file, on a thread of its own, because a stalled disk must not
//! hold anything else up.

use crate::decision::action::{RecordStep, StepOutput, StepResult, Ticket};
use crate::decision::event::Event;
use crate::io::state_file::StateFile;
use crate::io::{mode_file, part_file};
use std::path::PathBuf;
use std::sync::mpsc;
use tokio::sync::mpsc::UnboundedSender;

/// Steps for the thread, in order.
pub type RecordQueue = mpsc::Sender<(Ticket, RecordStep)>;

/// Starts the thread; it ends when the queue is dropped.
///
/// # Errors
/// When the system has no thread to give.
pub fn spawn(
    mut state: StateFile,
    mode_file: PathBuf,
    run_dir: PathBuf,
    events: UnboundedSender<Event>,
) -> std::io::Result<RecordQueue> {
    let (queue, steps) = mpsc::channel::<(Ticket, RecordStep)>();
    std::thread::Builder::new().name("record".into()).spawn(move || {
        for (ticket, step) in steps {
            let written = match step {
                RecordStep::Persist(facts) => state.write(&facts).map_err(|error| error.to_string()),
                RecordStep::SetMode { mode, actor, reason } => {
                    mode_file::write(&mode_file, mode, &actor, &reason).map_err(|error| error.to_string())
                }
                RecordStep::SetPart { started } => {
                    part_file::write(&run_dir, started).map_err(|error| error.to_string())
                }
            };
            let result = match written {
                Ok(()) => StepResult::Ok(StepOutput::Done),
                Err(text) => StepResult::Failed(text),
            };
            if events.send(Event::StepEnded { ticket, result }).is_err() {
                return;
            }
        }
    })?;
    Ok(queue)
}
