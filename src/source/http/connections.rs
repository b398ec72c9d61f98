//! The connections of a listener: their sockets, so that they can be ended, and the rules of the [`Registry`] for them.

use std::io::{self, ErrorKind, Write as _};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::sys::poll::{PollFd, poll};
use crate::sys::shutdown::ShutdownSignal;
use crate::telemetry::counters::Refusal;

use super::registry::{Admission, BODY_TIME, HEAD_TIME, Limits, Need, Phase, Registry};

/// If no connection may be ended yet, one soon may, unless threads do not get to run.
const GRACE: Duration = BODY_TIME.saturating_mul(2);
/// The same after a client was turned away: the others in the kernel's queue must not wait as long, one after the other.
const SHORT_GRACE: Duration = HEAD_TIME.saturating_mul(2);
/// How long a write may wait by itself. After that its client is one that does not read, and may be replaced.
pub const WRITE_TIME: Duration = BODY_TIME;
/// When all connections are taken, one is likely to be free within this time, since a burst has come. If not, the next
/// clients displace others at once, or are turned away.
pub const BURST: Duration = Duration::from_millis(100);
/// Time between two looks for it.
const TURN: Duration = Duration::from_millis(1);

/// A connection was ended for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// What that is counted as, unless all its requests were answered.
    pub reason: Option<Refusal>,
    /// Its client's address.
    pub peer: IpAddr,
}

/// Whether a connection waits so that it may be ended for another one.
type Waits = fn(&Member) -> bool;
/// The ways to wait, those that go first before the others, and what they are counted as.
const WAITS: [(Refusal, Waits); 2] = [
    (Refusal::Unread, Member::is_unread),
    (Refusal::Displaced, Member::waits_in_vain),
];

/// The connections that there are.
pub struct Connections {
    open: Mutex<Registry<Arc<Member>>>,
    closed: Condvar,
    stop: ShutdownSignal,
    /// The last client has waited for a place in vain.
    turned_away: AtomicBool,
}

/// A connection's socket.
#[derive(Debug)]
pub struct Member {
    stream: TcpStream,
    /// Its thread waits for something to read.
    is_waiting: AtomicBool,
    /// Its thread waits for its client to read.
    is_unread: AtomicBool,
}

impl Member {
    /// Of a socket that was accepted.
    pub fn new(stream: TcpStream) -> Self {
        Member {
            stream,
            is_waiting: AtomicBool::new(false),
            is_unread: AtomicBool::new(false),
        }
    }

    /// The socket. Not for reading and writing.
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

    /// Writes all of this within about this time, if the socket's writes time out after [`WRITE_TIME`]. While its client
    /// does not read, the connection may be ended for another one.
    ///
    /// # Errors
    /// `TimedOut` if the client has not read, or the connection is broken.
    pub fn write_all(&self, mut bytes: &[u8], patience: Duration) -> io::Result<()> {
        // The time is only asked for once a write has waited: hardly any does.
        let mut deadline = None;
        while !bytes.is_empty() {
            match (&self.stream).write(bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                Err(_) => {
                    let now = Instant::now();
                    let left = patience.saturating_sub(WRITE_TIME);
                    if now >= *deadline.get_or_insert(now + left) {
                        return Err(ErrorKind::TimedOut.into());
                    }
                    self.is_unread.store(true, SeqCst);
                }
            }
        }
        if deadline.is_some() {
            self.is_unread.store(false, SeqCst);
        }
        Ok(())
    }

