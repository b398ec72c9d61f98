//! The newest of something, handed from one thread to another that may be waiting for something else.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::sys::poll::{PollFd, poll};
use crate::sys::shutdown::ShutdownSignal;

/// Both ends; clones are the same one.
#[derive(Debug)]
pub struct LatestValue<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    /// Looked at for every request, so it must not cost a lock.
    is_there: AtomicBool,
    newest: Mutex<Option<T>>,
    /// One byte in it wakes who waits.
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
    /// With nothing in it.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn new() -> io::Result<Self> {
        let ends = UnixStream::pair()?;
        ends.0.set_nonblocking(true)?;
        ends.1.set_nonblocking(true)?;
        Ok(LatestValue {
            shared: Arc::new(Shared {
                is_there: AtomicBool::new(false),
                newest: Mutex::new(None),
                ends,
            }),
        })
    }

    /// Puts something in, in the place of what was not taken.
    pub fn put(&self, new: T) {
        let mut newest = self
            .shared
            .newest
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *newest = Some(new);
        self.shared.is_there.store(true, SeqCst);
        // A full socket wakes as well as one more byte would.
        let _ = (&self.shared.ends.0).write(&[0]);
    }

    /// What was put in last and was not taken yet.
    pub fn take(&self) -> Option<T> {
        if !self.shared.is_there.load(SeqCst) {
            return None;
        }
        let mut newest = self
            .shared
            .newest
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.shared.is_there.store(false, SeqCst);
        loop {
            match (&self.shared.ends.1).read(&mut [0; 64]) {
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return newest.take(),
            }
        }
    }

    /// Waits until something is put in, `stop` is given, or the time is over.
    pub fn wait(&self, stop: &ShutdownSignal, timeout: Duration) {
        let mut fds = [
            PollFd::new(self.shared.ends.1.as_fd()),
            PollFd::new(stop.as_fd()),
        ];
        // It fails only if the kernel is out of memory: then don't spin.
        if poll(&mut fds, Some(timeout)).is_err() {
            stop.wait(timeout);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_newest_is_taken_once_and_wakes_who_waits() {
        let (handover, stop) = (LatestValue::new().unwrap(), ShutdownSignal::new().unwrap());
        assert_eq!(handover.take(), None);
        handover.wait(&stop, Duration::from_millis(1));
        let giver = handover.clone();
        let waiter = std::thread::spawn(move || {
            let before = Instant::now();
            handover.wait(&stop, Duration::from_secs(60));
            assert!(before.elapsed() < Duration::from_secs(60));
            // Nothing is left that would wake once more.
            while handover.take() != Some(1000) {}
            let before = Instant::now();
            handover.wait(&stop, Duration::from_millis(20));
            assert!(before.elapsed() >= Duration::from_millis(20));
            assert_eq!(handover.take(), None);
        });
        (1..=1000).for_each(|number| giver.put(number));
        waiter.join().unwrap();
    }
}
