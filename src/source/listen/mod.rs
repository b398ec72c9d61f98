//! Listening for clients that keep their connection: one thread serves them all, since each is
//! only read from when there is something to read.

mod ending;
mod keep;
mod protocol;
mod roster;
mod settings;
mod socket;

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::output::SourceOutput;
use super::rest::Rest;
use super::stream;
use super::tls;
use crate::sys::descriptors;
use crate::sys::epoll::{Epoll, Interest};
use crate::sys::shutdown::ShutdownSignal;
use crate::telemetry::counters::Refusal;

pub(super) use protocol::{End, Protocol};
use roster::{Admission, Roster};
pub(super) use roster::{Limits, Progress, WaitsFor};
pub use settings::ListenSettings;
pub(super) use socket::{ListeningSocket, Stream, check_path};

/// How long accepting rests when the agent is out of descriptors.
const REST: Duration = Duration::from_millis(100);
/// How often clients that wait for room in the buffer are looked at.
const ROOM_CHECK: Duration = Duration::from_millis(10);
/// Reads in a row from one client while others wait.
const TURN: usize = 16;
/// Connections accepted in a row while others wait.
const ACCEPTS: usize = 64;
/// A round of reading counts as at most this long, so that no client times out because the agent was slow.
const MAX_ROUND: Duration = Duration::from_secs(1);

/// The token of the listening socket.
const SOCKET: u64 = 0;
/// The token of the shutdown signal.
const SHUTDOWN: u64 = 1;
/// The first connection's token.
const FIRST: u64 = 2;

/// Serves clients until the agent stops; then reads what they have sent already, with a bound.
pub(super) fn serve<P: Protocol>(
    socket: &mut ListeningSocket,
    limits: Limits,
    protocol: impl Fn(&SourceOutput, Option<IpAddr>) -> P,
    output: SourceOutput,
    stop: &ShutdownSignal,
) {
    let epoll = loop {
        match watch(socket, stop) {
            Ok(epoll) => break epoll,
            Err(error) => output.failed(&format!("can't wait for connections: {error}")),
        }
        if stop.wait(REST) {
            return;
        }
    };
    let rest = Rest::new(output.batch_age);
    let server = Server {
        socket,
        protocol,
        output,
        epoll,
        roster: Roster::new(limits),
        connections: HashMap::new(),
        next_id: FIRST,
        rest,
        unread: Vec::new(),
        deferred: VecDeque::new(),
        just_deferred: Vec::new(),
        next_room_check: Duration::ZERO,
        next_file_check: Duration::ZERO,
        rests_until: None,
        clock: Clock {
            now: Duration::ZERO,
            read_at: Instant::now(),
        },
    };
    server.run(stop);
}

fn watch(socket: &ListeningSocket, stop: &ShutdownSignal) -> io::Result<Epoll> {
    let epoll = Epoll::new()?;
    epoll.add(socket, SOCKET, Interest::Read)?;
    epoll.add(stop, SHUTDOWN, Interest::Read)?;
    Ok(epoll)
}

struct Connection<P> {
    stream: Box<dyn Stream>,
    peer: Option<IpAddr>,
    protocol: P,
}

/// The time that clients are measured by.
struct Clock {
    now: Duration,
    read_at: Instant,
}

impl Clock {
    /// Time has passed; at most `max` of it counts.
    fn advance(&mut self, max: Duration) {
        let now = Instant::now();
        self.now += now.duration_since(self.read_at).min(max);
        self.read_at = now;
    }
}

struct Server<'a, P, F> {
    socket: &'a mut ListeningSocket,
    protocol: F,
    output: SourceOutput,
    epoll: Epoll,
    roster: Roster,
    connections: HashMap<u64, Connection<P>>,
    next_id: u64,
    rest: Rest,
    /// Connections whose turn was over before all was read.
    unread: Vec<u64>,
    /// Connections that wait for room in the buffer, in the order in which they began to.
    deferred: VecDeque<u64>,
    /// Those that have begun to wait since the last poll.
    just_deferred: Vec<u64>,
    next_room_check: Duration,
    next_file_check: Duration,
    /// No connection is accepted until then.
    rests_until: Option<Duration>,
    clock: Clock,
}

