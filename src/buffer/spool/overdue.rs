//! When written events must be synced to disk. What is final before that need not be: while the webhook takes events
//! fast, the disk has nothing to do. No clock, no I/O.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How far the spool was written at some moments, since the last sync.
#[derive(Debug)]
pub(super) struct Overdue {
    /// Events from these numbers on were written after these moments.
    seen: VecDeque<(Instant, u64)>,
}

impl Overdue {
    /// Nothing was written before this moment that is not on disk.
    pub(super) fn new(now: Instant) -> Self {
        Overdue {
            seen: VecDeque::from([(now, 0)]),
        }
    }

    /// Whether an event that is not final could have been written `patience` ago. If so, what was written must be
    /// synced now. All events below `acked` are final, and all below `next` are written.
    pub(super) fn is_overdue(
        &mut self,
        now: Instant,
        acked: u64,
        next: u64,
        patience: Duration,
    ) -> bool {
        match self.seen.back_mut() {
            Some((at, number)) if *number == next => *at = now,
            _ => self.seen.push_back((now, next)),
        }
        while self.seen.get(1).is_some_and(|(_, next)| *next <= acked) {
            self.seen.pop_front();
        }
        let oldest = self.seen.front();
        let is_overdue = oldest.is_some_and(|(at, _)| now.duration_since(*at) >= patience);
        if is_overdue {
            self.seen = VecDeque::from([(now, next)]);
        }
        is_overdue
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(100);

    #[test]
    fn what_is_final_in_time_is_not_synced() {
        // At each moment, in ms: the number of events that are final and written, and whether that is synced.
        for looks in [
            &[(0, 0, 0, false), (500, 0, 0, false)][..],
            // Before the first look, too.
            &[(20, 0, 1, false), (100, 0, 1, true)],
            // An event is as old as the last look without it.
            &[(0, 0, 0, false), (20, 0, 1, false), (100, 0, 1, true)],
            &[
                (0, 0, 0, false),
                (90, 0, 0, false),
                (100, 0, 1, false),
                (189, 0, 1, false),
                (190, 0, 1, true),
            ],
            // It is synced once.
            &[(0, 0, 0, false), (100, 0, 1, true), (300, 0, 1, false)],
            // Later ones are younger.
            &[
                (0, 0, 0, false),
                (50, 0, 1, false),
                (90, 1, 2, false),
                (149, 1, 2, false),
                (150, 1, 2, true),
            ],
            // All are final in time.
            &[
                (0, 0, 0, false),
                (90, 0, 5, false),
                (100, 5, 9, false),
                (180, 9, 9, false),
                (900, 9, 9, false),
            ],
            // Some are not.
            &[
                (0, 0, 0, false),
                (90, 0, 5, false),
                (100, 4, 5, true),
                (110, 4, 5, false),
                (900, 4, 5, false),
            ],
        ] {
            let start = Instant::now();
            let mut overdue = Overdue::new(start);
            for &(at, acked, next, expected) in looks {
                let now = start + Duration::from_millis(at);
                let found = overdue.is_overdue(now, acked, next, PATIENCE);
                assert_eq!(found, expected, "at {at} of {looks:?}");
            }
        }
    }

    proptest! {
        /// With a list of all events: at each look, none of those that wait is older than the patience.
        #[test]
        fn no_event_waits_for_longer(steps in vec((1..60_u64, 0..4_u64, 0..5_u64), 1..60)) {
            let start = Instant::now();
            let mut overdue = Overdue::new(start);
            let (mut now, mut acked, mut synced) = (start, 0, 0);
            // Since when each event may be there: the look before the one that found it.
            let mut written = Vec::new();
            for (later, more, done) in steps {
                let before = now;
                now += Duration::from_millis(later);
                written.extend((0..more).map(|_| before));
                let next = written.len() as u64;
                acked = (acked + done).min(next);
                let waits = acked.max(synced) as usize..next as usize;
                let oldest = written[waits].iter().map(|at| now - *at).max();
                let expected = oldest.is_some_and(|age| age >= PATIENCE);
                prop_assert_eq!(overdue.is_overdue(now, acked, next, PATIENCE), expected);
                if expected {
                    synced = next;
                }
            }
        }
    }
}
