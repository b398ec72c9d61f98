//! Which connections there are, who is let in, and who has to go when all places are taken. No clock, no I/O.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Time that a connection has for its head before another one may take its place. Under a flood, new ones wait that
/// long in the kernel's queue, rather than displacing a client that was about to send.
pub const HEAD_TIME: Duration = Duration::from_millis(20);
/// The same for more of a body of events: longer than a live client pauses.
pub const BODY_TIME: Duration = Duration::from_millis(500);
/// The same for all of such a body, however it trickles.
const WHOLE_BODY_TIME: Duration = Duration::from_secs(5);

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// In all.
    pub connections: usize,
    /// Of these, with a thread.
    pub busy: usize,
    /// From one address; 0: as many as in all.
    pub per_peer: usize,
}

/// Up to this many connections, each has a thread of its own, which costs less than handing them from thread to thread.
const FEW: usize = 64;

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// For its client to close: that has been refused, and told so.
    Answered,
    /// The rest of a head, including the beginning of the first one; or the rest of a body that has no events.
    Head,
    /// The next request.
    Idle,
    /// More of a body of events.
    Body,
}

/// What becomes of a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is one of them now.
    Admitted,
    /// All places are taken.
    Full,
    /// There are places, but no thread.
    Busy,
    /// Its address has as many as it may have.
    PeerFull,
}

/// A connection that has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Victim {
    /// Which one it is.
    pub number: u64,
    /// Its client's address.
    pub peer: IpAddr,
    /// It has a request that was not answered.
    pub is_unfinished: bool,
}

/// What a connection has to go for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A place for another one, or a thread.
    Place,
    /// The memory that it has for a body.
    Memory,
}

#[derive(Debug)]
struct Entry<M> {
    member: M,
    peer: IpAddr,
    phase: Phase,
    since: Instant,
    /// It waits for its next request and has no thread.
    is_parked: bool,
    /// It has some of the memory for bodies.
    holds_memory: bool,
    /// When it began to wait in this phase.
    first: Instant,
    /// It has shown a valid token or certificate.
    is_trusted: bool,
    /// One of its requests was answered.
    is_served: bool,
}

/// The connections, by number; each has a member.
#[derive(Debug)]
pub struct Registry<M> {
    limits: Limits,
    entries: BTreeMap<u64, Entry<M>>,
    /// How many of them have had an answer.
    served: usize,
    /// How many of them have no thread.
    parked: usize,
    /// How many of them are trusted.
    trusted: usize,
}

