//! Randomness that needs no secrecy.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::OnceLock;

/// A seed that differs from call to call and from host to host.
pub fn seed() -> u64 {
    // The standard library keys each of its hashers at random.
    RandomState::new().hash_one(0_u8)
}

/// The same for as long as this process runs.
pub fn of_this_start() -> u64 {
    static START: OnceLock<u64> = OnceLock::new();
    *START.get_or_init(seed)
}

#[cfg(test)]
mod tests {
    #[test]
    fn seeds_differ() {
        assert_ne!(super::seed(), super::seed());
    }
}
