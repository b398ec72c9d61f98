//! A signal that is given once, and that any number of threads can look at, wait for with a
//! timeout, or poll together with other descriptors.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use crate::sys::poll::{PollFd, poll};

/// Given once, seen by all clones. Its descriptor is readable from then on.
#[derive(Debug, Clone)]
pub struct ShutdownSignal {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Looked at for every request and read, so it must not cost a system call.
    given: AtomicBool,
    /// Shutting one end down makes the other readable.
    ends: (UnixStream, UnixStream),
}

impl ShutdownSignal {
    /// A signal that is not given yet.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn new() -> io::Result<Self> {
        Ok(ShutdownSignal {
            shared: Arc::new(Shared {
                given: AtomicBool::new(false),
                ends: UnixStream::pair()?,
            }),
        })
    }

    /// Gives the signal. Giving it again changes nothing.
    pub fn trigger(&self) {
        self.shared.given.store(true, SeqCst);
        // It can only fail if the socket was shut down already.
        let _ = self.shared.ends.0.shutdown(Shutdown::Both);
    }

    /// Waits for the signal, `timeout` at most. True if it was given.
    pub fn wait(&self, timeout: Duration) -> bool {
        let mut fds = [PollFd::new(self.as_fd())];
        // poll(2) on one good descriptor fails only if the kernel is out of memory: then don't spin.
        if poll(&mut fds, Some(timeout)).is_err() {
            std::thread::sleep(timeout.min(Duration::from_secs(1)));
        }
        fds[0].is_ready()
    }

    /// Whether the signal was given.
    pub fn is_triggered(&self) -> bool {
        self.shared.given.load(SeqCst)
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
    fn wakes_every_waiter_and_stays_given() {
        let stop = ShutdownSignal::new().unwrap();
        assert!(!stop.is_triggered());
        assert!(!stop.wait(Duration::from_millis(1)));
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let stop = stop.clone();
                std::thread::spawn(move || stop.wait(Duration::from_secs(60)))
            })
            .collect();
        stop.trigger();
        assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap()));
        stop.trigger();
        assert!(stop.is_triggered());
    }
}
