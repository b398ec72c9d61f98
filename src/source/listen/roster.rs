//! Which connections there are, how far each is in its message, and which one must be closed. All times count from one
//! fixed moment.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// The limits for all connections of a source together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Connections at a time.
    pub(crate) connections: usize,
    /// Bytes of memory for messages that are not whole, or wait for room in the buffer.
    pub(crate) memory: usize,
    /// A message's time from its first byte to its last.
    pub(crate) timeout: Duration,
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Messages that have ended so far.
    pub(crate) finished: u64,
    /// What it waits for.
    pub waits_for: WaitsFor,
    /// Bytes of memory that its message takes.
    pub(crate) memory: usize,
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// The first byte of a message.
    Message,
    /// The rest of a message.
    Rest,
    /// Room in the buffer: its client waits for an acknowledgement, or has sent a part of a long message.
    Room,
}

/// What to do with one more connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// There is room for it.
    Admit,
    /// It replaces this one.
    Replace(u64),
    /// There is no room: all others have sent whole messages, and wait for more.
    Refuse,
}

/// The group of a connection, in which the one that has waited longest comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    /// It has sent nothing yet.
    Silent,
    /// It has sent a part of a message.
    Unfinished,
    /// It waits for room in the buffer.
    Deferred,
    /// It has sent whole messages. Its client may lose the next one if it is closed.
    Idle,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    group: Group,
    since: Duration,
    finished: u64,
    memory: usize,
}

/// The connections of a source.
#[derive(Debug)]
pub(crate) struct Roster {
    limits: Limits,
    entries: HashMap<u64, Entry>,
    /// By group, except for the idle ones.
    waiting: [BTreeSet<(Duration, u64)>; 3],
    memory: usize,
}

impl Roster {
    /// Without any connection.
    pub(crate) fn new(limits: Limits) -> Self {
        Roster {
            limits,
            entries: HashMap::new(),
            waiting: Default::default(),
            memory: 0,
        }
    }

    /// What to do with one more connection.
    pub(crate) fn admission(&self) -> Admission {
        if self.entries.len() < self.limits.connections {
            return Admission::Admit;
        }
        (self.replaceable()).map_or(Admission::Refuse, Admission::Replace)
    }

    /// The connection that may be closed for another one: the one that has waited longest for the rest of its message, or
    /// else of those that have sent nothing yet.
    pub(crate) fn replaceable(&self) -> Option<u64> {
        let unfinished = self.longest(Group::Unfinished);
        unfinished.or_else(|| self.longest(Group::Silent))
    }

    fn longest(&self, group: Group) -> Option<u64> {
        Some(self.waiting.get(group as usize)?.first()?.1)
    }

    /// There is one more, which has sent nothing yet.
    pub(crate) fn add(&mut self, id: u64, now: Duration) {
        self.put(
            id,
            Entry {
                group: Group::Silent,
                since: now,
                finished: 0,
                memory: 0,
            },
        );
    }

    /// A connection has come this far.
    pub(crate) fn update(&mut self, id: u64, progress: Progress, now: Duration) {
        let Some(before) = self.entries.get(&id).copied() else {
            return;
        };
        let group = match progress.waits_for {
            WaitsFor::Rest => Group::Unfinished,
            WaitsFor::Room => Group::Deferred,
            WaitsFor::Message if progress.finished > 0 => Group::Idle,
            WaitsFor::Message => Group::Silent,
        };
        let goes_on = group == before.group && progress.finished == before.finished;
        let entry = Entry {
            group,
            since: if goes_on { before.since } else { now },
            finished: progress.finished,
            memory: progress.memory,
        };
        self.remove(id);
        self.put(id, entry);
    }

    fn put(&mut self, id: u64, entry: Entry) {
        if let Some(waiting) = self.waiting.get_mut(entry.group as usize) {
            waiting.insert((entry.since, id));
        }
        self.memory += entry.memory;
        self.entries.insert(id, entry);
    }

    /// A connection is closed. True if it waited for the rest of something.
    pub(crate) fn remove(&mut self, id: u64) -> bool {
        let Some(entry) = self.entries.remove(&id) else {
            return false;
        };
        self.memory -= entry.memory;
        if let Some(waiting) = self.waiting.get_mut(entry.group as usize) {
            waiting.remove(&(entry.since, id));
        }
        entry.group == Group::Unfinished
    }

