//! What arrived, against what was sent: every event once, and byte for byte.

use std::fmt;

use crate::events;

/// How many events came how.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Arrivals {
    /// Never.
    missing: u64,
    /// More than once; each time too many counts.
    doubled: u64,
    /// In bytes that nobody sent.
    changed: u64,
}

impl Arrivals {
    /// Compares these lines with the events of the numbers from 0 up to `sent`.
    pub(crate) fn check<'a>(lines: impl Iterator<Item = &'a [u8]>, sent: u64) -> Self {
        let mut found = Self::default();
        let mut seen = vec![false; sent as usize];
        let mut right = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let number = events::number_of(line).filter(|number| *number < sent);
            right.clear();
            if let Some(number) = number {
                events::append(number, &mut right);
            }
            match number {
                Some(number) if right.strip_suffix(b"\n") == Some(line) => {
                    found.doubled += u64::from(seen[number as usize]);
                    seen[number as usize] = true;
                }
                _ => found.changed += 1,
            }
        }
        found.missing = seen.iter().filter(|seen| !**seen).count() as u64;
        found
    }

    /// Whether every event arrived once and unchanged.
    pub(crate) fn complete(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            missing,
            doubled,
            changed,
        } = self;
        if self.complete() {
            f.write_str("all once")
        } else {
            write!(f, "{missing} missing, {doubled} doubled, {changed} changed")
        }
    }
}
