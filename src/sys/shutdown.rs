//! A signal that is triggered once, and that any number of threads can check, wait for with a timeout, or poll
//! together with other descriptors.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use crate::sys::poll::{PollFd, poll};

/// Triggered once, for all clones. Its descriptor is readable from then on.
#[derive(Debug, Clone)]
pub struct ShutdownSignal {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Checked for every request and read, so it must not cost a system call.
    is_triggered: AtomicBool,
    /// Shutting one end down makes the other readable.
    ends: (UnixStream, UnixStream),
}

impl ShutdownSignal {
    /// A signal that is not triggered yet.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn new() -> io::Result<Self> {
        Ok(ShutdownSignal {
            shared: Arc::new(Shared {
                is_triggered: AtomicBool::new(false),
                ends: UnixStream::pair()?,
            }),
        })
    }

    /// Triggers the signal. Triggering it again changes nothing.
    pub fn trigger(&self) {
        self.shared.is_triggered.store(true, SeqCst);
        // Fails only if the socket was shut down before.
        let _ = self.shared.ends.0.shutdown(Shutdown::Both);
    }

    /// Waits for the signal, at most for `timeout`. True if it is triggered.
    pub fn wait(&self, timeout: Duration) -> bool {
        let mut fds = [PollFd::new(self.as_fd())];
        // poll(2) on one good descriptor fails only if the kernel is out of memory: don't spin then.
        if poll(&mut fds, Some(timeout)).is_err() {
            std::thread::sleep(timeout.min(Duration::from_secs(1)));
        }
        fds[0].is_ready()
    }

    /// Whether the signal is triggered.
    pub fn is_triggered(&self) -> bool {
        self.shared.is_triggered.load(SeqCst)
    }
}

impl AsFd for ShutdownSignal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.ends.1.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wakes_every_waiter_and_stays_triggered() {
        let shutdown = ShutdownSignal::new().unwrap();
        assert!(!shutdown.is_triggered());
        assert!(!shutdown.wait(Duration::from_millis(1)));
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let shutdown = shutdown.clone();
                std::thread::spawn(move || shutdown.wait(Duration::from_secs(60)))
            })
            .collect();
        shutdown.trigger();
        assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap()));
        shutdown.trigger();
        assert!(shutdown.is_triggered());
    }
}
