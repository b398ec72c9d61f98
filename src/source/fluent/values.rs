//! Cuts a stream of MessagePack into its values; no I/O.

use super::head::{Fault, Head, Skipper};

/// Room that a read gets at least.
const MIN_READ: usize = 4 << 10;
/// First size of the buffer.
const FIRST_BUFFER: usize = 16 << 10;
/// The buffer grows to this while reads fill it, and beyond only for a value that needs it.
const USUAL_BUFFER: usize = 128 << 10;
/// Memory is lent from value to value up to this size: to get it from the kernel costs as much as to write an event.
const MAX_SPARE: usize = 2 << 20;
/// Of a value over the limit the last part is kept if it has no more bytes than this.
pub const MAX_LAST_PART: usize = 4 << 10;

/// What comes next in the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// A whole value.
    Value(&'a [u8]),
    /// A value over the limit has ended. Its last part is given if it is an array: a message's option is there.
    TooLarge(&'a [u8]),
}

/// Cuts one stream into values. The source reads into [`space`](Self::space), says how much came with
/// [`filled`](Self::filled), and takes what there is from [`next`](Self::next).
#[derive(Debug)]
pub struct Values {
    buffer: Vec<u8>,
    /// Bytes of the buffer that hold input.
    filled: usize,
    /// Where the value at hand begins.
    start: usize,
    /// How far it was looked at.
    at: usize,
    skipper: Skipper,
    limit: usize,
    overlong: Option<Overlong>,
    /// Of the last value over the limit.
    last_part: Vec<u8>,
}

impl Values {
    /// For values of at most `limit` bytes; longer ones are followed to their end, but not kept.
    pub fn new(limit: usize) -> Self {
        Values {
            buffer: Vec::new(),
            filled: 0,
            start: 0,
            at: 0,
            skipper: Skipper::new(),
            limit,
            overlong: None,
            last_part: Vec::new(),
        }
    }

    /// Where to read the next bytes into; never empty. All values must have been taken before.
    pub fn space(&mut self) -> &mut [u8] {
        let was_full = self.filled == self.buffer.len();
        if self.start == self.filled || self.buffer.len() - self.filled < MIN_READ {
            self.shift();
        }
        let length = self.buffer.len();
        if length - self.filled < MIN_READ || (was_full && length < USUAL_BUFFER) {
            // A value over the limit is not kept, so that this is always room enough.
            let needed = self.limit.saturating_add(MIN_READ);
            let grown = (length * 2).min(needed.max(USUAL_BUFFER));
            let grown = grown.max(self.filled + MIN_READ).max(FIRST_BUFFER);
            self.buffer.reserve_exact(grown - length);
            self.buffer.resize(grown, 0);
        }
        self.buffer.get_mut(self.filled..).unwrap_or_default()
    }

    fn shift(&mut self) {
        self.buffer.copy_within(self.start..self.filled, 0);
        self.filled -= self.start;
        self.at -= self.start;
        self.start = 0;
    }

    /// Says that `count` bytes were read into the [`space`](Self::space).
    pub fn filled(&mut self, count: usize) {
        self.filled += count;
    }

    /// Copies as much of `bytes` as there is [`space`](Self::space) for, and leaves the rest in it.
    pub fn copy_in(&mut self, bytes: &mut &[u8]) {
        let space = self.space();
        let (now, rest) = bytes.split_at(bytes.len().min(space.len()));
        if let Some(space) = space.get_mut(..now.len()) {
            space.copy_from_slice(now);
        }
        *bytes = rest;
        self.filled(now.len());
    }

    /// The next value, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// Nothing of the stream can be understood from here on.
    #[expect(
        clippy::should_implement_trait,
        reason = "a value borrows from the buffer"
    )]
    pub fn next(&mut self) -> Result<Option<Found<'_>>, Fault> {
        if self.overlong.is_none() && self.start < self.filled {
            let pending = self.buffer.get(self.at..self.filled);
            self.at += self.skipper.pass(pending.unwrap_or_default())?;
            let length = self.at - self.start;
            if length.saturating_add(self.skipper.needs()) > self.limit {
                self.overlong = Some(Overlong::default());
            } else if self.skipper.is_done() {
                self.skipper = Skipper::new();
                let start = std::mem::replace(&mut self.start, self.at);
                return Ok(self.buffer.get(start..self.at).map(Found::Value));
            }
        }
        let Some(overlong) = &mut self.overlong else {
            return Ok(None);
        };
        let pending = self.buffer.get(self.start..self.filled);
        self.start += overlong.pass(pending.unwrap_or_default())?;
        self.at = self.start;
        if !overlong.is_done() {
            return Ok(None);
        }
        self.last_part = std::mem::take(&mut overlong.last_part);
        self.overlong = None;
        self.skipper = Skipper::new();
        Ok(Some(Found::TooLarge(&self.last_part)))
    }

    /// Whether a value has begun that is not whole. All values must have been taken before.
    pub fn is_unfinished(&self) -> bool {
        self.start < self.filled || self.overlong.is_some()
    }

    /// Bytes of memory that it takes.
    pub fn memory(&self) -> usize {
        let overlong = self.overlong.as_ref().map_or(0, |_| MAX_LAST_PART);
        self.buffer.capacity() + overlong
    }

    /// Gives back what the value at hand does not need, to `spare` if that has less: for sources with many idle streams.
    pub fn release(&mut self, spare: &mut Vec<u8>) {
        self.last_part = Vec::new();
        let pending = self.filled - self.start;
        if pending <= self.buffer.len() / 4 {
            let kept = self.buffer.get(self.start..self.filled);
            let kept = kept.unwrap_or_default().to_vec();
            let freed = std::mem::replace(&mut self.buffer, kept);
            self.at -= self.start;
            (self.start, self.filled) = (0, self.buffer.len());
            if (spare.len() + 1..=MAX_SPARE).contains(&freed.len()) {
                *spare = freed;
            }
        }
    }

    /// Takes what is spare, if it has nothing.
    pub fn borrow(&mut self, spare: &mut Vec<u8>) {
        if self.buffer.is_empty() {
            self.buffer = std::mem::take(spare);
        }
    }
}

