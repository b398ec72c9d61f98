//! How large bodies may be: learned from connections that break on large ones. Some firewalls and balancers before a
//! webhook reset the connection where they should answer 413.

use crate::buffer::chunk::Extent;

/// Breaks in a row until the body's size is taken for the reason: a webhook that restarts breaks a few too.
const SUSPICIOUS: u32 = 3;
/// A smaller body has so much of the one that broke.
const SHRINK: usize = 4;
/// A body that arrives lets the next ones be larger by this fraction: some 2 MB go between two tries at a size
/// that the webhook does not take, and some 300 bodies lead from a single event back to a MiB.
const GROW: usize = 32;

/// What has been learned of one webhook.
#[derive(Debug, Default)]
pub struct BodySize {
    breaks: u32,
    /// Bytes at most; none while large bodies pass.
    bytes: Option<usize>,
}

impl BodySize {
    /// The limit of the next body, which is never over `most`.
    pub fn limit(&self, most: usize) -> usize {
        self.bytes.map_or(most, |bytes| bytes.min(most))
    }

    /// The connection broke under a body of this extent.
    pub fn broke(&mut self, body: Extent) {
        self.breaks = self.breaks.saturating_add(1);
        if body.events > 1 && (self.bytes.is_some() || self.breaks >= SUSPICIOUS) {
            self.bytes = Some(body.bytes / SHRINK);
        }
    }

    /// The webhook has failed in another way.
    pub fn failed(&mut self) {
        self.breaks = 0;
    }

    /// A body arrived whole; `most` is the limit of any.
    pub fn passed(&mut self, most: usize) {
        self.breaks = 0;
        let grown = self.bytes.map(|bytes| bytes + bytes / GROW + 1);
        self.bytes = grown.filter(|bytes| *bytes < most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 1 << 20;

    fn body(bytes: usize) -> Extent {
        Extent {
            events: bytes.div_ceil(1000),
            bytes,
        }
    }

    #[test]
    fn only_breaks_in_a_row_make_bodies_smaller() {
        let mut size = BodySize::default();
        for _ in 0..10 {
            size.broke(body(MOST));
            size.broke(body(MOST));
            size.failed();
            size.broke(body(MOST));
            size.broke(body(MOST));
            size.passed(MOST);
        }
        assert_eq!(size.limit(MOST), MOST);
        for _ in 0..3 {
            size.broke(body(MOST));
        }
        assert_eq!(size.limit(MOST), MOST / 4);
        size.broke(body(MOST / 4));
        assert_eq!(size.limit(MOST), MOST / 16);
        assert_eq!(size.limit(1000), 1000);
    }

    #[test]
    fn a_single_event_is_as_small_as_can_be_and_all_grow_again() {
        let mut size = BodySize::default();
        while size.limit(MOST) > 1000 {
            size.broke(body(size.limit(MOST)));
        }
        let least = size.limit(MOST);
        size.broke(body(1000));
        assert_eq!(size.limit(MOST), least);
        for _ in 0..300 {
            size.passed(MOST);
        }
        assert_eq!(size.limit(MOST), MOST);
    }
}
