//! Threads, all started by the same code: a copy of it for each kind of thread takes two kilobytes of the program.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Starts a thread of this name.
///
/// # Errors
/// No more threads.
pub fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    start(Builder::new().name(name.into()), Box::new(run))
}

/// The same with so many bytes of stack.
///
/// # Errors
/// No more threads.
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
