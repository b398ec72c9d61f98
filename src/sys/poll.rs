//! poll(2): waiting for descriptors to become readable, or writable.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// A descriptor to wait for, and afterwards whether it is ready, at its end, or in error.
#[repr(transparent)]
pub struct PollFd<'fd> {
    raw: libc::pollfd,
    _borrow: std::marker::PhantomData<BorrowedFd<'fd>>,
}

impl<'fd> PollFd<'fd> {
    /// Waits for `fd` to become readable.
    pub fn new(fd: BorrowedFd<'fd>) -> Self {
        PollFd::of(fd, libc::POLLIN)
    }

    /// Waits for `fd` to become writable or, if `or_readable`, one of both.
    pub fn writing(fd: BorrowedFd<'fd>, or_readable: bool) -> Self {
        let readable = if or_readable { libc::POLLIN } else { 0 };
        PollFd::of(fd, libc::POLLOUT | readable)
    }

    fn of(fd: BorrowedFd<'fd>, events: libc::c_short) -> Self {
        PollFd {
            raw: libc::pollfd {
                fd: fd.as_raw_fd(),
                events,
                revents: 0,
            },
            _borrow: std::marker::PhantomData,
        }
    }

    /// Whether what was waited for would not block now.
    pub fn is_ready(&self) -> bool {
        self.raw.revents != 0
    }

    /// Whether there is something to read.
    pub fn is_readable(&self) -> bool {
        self.raw.revents & libc::POLLIN != 0
    }
}

/// Waits until one of `fds` is ready or `timeout` is over (`None`: forever), even if signals interrupt it.
///
/// # Errors
/// The kernel is out of memory.
pub fn poll(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<()> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let milliseconds = match deadline {
            None => -1,
            Some(deadline) => {
                let remaining = deadline.saturating_duration_since(Instant::now());
                // Rounded up, or the last millisecond would be a busy loop.
                i32::try_from(remaining.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
            }
        };
        // SAFETY: `PollFd` is transparent over `pollfd`, the pointer and length are the slice's own,
        // and every descriptor in it is borrowed for as long as the slice lives.
        let ready = unsafe {
            libc::poll(
                fds.as_mut_ptr().cast(),
                fds.len() as libc::nfds_t,
                milliseconds,
            )
        };
        if ready >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
