//! Randomness that needs no secrecy.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

/// A seed that differs from call to call and from host to host.
pub fn seed() -> u64 {
    // The standard library keys each of its hashers at random.
    RandomState::new().hash_one(0_u8)
}

#[cfg(test)]
mod tests {
    #[test]
    fn seeds_differ() {
        assert_ne!(super::seed(), super::seed());
    }
}
