//! Waits for conditions with a deadline, so that no test sleeps for a guessed time.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

/// How long [`eventually`] waits: far longer than anything takes on a loaded machine, so only a failure reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds; panics, naming `what` was waited for, if it does not within `limit`.
#[track_caller]
pub(crate) fn within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    if poll(limit, || condition().then_some(())).is_none() {
        panic!("not within {limit:?}: {what}");
    }
}

/// Waits until `attempt` returns something; panics, naming `what` was waited for, if it does not within [`PATIENCE`].
#[track_caller]
pub(crate) fn eventually<T>(what: &str, attempt: impl FnMut() -> Option<T>) -> T {
    poll(PATIENCE, attempt).unwrap_or_else(|| panic!("not within {PATIENCE:?}: {what}"))
}

/// Waits until `value` has been the same for `time`, and returns it: that nothing happens shows only in time.
#[track_caller]
pub(crate) fn unchanged_for<T: PartialEq>(
    time: Duration,
    what: &str,
    mut value: impl FnMut() -> T,
) -> T {
    let (mut last, mut since) = (value(), Instant::now());
    eventually(what, || {
        let now = value();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        (since.elapsed() >= time).then_some(())
    });
    last
}

/// Waits until the other side, on this host, has read all that was written to this stream.
#[track_caller]
pub(crate) fn wait_until_read(stream: &impl AsFd) {
    let local = SockRef::from(stream).local_addr().unwrap().as_socket();
    eventually("the agent reads", || {
        let mut unread = 0;
        let socket = stream.as_fd().as_raw_fd();
        // SAFETY: the descriptor is borrowed from an open socket, and TIOCOUTQ writes one int.
        let done = unsafe { libc::ioctl(socket, libc::TIOCOUTQ, &raw mut unread) };
        assert_eq!(done, 0);
        // Over TCP, what has arrived counts as sent.
        (unread == 0 && local.is_none_or(|local| unread_from(local) == Some(0))).then_some(())
    });
}

/// How many bytes from the client with this address its server, on this host, has not read.
fn unread_from(client: SocketAddr) -> Option<u64> {
    let SocketAddr::V4(client) = client else {
        panic!("{client}");
    };
    // As the kernel lists sockets: the other side's address, the state, of which 01 is established, and both queues.
    let (ip, port) = (u32::from_ne_bytes(client.ip().octets()), client.port());
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
    let (_, queues) = sockets.split_once(&format!(" {ip:08X}:{port:04X} 01 "))?;
    let (_, unread) = queues.split(' ').next()?.split_once(':')?;
    u64::from_str_radix(unread, 16).ok()
}

/// Tries `attempt` every few milliseconds until it returns something; `None` if it does not within `limit`.
pub(crate) fn poll<T>(limit: Duration, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = attempt() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(3));
    }
}
