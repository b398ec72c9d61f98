//! A request's body on its way to the buffer: decoded, framed, and then taken whole or not at all.
//!
//! All memory that a body needs is asked for before it is allocated: what is produced counts, not what was sent.

use super::answer::Answer;
use super::budget::{Budget, OWN, Share};
use crate::buffer::chunk::Chunk;
use crate::framer::{Event, Frame, Framer, Lost};
use crate::source::gunzip::{BadGzip, Gunzip};
use crate::telemetry::counters::Refusal;
use crate::text::envelope::Envelope;

/// Bytes inflated at a time.
const INFLATED: usize = 16 << 10;
/// The memory that inflating takes, including its output.
const INFLATE_BYTES: usize = INFLATED + Gunzip::MEMORY;
/// The initial memory of a chunk, which is kept between bodies.
const FIRST_CHUNK: usize = 8 << 10;

/// What to make of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Coding {
    /// It is compressed with gzip.
    pub is_gzip: bool,
    /// It is ignored: only its length counts.
    pub is_ignored: bool,
    /// Events come in the envelopes of HTTP Event Collector, which must be removed.
    pub unwraps: bool,
}

/// One body.
pub struct BodyDecoder<'a> {
    framer: Framer,
    /// Its events so far.
    pub chunk: Chunk,
    coding: Coding,
    /// Decompresses the body; the second holds the output.
    gunzip: Option<(Gunzip, Vec<u8>)>,
    /// Objects that were found, including those that are not events.
    objects: usize,
    /// Set if something can't be taken: then neither can the rest, which is only counted.
    bad: Option<Answer>,
    share: Share<'a>,
    bytes: usize,
    /// The same before decompression.
    coded_bytes: usize,
    limit: usize,
    max_event: usize,
}

impl From<BadGzip> for Answer {
    fn from(_: BadGzip) -> Self {
        Refusal::BadEncoding.into()
    }
}

impl<'a> BodyDecoder<'a> {
    /// For bodies of at most `limit` bytes, also when decompressed, with events of at most
    /// `max_event` bytes.
    pub fn new(budget: &'a Budget, limit: usize, max_event: usize) -> Self {
        BodyDecoder {
            framer: Framer::new(max_event),
            chunk: Chunk::default(),
            coding: Coding::default(),
            gunzip: None,
            objects: 0,
            bad: None,
            share: Share::of(budget),
            bytes: 0,
            coded_bytes: 0,
            limit,
            max_event,
        }
    }

    /// A body begins.
    pub fn start(&mut self, coding: Coding) {
        self.coding = coding;
    }

    /// Ends the body, and gives back its memory: the connection may be idle for long.
    pub fn clear(&mut self) {
        if !self.framer.is_done() || self.framer.memory_of_next_read() > OWN / 2 {
            self.framer = Framer::new(self.max_event);
        }
        self.gunzip = None;
        self.drop_events();
        (self.bad, self.objects, self.bytes, self.coded_bytes) = (None, 0, 0, 0);
        self.share.give_back();
    }

    /// Whether it has some of the memory that all share.
    pub fn holds_memory(&self) -> bool {
        self.share.is_used()
    }

    fn drop_events(&mut self) {
        if self.chunk.bytes.capacity() > FIRST_CHUNK {
            self.chunk.bytes = Vec::new();
        }
        self.chunk.clear();
    }