/// A value over the limit.
#[derive(Debug, Default)]
struct Overlong {
    /// Its parts that have not ended, if it is an array; else itself.
    parts: Option<u64>,
    /// The part at hand.
    part: Skipper,
    /// What has come of that, unless it is long.
    last_part: Vec<u8>,
    is_long: bool,
}

impl Overlong {
    /// Passes over what `bytes` holds of it, and returns how much that is.
    fn pass(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut at = 0;
        if self.parts.is_none() {
            match Head::read(bytes)? {
                None => return Ok(0),
                Some((Head::Array(count), length)) => {
                    self.parts = Some(count.into());
                    at = length;
                }
                Some(_) => self.parts = Some(1),
            }
        }
        while !self.is_done() {
            let rest = bytes.get(at..).unwrap_or_default();
            let passed = self.part.pass(rest)?;
            self.keep(rest.get(..passed).unwrap_or_default());
            at += passed;
            if !self.part.is_done() {
                break;
            }
            self.parts = self.parts.map(|parts| parts - 1);
            self.part = Skipper::new();
            if !self.is_done() {
                self.last_part.clear();
                self.is_long = false;
            }
        }
        Ok(at)
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.is_long |= self.last_part.len() + bytes.len() > MAX_LAST_PART;
        if self.is_long {
            self.last_part.clear();
        } else {
            self.last_part.extend_from_slice(bytes);
        }
    }