impl<P: Protocol, F: Fn(&SourceOutput, Option<IpAddr>) -> P> Server<'_, P, F> {
    fn run(mut self, stop: &ShutdownSignal) {
        let mut ready = Vec::new();
        let mut stopped = None;
        loop {
            let ends = self.is_late(stop, &mut stopped);
            self.just_deferred.clear();
            let is_idle = self.wait(&mut ready, stopped.is_none(), stop);
            if ends || stopped.is_some() && is_idle {
                break;
            }
            ready.append(&mut self.unread);
            // Those that have more to be read may be named by both: each has one turn.
            ready.sort_unstable();
            ready.dedup();
            for token in ready.drain(..) {
                if self.is_late(stop, &mut stopped) {
                    break;
                }
                match token {
                    SOCKET => {
                        self.accept_all();
                    }
                    SHUTDOWN => {}
                    id => {
                        self.read(id);
                        self.enforce_memory();
                    }
                }
            }
            self.offer_deferred();
            self.enforce_limits();
            self.keep_file();
            self.clock.advance(MAX_ROUND);
        }
        self.finish();
    }

    /// Whether the agent stops, and has waited long enough for what clients write.
    fn is_late(&self, stop: &ShutdownSignal, stopped: &mut Option<Instant>) -> bool {
        stop.is_triggered()
            && stream::is_late(*stopped.get_or_insert_with(Instant::now), &self.output)
    }

    /// Waits for something to do, if it may wait. True if there is nothing.
    fn wait(&mut self, ready: &mut Vec<u64>, may_wait: bool, stop: &ShutdownSignal) -> bool {
        let waited = self.epoll.wait(ready, Some(Duration::ZERO));
        ready.retain(|token| *token != SHUTDOWN);
        if waited.is_ok() && !(ready.is_empty() && self.unread.is_empty()) {
            return false;
        }
        self.output.flush();
        if !may_wait {
            return true;
        }
        if P::MAY_REST
            && let Some(rest) = self.rest.due(Instant::now())
        {
            stop.wait(rest);
            self.clock.advance(Duration::MAX);
            return false;
        }
        self.clock.advance(MAX_ROUND);
        // Waiting fails only if there is no memory.
        if waited.is_err() || self.epoll.wait(ready, self.patience()).is_err() {
            ready.clear();
            std::thread::sleep(REST);
        }
        self.clock.advance(Duration::MAX);
        ready.is_empty()
    }

    /// How long there is nothing to do if nothing comes.
    fn patience(&self) -> Option<Duration> {
        let room_check = (!self.deferred.is_empty()).then_some(self.next_room_check);
        let others = [self.roster.next_due(), room_check, self.next_file_check()];
        let times = others.into_iter().chain([self.rests_until]);
        let next = times.flatten().min()?;
        Some(next.saturating_sub(self.clock.now))
    }

    /// Accepts those who have connected, for one turn. Returns whether these were all.
    fn accept_all(&mut self) -> bool {
        for _ in 0..ACCEPTS {
            if descriptors::are_scarce(&*self.socket) {
                if !self.socket.has_waiting() {
                    return true;
                }
                if !self.close_one() {
                    let what =
                        "too many connections; fix: raise the limit of open files (LimitNOFILE)";
                    self.rest(what);
                    return false;
                }
            }
            match self.socket.accept() {
                Ok((stream, peer)) => {
                    self.output.worked();
                    self.admit(stream, peer);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if stream::is_passing(&error) => {}
                Err(error) => {
                    self.rest(&format!("can't accept a connection: {error}"));
                    return false;
                }
            }
        }
        false
    }

    /// Closes one for another, if one may be.
    fn close_one(&mut self) -> bool {
        let before = self.connections.len();
        for _ in 0..ACCEPTS {
            let Some(victim) = self.roster.replaceable() else {
                break;
            };
            self.displace(victim, |roster| roster.replaceable() == Some(victim));
            if self.connections.len() < before {
                return true;
            }
        }
        false
    }

    /// Accepts no client for a while: those that wait would keep the loop from ever being idle.
    fn rest(&mut self, what: &str) {
        self.output.failed(what);
        self.rests_until = Some(self.clock.now + REST);
        let _ = self.epoll.modify(&*self.socket, SOCKET, Interest::Hangup);
    }

    fn admit(&mut self, stream: Box<dyn Stream>, peer: Option<IpAddr>) {
        if !self.make_room() {
            return self.output.refused(Refusal::ConnectionLimit, peer);
        }
        let id = self.next_id;
        self.next_id += 1;
        if let Err(error) = self.epoll.add(&stream, id, Interest::Read) {
            return self.rest(&format!("can't wait for one more connection: {error}"));
        }
        let protocol = (self.protocol)(&self.output, peer);
        self.roster.add(id, self.clock.now);
        self.connections.insert(
            id,
            Connection {
                stream,
                peer,
                protocol,
            },
        );
    }

    /// Makes room for one more connection. False if none may be closed for it.
    fn make_room(&mut self) -> bool {
        for _ in 0..ACCEPTS {
            match self.roster.admission() {
                Admission::Admit => return true,
                Admission::Refuse => return false,
                Admission::Replace(victim) => {
                    let admission = Admission::Replace(victim);
                    self.displace(victim, |roster| roster.admission() == admission);
                }
            }
        }
        false
    }

    /// Closes one for another, unless it has sent meanwhile what it seemed to be late with.
    fn displace(&mut self, victim: u64, must_go: impl Fn(&Roster) -> bool) {
        self.read(victim);
        if must_go(&self.roster) {
            self.close(victim, Refusal::Displaced);
        }
    }

    /// Reads what is there, for one turn.
    fn read(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if connection.protocol.waits_for_room() {
            // Being ready means that its client is gone, if it already waited for room at the last poll.
            if self.just_deferred.contains(&id) {
                return;
            }
            // What it has sent is read to its end: nobody else may have it.
            self.deferred.retain(|deferred| *deferred != id);
            connection.protocol.stop_waiting(&mut self.output);
        }
        for _ in 0..TURN {
            let (stream, output) = (&mut *connection.stream, &mut self.output);
            match connection.protocol.read(stream, output) {
                Ok(1..) if connection.protocol.waits_for_room() => {
                    if self.epoll.modify(stream, id, Interest::Hangup).is_err() {
                        return self.end(id, End::Closed);
                    }
                    self.unread.retain(|unread| *unread != id);
                    self.deferred.push_back(id);
                    self.just_deferred.push(id);
                    return self.update(id);
                }
                Ok(count @ 1..) => {
                    self.rest.read(count);
                    if connection.protocol.has_read_all() {
                        return self.update(id);
                    }
                }
                Err(error) if stream::is_passing(&error) => return self.update(id),
                // Reset by its client: what came before counts.
                Ok(0) => return self.end(id, End::Closed),
                Err(error) => return self.broken(id, &error),
            }
        }
        self.unread.push(id);
        self.update(id);
    }

    /// A connection can't be read any more.
    fn broken(&mut self, id: u64, error: &io::Error) {
        match tls::handshake_error(error) {
            Some(refusal) => self.close(id, refusal),
            None => self.end(id, End::Closed),
        }
    }

    fn update(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.protocol.release(&mut self.output);
            let mut progress = connection.protocol.progress();
            if connection.stream.is_handshaking() {
                progress.waits_for = WaitsFor::Rest;
            }
            self.roster.update(id, progress, self.clock.now);
        }
    }

    /// Offers again what there was no room for: the oldest first, and none before an older one.
    fn offer_deferred(&mut self) {
        if self.deferred.is_empty() || self.clock.now < self.next_room_check {
            return;
        }
        self.next_room_check = self.clock.now + ROOM_CHECK;
        while let Some(id) = self.deferred.pop_front() {
            let Some(connection) = self.connections.get_mut(&id) else {
                continue;
            };
            let (stream, output) = (&mut *connection.stream, &mut self.output);
            let offered = connection.protocol.offer_again(stream, output);
            if offered.is_ok() && connection.protocol.waits_for_room() {
                return self.deferred.push_front(id);
            }
            let resumed = offered.and_then(|()| self.epoll.modify(stream, id, Interest::Read));
            if resumed.is_err() {
                self.end(id, End::Closed);
                continue;
            }
            // It may already have read more than the kernel knows of.
            self.unread.push(id);
            self.update(id);
        }
    }

    fn enforce_memory(&mut self) {
        while let Some(id) = self.roster.over_memory() {
            self.close(id, Refusal::MemoryLimit);
        }
    }

    fn enforce_limits(&mut self) {
        while let Some(id) = self.roster.overdue(self.clock.now) {
            self.close(id, Refusal::Timeout);
        }
        self.enforce_memory();
        if self
            .rests_until
            .is_some_and(|until| until <= self.clock.now)
        {
            self.rests_until = None;
            let _ = self.epoll.modify(&*self.socket, SOCKET, Interest::Read);
        }
    }
}

#[cfg(test)]
mod tests;
