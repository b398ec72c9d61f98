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
    /// The rest of a head, including the beginning of the first one; the rest of a body that has no events; or for a
    /// refused client to close.
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
    /// Its address has as many as it may have.
    PeerFull,
}

#[derive(Debug)]
struct Entry<M> {
    member: M,
    peer: IpAddr,
    phase: Phase,
    since: Instant,
    /// It waits for its next request and has no thread.
    is_parked: bool,
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
}

impl<M: Clone> Registry<M> {
    /// None yet.
    pub fn new(limits: Limits) -> Self {
        Registry {
            limits,
            entries: BTreeMap::new(),
            served: 0,
            parked: 0,
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
        if self.is_full() || self.is_busy() {
            return Admission::Full;
        }
        let entry = Entry {
            member: member.clone(),
            peer,
            phase: Phase::Head,
            since: now,
            is_parked: false,
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
            return Admission::Full;
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
    pub fn enter(&mut self, number: u64, phase: Phase, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&number) {
            if entry.phase != phase {
                entry.first = now;
            }
            (entry.phase, entry.since) = (phase, now);
        }
    }

    /// A connection has shown that it may be here: it is never ended to make room for others.
    pub fn trust(&mut self, number: u64) {
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.is_trusted = true;
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
        Some(entry.member)
    }

    /// Of all connections.
    pub fn members(&self) -> impl Iterator<Item = &M> {
        self.entries.values().map(|entry| &entry.member)
    }

    /// Whether some connection will soon have waited long enough.
    pub fn will_have_waiting(&self) -> bool {
        self.entries.values().any(|entry| !entry.is_trusted)
    }

    /// The connection that has to go for a new one, and its address: of those in an unfinished head the one that has
    /// waited longest; else of those between requests; else of those in an unfinished body. Never one that is trusted,
    /// that has only begun to wait, that does not `wait` right now, or that has no thread if a thread is what is
    /// missing.
    pub fn longest_waiting(
        &self,
        now: Instant,
        waits: impl Fn(&M) -> bool,
    ) -> Option<(u64, IpAddr)> {
        let may_go = |entry: &Entry<M>| {
            let waits = now.saturating_duration_since(entry.since);
            let has_waited = match entry.phase {
                Phase::Head | Phase::Idle => waits >= HEAD_TIME,
                Phase::Body => {
                    let all = now.saturating_duration_since(entry.first);
                    waits >= BODY_TIME || all >= WHOLE_BODY_TIME
                }
            };
            let makes_room = !entry.is_parked || !self.is_busy();
            makes_room && !entry.is_trusted && has_waited
        };
        let waiting = self.entries.iter().filter(|(_, entry)| may_go(entry));
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_unstable_by_key(|(number, entry)| (entry.phase, entry.since, **number));
        let mut waiting = waiting.into_iter();
        let (number, entry) = waiting.find(|(_, entry)| waits(&entry.member))?;
        Some((*number, entry.peer))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const A: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    fn registry(connections: usize, per_peer: usize) -> Registry<u64> {
        Registry::new(Limits {
            connections,
            busy: connections,
            per_peer,
        })
    }

    #[test]
    fn what_waits_without_a_thread_leaves_room_for_others() {
        let start = Instant::now();
        let now = start + Duration::from_secs(1);
        let mut registry = Registry::new(Limits {
            connections: 100,
            busy: 70,
            per_peer: 0,
        });
        let mut parked = 0;
        for number in 0..90 {
            if registry.admit(number, A, &number, start) == Admission::Full {
                break;
            }
            parked += u64::from(registry.park(number).is_some());
        }
        assert_eq!((registry.len(), parked), (90, 26), "64 keep their threads");
        for number in 90..96 {
            assert_eq!(
                registry.admit(number, A, &number, start),
                Admission::Admitted
            );
        }
        assert_eq!(registry.admit(96, A, &96, now), Admission::Full);
        assert_eq!(registry.resume(89, now), Admission::Full);
        // One without a thread would make no room.
        let (victim, _) = registry
            .longest_waiting(now, |number| *number > 60)
            .unwrap();
        assert_eq!(victim, 61);
        assert!(registry.remove(victim).is_some());
        assert_eq!(registry.resume(89, now), Admission::Admitted);
        assert!(registry.remove(88).is_some() && registry.remove(0).is_some());
        assert_eq!(registry.admit(96, A, &96, now), Admission::Admitted);
        assert_eq!(registry.admit(97, A, &97, now), Admission::Full);
    }

    #[test]
    fn who_is_let_in() {
        let now = Instant::now();
        let mut registry = registry(3, 2);
        let mapped = IpAddr::V6(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped());
        for (number, peer, admission) in [
            (0, A, Admission::Admitted),
            (1, mapped, Admission::Admitted),
            (2, A, Admission::PeerFull),
            (3, B, Admission::Admitted),
            (4, B, Admission::Full),
            (5, IpAddr::V6(Ipv6Addr::LOCALHOST), Admission::Full),
        ] {
            assert_eq!(
                registry.admit(number, peer, &number, now),
                admission,
                "{number}"
            );
        }
        assert!(registry.remove(1).is_some() && registry.remove(1).is_none());
        assert_eq!(registry.admit(6, A, &6, now), Admission::Admitted);
        assert_eq!(registry.len(), 3);
    }

    /// Of each connection: what it waits for, for how many milliseconds, and whether it is trusted.
    #[test]
    fn who_has_to_go() {
        use Phase::{Body, Head, Idle};
        for (connections, goes) in [
            (
                &[(Head, 50, false), (Head, 70, false), (Head, 60, false)][..],
                Some(1),
            ),
            (&[(Head, 50, false), (Idle, 90_000, false)], Some(0)),
            (&[(Head, 19, false), (Idle, 90_000, false)], Some(1)),
            (&[(Head, 90_000, true), (Idle, 30, false)], Some(1)),
            (&[(Idle, 30, false), (Body, 90_000, false)], Some(0)),
            (&[(Body, 499, false), (Body, 500, false)], Some(1)),
            (&[(Body, 499, false), (Idle, 19, false)], None),
            (
                &[
                    (Head, 90_000, true),
                    (Idle, 90_000, true),
                    (Body, 90_000, true),
                ],
                None,
            ),
            (&[(Head, 19, false)], None),
            (&[(Head, 20, false)], Some(0)),
            (&[], None),
        ] {
            let start = Instant::now();
            let now = start + Duration::from_secs(100);
            let mut registry = registry(10, 0);
            for (number, (phase, waits, is_trusted)) in (0..).zip(connections) {
                registry.admit(number, A, &number, start);
                registry.enter(number, *phase, now - Duration::from_millis(*waits));
                if *is_trusted {
                    registry.trust(number);
                }
            }
            let found = registry.longest_waiting(now, |_| true);
            let found = found.map(|(number, _)| number);
            assert_eq!(found, goes, "{connections:?}");
        }
    }

    #[test]
    fn a_body_that_trickles_goes_too() {
        let start = Instant::now();
        let mut registry = registry(1, 0);
        registry.admit(0, A, &0, start);
        for (milliseconds, goes) in [(100, false), (4_000, false), (5_099, false), (5_100, true)] {
            let now = start + Duration::from_millis(milliseconds);
            registry.enter(0, Phase::Body, now);
            let found = registry.longest_waiting(now, |_| true);
            assert_eq!(found.is_some(), goes, "{milliseconds}");
        }
    }

    #[test]
    fn who_will_have_to_go() {
        let now = Instant::now();
        let mut registry = registry(10, 0);
        assert!(!registry.will_have_waiting());
        registry.admit(0, A, &0, now);
        assert!(registry.will_have_waiting());
        registry.trust(0);
        assert!(!registry.will_have_waiting());
    }

    #[test]
    fn what_was_sent_is_read_first() {
        let start = Instant::now();
        let now = start + Duration::from_secs(1);
        let mut registry = registry(10, 0);
        for number in 0..3 {
            registry.admit(number, A, &number, start + Duration::from_millis(number));
        }
        let goes = |sent: &[u64]| registry.longest_waiting(now, |number| !sent.contains(number));
        assert_eq!(goes(&[]), Some((0, A)));
        assert_eq!(goes(&[0, 2]), Some((1, A)));
        assert_eq!(goes(&[0, 1, 2]), None);
    }

    #[test]
    fn a_quarter_of_the_places_is_for_those_that_were_not_answered() {
        let now = Instant::now();
        let mut registry = registry(8, 0);
        for number in 0..8 {
            registry.admit(number, A, &number, now);
        }
        let kept = [0, 1, 2, 3, 4, 5, 6, 0, 7].map(|number| !registry.served(number));
        let expected = [true, true, true, true, true, true, false, false, false];
        assert_eq!(kept, expected);
        registry.remove(6);
        registry.remove(7);
        assert!(!registry.served(0), "six of eight");
        registry.admit(8, A, &8, now);
        assert!(registry.served(8), "the seventh");
    }

    proptest! {
        /// There are never more than are allowed, and as long as some unfinished head is old enough everybody gets in.
        #[test]
        fn a_flood_keeps_nobody_out(steps in vec((0_u64..100, any::<bool>()), 1..200)) {
            let (mut registry, mut now) = (registry(4, 0), Instant::now());
            for (number, (wait, is_b)) in (0..).zip(steps) {
                now += Duration::from_millis(wait);
                let peer = if is_b { B } else { A };
                let mut admission = registry.admit(number, peer, &number, now);
                if admission == Admission::Full && let Some((victim, _)) = registry.longest_waiting(now, |_| true) {
                    prop_assert!(registry.remove(victim).is_some());
                    admission = registry.admit(number, peer, &number, now);
                    prop_assert_eq!(admission, Admission::Admitted);
                }
                let is_waiting = admission == Admission::Admitted;
                prop_assert!(is_waiting || registry.longest_waiting(now, |_| true).is_none());
                prop_assert!(registry.len() <= 4);
            }
        }
    }
}