    /// The connection that must go because all together take too much memory: the longest waiting one that takes any.
    pub(crate) fn over_memory(&self) -> Option<u64> {
        if self.memory <= self.limits.memory {
            return None;
        }
        let takes_memory = |id: &u64| self.entries.get(id).is_some_and(|entry| entry.memory > 0);
        [Group::Unfinished, Group::Deferred]
            .into_iter()
            .filter_map(|group| self.waiting.get(group as usize))
            .find_map(|waiting| waiting.iter().map(|(_, id)| *id).find(takes_memory))
    }

    /// A connection whose message takes too long.
    pub(crate) fn overdue(&self, now: Duration) -> Option<u64> {
        let due = self.next_due()?;
        (due <= now).then(|| self.longest(Group::Unfinished))?
    }

    /// When the next message will take too long, if nothing more comes.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        let (since, _) = self.waiting.get(Group::Unfinished as usize)?.first()?;
        Some(since.saturating_add(self.limits.timeout))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        connections: 3,
        memory: 100,
        timeout: Duration::from_secs(30),
    };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn progress(finished: u64, waits_for: WaitsFor, memory: usize) -> Progress {
        Progress {
            finished,
            waits_for,
            memory,
        }
    }

    /// The same, as a list that is searched.
    #[derive(Default)]
    struct Naive(Vec<(u64, Duration, Progress)>);

    impl Naive {
        fn first(&self, is_wanted: impl Fn(&Progress) -> bool) -> Option<u64> {
            let wanted = self.0.iter().filter(|(_, _, progress)| is_wanted(progress));
            wanted
                .min_by_key(|(id, since, _)| (*since, *id))
                .map(|found| found.0)
        }

        fn replaceable(&self) -> Option<u64> {
            let unfinished = self.first(|one| one.waits_for == WaitsFor::Rest);
            let is_silent =
                |one: &Progress| one.waits_for == WaitsFor::Message && one.finished == 0;
            unfinished.or_else(|| self.first(is_silent))
        }

        fn admission(&self) -> Admission {
            if self.0.len() < LIMITS.connections {
                return Admission::Admit;
            }
            (self.replaceable()).map_or(Admission::Refuse, Admission::Replace)
        }

        fn over_memory(&self) -> Option<u64> {
            if self.0.iter().map(|(_, _, one)| one.memory).sum::<usize>() <= LIMITS.memory {
                return None;
            }
            let by = |wanted| self.first(|one| one.waits_for == wanted && one.memory > 0);
            by(WaitsFor::Rest).or_else(|| by(WaitsFor::Room))
        }

        fn overdue(&self, now: Duration) -> Option<u64> {
            let longest = self.first(|one| one.waits_for == WaitsFor::Rest)?;
            let is_overdue = |(id, since, _): &(u64, Duration, Progress)| {
                *id == longest && now - *since >= LIMITS.timeout
            };
            self.0.iter().any(is_overdue).then_some(longest)
        }
    }

    proptest! {
        #[test]
        fn it_finds_what_a_search_finds(
            steps in prop::collection::vec((0..6_u64, 0..4_u8, 0..3_u64, 0..60_usize), 1..80),
        ) {
            let mut roster = Roster::new(LIMITS);
            let mut naive = Naive::default();
            for (time, (id, action, finished, memory)) in steps.into_iter().enumerate() {
                let now = at(time as u64);
                let place = naive.0.iter().position(|(other, _, _)| *other == id);
                let waits_for = [WaitsFor::Message, WaitsFor::Rest, WaitsFor::Room];
                match (place, waits_for.get(usize::from(action))) {
                    (None, _) => {
                        roster.add(id, now);
                        naive.0.push((id, now, progress(0, WaitsFor::Message, 0)));
                    }
                    (Some(place), Some(waits_for)) => {
                        let (_, since, before) = &mut naive.0[place];
                        let next = progress(before.finished + finished, *waits_for, memory);
                        if (before.finished, before.waits_for) != (next.finished, next.waits_for) {
                            *since = now;
                        }
                        *before = next;
                        roster.update(id, next, now);
                    }
                    (Some(place), None) => {
                        naive.0.remove(place);
                        roster.remove(id);
                    }
                }
                prop_assert_eq!(roster.admission(), naive.admission());
                prop_assert_eq!(roster.over_memory(), naive.over_memory());
                let unfinished = naive.first(|one| one.waits_for == WaitsFor::Rest);
                prop_assert_eq!(roster.replaceable(), naive.replaceable());
                prop_assert_eq!(roster.overdue(now), naive.overdue(now));
                prop_assert_eq!(roster.next_due().is_some(), unfinished.is_some());
            }
        }
    }
}
