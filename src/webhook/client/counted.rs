//! How much of a body was sent.

use std::io::{self, Read};

/// A body that knows how much of it was read.
pub(super) struct Counted<R> {
    inner: R,
    length: usize,
    /// None before the first read.
    left: Option<usize>,
}

impl<R> Counted<R> {
    pub(super) fn new(inner: R, length: usize) -> Self {
        Counted {
            inner,
            length,
            left: None,
        }
    }

    /// How many bytes of it were not read; none before the first read.
    pub(super) fn left(&self) -> Option<usize> {
        self.left
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.left.unwrap_or(self.length);
        let read = self.inner.read(out)?;
        self.left = Some(left.saturating_sub(read));
        Ok(read)
    }
}
