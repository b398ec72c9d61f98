//! Threads, all started by the same code: a copy of it for each kind of thread would add two kilobytes to the program.

use std::io;
use std::thread::Builder;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

/// Starts a thread with this name.
///
/// # Errors
/// No more threads can be started.
pub fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    start(name, Builder::new(), Box::new(run))
}

/// The same, with a stack of this many bytes.
///
/// # Errors
/// No more threads can be started.
pub fn spawn_small(
    name: &str,
    stack: usize,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    start(name, Builder::new().stack_size(stack), Box::new(run))
}

/// A thread that works until it is told to end.
#[derive(Debug)]
pub struct Worker {
    end: Sender<()>,
    ended: Receiver<()>,
}

impl Worker {
    /// Starts it. `run` should return soon after the channel that it gets is disconnected.
    ///
    /// # Errors
    /// No more threads can be started.
    pub fn start(name: &str, run: impl FnOnce(&Receiver<()>) + Send + 'static) -> io::Result<Self> {
        let (end, is_ending) = bounded(0);
        let (alive, ended) = bounded(0);
        spawn(name, move || {
            run(&is_ending);
            drop(alive);
        })?;
        Ok(Worker { end, ended })
    }

    /// Tells it to end, and waits for that up to `patience`.
    pub fn finish(self, patience: Duration) {
        drop(self.end);
        let _ = self.ended.recv_timeout(patience);
    }
}

fn start(name: &str, thread: Builder, run: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    let started = thread.name(name.into()).spawn(run);
    // The system's own text does not say what is unavailable.
    started.map(drop).map_err(|error| {
        let what = format!(
            "can't start the thread '{name}': {error}; fix: raise the limit of threads (TasksMax, LimitNPROC), or that \
             of memory"
        );
        io::Error::new(error.kind(), what)
    })
}
