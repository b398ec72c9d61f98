//! Cuts a stream of MessagePack into its values; no I/O.

use super::head::{Fault, Skipper};

/// The least room that a read gets.
const MIN_READ: usize = 4 << 10;
/// First size of the buffer.
const FIRST_BUFFER: usize = 16 << 10;
/// The buffer grows to this while reads fill it, and beyond it only for a value that needs more.
const USUAL_BUFFER: usize = 128 << 10;
/// Memory is lent from value to value up to this size: getting it from the kernel costs as much as writing an event.
pub const MAX_SPARE: usize = 2 << 20;

/// What comes next in the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// A whole value.
    Value(&'a [u8]),
    /// A value over the limit begins with these bytes. It is passed over, unless it is [entered](Values::enter).
    TooLarge(&'a [u8]),
}

/// Cuts one stream into values. The source reads into [`space`](Self::space), says with [`filled`](Self::filled) how
/// much came, and takes what there is from [`next`](Self::next).
#[derive(Debug)]
pub struct Values {
    buffer: Vec<u8>,
    /// Bytes of the buffer that hold input.
    filled: usize,
    /// Where the current value begins.
    start: usize,
    /// How far it was examined.
    at: usize,
    skipper: Skipper,
    limit: usize,
    /// Where the value that was given last begins.
    given: usize,
    /// That value is over the limit, and has not ended.
    is_passing: bool,
}

impl Values {
    /// For values of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Values {
            buffer: Vec::new(),
            filled: 0,
            start: 0,
            at: 0,
            skipper: Skipper::default(),
            limit,
            given: 0,
            is_passing: false,
        }
    }

    /// From here on, values may have this many bytes.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
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
        loop {
            if self.is_passing && self.skipper.is_done() {
                self.is_passing = false;
                self.skipper = Skipper::default();
            }
            if self.at == self.filled {
                return Ok(None);
            }
            let pending = self.buffer.get(self.at..self.filled);
            self.at += self.skipper.pass(pending.unwrap_or_default())?;
            if self.is_passing {
                self.start = self.at;
                if self.skipper.is_done() {
                    continue;
                }
                return Ok(None);
            }
            let length = self.at - self.start;
            self.is_passing = length.saturating_add(self.skipper.needs()) > self.limit;
            if !self.is_passing && !self.skipper.is_done() {
                return Ok(None);
            }
            self.given = std::mem::replace(&mut self.start, self.at);
            let bytes = self.buffer.get(self.given..self.at).unwrap_or_default();
            if self.is_passing {
                return Ok(Some(Found::TooLarge(bytes)));
            }
            self.skipper = Skipper::default();
            return Ok(Some(Found::Value(bytes)));
        }
    }

    /// Goes back into the value that was given last, after its first `length` bytes: its parts come next.
    pub fn enter(&mut self, length: usize) {
        self.start = self.given + length;
        self.at = self.start;
        self.skipper = Skipper::default();
        self.is_passing = false;
    }

    /// The part of the next `max` bytes that has come, between two values.
    pub fn bytes(&self, max: usize) -> &[u8] {
        let end = self.filled.min(self.start.saturating_add(max));
        self.buffer.get(self.start..end).unwrap_or_default()
    }

    /// Passes over this many of these bytes.
    pub fn pass_bytes(&mut self, count: usize) {
        self.start += count;
        self.at = self.start;
    }

    /// Whether there is an incomplete value. All complete ones must have been taken before.
    pub fn is_unfinished(&self) -> bool {
        self.start < self.filled || self.is_passing
    }

    /// Bytes of memory that it takes.
    pub fn memory(&self) -> usize {
        self.buffer.capacity()
    }

    /// Gives back what the current value does not need, to `spare` if that has less: for sources with idle streams.
    pub fn release(&mut self, spare: &mut Vec<u8>) {
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

    /// Takes the spare memory, if it has none itself.
    pub fn borrow(&mut self, spare: &mut Vec<u8>) {
        if self.buffer.is_empty() {
            self.buffer = std::mem::take(spare);
        }
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
                        Found::TooLarge(beginning) => {
                            assert!(
                                stream
                                    .windows(beginning.len())
                                    .any(|part| part == beginning)
                            );
                            (false, Vec::new())
                        }
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
    fn a_value_over_the_limit_is_passed_over_or_entered() {
        let stream = [message(300_000, "chunk"), vec![0xc0]].concat();
        let expected = [(false, Vec::new()), (true, vec![0xc0])];
        assert_eq!(found(&stream, &[3, 1000], 1000), expected);
        let mut values = Values::new(1000);
        let stream = [message(4000, "chunk"), vec![0xc0]].concat();
        let mut rest = &stream[..];
        values.copy_in(&mut rest);
        assert!(matches!(values.next(), Ok(Some(Found::TooLarge(_)))));
        values.enter(8);
        assert_eq!(values.bytes(4000), [b'x'; 4000]);
        values.pass_bytes(4000);
        assert_eq!(values.next(), Ok(Some(Found::Value(b"\xa5chunk"))));
        assert_eq!(values.next(), Ok(Some(Found::Value(b"\xc0"))));
        assert_eq!(values.next(), Ok(None));
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
            assert_eq!(values.next(), Ok(Some(Found::TooLarge(head))));
            for _ in 0..100 {
                values.copy_in(&mut [1; 10_000].as_slice());
                assert_eq!(values.next(), Ok(None));
            }
            assert!(values.is_unfinished());
            values.release(&mut Vec::new());
            assert_eq!(values.memory(), 0);
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
                    _ => (false, Vec::new()),
                })
                .collect();
            prop_assert_eq!(found(&messages.concat(), &pieces, 1000), expected);
        }
    }
}