impl<M: Clone> Registry<M> {
    /// None yet.
    pub fn new(limits: Limits) -> Self {
        Registry {
            limits,
            entries: BTreeMap::new(),
            served: 0,
            parked: 0,
            trusted: 0,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Lets a connection in, if it may.
    pub fn admit(&mut self, number: u64, peer: IpAddr, member: &M, now: Instant) -> Admission {
        let peer = peer.to_canonical();
        let of_peer = || self.entries.values().filter(|entry| entry.peer == peer);
        if self.limits.per_peer > 0 && of_peer().count() >= self.limits.per_peer {
            return Admission::PeerFull;
        }
        if self.is_full() {
            return Admission::Full;
        }
        if self.is_busy() {
            return Admission::Busy;
        }
        let entry = Entry {
            member: member.clone(),
            peer,
            phase: Phase::Head,
            since: now,
            is_parked: false,
            holds_memory: false,
            first: now,
            is_trusted: false,
            is_served: false,
        };
        self.entries.insert(number, entry);
        Admission::Admitted
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= self.limits.connections
    }

    /// Whether no more connections can have a thread.
    pub fn is_busy(&self) -> bool {
        self.entries.len() - self.parked >= self.limits.busy
    }

    /// A connection that waits for its next request gives up its thread. `None` if it may keep it, or is no longer here.
    pub fn park(&mut self, number: u64) -> Option<&M> {
        let is_crowd = self.entries.len() > FEW;
        let entry = self.entries.get_mut(&number).filter(|_| is_crowd)?;
        entry.is_parked = true;
        self.parked += 1;
        Some(&entry.member)
    }

    /// A parked connection has something to read, and wants a thread.
    pub fn resume(&mut self, number: u64, now: Instant) -> Admission {
        if self.is_busy() {
            return Admission::Busy;
        }
        if let Some(entry) = self.entries.get_mut(&number)
            && entry.is_parked
        {
            (entry.is_parked, entry.since) = (false, now);
            self.parked -= 1;
        }
        Admission::Admitted
    }

    /// A connection waits for something else from now on.
    pub fn enter(&mut self, number: u64, phase: Phase, holds_memory: bool, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&number) {
            if entry.phase != phase {
                entry.first = now;
            }
            (entry.phase, entry.since) = (phase, now);
            entry.holds_memory = holds_memory;
        }
    }

    /// A connection has shown that it may be here: it is never ended to make room for others.
    pub fn trust(&mut self, number: u64) {
        if let Some(entry) = self.entries.get_mut(&number)
            && !std::mem::replace(&mut entry.is_trusted, true)
        {
            self.trusted += 1;
        }
    }

    /// A request was answered. True if the connection should not be kept: some clients use each for one request and
    /// leave it open, and those that were answered must not take all places.
    pub fn served(&mut self, number: u64) -> bool {
        if let Some(entry) = self.entries.get_mut(&number)
            && !std::mem::replace(&mut entry.is_served, true)
        {
            self.served += 1;
        }
        self.served > self.limits.connections / 4 * 3
    }

    /// A connection has ended. `None` if it was no longer here.
    pub fn remove(&mut self, number: u64) -> Option<M> {
        let entry = self.entries.remove(&number)?;
        self.served -= usize::from(entry.is_served);
        self.parked -= usize::from(entry.is_parked);
        self.trusted -= usize::from(entry.is_trusted);
        Some(entry.member)
    }

    /// Of all connections.
    pub fn members(&self) -> impl Iterator<Item = &M> {
        self.entries.values().map(|entry| &entry.member)
    }

    /// Whether some connection will soon have waited long enough.
    pub fn will_have_waiting(&self) -> bool {
        self.entries.len() > self.trusted
    }

    /// The connection that has to go for another one: of those that were refused the one that has waited longest; else of
    /// those in an unfinished head; else of those between requests; else of those in an unfinished body. Never one that
    /// is trusted, that has only begun to wait, that does not `wait` right now, or that does not have what is missing: a
    /// thread, or memory.
    pub fn longest_waiting(
        &self,
        now: Instant,
        need: Need,
        waits: impl Fn(&M) -> bool,
    ) -> Option<Victim> {
        let may_go = |entry: &Entry<M>| {
            let waits = now.saturating_duration_since(entry.since);
            let has_waited = match entry.phase {
                Phase::Answered | Phase::Head | Phase::Idle => waits >= HEAD_TIME,
                Phase::Body => {
                    let all = now.saturating_duration_since(entry.first);
                    waits >= BODY_TIME || all >= WHOLE_BODY_TIME
                }
            };
            let makes_room = match need {
                Need::Place => !entry.is_parked || !self.is_busy(),
                Need::Memory => entry.holds_memory,
            };
            makes_room && !entry.is_trusted && has_waited
        };
        let waiting = self.entries.iter().filter(|(_, entry)| may_go(entry));
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_unstable_by_key(|(number, entry)| (entry.phase, entry.since, **number));
        let mut waiting = waiting.into_iter();
        let (number, entry) = waiting.find(|(_, entry)| waits(&entry.member))?;
        Some(Victim {
            number: *number,
            peer: entry.peer,
            is_unfinished: matches!(entry.phase, Phase::Head | Phase::Body),
        })
    }
}

#[cfg(test)]
mod tests;
