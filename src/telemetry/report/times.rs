//! Reports on the clocks of others.

use std::sync::atomic::Ordering::Relaxed;

use super::Report;

impl Report {
    /// The clock of the webhook's endpoint at this place is so many seconds ahead of this host's; behind, if that is negative.
    pub fn webhook_clock(&self, place: usize, skew: i64) {
        self.update(|state, now| state.webhook_clock(place, skew, now));
    }

    /// Whether it is to be [said](Self::event_time) when an event of a source happened: once an interval, where events come as
    /// they happen.
    pub fn wants_time(&self, source: usize) -> bool {
        let wanted = self.wanted_times.get(source);
        wanted.is_some_and(|wanted| wanted.load(Relaxed))
    }

    /// An event that has just come is dated so many seconds ahead; behind, if that is negative. None if it is not dated.
    pub fn event_time(&self, source: usize, skew: Option<i64>) {
        if let Some(wanted) = self.wanted_times.get(source) {
            wanted.store(false, Relaxed);
        }
        if let Some(skew) = skew {
            self.update(|state, now| state.sources.get_mut(source)?.dated(skew, now.instant));
        }
    }
}
