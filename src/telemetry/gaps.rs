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
