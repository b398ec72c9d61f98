//! How large bodies may be: learned from what the webhook, or what is before it, does not accept. No clock: how long a
//! request took is an argument.

use std::time::Duration;

/// Bodies at the limit that must pass before a larger one is tried, at first. Each try that fails doubles it.
const FIRST_PROBE: u32 = 8;
/// At most this many.
const LAST_PROBE: u32 = 128;
/// How often in a row bodies must fail and pass in parts until their size is to blame, if as large ones have passed
/// before: a webhook may fail now and then whatever the size.
const STRIKES: u32 = 6;

/// The limit of bodies, in bytes as they are sent. A single event is always allowed.
#[derive(Debug)]
pub struct BodySize {
    /// The operator's limit.
    max: usize,
    /// The limit that was learned; `max` before that.
    limit: usize,
    /// After an outage bodies grow from one event, doubling, to the limit.
    ramp: Option<usize>,
    /// The largest body that passed since the limit was last raised, or what had passed before.
    safe: Option<usize>,
    /// Bodies at the limit that have passed.
    passed: u32,
    /// How many must pass before it is raised.
    probe_after: u32,
    /// The smallest body of several events that failed since the last calm.
    failed: Option<usize>,
    /// While what took long to fail waits, others are not larger than this.
    beside: Option<usize>,
    /// One of these bodies took too long.
    timed_out: bool,
    /// How often a body failed and passed in parts since one passed that was not smaller, and the smallest of them.
    strikes: Option<(u32, usize)>,
    /// Something other than the size is to blame for these failures.
    excused: bool,
    /// The largest body that has passed since a single event was last too large.
    largest: Option<usize>,
    /// The limit follows from answers that say so, or from how long bodies take, so it is not a guess.
    is_sure: bool,
    /// The limit was lowered, and no body has passed since.
    is_new: bool,
    /// A body that fills the new limit has passed.
    news: bool,
    /// No request should take longer than half of this, since the next one may be slower.
    timeout: Duration,
}

impl BodySize {
    /// Bodies of at most `max` bytes, to a webhook that has this long for each.
    pub fn new(max: usize, timeout: Duration) -> Self {
        BodySize {
            max,
            limit: max,
            ramp: None,
            safe: None,
            passed: 0,
            probe_after: FIRST_PROBE,
            failed: None,
            beside: None,
            timed_out: false,
            strikes: None,
            excused: false,
            largest: None,
            is_sure: false,
            is_new: false,
            news: false,
            timeout,
        }
    }

    /// The limit of the next body.
    pub fn limit(&self) -> usize {
        let most = [self.ramp, self.beside].into_iter().flatten();
        most.fold(self.limit, usize::min)
    }

    /// Whether bodies grow again after an outage.
    pub fn is_growing(&self) -> bool {
        self.ramp.is_some()
    }

    /// The size that certainly passes, or an eighth of the limit if nothing is known: for bodies beside a larger one.
    pub fn proven(&self) -> usize {
        let passed = self.largest.unwrap_or_default();
        self.limit().min(passed.max(self.limit / 8))
    }

    /// The limit without regard to outages.
    pub fn learned_limit(&self) -> usize {
        self.limit
    }

    /// A body of this size was taken after the time `took`.
    pub fn passed(&mut self, size: usize, took: Duration) {
        self.largest = self.largest.max(Some(size));
        self.strikes.take_if(|(_, least)| size >= *least);
        if let Some(ramp) = self.ramp {
            let next = ramp.max(size).saturating_mul(2);
            self.ramp = (next < self.limit).then_some(next);
        }
        if self.failed.is_some_and(|failed| size >= failed) {
            self.failed = None;
        }
        if self.safe.is_some_and(|safe| size > safe) {
            self.safe = (self.limit < self.max).then_some(size.min(self.limit));
        }
        // Of two successive bodies, the first of which had no room for the next event, one is at least half the limit.
        let is_full = size >= self.limit / 2;
        if is_full {
            self.news |= std::mem::take(&mut self.is_new);
        }
        if self.limit == self.max || !is_full {
            return;
        }
        self.passed += 1;
        let larger = self.limit.saturating_add(self.limit / 4 + 1).min(self.max);
        let slower = took.mul_f64(larger as f64 / size.max(1) as f64);
        if self.passed >= self.probe_after && slower <= self.timeout / 2 {
            self.passed = 0;
            self.safe = Some(self.limit);
            self.limit = larger;
        }
    }

