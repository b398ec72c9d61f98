//! Threads, all started by the same code: a copy of it for each kind of thread would add two kilobytes to the program.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Starts a thread with this name.
///
/// # Errors
/// No more threads can be started.
pub fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    start(Builder::new().name(name.into()), Box::new(run))
}

/// The same, with a stack of this many bytes.
///
/// # Errors
/// No more threads can be started.
pub fn spawn_small(
    name: &str,
    stack: usize,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let thread = Builder::new().name(name.into()).stack_size(stack);
    start(thread, Box::new(run))
}

fn start(thread: Builder, run: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
    thread.spawn(run)
}