    /// More of the body.
    ///
    /// # Errors
    /// It can't be taken, and what follows need not be read.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Answer> {
        if self.coding.is_ignored || self.bad.is_some() {
            self.count(bytes.len())
        } else if self.coding.is_gzip {
            self.inflate(bytes)
        } else {
            self.frame(bytes)
        }
    }

    /// The body is complete. `Ok`: its events are in `chunk`.
    ///
    /// # Errors
    /// It can't be taken.
    pub fn finish(&mut self) -> Result<(), Answer> {
        let is_cut_off = (self.gunzip.as_ref()).is_some_and(|(gunzip, _)| !gunzip.is_done());
        if is_cut_off && self.bad.is_none() {
            return Err(Refusal::BadEncoding.into());
        }
        self.framer.end();
        self.take_frames()?;
        self.bad.map_or(Ok(()), Err)
    }

    fn count(&mut self, bytes: usize) -> Result<(), Answer> {
        self.bytes += bytes;
        if self.bytes > self.limit {
            return Err(Refusal::TooLarge.into());
        }
        Ok(())
    }

    /// Bytes of memory that inflating takes.
    fn inflate_memory(&self) -> usize {
        if self.coding.is_gzip {
            INFLATE_BYTES
        } else {
            0
        }
    }

    fn frame(&mut self, mut bytes: &[u8]) -> Result<(), Answer> {
        self.count(bytes.len())?;
        while !bytes.is_empty() && self.bad.is_none() {
            let events = self.chunk.bytes.capacity();
            let framer = self.framer.memory_of_next_read();
            self.share.cover(framer + events + self.inflate_memory())?;
            self.framer.copy_in(&mut bytes);
            self.take_frames()?;
        }
        Ok(())
    }

    fn take_frames(&mut self) -> Result<(), Answer> {
        let others = self.framer.memory_of_next_read() + self.inflate_memory();
        while let Some(frame) = self.framer.next() {
            let bad = match frame {
                Frame::Event(event) => {
                    let inner = inner(event.raw(), self.coding.unwraps);
                    let event = event.part(inner);
                    append(&event, &mut self.chunk, &mut self.share, others)?;
                    None
                }
                Frame::Lost(Lost::TooLarge) => Some(Refusal::TooLarge.into()),
                Frame::Lost(Lost::Malformed) => Some(Answer::BadEvent(self.objects)),
            };
            self.objects += 1;
            if bad.is_some() {
                self.bad = bad;
                self.drop_events();
                self.framer = Framer::new(self.max_event);
                break;
            }
        }
        Ok(())
    }

    fn inflate(&mut self, mut bytes: &[u8]) -> Result<(), Answer> {
        self.coded_bytes += bytes.len();
        if self.coded_bytes > self.limit {
            return Err(Refusal::TooLarge.into());
        }
        if self.gunzip.is_none() {
            self.share.cover(OWN + INFLATE_BYTES)?;
        }
        let new = || (Gunzip::default(), vec![0; INFLATED]);
        let (mut gunzip, mut out) = self.gunzip.take().unwrap_or_else(new);
        while !bytes.is_empty() && self.bad.is_none() {
            let made = gunzip.next(&mut bytes, &mut out)?;
            self.frame(out.get(..made).unwrap_or_default())?;
        }
        self.gunzip = Some((gunzip, out));
        Ok(())
    }
}

/// Appends an event as a line, unless it is empty. `others`: memory that is in use besides the chunk's.
fn append(
    event: &Event<'_>,
    chunk: &mut Chunk,
    share: &mut Share<'_>,
    others: usize,
) -> Result<(), Refusal> {
    if is_empty(event.raw()) {
        return Ok(());
    }
    let capacity = chunk.bytes.capacity();
    // Computing the exact length reads every byte, so it is done only where it matters.
    if chunk.bytes.len() + 3 * event.raw_len() + 1 > capacity {
        let length = chunk.bytes.len() + event.line_len();
        if length > capacity {
            // Half as much again: what is asked for is never much more than what is made.
            let wanted = length.max(capacity + capacity / 2).max(FIRST_CHUNK);
            share.cover(others + wanted)?;
            chunk.bytes.reserve_exact(wanted - chunk.bytes.len());
        }
    }
    event.append_line(&mut chunk.bytes);
    chunk.events += 1;
    Ok(())
}

/// The object inside an envelope, if envelopes are to be removed. Anything but an object stays in its envelope.
fn inner(object: &[u8], unwraps: bool) -> &[u8] {
    let envelope = if unwraps { Envelope::of(object) } else { None };
    match envelope {
        Some(envelope) if envelope.event.starts_with(b"{") => envelope.event,
        _ => object,
    }
}

