//! A message that can't be taken at once: its events one after the other, as its bytes come. No I/O.

use super::batch::Batch;
use super::head::Fault;
use super::message::{Body, Opening};
pub use super::unpack::Step;
use super::unpack::{ENTRY_ENVELOPE, Unpacker};
use super::values::{Found, Values};
use crate::buffer::chunk::Extent;

/// Inflated bytes after which other clients have their turn.
const SLICE: usize = 256 << 10;

/// A message that has arrived in part.
#[derive(Debug)]
pub struct Parts {
    /// What comes next of it, if not the option.
    body: Option<Body>,
    has_option: bool,
    unpacker: Unpacker,
    enough: Extent,
}

impl Parts {
    /// Of the message that `values` gave last. Its events have `max_event` bytes at most each; about `enough` of them
    /// are to be offered at a time.
    pub fn begin(opening: Opening, values: &mut Values, max_event: usize, enough: Extent) -> Self {
        values.enter(opening.length);
        values.set_limit(max_event.saturating_add(ENTRY_ENVELOPE));
        Parts {
            body: Some(opening.body),
            has_option: opening.has_option,
            unpacker: Unpacker::new(max_event),
            enough,
        }
    }

    /// Adds events to the batch.
    ///
    /// # Errors
    /// Nothing of the stream can be understood from here on.
    pub fn next(&mut self, values: &mut Values, batch: &mut Batch) -> Result<Step, Fault> {
        loop {
            if batch.has(self.enough) {
                return Ok(Step::Offer);
            }
            let rest = match self.body {
                Some(Body::Packed(left)) => {
                    let mut packed = values.bytes(left);
                    let before = packed.len();
                    let step = self.unpacker.unpack(&mut packed, batch, self.enough, SLICE);
                    let used = before - packed.len();
                    values.pass_bytes(used);
                    self.body = Some(Body::Packed(left - used));
                    if step != Step::Read || used < left {
                        return Ok(step);
                    }
                    self.unpacker.finish(batch);
                    None
                }
                Some(Body::Entries(0)) => None,
                Some(body) => {
                    match (values.next()?, body) {
                        (None, _) => return Ok(Step::Read),
                        (Some(Found::TooLarge(_)), _) => batch.lose(Fault::TooLarge),
                        (Some(Found::Value(record)), Body::Record) => batch.add_record(record),
                        (Some(Found::Value(entry)), _) => _ = batch.add_entry(entry),
                    }
                    match body {
                        Body::Entries(left) => Some(Body::Entries(left - 1)),
                        _ => None,
                    }
                }
                None => {
                    let mut option = Vec::new();
                    if self.has_option {
                        match values.next()? {
                            None => return Ok(Step::Read),
                            Some(Found::Value(value)) => option = value.to_vec(),
                            Some(Found::TooLarge(_)) => {}
                        }
                    }
                    batch.end();
                    return Ok(Step::Done(option));
                }
            };
            self.body = rest;
        }
    }

    /// Bytes of memory that it takes besides.
    pub fn memory(&self) -> usize {
        self.unpacker.memory()
    }
}
