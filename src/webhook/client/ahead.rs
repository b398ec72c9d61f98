//! The next body, made by a thread of its own while the previous one is posted.

use std::ops::Range;

use crossbeam_channel::{Receiver, bounded};

use crate::buffer::acks::Seq;
use crate::delivery::batch::Batch;
use crate::delivery::compression::Packed;
use crate::sys::thread;
use crate::webhook::encode::Encoder;

/// The second encoder; the first one has the body that is being posted.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    spare: Option<Encoder>,
    making: Option<Receiver<Made>>,
}

#[derive(Debug)]
struct Made {
    encoder: Encoder,
    seqs: Vec<Range<Seq>>,
    max_bytes: usize,
    packed: Option<Packed>,
}

impl Ahead {
    /// Begins to make a body of these events, of `max_bytes` at most.
    pub(super) fn begin(&mut self, events: Batch, max_bytes: usize, like: &Encoder) {
        let spare = self.spare.take();
        let mut encoder = spare.unwrap_or_else(|| like.clone());
        let (tell, made) = bounded(1);
        let make = move || {
            let packed = encoder.encode(&events, max_bytes);
            let seqs = events.seqs().collect();
            // The webhook may have been replaced meanwhile.
            let _ = tell.send(Made {
                encoder,
                seqs,
                max_bytes,
                packed,
            });
        };
        // Without a thread it is made when it is needed.
        self.making = thread::spawn("encode", make).ok().map(|_| made);
    }

    /// The body that was begun, if it is this one; `encoder` has it then.
    pub(super) fn take(
        &mut self,
        events: &Batch,
        max_bytes: usize,
        encoder: &mut Encoder,
    ) -> Option<Packed> {
        let mut made = self.making.take()?.recv().ok()?;
        let is_it = made.seqs.iter().cloned().eq(events.seqs()) && made.max_bytes == max_bytes;
        if is_it {
            std::mem::swap(encoder, &mut made.encoder);
        }
        self.spare = Some(made.encoder);
        made.packed.filter(|_| is_it)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::buffer::chunk::Chunk;
    use crate::buffer::run::Run;
    use crate::webhook::encode::{Compressed, Format};

    fn events(first: Seq) -> Batch {
        let bytes = format!("{{\"n\":{first}}}\n").repeat(100).into_bytes();
        Batch::from(Run::new(Chunk { bytes, events: 100 }, first))
    }

    fn unpacked(encoder: &Encoder, events: &Batch) -> String {
        let (body, mut text) = (encoder.body(events), String::new());
        let mut gzip = flate2::read::GzDecoder::new(&body[0][..]);
        gzip.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn what_was_begun_is_used_for_this_body_only() {
        let mut encoder = Encoder::new(Format::Ndjson, Compressed::Gzip(1), "", &[]);
        let mut ahead = Ahead::default();
        let mut posted = events(0);
        encoder.encode(&posted, 9000);
        for (begun, next, max_bytes, is_used) in [
            (100, 100, 9000, true),
            (200, 200, 9000, true),
            (300, 400, 9000, false),
            (300, 300, 9001, false),
        ] {
            ahead.begin(events(begun), 9000, &encoder);
            let text = unpacked(&encoder, &posted);
            assert!(text.contains(&format!("{}}}", posted.seqs().next().unwrap().start)));
            let next = events(next);
            let packed = ahead.take(&next, max_bytes, &mut encoder);
            assert_eq!(packed.is_some(), is_used, "{begun}, {max_bytes}");
            if is_used {
                posted = next;
            }
            assert_eq!(ahead.take(&posted, 9000, &mut encoder), None, "once");
        }
    }
}
