//! epoll(7): waiting for many descriptors to become readable, at a cost that does not grow with their number.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// The most descriptors reported by one wait; more of them are reported by the next.
const AT_ONCE: usize = 64;

/// What is waited for on a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// A read, or accept, would not block.
    Read,
    /// The other side has closed it, or it is in error.
    Hangup,
    /// As `Read`, but once it is ready, nothing more is reported until it is asked for again.
    ReadOnce,
}

impl Interest {
    fn events(self) -> u32 {
        let events = match self {
            Interest::Read => libc::EPOLLIN | libc::EPOLLRDHUP,
            Interest::Hangup => libc::EPOLLRDHUP,
            Interest::ReadOnce => libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLONESHOT,
        };
        events.cast_unsigned()
    }
}

/// A set of descriptors to wait for. One that is closed leaves the set automatically.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

impl Epoll {
    /// An empty set.
    ///
    /// # Errors
    /// No descriptors or memory left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: the call takes a number and touches no memory of ours.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor is new, and nobody else's.
        Ok(Epoll(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Adds this descriptor to the set under the name `token`.
    ///
    /// # Errors
    /// No memory left, or as many watched descriptors as the kernel allows this user.
    pub fn add(&self, fd: &(impl AsFd + ?Sized), token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, interest)
    }

    /// Changes what this descriptor is waited for.
    ///
    /// # Errors
    /// It is not in the set.
    pub fn modify(
        &self,
        fd: &(impl AsFd + ?Sized),
        token: u64,
        interest: Interest,
    ) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, interest)
    }

    fn control(
        &self,
        operation: i32,
        fd: &(impl AsFd + ?Sized),
        token: u64,
        interest: Interest,
    ) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: interest.events(),
            u64: token,
        };
        let fd = fd.as_fd().as_raw_fd();
        // SAFETY: both descriptors are open, and the pointer is to a live event, which the call only reads.
        check(unsafe { libc::epoll_ctl(self.raw(), operation, fd, &raw mut event) })?;
        Ok(())
    }

    /// Puts the tokens of what is ready into `ready`, after `timeout` at the latest (`None`: waits forever). There may
    /// be none if a signal has come.
    ///
    /// # Errors
    /// No memory left.
    pub fn wait(&self, ready: &mut Vec<u64>, timeout: Option<Duration>) -> io::Result<()> {
        ready.clear();
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; AT_ONCE];
        let count = self.wait_for(&mut events, timeout)?;
        ready.extend(events.iter().take(count).map(|event| event.u64));
        Ok(())
    }

    /// The token of a ready descriptor, after `timeout` at the latest. Each of several waiting threads gets another.
    ///
    /// # Errors
    /// No memory left.
    pub fn wait_for_one(&self, timeout: Duration) -> io::Result<Option<u64>> {
        let mut event = [libc::epoll_event { events: 0, u64: 0 }];
        let count = self.wait_for(&mut event, Some(timeout))?;
        Ok(event.first().filter(|_| count > 0).map(|event| event.u64))
    }

    fn wait_for(
        &self,
        events: &mut [libc::epoll_event],
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        let milliseconds = timeout.map_or(-1, |timeout| {
            // Rounded up, or the last millisecond would be a busy loop.
            i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
        });
        // SAFETY: the pointer and the length are the slice's own.
        let count = unsafe {
            let (pointer, length) = (events.as_mut_ptr(), events.len() as i32);
            libc::epoll_wait(self.raw(), pointer, length, milliseconds)
        };
        match check(count) {
            Ok(count) => Ok(usize::try_from(count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_ready_is_named_until_it_was_read() {
        let epoll = Epoll::new().unwrap();
        let pairs: Vec<_> = (0..100).map(|_| UnixStream::pair().unwrap()).collect();
        for (token, (here, _)) in pairs.iter().enumerate() {
            epoll.add(here, token as u64, Interest::Read).unwrap();
        }
        let wait = |timeout| {
            let mut ready = vec![1000];
            epoll.wait(&mut ready, timeout).unwrap();
            ready
        };
        assert_eq!(wait(Some(Duration::from_micros(1))), [0_u64; 0]);
        (&pairs[7].1).write_all(b"x").unwrap();
        assert_eq!(wait(None), [7]);
        epoll.modify(&pairs[7].0, 7, Interest::Hangup).unwrap();
        assert_eq!(wait(Some(Duration::ZERO)), [0_u64; 0]);
        epoll.modify(&pairs[7].0, 7, Interest::Read).unwrap();
        assert_eq!(wait(None), [7]);
        (&pairs[7].0).read_exact(&mut [0]).unwrap();
        assert_eq!(wait(Some(Duration::ZERO)), [0_u64; 0]);
    }

    #[test]
    fn what_is_asked_for_once_is_named_once() {
        let epoll = Epoll::new().unwrap();
        let (here, there) = UnixStream::pair().unwrap();
        epoll.add(&here, 3, Interest::ReadOnce).unwrap();
        (&there).write_all(b"x").unwrap();
        let wait = || epoll.wait_for_one(Duration::from_millis(1)).unwrap();
        assert_eq!((wait(), wait()), (Some(3), None));
        epoll.modify(&here, 3, Interest::ReadOnce).unwrap();
        assert_eq!((wait(), wait()), (Some(3), None));
    }

    #[test]
    fn a_hangup_is_seen_and_a_closed_descriptor_leaves() {
        let epoll = Epoll::new().unwrap();
        let (here, there) = UnixStream::pair().unwrap();
        epoll.add(&here, 1, Interest::Hangup).unwrap();
        let mut ready = Vec::new();
        (&there).write_all(b"x").unwrap();
        epoll.wait(&mut ready, Some(Duration::ZERO)).unwrap();
        assert!(ready.is_empty());
        drop(there);
        epoll.wait(&mut ready, None).unwrap();
        assert_eq!(ready, [1]);
        drop(here);
        epoll.wait(&mut ready, Some(Duration::ZERO)).unwrap();
        assert!(ready.is_empty());
    }
}
