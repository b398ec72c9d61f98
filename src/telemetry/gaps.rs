//! Losses that the trail has not recorded yet. They are added up until then.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::SystemTime;

use crate::text::ranges::Ranges;

/// The source as it was given, or an empty string if it is unknown; and the reason.
pub type Key = (String, String);

/// Losses, by source and reason.
pub type Gaps = BTreeMap<Key, Gap>;

/// With more ranges of numbers than this, a gap says only between which ones they are: memory and the trail's file must
/// not grow for as long as no record is delivered.
const MAX_RANGES: usize = 20_000;

/// Events that were lost for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// How many of them had no number yet.
    pub unnumbered: u64,
    /// The numbers of others.
    pub numbers: Ranges,
    /// How many there are besides, whose numbers are forgotten.
    pub scattered: u64,
    /// The range that those numbers are in.
    pub within: Ranges,
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
            scattered: 0,
            within: Ranges::default(),
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
        if self.numbers.len() > MAX_RANGES {
            self.scattered += self.numbers.count();
            let within = self
                .within
                .bounds()
                .into_iter()
                .chain(self.numbers.bounds());
            self.within = bounds_of(within);
            self.numbers = Ranges::default();
        }
    }

    /// Adds all of another gap.
    pub fn merge(&mut self, other: Gap) {
        self.first = self.first.min(other.first);
        self.scattered += other.scattered;
        self.within = bounds_of(self.within.iter().chain(other.within.iter()));
        self.add(
            other.unnumbered,
            other.numbers.iter(),
            self.last.max(other.last),
        );
    }

    /// How many events there are.
    pub fn events(&self) -> u64 {
        self.unnumbered + self.numbers.count() + self.scattered
    }

    /// Whether the event with this number may be one of them.
    pub fn may_contain(&self, number: u64) -> bool {
        self.numbers.contains(number) || self.within.contains(number)
    }

    /// The same with all numbers higher by `base`.
    pub fn above(self, base: u64) -> Self {
        let above = |numbers: &Ranges| {
            let numbers = numbers.iter();
            numbers
                .map(|range| base + range.start..base + range.end)
                .collect()
        };
        Gap {
            numbers: above(&self.numbers),
            within: above(&self.within),
            ..self
        }
    }

    /// The same in parts, each with no more ranges than this.
    pub fn parts(self, max_ranges: usize) -> Vec<Gap> {
        let ranges: Vec<_> = self.numbers.iter().collect();
        let numbers = ranges.chunks(max_ranges).map(|ranges| Gap {
            numbers: ranges.iter().cloned().collect(),
            last: self.last,
            ..Gap::at(self.first)
        });
        let mut parts: Vec<_> = numbers.collect();
        if self.unnumbered + self.scattered > 0 {
            parts.push(Gap {
                numbers: Ranges::default(),
                ..self
            });
        }
        parts
    }
}

fn bounds_of(ranges: impl Iterator<Item = Range<u64>>) -> Ranges {
    ranges.collect::<Ranges>().bounds().into_iter().collect()
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

    #[test]
    fn a_gap_of_many_ranges_counts_them_exactly_and_keeps_few() {
        let odd = |range: Range<u64>| range.map(|number| 2 * number + 1..2 * number + 2);
        let (mut gap, mut more) = (Gap::at(SystemTime::now()), Gap::at(SystemTime::now()));
        for first in (0..100_000).step_by(1000) {
            gap.add(0, odd(first..first + 1000), SystemTime::now());
            assert!(gap.numbers.len() <= MAX_RANGES && gap.within.len() <= 1);
        }
        more.add(1, odd(100_000..130_000), SystemTime::now());
        gap.merge(more);
        assert_eq!((gap.events(), gap.unnumbered), (130_001, 1));
        assert!((0..130_000).all(|number| gap.may_contain(2 * number + 1)));
        let parts = gap.clone().above(10).parts(1000);
        assert_eq!(parts.iter().map(Gap::events).sum::<u64>(), gap.events());
        assert!(parts.iter().all(|part| part.numbers.len() <= 1000));
        assert!(
            (0..130_000).all(|number| parts.iter().any(|part| part.may_contain(2 * number + 11)))
        );
    }
}
