//! The connections of one listener: their sockets, so that they can be ended, and the rules of the [`Registry`] for them.

use std::collections::HashMap;
use std::net::{IpAddr, Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::sys::poll::{PollFd, poll};

use super::registry::{Admission, Limits, Phase, Registry};

/// The connections that there are.
pub struct Connections {
    open: Mutex<Open>,
    closed: Condvar,
}

struct Open {
    registry: Registry,
    streams: HashMap<u64, Arc<TcpStream>>,
}

impl Open {
    fn remove(&mut self, number: u64) -> Option<Arc<TcpStream>> {
        self.registry.remove(number);
        self.streams.remove(&number)
    }
}

/// Why a connection is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnedAway {
    /// All places are taken.
    Full,
    /// Its address has as many as it may have.
    PeerFull,
}

impl Connections {
    /// None yet.
    pub fn new(limits: Limits) -> Self {
        Connections {
            open: Mutex::new(Open {
                registry: Registry::new(limits),
                streams: HashMap::new(),
            }),
            closed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection in. If all places are taken, waits `patience` for one; and then ends the connection that has
    /// waited longest, whose address is given.
    ///
    /// # Errors
    /// It is not let in.
    pub fn admit(
        &self,
        number: u64,
        stream: &Arc<TcpStream>,
        peer: IpAddr,
        patience: Duration,
    ) -> Result<Option<IpAddr>, TurnedAway> {
        let deadline = Instant::now() + patience;
        let mut open = self.lock();
        let mut ended = None;
        loop {
            let now = Instant::now();
            match open.registry.admit(number, peer, now) {
                Admission::Admitted => {
                    open.streams.insert(number, Arc::clone(stream));
                    return Ok(ended);
                }
                Admission::PeerFull => return Err(TurnedAway::PeerFull),
                Admission::Full if now < deadline => {
                    let waited = self.closed.wait_timeout(open, deadline - now);
                    open = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                Admission::Full => {
                    let has_sent = |number: u64| open.streams.get(&number).is_some_and(has_sent);
                    let longest = open.registry.longest_waiting(now, has_sent);
                    let Some((victim, address)) = longest else {
                        return Err(TurnedAway::Full);
                    };
                    if let Some(stream) = open.remove(victim) {
                        // Its thread finds the end of the stream.
                        let _ = stream.shutdown(Shutdown::Both);
                    }
                    ended = Some(address);
                }
            }
        }
    }

    /// A connection waits for something else from now on.
    pub fn enter(&self, number: u64, phase: Phase) {
        self.lock().registry.enter(number, phase, Instant::now());
    }

    /// A connection has shown that it may be here.
    pub fn trust(&self, number: u64) {
        self.lock().registry.trust(number);
    }

    /// A request was answered. True if the connection should not be kept.
    pub fn served(&self, number: u64) -> bool {
        self.lock().registry.served(number)
    }

    /// A connection has ended. False if it was ended for another one.
    pub fn close(&self, number: u64) -> bool {
        let was_open = self.lock().remove(number).is_some();
        self.closed.notify_all();
        was_open
    }

    /// Lets requests that are under way end, for `patience` at most.
    pub fn end(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut open = self.lock();
        for stream in open.streams.values() {
            // What has arrived can still be read; then comes the end.
            let _ = stream.shutdown(Shutdown::Read);
        }
        while !open.registry.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.closed.wait_timeout(open, left);
            open = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        for stream in open.streams.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Whether there is something that was not read yet.
fn has_sent(stream: &Arc<TcpStream>) -> bool {
    let mut fds = [PollFd::new(stream.as_fd())];
    poll(&mut fds, Some(Duration::ZERO)).is_ok() && fds[0].is_ready()
}
