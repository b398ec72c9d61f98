//! Losses that the trail has not recorded yet. They are added up until then.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::SystemTime;

use crate::text::ranges::Ranges;

/// The source as it was given, or an empty string if it is unknown; and the reason.
pub type Key = (String, String);

/// Losses, by source and reason.
pub type Gaps = BTreeMap<Key, Gap>;

/// Events that were lost for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// How many of them had no number yet.
    pub unnumbered: u64,
    /// The numbers of the others.
    pub numbers: Ranges,
    /// When the first of them was lost.
    pub first: SystemTime,
    /// When the last of them was lost.
    pub last: SystemTime,
}

impl Gap {
    /// One without events yet.
    pub fn at(now: SystemTime) -> Self {
        Gap {
            unnumbered: 0,
            numbers: Ranges::default(),
            first: now,
            last: now,
        }
    }

    /// Adds more of them.
    pub fn add(
        &mut self,
        unnumbered: u64,
        numbers: impl IntoIterator<Item = Range<u64>>,
        now: SystemTime,
    ) {
        self.unnumbered += unnumbered;
        for range in numbers {
            self.numbers.add(range);
        }
        self.last = now;
    }

    /// Adds all of another gap.
    pub fn merge(&mut self, other: Gap) {
        self.first = self.first.min(other.first);
        self.add(
            other.unnumbered,
            other.numbers.iter(),
            self.last.max(other.last),
        );
    }

    /// How many events there are.
    pub fn events(&self) -> u64 {
        self.unnumbered + self.numbers.count()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_gap_has_all_events_of_those_that_were_merged() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for (one, other) in [(3, 8), (8, 3)] {
            let mut gap = Gap::at(at(one));
            gap.add(2, [4..6, 9..10], at(one + 1));
            let mut more = Gap::at(at(other));
            more.add(1, Some(6..7), at(other + 1));
            gap.merge(more);
            assert_eq!((gap.first, gap.last), (at(3), at(9)));
            assert_eq!((gap.events(), gap.unnumbered), (7, 3));
            assert_eq!(gap.numbers.to_string(), "4-6,9");
        }
    }
}
