//! Events that may have arrived though the webhook has not said so: if they are sent again, there may be duplicates.

use std::ops::Range;

use super::batch::Batch;
use super::outcome::{Outcome, Overhead};
use crate::buffer::acks::Seq;
use crate::buffer::chunk::Extent;
use crate::text::ranges::Ranges;

/// Which events these are, and the reason why that is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doubt {
    pub(super) seqs: Ranges,
    pub(super) why: String,
}

impl Doubt {
    /// None if there are none.
    pub(super) fn of(seqs: impl Iterator<Item = Range<Seq>>, why: &str) -> Option<Doubt> {
        let seqs: Ranges = seqs.collect();
        (!seqs.is_empty()).then(|| Doubt {
            seqs,
            why: why.to_owned(),
        })
    }

    /// What may have arrived with a request that had this outcome.
    pub(super) fn after(batch: &Batch, outcome: &Outcome) -> Option<Doubt> {
        match outcome {
            Outcome::Failed(error) if error.may_have_arrived => {
                Doubt::of(batch.seqs(), &error.message)
            }
            // What is before the wrong one.
            Outcome::Rejected(error) | Outcome::Failed(error) => {
                let events = error.wrong?;
                if !(1..batch.extent().events).contains(&events) {
                    return None;
                }
                let limit = Extent {
                    events,
                    ..Extent::MAX
                };
                let first = batch.first(limit, Overhead::default());
                Doubt::of(first.seqs(), &error.message)
            }
            _ => None,
        }
    }

    /// What of it is about these events.
    pub(super) fn about(&self, seqs: impl Iterator<Item = Range<Seq>>) -> Option<Doubt> {
        Doubt::of(seqs.flat_map(|seqs| self.seqs.within(seqs)), &self.why)
    }

    /// Adds another one; the reason stays.
    pub(super) fn join(&mut self, other: &Doubt) {
        other.seqs.iter().for_each(|seqs| _ = self.seqs.add(seqs));
    }
}
