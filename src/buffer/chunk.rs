//! What travels from the sources to the sender: some whole events, each a line with its newline.
//!
//! Chunks instead of single events, because a channel operation and an allocation per event cost more than all the rest
//! of an event's way.

use memchr::{memchr, memchr_iter, memrchr};

/// The size of a full chunk. A larger one contains a single event that needs it.
pub const CHUNK_BYTES: usize = 64 << 10;

/// Whole events, end to end.
#[derive(Debug, Default)]
pub struct Chunk {
    /// Lines; the newline at the end of each is the only boundary.
    pub bytes: Vec<u8>,
    /// How many lines there are.
    pub events: usize,
}

/// A number of events and the bytes they take, newlines included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    /// Number of events.
    pub events: usize,
    /// Their bytes.
    pub bytes: usize,
}

impl Extent {
    /// No limit at all.
    pub const MAX: Extent = Extent {
        events: usize::MAX,
        bytes: usize::MAX,
    };

    /// Whether this fits into `room`.
    pub fn fits(&self, room: Extent) -> bool {
        self.events <= room.events && self.bytes <= room.bytes
    }

    /// What is left of `self` when `part` is taken away.
    pub fn minus(&self, part: Extent) -> Extent {
        Extent {
            events: self.events.saturating_sub(part.events),
            bytes: self.bytes.saturating_sub(part.bytes),
        }
    }

    /// How much of `bound` it fills, in percent: of its events or of its bytes, whichever is more.
    pub fn percent_of(&self, bound: Extent) -> usize {
        let percent = |part: usize, whole: usize| part.saturating_mul(100) / whole.max(1);
        percent(self.events, bound.events).max(percent(self.bytes, bound.bytes))
    }

    /// Both together.
    pub fn plus(&self, part: Extent) -> Extent {
        Extent {
            events: self.events + part.events,
            bytes: self.bytes + part.bytes,
        }
    }
}

impl Chunk {
    /// The extent of its events.
    pub fn extent(&self) -> Extent {
        Extent {
            events: self.events,
            bytes: self.bytes.len(),
        }
    }

    /// Whether it has no events.
    pub fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// Forgets its events; the memory stays.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.events = 0;
    }
}

/// The most events from the beginning of `lines` (which has `whole.events` of them) that fit into `room`.
pub fn prefix_within(lines: &[u8], whole: Extent, room: Extent) -> Extent {
    if whole.fits(room) {
        return whole;
    }
    let bounded = &lines[..lines.len().min(room.bytes)];
    let mut prefix = Extent::default();
    for newline in memchr_iter(b'\n', bounded).take(room.events) {
        prefix.events += 1;
        prefix.bytes = newline + 1;
    }
    prefix
}

/// The most lines from the beginning of `lines` with at most `max` bytes together, or a single longer one.
pub fn first_lines(lines: &[u8], max: usize) -> Extent {
    if lines.len() > max && memrchr(b'\n', &lines[..max]).is_none() {
        let bytes = memchr(b'\n', lines).map_or(lines.len(), |newline| newline + 1);
        return Extent { events: 1, bytes };
    }
    let room = Extent {
        events: usize::MAX,
        bytes: max,
    };
    prefix_within(lines, Extent::MAX, room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fuller_says_how_full_it_is() {
        let extent = |events, bytes| Extent { events, bytes };
        for (part, bound, percent) in [
            (extent(1, 10), extent(4, 100), 25),
            (extent(1, 99), extent(2, 100), 99),
            (extent(3, 0), extent(2, 100), 150),
            (extent(0, 0), extent(0, 0), 0),
        ] {
            assert_eq!(part.percent_of(bound), percent);
        }
    }

    #[test]
    fn a_prefix_holds_whole_lines_only() {
        let lines = b"{}\n{\"a\":1}\n{}\n";
        let whole = Extent {
            events: 3,
            bytes: lines.len(),
        };
        let within = |events, bytes| {
            let prefix = prefix_within(lines, whole, Extent { events, bytes });
            (prefix.events, prefix.bytes)
        };
        assert_eq!(within(9, 99), (3, 14));
        assert_eq!(within(3, 14), (3, 14));
        assert_eq!(within(3, 13), (2, 11));
        assert_eq!(within(1, 14), (1, 3));
        assert_eq!(within(9, 10), (1, 3));
        assert_eq!(within(9, 2), (0, 0));
        assert_eq!(within(0, 99), (0, 0));
        let first = |max| {
            let lines = first_lines(lines, max);
            (lines.events, lines.bytes)
        };
        assert_eq!(first(99), (3, 14));
        assert_eq!(first(13), (2, 11));
        assert_eq!(first(2), (1, 3));
        assert_eq!(first(0), (1, 3));
    }
}
