//! A part of some memory that others may use, too.

use std::ops::{Deref, Range};
use std::sync::Arc;

/// Bytes that are never changed. Cheap to copy, split and join: from the queue to the socket they stay where they are.
#[derive(Debug, Clone, Default)]
pub struct Piece {
    memory: Arc<Vec<u8>>,
    place: Range<usize>,
}

impl From<Vec<u8>> for Piece {
    fn from(bytes: Vec<u8>) -> Self {
        Piece {
            place: 0..bytes.len(),
            memory: Arc::new(bytes),
        }
    }
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.place.clone()]
    }
}

impl Piece {
    /// Takes off the first `bytes`.
    pub fn split_off_front(&mut self, bytes: usize) -> Piece {
        let at = self.place.start + bytes;
        let front = Piece {
            memory: Arc::clone(&self.memory),
            place: self.place.start..at,
        };
        self.place.start = at;
        front
    }

    /// Adds `next`, if it is directly behind it in the same memory. Returns it if not.
    pub fn join(&mut self, next: Piece) -> Option<Piece> {
        if !Arc::ptr_eq(&self.memory, &next.memory) || self.place.end != next.place.start {
            return Some(next);
        }
        self.place.end = next.place.end;
        None
    }

    /// The whole memory, if nobody else uses a part of it.
    pub fn into_memory(self) -> Option<Vec<u8>> {
        Arc::try_unwrap(self.memory).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_are_the_bytes_they_were_and_join_only_their_neighbours(
            bytes in vec(any::<u8>(), 0..40),
            cuts in vec(0usize..10, 0..6),
            order in vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut rest = Piece::from(bytes.clone());
            let mut parts = Vec::new();
            for cut in cuts {
                let cut = cut.min(rest.len());
                parts.push(rest.split_off_front(cut));
            }
            parts.push(rest);
            let whole: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
            prop_assert_eq!(&whole, &bytes);
            for index in order {
                let place = index.index(parts.len());
                if let Some(next) = parts.get(place + 1).cloned() {
                    prop_assert!(parts[place].join(next).is_none());
                    parts.remove(place + 1);
                }
                let stranger = Piece::from(bytes.clone());
                prop_assert!(parts[place].join(stranger).is_some());
            }
            let whole: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
            prop_assert_eq!(&whole, &bytes);
            while parts.len() > 1 {
                prop_assert!(parts.pop().unwrap().into_memory().is_none(), "shared");
            }
            prop_assert_eq!(parts.pop().unwrap().into_memory(), Some(bytes));
        }
    }
}