/// Whether an object has no members: clients send such an object as a probe.
fn is_empty(object: &[u8]) -> bool {
    let inside = object.get(1..object.len() - 1).unwrap_or_default();
    inside.iter().all(u8::is_ascii_whitespace)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::source::gunzip::gzip;

    const PLAIN: Coding = Coding {
        is_gzip: false,
        is_ignored: false,
        unwraps: false,
    };
    const GZIP: Coding = Coding {
        is_gzip: true,
        ..PLAIN
    };

    /// The lines that are made of a body, fed in pieces of this many bytes.
    fn decode(
        decoder: &mut BodyDecoder<'_>,
        coding: Coding,
        body: &[u8],
        piece: usize,
    ) -> Result<String, Answer> {
        decoder.start(coding);
        let fed = body.chunks(piece).try_for_each(|piece| decoder.feed(piece));
        let lines = fed.and_then(|()| decoder.finish());
        let lines = lines.map(|()| String::from_utf8(decoder.chunk.bytes.clone()).unwrap());
        decoder.clear();
        lines
    }

    #[test]
    fn what_is_made_of_bodies() {
        let budget = Budget::new(1 << 20, || false);
        let mut decoder = BodyDecoder::new(&budget, 1 << 20, 1000);
        let unwraps = Coding {
            unwraps: true,
            ..PLAIN
        };
        let ignored = Coding {
            is_ignored: true,
            ..PLAIN
        };
        let two = [gzip(b"{\"n\":1}\n{\"n\":"), gzip(b""), gzip(b"2}")].concat();
        let long = format!("{{\"n\":\"{}\"}}", "x".repeat(1000));
        let both = "{\"n\":1}\n{\"n\":2}\n";
        for (coding, body, made) in [
            (PLAIN, &b"{\"n\":1},{\"n\":2}"[..], Ok(both)),
            (GZIP, &two, Ok(both)),
            (GZIP, b"", Ok("")),
            (
                GZIP,
                &two[..two.len() - 1],
                Err(Refusal::BadEncoding.into()),
            ),
            (GZIP, &two[..4], Err(Refusal::BadEncoding.into())),
            (GZIP, b"{\"n\":1}", Err(Refusal::BadEncoding.into())),
            (PLAIN, b"{}\n{ }{\"n\":1}", Ok("{\"n\":1}\n")),
            (PLAIN, b"{}{\"n\":1}x", Err(Answer::BadEvent(2))),
            (PLAIN, long.as_bytes(), Err(Refusal::TooLarge.into())),
            (
                PLAIN,
                br#"{"event":{"n":1}}"#,
                Ok("{\"event\":{\"n\":1}}\n"),
            ),
            (unwraps, br#"{"event":{"n":1},"time":1}"#, Ok("{\"n\":1}\n")),
            (unwraps, br#"{"event":{},"time":1}"#, Ok("")),
            (unwraps, br#"{"event":"x"}"#, Ok("{\"event\":\"x\"}\n")),
            (ignored, b"nonsense", Ok("")),
        ] {
            for piece in [1, 3, 100, 1 << 20] {
                let found = decode(&mut decoder, coding, body, piece);
                let shown = String::from_utf8_lossy(body);
                assert_eq!(found, made.map(str::to_owned), "{shown} by {piece}");
                assert!(budget.is_whole());
            }
        }
    }

    /// Sixteen bodies at once, each of which becomes longer: together they stay within the budget.
    #[test]
    fn what_is_produced_counts() {
        const TOTAL: usize = 2 << 20;
        let body = gzip(&[b"{\"a\":\"", &b"\xff".repeat(300 << 10)[..], b"\"}"].concat());
        let budget = Budget::new(TOTAL, || false);
        let decoder = || BodyDecoder::new(&budget, 1 << 20, 1 << 20);
        let mut decoders: Vec<_> = (0..16).map(|_| decoder()).collect();
        let mut fed = decoders.iter_mut().map(|decoder| {
            decoder.start(GZIP);
            decoder.feed(&body)
        });
        assert!(fed.any(|fed| fed == Err(Refusal::MemoryLimit.into())));
        let events = decoders
            .iter()
            .map(|decoder| decoder.chunk.bytes.capacity());
        let framers = decoders
            .iter()
            .map(|decoder| decoder.framer.memory_of_next_read());
        let taken: usize = events.chain(framers).sum();
        assert!(taken <= TOTAL + 16 * OWN, "{taken}");
        drop(decoders);
        assert!(budget.is_whole());
        // A body for which there is never enough memory is not asked for again.
        let small = Budget::new(100 << 10, || false);
        let mut decoder = BodyDecoder::new(&small, 1 << 20, 1 << 20);
        assert_eq!(
            decode(&mut decoder, GZIP, &body, 1 << 20),
            Err(Refusal::TooLarge.into())
        );
    }

    proptest! {
        #[test]
        fn gzip_changes_nothing_however_it_is_cut(
            lines in vec("[a-z{}\\[\\]\" ]{0,20}", 0..20),
            cut in any::<prop::sample::Index>(),
            piece in 1_usize..50,
        ) {
            let lines = lines.iter().map(|text| serde_json::json!({ "k": text }).to_string() + "\n");
            let body: String = lines.collect();
            let (first, second) = body.as_bytes().split_at(cut.index(body.len() + 1));
            let budget = Budget::new(1 << 20, || false);
            let mut decoder = BodyDecoder::new(&budget, 1 << 20, 1000);
            let members = [gzip(first), gzip(second)].concat();
            let made = decode(&mut decoder, GZIP, &members, piece);
            prop_assert_eq!(made.as_ref(), Ok(&body));
            prop_assert_eq!(decode(&mut decoder, PLAIN, body.as_bytes(), piece), made);
        }
    }
}
