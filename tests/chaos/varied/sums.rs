//! The result of a run: how many events there were, and what the agent uses.

/// The result of a rig.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    pub(super) taken: u64,
    pub(super) repeated: u64,
    pub(super) rejected: u64,
    pub(super) filtered: u64,
    pub(super) dropped: u64,
    pub(super) records: u64,
    pub(super) resident_kib: usize,
    pub(super) descriptors: usize,
    pub(super) threads: usize,
}

impl Sums {
    /// Since a first look, memory has grown by no more than this, and descriptors by no more than this many, besides
    /// those of probes and of connections that are just being made or closed; threads only by theirs.
    #[track_caller]
    pub(super) fn is_flat(&self, first: &Sums, growth_kib: usize, descriptors: usize) {
        let is_flat = self.resident_kib <= first.resident_kib.saturating_add(growth_kib)
            && self.descriptors <= first.descriptors + descriptors + 8
            && self.threads <= first.threads + 2;
        assert!(is_flat, "{self:?} after {first:?}");
    }

    /// Adds the counts of another rig.
    pub(super) fn add(&mut self, other: &Sums) {
        self.taken += other.taken;
        self.repeated += other.repeated;
        self.rejected += other.rejected;
        self.filtered += other.filtered;
        self.dropped += other.dropped;
        self.records += other.records;
        self.resident_kib = self.resident_kib.max(other.resident_kib);
        self.descriptors = self.descriptors.max(other.descriptors);
        self.threads = self.threads.max(other.threads);
    }
}
