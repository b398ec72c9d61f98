//! A single-slot channel: a new value replaces an unread one. The reader may wait for other things meanwhile.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::sys::poll::{PollFd, poll};
use crate::sys::shutdown::ShutdownSignal;

/// Both ends; clones share one slot.
#[derive(Debug)]
pub struct LatestValue<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    /// Checked for every request, so it must not cost a lock.
    is_full: AtomicBool,
    slot: Mutex<Option<T>>,
    /// A byte in it wakes the reader.
    ends: (UnixStream, UnixStream),
}

impl<T> Clone for LatestValue<T> {
    fn clone(&self) -> Self {
        LatestValue {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> LatestValue<T> {
    /// An empty slot.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn new() -> io::Result<Self> {
        let ends = UnixStream::pair()?;
        ends.0.set_nonblocking(true)?;
        ends.1.set_nonblocking(true)?;
        Ok(LatestValue {
            shared: Arc::new(Shared {
                is_full: AtomicBool::new(false),
                slot: Mutex::new(None),
                ends,
            }),
        })
    }

    fn slot(&self) -> MutexGuard<'_, Option<T>> {
        self.shared
            .slot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a value in. A previous one that was not taken is dropped.
    pub fn put(&self, new: T) {
        let mut slot = self.slot();
        *slot = Some(new);
        self.shared.is_full.store(true, SeqCst);
        self.wake();
    }

    /// Ends the current wait, or else the next one.
    pub fn wake(&self) {
        // A full socket wakes as well as one more byte would.
        let _ = (&self.shared.ends.0).write(&[0]);
    }

    /// Takes the value, if there is one.
    pub fn take(&self) -> Option<T> {
        if !self.shared.is_full.load(SeqCst) {
            return None;
        }
        let mut slot = self.slot();
        self.shared.is_full.store(false, SeqCst);
        slot.take()
    }

    /// Waits for a value, for [`wake`](Self::wake), for `shutdown`, or for the end of `timeout`.
    pub fn wait(&self, shutdown: &ShutdownSignal, timeout: Duration) {
        let mut fds = [
            PollFd::new(self.shared.ends.1.as_fd()),
            PollFd::new(shutdown.as_fd()),
        ];
        // Fails only if the kernel is out of memory: don't spin then.
        if poll(&mut fds, Some(timeout)).is_err() {
            shutdown.wait(timeout);
        }
        if fds[0].is_ready() {
            self.drain();
        }
    }

    fn drain(&self) {
        loop {
            match (&self.shared.ends.1).read(&mut [0; 64]) {
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_newest_value_is_taken_once_and_wakes_the_reader() {
        let (value, shutdown) = (LatestValue::new().unwrap(), ShutdownSignal::new().unwrap());
        assert_eq!(value.take(), None);
        value.wait(&shutdown, Duration::from_millis(1));
        let writer = value.clone();
        let reader = std::thread::spawn(move || {
            let before = Instant::now();
            value.wait(&shutdown, Duration::from_secs(60));
            assert!(before.elapsed() < Duration::from_secs(60));
            while value.take() != Some(1000) {}
            // What was put after the wait may end one more wait; after that, nothing is left that could.
            value.wait(&shutdown, Duration::from_millis(100));
            let before = Instant::now();
            value.wait(&shutdown, Duration::from_millis(20));
            assert!(before.elapsed() >= Duration::from_millis(20));
            assert_eq!(value.take(), None);
        });
        (1..=1000).for_each(|number| writer.put(number));
        reader.join().unwrap();
    }
}
