//! Memory for bodies, which all connections of a source share. It is asked for before it is used.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::telemetry::counters::Refusal;

/// Memory that every connection has without asking, in bytes: enough for a small body.
pub const OWN: usize = 32 << 10;

/// The memory that all share.
#[derive(Debug)]
pub struct Budget {
    total: usize,
    left: AtomicUsize,
}

impl Budget {
    /// A budget of this many bytes.
    pub fn new(bytes: usize) -> Self {
        Budget {
            total: bytes,
            left: AtomicUsize::new(bytes),
        }
    }

    /// Whether nothing of it is in use.
    pub fn is_whole(&self) -> bool {
        self.left.load(Ordering::Relaxed) == self.total
    }
}

/// What one connection has taken of it.
#[derive(Debug)]
pub struct Share<'a> {
    budget: &'a Budget,
    taken: usize,
}

impl<'a> Share<'a> {
    /// Nothing yet.
    pub fn of(budget: &'a Budget) -> Self {
        Share { budget, taken: 0 }
    }

    /// Makes it cover this many bytes. To be called before they are used.
    ///
    /// # Errors
    /// There is not that much memory, now or ever.
    pub fn cover(&mut self, bytes: usize) -> Result<(), Refusal> {
        let needed = bytes.saturating_sub(OWN);
        if needed <= self.taken {
            return Ok(());
        }
        if needed > self.budget.total {
            return Err(Refusal::TooLarge);
        }
        let more = needed - self.taken;
        let take = |left: usize| left.checked_sub(more);
        let order = Ordering::Relaxed;
        let taken = self.budget.left.fetch_update(order, order, take);
        taken.map_err(|_| Refusal::BufferFull)?;
        self.taken = needed;
        Ok(())
    }

    /// Gives all of it back. To be called when the memory is free again.
    pub fn give_back(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        self.budget.left.fetch_add(taken, Ordering::Relaxed);
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_exceed_the_whole() {
        let budget = Budget::new(100);
        let (mut one, mut other) = (Share::of(&budget), Share::of(&budget));
        assert_eq!(one.cover(OWN), Ok(()));
        assert!(budget.is_whole());
        assert_eq!(one.cover(OWN + 70), Ok(()));
        assert_eq!(one.cover(OWN + 10), Ok(()));
        assert_eq!(other.cover(OWN + 31), Err(Refusal::BufferFull));
        assert_eq!(other.cover(OWN + 30), Ok(()));
        assert_eq!(one.cover(OWN + 71), Err(Refusal::BufferFull));
        assert_eq!(one.cover(OWN + 101), Err(Refusal::TooLarge));
        one.give_back();
        assert_eq!(other.cover(OWN + 100), Ok(()));
        drop(other);
        assert!(budget.is_whole());
    }
}