    /// Whether it waits for its client to read.
    fn is_unread(&self) -> bool {
        self.is_unread.load(SeqCst)
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
            turned_away: AtomicBool::new(false),
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

    /// Lets a connection in. If all places are taken, waits `patience` for one; and then ends one whose client does not
    /// read its answers, or else the connection that has waited longest.
    ///
    /// # Errors
    /// It is not let in.
    pub fn admit(
        &self,
        number: u64,
        member: &Arc<Member>,
        peer: IpAddr,
        patience: Duration,
    ) -> Result<Option<Ended>, Refusal> {
        self.make_room(patience, |open, now| open.admit(number, peer, member, now))
    }

    /// The same for one that was parked and has something to read. It waits only if none can be ended. One that was
    /// ended meanwhile is let in, too.
    ///
    /// # Errors
    /// Too many connections have a thread for too long.
    pub fn resume(&self, number: u64) -> Result<Option<Ended>, Refusal> {
        self.make_room(Duration::ZERO, |open, now| open.resume(number, now))
    }

    /// How long a client waits that comes while nobody can be ended for it.
    fn grace(&self) -> Duration {
        match self.turned_away.load(SeqCst) {
            true => SHORT_GRACE,
            false => GRACE,
        }
    }

    fn make_room(
        &self,
        patience: Duration,
        mut admit: impl FnMut(&mut Registry<Arc<Member>>, Instant) -> Admission,
    ) -> Result<Option<Ended>, Refusal> {
        let mut now = Instant::now();
        let deadline = now + patience;
        let grace = self.grace();
        let mut open = self.lock();
        let mut ended = None;
        loop {
            match admit(&mut open, now) {
                Admission::Admitted => {
                    self.turned_away.store(false, SeqCst);
                    return Ok(ended);
                }
                Admission::PeerFull => return Err(Refusal::PeerLimit),
                Admission::Full | Admission::Busy if now < deadline => {
                    open = self.wait(open, deadline - now);
                }
                full => {
                    let will_wait = open.will_have_waiting();
                    let mut ways = WAITS.into_iter().filter(|_| will_wait);
                    let found = ways.find_map(|(reason, waits)| {
                        let found = open.longest_waiting(now, Need::Place, |member| waits(member));
                        Some((reason, found?))
                    });
                    match found {
                        Some((reason, victim)) => {
                            end(&mut open, victim.number);
                            let is_counted = reason != Refusal::Displaced || victim.is_unfinished;
                            ended = Some(Ended {
                                reason: is_counted.then_some(reason),
                                peer: victim.peer,
                            });
                        }
                        None if now >= deadline + grace
                            || self.stop.is_triggered()
                            || (full == Admission::Full && !will_wait) =>
                        {
                            self.turned_away.store(now >= deadline + grace, SeqCst);
                            return Err(Refusal::ConnectionLimit);
                        }
                        // Whoever gives up a thread says so.
                        None if !will_wait => open = self.wait(open, HEAD_TIME),
                        None => open = self.wait(open, TURN),
                    }
                }
            }
            now = Instant::now();
        }
    }

    /// A connection waits for something else from now on.
    pub fn enter(&self, number: u64, phase: Phase, holds_memory: bool) {
        (self.lock()).enter(number, phase, holds_memory, Instant::now());
    }

    /// Ends the connection with memory for a body that has waited longest for more of that, as one is ended for another
    /// connection; and returns its address.
    pub fn end_body(&self) -> Option<IpAddr> {
        let mut open = self.lock();
        let waits = |member: &Arc<Member>| member.waits_in_vain();
        let victim = open.longest_waiting(Instant::now(), Need::Memory, waits)?;
        end(&mut open, victim.number);
        Some(victim.peer)
    }

    /// A connection waits for its next request. True if it is to give up its thread.
    pub fn rest(&self, number: u64, can_park: bool) -> bool {
        let now = Instant::now();
        let mut open = self.lock();
        open.enter(number, Phase::Idle, false, now);
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

/// Ends a connection: its thread finds the end of the stream.
fn end(open: &mut Registry<Arc<Member>>, number: u64) {
    if let Some(member) = open.remove(number) {
        let _ = member.stream.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};

    use super::*;

    /// A client of this address connects.
    fn admit(
        connections: &Connections,
        number: u64,
        address: SocketAddr,
    ) -> Result<Option<Ended>, Refusal> {
        let member = Arc::new(Member::new(TcpStream::connect(address).unwrap()));
        connections.admit(number, &member, address.ip(), Duration::ZERO)
    }

    /// They are turned away one after the other, by the thread that accepts clients.
    #[test]
    fn clients_behind_one_that_was_turned_away_wait_less() {
        let limits = Limits {
            connections: 1,
            busy: 1,
            per_peer: 0,
        };
        let connections = Connections::new(limits, &ShutdownSignal::new().unwrap());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let admit = |number| admit(&connections, number, address);
        assert_eq!((admit(0), connections.grace()), (Ok(None), GRACE));
        // The first is busy: it may wait soon.
        let turned_away = Err(Refusal::ConnectionLimit);
        assert_eq!((admit(1), connections.grace()), (turned_away, SHORT_GRACE));
        connections.close(0);
        assert_eq!((admit(2), connections.grace()), (Ok(None), GRACE));
    }

    /// A thread is soon free, whoever has it; a place is not, if nobody may be ended.
    #[test]
    fn a_thread_is_waited_for_also_if_all_clients_are_trusted() {
        const BUSY: u64 = 70;
        let limits = Limits {
            connections: 72,
            busy: BUSY as usize,
            per_peer: 0,
        };
        let connections = Connections::new(limits, &ShutdownSignal::new().unwrap());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let admit = |number| {
            let admitted = admit(&connections, number, address);
            connections.trust(number);
            admitted
        };
        // Whether one that was turned away has waited: the next then wait less.
        let has_waited = |admitted| {
            assert_eq!(admitted, Err(Refusal::ConnectionLimit));
            connections.turned_away.swap(true, SeqCst)
        };
        assert!((0..BUSY).all(|number| admit(number) == Ok(None)));
        assert!(connections.rest(0, true), "there are many");
        assert_eq!(admit(BUSY), Ok(None));
        // So that it does not take long.
        connections.turned_away.store(true, SeqCst);
        assert!(has_waited(connections.resume(0)));
        assert!(has_waited(admit(BUSY + 1)), "there is a place");
        assert!(connections.rest(1, true));
        assert_eq!(admit(BUSY + 1), Ok(None));
        connections.turned_away.store(true, SeqCst);
        assert!(!has_waited(admit(BUSY + 2)), "there is none");
        connections.turned_away.store(true, SeqCst);
        assert!(has_waited(connections.resume(0)), "it has one");
        assert!(connections.rest(2, true));
        assert_eq!(connections.resume(0), Ok(None));
    }
}
