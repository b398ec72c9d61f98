//! What the trail learns from reports, and what it reports itself.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::Report;
use crate::telemetry::gaps::{Gap, Gaps};
use crate::telemetry::snapshot::TrailState;

impl Report {
    /// For the trail: events with these numbers will not arrive, for this reason.
    pub fn gap(&self, reason: &str, numbers: impl IntoIterator<Item = Range<u64>>) {
        self.add_gap(None, reason, 0, numbers);
    }

    /// The same for events that had no numbers yet.
    pub fn unnumbered_gap(&self, reason: &str, events: u64) {
        self.add_gap(None, reason, events, []);
    }

    pub(super) fn add_gap(
        &self,
        source: Option<usize>,
        reason: &str,
        unnumbered: u64,
        numbers: impl IntoIterator<Item = Range<u64>>,
    ) {
        let Some(gaps) = &self.gaps else { return };
        let source = source.map_or("", |source| self.source_name(source));
        let key = (source.to_owned(), reason.to_owned());
        let mut gaps = gaps.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemTime::now();
        let gap = gaps.entry(key).or_insert_with(|| Gap::at(now));
        gap.add(unnumbered, numbers, now);
    }

    /// The losses since the last call.
    pub fn take_gaps(&self) -> Gaps {
        let gaps = self.gaps.as_ref().map(Mutex::lock);
        gaps.map_or_else(Gaps::new, |gaps| {
            std::mem::take(&mut *gaps.unwrap_or_else(PoisonError::into_inner))
        })
    }

    /// The trail as it is now.
    pub fn trail(&self, trail: TrailState) {
        self.state().known.trail = Some(trail);
    }
}
