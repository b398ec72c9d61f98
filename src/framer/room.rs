//! Room for the bytes that come next, and the memory that a framer takes.

use crate::{Framer, Mode};

impl Framer {
    /// Where to read the next bytes into; never empty. All frames must have been taken before.
    pub fn space(&mut self) -> &mut [u8] {
        if self.buffer.must_move() {
            self.close_gap();
        }
        let moved = self.buffer.make_room(self.kept_from());
        self.moved_down(moved);
        self.buffer.space()
    }

    /// The bytes that are kept were moved.
    fn moved_down(&mut self, moved: usize) {
        if moved > 0 {
            self.at -= moved;
            match &mut self.mode {
                Mode::Object(start) | Mode::Appended(start) | Mode::AppendedWhole(start) => {
                    *start -= moved
                }
                Mode::Joined { start, end } => (*start, *end) = (*start - moved, *end - moved),
                _ => {}
            }
            self.broke_at = self.broke_at.saturating_sub(moved);
            self.doomed.clear();
        }
    }

    /// The first byte of the buffer that is still needed.
    fn kept_from(&self) -> usize {
        match self.mode {
            Mode::Object(start) | Mode::Appended(start) | Mode::AppendedWhole(start) => start,
            Mode::Joined { start, .. } => start,
            _ => self.at,
        }
    }

    /// Says that `count` bytes were read into the [`space`](Self::space).
    pub fn filled(&mut self, count: usize) {
        self.buffer.filled += count;
    }

    /// Copies as much of `bytes` as there is [`space`](Self::space) for, and leaves the rest in it. All frames must
    /// have been taken before.
    pub fn copy_in(&mut self, bytes: &mut &[u8]) {
        let space = self.space();
        let (now, rest) = bytes.split_at(bytes.len().min(space.len()));
        space[..now.len()].copy_from_slice(now);
        *bytes = rest;
        self.filled(now.len());
    }

    /// Bytes of memory that the framer takes.
    pub fn memory(&self) -> usize {
        self.buffer.capacity() + self.scanner.memory() + self.doomed.capacity() * size_of::<usize>()
    }

    /// The most memory, in bytes, that this takes when more bytes are read into the [`space`](Self::space). All frames
    /// must have been taken before.
    pub fn memory_of_next_read(&self) -> usize {
        let buffer = self.buffer.size_with_room(self.kept_from());
        buffer + self.doomed.capacity() * size_of::<usize>() + self.scanner.memory()
    }

    /// Gives back the buffer if nothing is kept in it: for sources with many idle streams.
    pub fn release(&mut self) {
        if self.kept_from() == self.buffer.filled {
            self.space();
            self.buffer.release();
        }
    }

    /// Gives back what the bytes that are kept do not need, also if there are some: for sources with many streams that
    /// end within an event. All frames must have been taken before.
    pub fn shrink(&mut self) {
        self.close_gap();
        let moved = self.buffer.shrink(self.kept_from());
        self.moved_down(moved);
        self.doomed.shrink_to_fit();
    }
}