    fn is_done(&self) -> bool {
        self.parts == Some(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// All that is found when the stream comes in pieces of these lengths.
    fn found(stream: &[u8], pieces: &[usize], limit: usize) -> Vec<(bool, Vec<u8>)> {
        let mut values = Values::new(limit);
        let mut found = Vec::new();
        let mut rest = stream;
        for length in pieces.iter().cycle() {
            let (mut piece, behind) = rest.split_at(rest.len().min(*length));
            rest = behind;
            while !piece.is_empty() {
                values.copy_in(&mut piece);
                while let Some(next) = values.next().unwrap() {
                    found.push(match next {
                        Found::Value(value) => (true, value.to_vec()),
                        Found::TooLarge(last_part) => (false, last_part.to_vec()),
                    });
                }
                if length % 2 == 0 {
                    values.release(&mut Vec::new());
                }
                assert!(values.memory() <= 2 * limit.max(USUAL_BUFFER));
            }
            if rest.is_empty() {
                assert!(!values.is_unfinished());
                values.release(&mut Vec::new());
                assert_eq!(values.memory(), 0);
                return found;
            }
        }
        unreachable!()
    }

    fn message(padding: usize, option: &str) -> Vec<u8> {
        let padding = [
            b"\xdb".as_slice(),
            &(padding as u32).to_be_bytes(),
            &vec![b'x'; padding],
        ];
        let option = [&[0xa0 | option.len() as u8], option.as_bytes()].concat();
        [b"\x93\xa1t".as_slice(), &padding.concat(), &option].concat()
    }

    #[test]
    fn of_a_value_over_the_limit_the_last_part_is_left() {
        let option = b"\xa5chunk".to_vec();
        for padding in [991, 5000, 300_000] {
            let stream = [message(padding, "chunk"), vec![0xc0], message(1, "a")].concat();
            let expected = [
                (false, option.clone()),
                (true, vec![0xc0]),
                (true, message(1, "a")),
            ];
            for pieces in [&[1][..], &[3, 1000], &[usize::MAX]] {
                assert_eq!(found(&stream, pieces, 1000), expected);
            }
        }
        // A string, a long last part, a map.
        for stream in [
            [b"\xda\x20\x00".as_slice(), &[b'x'; 0x2000]].concat(),
            [b"\x92\xc0\xda\x20\x00".as_slice(), &[b'x'; 0x2000]].concat(),
        ] {
            assert_eq!(found(&stream, &[100], 1000), [(false, Vec::new())]);
        }
    }

    #[test]
    fn what_claims_to_be_huge_takes_no_memory() {
        for head in [
            b"\xdd\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff",
            b"\xdb\xff\xff\xff\xff",
        ] {
            let mut values = Values::new(1 << 30);
            values.copy_in(&mut head.as_slice());
            assert_eq!(values.next(), Ok(None));
            for _ in 0..100 {
                values.copy_in(&mut [1; 10_000].as_slice());
                assert_eq!(values.next(), Ok(None));
            }
            assert!(values.is_unfinished());
            values.release(&mut Vec::new());
            assert!(values.memory() <= MAX_LAST_PART, "{}", values.memory());
        }
    }

    #[test]
    fn half_a_value_takes_little_more_than_its_bytes() {
        let mut values = Values::new(1 << 20);
        let message = message(2000, "");
        for byte in message.split_last().unwrap().1 {
            values.copy_in(&mut [*byte].as_slice());
            assert_eq!(values.next(), Ok(None));
            values.release(&mut Vec::new());
        }
        assert!(values.memory() <= 4 * message.len(), "{}", values.memory());
    }

    #[test]
    fn what_begins_no_value_is_an_error() {
        for stream in [&b"\xc1"[..], b"\x92\x01\xc1"] {
            let mut values = Values::new(1000);
            values.copy_in(&mut &*stream);
            assert_eq!(values.next(), Err(Fault::Malformed));
        }
    }

    proptest! {
        #[test]
        fn values_come_out_as_they_went_in(
            paddings in vec(prop_oneof![0..50_usize, 950..1050_usize, 5000..20_000_usize], 1..6),
            pieces in vec(prop_oneof![1..10_usize, 100..5000_usize], 1..6),
        ) {
            let messages: Vec<_> = paddings.iter().map(|padding| message(*padding, "c")).collect();
            let expected: Vec<_> = messages
                .iter()
                .map(|message| match message.len() {
                    ..=1000 => (true, message.clone()),
                    _ => (false, b"\xa1c".to_vec()),
                })
                .collect();
            prop_assert_eq!(found(&messages.concat(), &pieces, 1000), expected);
        }
    }
}
