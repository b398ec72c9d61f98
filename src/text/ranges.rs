//! Sets of numbers, as ranges: memory grows with the number of holes, and the written form is `3-5,9`.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// A set of numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds numbers. Returns how many of them were in it already.
    pub fn add(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let (mut start, mut end, mut known) = (range.start, range.end, 0);
        // Merges the ranges that touch it, from the last to the first.
        while let Some((&first, &behind)) = self.0.range(..=end).next_back()
            && behind >= start
        {
            self.0.remove(&first);
            known += behind.min(range.end).saturating_sub(first.max(range.start));
            (start, end) = (start.min(first), end.max(behind));
        }
        self.0.insert(start, end);
        known
    }

    /// Removes numbers.
    pub fn remove(&mut self, range: Range<u64>) {
        while let Some((&first, &behind)) = self.0.range(..range.end).next_back()
            && behind > range.start
            && !range.is_empty()
        {
            self.0.remove(&first);
            if first < range.start {
                self.0.insert(first, range.start);
            }
            if range.end < behind {
                self.0.insert(range.end, behind);
            }
        }
    }

    /// This set without the numbers of another one.
    pub fn without(&self, other: &Ranges) -> Ranges {
        let mut rest = self.clone();
        other.iter().for_each(|range| rest.remove(range));
        rest
    }

    /// Whether a number is in it.
    pub fn contains(&self, number: u64) -> bool {
        self.run(number).0
    }

    /// Whether a number is in it, and the next number for which the opposite is true.
    pub fn run(&self, number: u64) -> (bool, u64) {
        let last = self.0.range(..=number).next_back();
        let next = self.0.range(number..).next();
        match last {
            Some((_, &end)) if number < end => (true, end),
            _ => (false, next.map_or(u64::MAX, |(start, _)| *start)),
        }
    }

    /// What of these numbers is in it.
    pub fn within(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let mut next = range.start;
        std::iter::from_fn(move || {
            while next < range.end {
                let start = next;
                let (is_in, end) = self.run(start);
                next = end.min(range.end);
                if is_in {
                    return Some(start..next);
                }
            }
            None
        })
    }

    /// Whether some of these numbers are in it.
    pub fn meets(&self, range: &Range<u64>) -> bool {
        let (is_in, next) = self.run(range.start);
        !range.is_empty() && (is_in || next < range.end)
    }

    /// How many numbers are in it.
    pub fn count(&self) -> u64 {
        self.iter().map(|range| range.end - range.start).sum()
    }

    /// How many ranges it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The same as [`count`](Self::count), for numbers of events that are here.
    pub fn events(&self) -> usize {
        usize::try_from(self.count()).unwrap_or(usize::MAX)
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// From its lowest number to the one after its highest.
    pub fn bounds(&self) -> Option<Range<u64>> {
        Some(*self.0.first_key_value()?.0..*self.0.last_key_value()?.1)
    }

    /// Its ranges, in order; no two of them touch.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().map(|(start, end)| *start..*end)
    }
}

impl From<Range<u64>> for Ranges {
    fn from(range: Range<u64>) -> Self {
        Ranges::from_iter(Some(range))
    }
}

impl FromIterator<Range<u64>> for Ranges {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(all: I) -> Self {
        let mut ranges = Ranges::default();
        for range in all {
            ranges.add(range);
        }
        ranges
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, range) in self.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            write!(f, "{comma}{}", range.start)?;
            if range.end - range.start > 1 {
                write!(f, "-{}", range.end - 1)?;
            }
        }
        Ok(())
    }
}

impl FromStr for Ranges {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let parts = text.split(',').filter(|part| !part.is_empty());
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last).then_some(first..last.checked_add(1)?)
        };
        parts.map(range).collect::<Option<_>>().ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_written_and_read() {
        for text in ["", "7", "3-5,9", "0-1,3"] {
            assert_eq!(text.parse::<Ranges>().unwrap().to_string(), text);
        }
        assert_eq!("1-2,3,2-3".parse::<Ranges>().unwrap().to_string(), "1-3");
        for text in ["x", "3-2", "-", "1-", "18446744073709551615"] {
            assert!(text.parse::<Ranges>().is_err(), "{text}");
        }
    }

    proptest! {
        /// Compared with a set of single numbers.
        #[test]
        fn it_is_a_set_of_numbers(steps in vec((any::<bool>(), 0..40_u64, 0..12_u64), 0..40)) {
            let (mut ranges, mut model) = (Ranges::default(), BTreeSet::new());
            for (adds, start, length) in steps {
                let range = start..start + length;
                if adds {
                    let known = range.clone().filter(|number| model.contains(number)).count();
                    prop_assert_eq!(ranges.add(range.clone()), known as u64);
                    model.extend(range);
                } else {
                    ranges.remove(range.clone());
                    model.retain(|number| !range.contains(number));
                }
                prop_assert_eq!(ranges.count(), model.len() as u64);
                prop_assert_eq!(ranges.is_empty(), model.is_empty());
                let bounds = model.first().zip(model.last()).map(|(first, last)| *first..last + 1);
                prop_assert_eq!(ranges.bounds(), bounds);
                for number in 0..60 {
                    let is_in = model.contains(&number);
                    let next = (number..60).find(|next| model.contains(next) != is_in);
                    prop_assert_eq!(ranges.contains(number), is_in);
                    prop_assert_eq!(ranges.run(number), (is_in, next.unwrap_or(u64::MAX)));
                }
                for end in 0..60 {
                    let meets = model.range(20..end.max(20)).next().is_some();
                    prop_assert_eq!(ranges.meets(&(20..end)), meets);
                    let within: Vec<_> = ranges.within(20..end).flatten().collect();
                    let expected: Vec<_> = model.range(20..end.max(20)).copied().collect();
                    prop_assert_eq!(within, expected);
                }
                // No two touch, so that there are no more ranges than holes require.
                let all: Vec<_> = ranges.iter().collect();
                prop_assert!(all.windows(2).all(|two| two[0].end < two[1].start));
                prop_assert_eq!(&ranges.to_string().parse::<Ranges>().unwrap(), &ranges);
            }
            let whole = Ranges::from(0..60);
            prop_assert_eq!(whole.without(&ranges).count(), 60 - model.len() as u64);
        }
    }
}
