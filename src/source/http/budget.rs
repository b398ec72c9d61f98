//! Memory for bodies, which all connections of a source share. It is asked for before it is used.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::telemetry::counters::Refusal;

/// Memory that every connection has without asking, in bytes: enough for a small body.
pub const OWN: usize = 32 << 10;

/// How long what was ended may take to give its memory back, and the time between two looks for that.
const GRACE: Duration = Duration::from_millis(100);
const TURN: Duration = Duration::from_millis(1);

/// The memory that all share.
pub struct Budget {
    total: usize,
    left: AtomicUsize,
    end_one: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Budget {
    /// A budget of this many bytes. If they are used up, `end_one` may end a body that has some of them and waits in
    /// vain; false if there is none.
    pub fn new(bytes: usize, end_one: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Budget {
            total: bytes,
            left: AtomicUsize::new(bytes),
            end_one: Box::new(end_one),
        }
    }

    fn take(&self, bytes: usize) -> bool {
        let order = Ordering::Relaxed;
        let take = |left: usize| left.checked_sub(bytes);
        self.left.fetch_update(order, order, take).is_ok()
    }

    /// The same, of what others have to give back if there is not enough.
    fn take_from_others(&self, bytes: usize) -> bool {
        while !self.take(bytes) {
            if !(self.end_one)() {
                return false;
            }
            let mut waited = Duration::ZERO;
            while waited < GRACE && self.left.load(Ordering::Relaxed) < bytes {
                thread::sleep(TURN);
                waited += TURN;
            }
        }
        true
    }

    /// Whether nothing of it is in use.
    pub fn is_whole(&self) -> bool {
        self.left.load(Ordering::Relaxed) == self.total
    }
}

/// What one connection has taken of it.
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
        if !self.budget.take_from_others(needed - self.taken) {
            return Err(Refusal::MemoryLimit);
        }
        self.taken = needed;
        Ok(())
    }

    /// Whether it has any.
    pub fn is_used(&self) -> bool {
        self.taken > 0
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
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn shares_never_exceed_the_whole() {
        let budget = Budget::new(100, || false);
        let (mut one, mut other) = (Share::of(&budget), Share::of(&budget));
        assert_eq!(one.cover(OWN), Ok(()));
        assert!(budget.is_whole());
        assert_eq!(one.cover(OWN + 70), Ok(()));
        assert_eq!(one.cover(OWN + 10), Ok(()));
        assert_eq!(other.cover(OWN + 31), Err(Refusal::MemoryLimit));
        assert_eq!(other.cover(OWN + 30), Ok(()));
        assert_eq!(one.cover(OWN + 71), Err(Refusal::MemoryLimit));
        assert_eq!(one.cover(OWN + 101), Err(Refusal::TooLarge));
        one.give_back();
        assert_eq!(other.cover(OWN + 100), Ok(()));
        drop(other);
        assert!(budget.is_whole());
    }

    #[test]
    fn what_others_have_is_given_back_as_far_as_it_is_needed() {
        let held = Arc::new(Mutex::new(vec![30, 30, 40]));
        let left = Arc::new(AtomicUsize::new(0));
        let (holders, given) = (Arc::clone(&held), Arc::clone(&left));
        let budget = Budget::new(100, move || {
            let ended = holders.lock().unwrap().pop();
            given.fetch_add(ended.unwrap_or(0), Ordering::Relaxed);
            ended.is_some()
        });
        let mut share = Share::of(&budget);
        thread::scope(|scope| {
            let all = held.lock().unwrap().iter().sum();
            assert!(budget.take(all));
            // Those that were ended take their time.
            scope.spawn(|| {
                let mut back = 0;
                while back < 70 {
                    back += left.swap(0, Ordering::Relaxed);
                    budget.left.store(back, Ordering::Relaxed);
                    thread::yield_now();
                }
            });
            assert_eq!(share.cover(OWN + 60), Ok(()));
        });
        assert_eq!(*held.lock().unwrap(), [30]);
    }
}
