//! The connections of a listener: their sockets, so that they can be ended, and the rules of the [`Registry`] for them.

use std::net::{IpAddr, Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::sys::poll::{PollFd, poll};
use crate::sys::shutdown::ShutdownSignal;
use crate::telemetry::counters::Refusal;

use super::registry::{Admission, BODY_TIME, Limits, Phase, Registry};

/// If no connection may be ended yet, one soon may, unless threads do not get to run.
const GRACE: Duration = BODY_TIME.saturating_mul(2);
/// When all connections are taken, one is likely to be free within this time, since a burst has come. If not, the next
/// clients displace others at once, or are turned away.
pub const BURST: Duration = Duration::from_millis(100);
/// Time between two looks for it.
const TURN: Duration = Duration::from_millis(1);

/// The connections that there are.
pub struct Connections {
    open: Mutex<Registry<Arc<Member>>>,
    closed: Condvar,
    stop: ShutdownSignal,
}

/// A connection's socket.
#[derive(Debug)]
pub struct Member {
    stream: TcpStream,
    /// Its thread waits for something to read.
    is_waiting: AtomicBool,
}

impl Member {
    /// Of a socket that was accepted.
    pub fn new(stream: TcpStream) -> Self {
        Member {
            stream,
            is_waiting: AtomicBool::new(false),
        }
    }

    /// The socket. Not for reading.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Reads. Only while this waits may the connection be ended for another one.
    pub fn read<T>(&self, read: impl FnOnce(&TcpStream) -> T) -> T {
        self.is_waiting.store(true, SeqCst);
        let read = read(&self.stream);
        self.is_waiting.store(false, SeqCst);
        read
    }

    /// Whether it waits, and nothing unread is there.
    fn waits_in_vain(&self) -> bool {
        let mut fds = [PollFd::new(self.stream.as_fd())];
        let mut is_readable = || poll(&mut fds, Some(Duration::ZERO)).is_ok() && fds[0].is_ready();
        self.is_waiting.load(SeqCst) && !is_readable()
    }
}

impl Connections {
    /// No connections yet. When the agent stops, no new one waits for long.
    pub fn new(limits: Limits, stop: &ShutdownSignal) -> Self {
        Connections {
            open: Mutex::new(Registry::new(limits)),
            closed: Condvar::new(),
            stop: stop.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Registry<Arc<Member>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a connection to end.
    fn wait<'a>(
        &self,
        open: MutexGuard<'a, Registry<Arc<Member>>>,
        patience: Duration,
    ) -> MutexGuard<'a, Registry<Arc<Member>>> {
        let waited = self.closed.wait_timeout(open, patience);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Lets a connection in. If all places are taken, waits `patience` for one; and then ends the connection that has
    /// waited longest, and returns its address.
    ///
    /// # Errors
    /// It is not let in.
    pub fn admit(
        &self,
        number: u64,
        member: &Arc<Member>,
        peer: IpAddr,
        patience: Duration,
    ) -> Result<Option<IpAddr>, Refusal> {
        self.make_room(patience, |open, now| open.admit(number, peer, member, now))
    }

    /// The same for one that was parked and has something to read. It waits only if none can be ended. One that was
    /// ended meanwhile is let in, too.
    ///
    /// # Errors
    /// Too many connections have a thread.
    pub fn resume(&self, number: u64) -> Result<Option<IpAddr>, Refusal> {
        self.make_room(Duration::ZERO, |open, now| open.resume(number, now))
    }

    fn make_room(
        &self,
        patience: Duration,
        mut admit: impl FnMut(&mut Registry<Arc<Member>>, Instant) -> Admission,
    ) -> Result<Option<IpAddr>, Refusal> {
        let mut now = Instant::now();
        let deadline = now + patience;
        let mut open = self.lock();
        let mut ended = None;
        loop {
            match admit(&mut open, now) {
                Admission::Admitted => return Ok(ended),
                Admission::PeerFull => return Err(Refusal::PeerLimit),
                Admission::Full if now < deadline => {
                    open = self.wait(open, deadline - now);
                }
                Admission::Full => {
                    match open.longest_waiting(now, |member| member.waits_in_vain()) {
                        Some((victim, address)) => {
                            if let Some(member) = open.remove(victim) {
                                // Its thread finds the end of the stream.
                                let _ = member.stream.shutdown(Shutdown::Both);
                            }
                            ended = Some(address);
                        }
                        None if now >= deadline + GRACE
                            || self.stop.is_triggered()
                            || !open.will_have_waiting() =>
                        {
                            return Err(Refusal::ConnectionLimit);
                        }
                        None => open = self.wait(open, TURN),
                    }
                }
            }
            now = Instant::now();
        }
    }

    /// A connection waits for something else from now on.
    pub fn enter(&self, number: u64, phase: Phase) {
        self.lock().enter(number, phase, Instant::now());
    }

    /// A connection waits for its next request. True if it is to give up its thread.
    pub fn rest(&self, number: u64, can_park: bool) -> bool {
        let now = Instant::now();
        let mut open = self.lock();
        open.enter(number, Phase::Idle, now);
        let was_busy = open.is_busy();
        let parked = if can_park { open.park(number) } else { None };
        if let Some(member) = parked {
            member.is_waiting.store(true, SeqCst);
            if was_busy {
                self.closed.notify_all();
            }
        }
        parked.is_some()
    }

    /// A connection has shown that it may be here.
    pub fn trust(&self, number: u64) {
        self.lock().trust(number);
    }

    /// A request was answered. True if the connection should not be kept.
    pub fn served(&self, number: u64) -> bool {
        self.lock().served(number)
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
        for member in open.members() {
            // What has arrived can still be read; then comes the end.
            let _ = member.stream.shutdown(Shutdown::Read);
        }
        while !open.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            open = self.wait(open, left);
        }
        for member in open.members() {
            let _ = member.stream.shutdown(Shutdown::Both);
        }
    }
}