    /// A body of this size and of several events is definitely too large.
    pub fn too_large(&mut self, size: usize) {
        self.is_sure = true;
        self.lower(size);
    }

    /// A single event of this size is definitely too large. If larger bodies have passed, the webhook objects to
    /// something else in it, and what was learned from the bodies that it was in is wrong.
    pub fn too_large_alone(&mut self, size: usize) {
        match self.largest.take() {
            Some(largest) if largest > size => self.limit = self.limit.max(largest),
            Some(_) => {}
            None => (self.ramp, self.limit) = (Some(self.limit), self.max),
        }
    }

    /// A body of this size and of several events failed for no clear reason; it is tried again in smaller ones.
    pub fn failed(&mut self, size: usize, timed_out: bool) {
        if self.safe.is_some_and(|safe| size > safe) {
            // It was a probe, and the next one can wait.
            return self.lower(size);
        }
        self.timed_out |= timed_out;
        self.failed = Some(self.failed.map_or(size, |failed| failed.min(size)));
    }

    /// A body of this size took long to fail; as it waits now, the next ones are smaller in case that its size is to
    /// blame.
    pub fn held_up(&mut self, size: usize) {
        self.beside = Some(self.limit().min(size / 2).max(1));
    }

    /// A body of this size is divided, as what is to blame for its failure may be in many bodies: the next ones grow
    /// from one half.
    pub fn divided(&mut self, size: usize) {
        self.ramp = Some(self.limit().min(size / 2).max(1));
    }

    /// A body of one event failed: no smaller one can help, so the size is not to blame.
    pub fn excuse(&mut self) {
        self.excused = true;
    }

    /// Everything that had failed has passed since, or is known to fail alone.
    pub fn calm(&mut self) {
        self.beside = None;
        let (failed, timed_out) = (self.failed.take(), std::mem::take(&mut self.timed_out));
        match (std::mem::take(&mut self.excused), failed) {
            (true, _) if !self.is_sure => (self.limit, self.safe) = (self.max, None),
            (false, Some(size)) => {
                self.is_sure |= timed_out;
                let (times, least) = self.strikes.unwrap_or((0, size));
                let (times, least) = (times + 1, least.min(size));
                self.strikes = Some((times, least));
                let may_be_chance = self.largest >= Some(least) && times < STRIKES;
                if timed_out || !may_be_chance {
                    self.strikes = None;
                    self.lower(least);
                }
            }
            _ => {}
        }
    }

    /// Nothing passes: bodies will begin with single events when something does.
    pub fn outage(&mut self) {
        (self.failed, self.beside) = (None, None);
        self.timed_out = false;
        self.excused = false;
        self.ramp = Some(1);
    }

    /// The limit, if it was lowered since this was last asked and a body has passed under it.
    pub fn learned(&mut self) -> Option<usize> {
        std::mem::take(&mut self.news).then_some(self.limit)
    }

    fn lower(&mut self, size: usize) {
        if size > self.limit {
            // It was sent before the limit was lowered.
            return;
        }
        self.passed = 0;
        match self.safe.take() {
            // It was a probe: back to what was known to pass, and wait longer for the next one.
            Some(safe) if size > safe => {
                self.limit = safe;
                self.probe_after = (self.probe_after * 2).min(LAST_PROBE);
            }
            _ => {
                self.ramp = None;
                self.limit = (size / 2).max(1);
                self.is_new = true;
            }
        }
    }
}

#[cfg(test)]
mod tests;
