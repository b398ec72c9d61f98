//! The bytes that a framer has read and not processed yet.

use memchr::memchr;

/// The least room that a read gets.
const MIN_READ: usize = 4 << 10;
/// Initial size of the buffer; a connection with little traffic needs no more.
const FIRST_BUFFER: usize = 16 << 10;
/// The buffer grows to this while reads fill it, and beyond it only for an event that needs more.
pub(crate) const USUAL_BUFFER: usize = 128 << 10;

#[derive(Debug, Default)]
pub(crate) struct Buffer {
    buffer: Vec<u8>,
    /// Bytes of it that hold input.
    pub(crate) filled: usize,
    /// Bytes of the stream before those in the buffer.
    shifted: u64,
}

impl Buffer {
    /// The input in it.
    #[inline(always)]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    /// Moves a part of the input.
    pub(crate) fn copy_within(&mut self, from: std::ops::Range<usize>, to: usize) {
        self.buffer.copy_within(from, to);
    }

    /// Moves the input from `middle` to `end` before that from `start` to `middle`.
    pub(crate) fn swap(&mut self, start: usize, middle: usize, end: usize) {
        self.buffer[start..end].rotate_left(middle - start);
    }

    /// The offset in the stream of this offset in the buffer.
    pub(crate) fn offset_of(&self, at: usize) -> u64 {
        self.shifted + at as u64
    }

    /// How far it is from here to the end of the line, or of the input.
    pub(crate) fn to_line_end(&self, at: usize) -> usize {
        let rest = &self.bytes()[at..];
        memchr(b'\n', rest).unwrap_or(rest.len())
    }

    /// Whether there is so little room that the kept bytes must be moved before the next read.
    pub(crate) fn must_move(&self) -> bool {
        self.buffer.len() - self.filled < MIN_READ
    }

    /// Makes [`space`](Self::space); nothing before `keep` is needed. Returns how far the rest was moved down.
    pub(crate) fn make_room(&mut self, keep: usize) -> usize {
        let was_full = self.filled == self.buffer.len();
        let mut moved = 0;
        if keep == self.filled {
            moved = self.shift(keep);
            if self.buffer.len() > USUAL_BUFFER {
                self.buffer.truncate(USUAL_BUFFER);
                self.buffer.shrink_to_fit();
            }
        } else if self.must_move() {
            moved = self.shift(keep);
            // Moving is paid for by a read of at least the same size.
            if self.filled > self.buffer.len() / 2 {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
        let size = usual_size(self.buffer.len(), was_full);
        self.buffer.resize(size, 0);
        moved
    }

    /// The largest size after [`make_room`](Self::make_room) was called with this `keep`.
    pub(crate) fn size_with_room(&self, keep: usize) -> usize {
        let length = self.buffer.len();
        let mut size = length;
        if self.filled - keep > length / 2 && self.must_move() {
            size *= 2;
        }
        usual_size(size, self.filled == length)
    }

    /// What the next bytes are read into.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        &mut self.buffer[self.filled..]
    }

    fn shift(&mut self, keep: usize) -> usize {
        self.buffer.copy_within(keep..self.filled, 0);
        self.filled -= keep;
        self.shifted += keep as u64;
        keep
    }

    /// All memory that it has.
    pub(crate) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Shrinks to the least power of two that has room for what is kept; nothing before `keep` is needed. Returns how far
    /// the rest was moved down.
    pub(crate) fn shrink(&mut self, keep: usize) -> usize {
        let size = match self.filled - keep {
            0 => 0,
            kept => kept.next_power_of_two(),
        };
        if size >= self.buffer.len() {
            return 0;
        }
        let moved = self.shift(keep);
        self.buffer.truncate(size);
        self.buffer.shrink_to_fit();
        moved
    }

    /// Gives back the memory. There must be no input.
    pub(crate) fn release(&mut self) {
        self.buffer = Vec::new();
    }

    /// Hands over the memory, for another stream.
    pub(crate) fn emptied(&mut self) -> Buffer {
        Buffer {
            buffer: std::mem::take(&mut self.buffer),
            ..Buffer::default()
        }
    }
}

/// The size of a buffer of this size before the next read: a larger one if the last has filled it.
fn usual_size(size: usize, was_full: bool) -> usize {
    match size {
        USUAL_BUFFER.. => size,
        _ if was_full => (size * 2).max(FIRST_BUFFER),
        _ => size.max(FIRST_BUFFER),
    }
}
