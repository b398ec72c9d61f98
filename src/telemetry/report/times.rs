//! Reports about the clocks of others.

use std::sync::atomic::Ordering::Relaxed;

use super::Report;

impl Report {
    /// The clock of the webhook's endpoint at this index is `skew` seconds ahead of this host's; negative if behind.
    pub fn webhook_clock(&self, place: usize, skew: i64) {
        self.update(|state, now| state.webhook_clock(place, skew, now));
    }

    /// Whether the time of a source's next event should be [reported](Self::event_time): once per interval, for sources
    /// whose events arrive as they happen.
    pub fn wants_time(&self, source: usize) -> bool {
        let wanted = self.wanted_times.get(source);
        wanted.is_some_and(|wanted| wanted.load(Relaxed))
    }

    /// An event that has just arrived is dated `skew` seconds ahead; negative if behind. `None` if it is not dated.
    pub fn event_time(&self, source: usize, skew: Option<i64>) {
        if let Some(wanted) = self.wanted_times.get(source) {
            wanted.store(false, Relaxed);
        }
        if let Some(skew) = skew {
            self.update(|state, now| state.sources.get_mut(source)?.dated(skew, now.instant));
        }
    }
}
