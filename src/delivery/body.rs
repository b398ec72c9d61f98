//! The body of one request: whole events, a line each.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use memchr::memchr_iter;

use crate::buffer::acks::Seq;
use crate::buffer::chunk::Extent;

/// What identifies events in an archive, if there is a trail: the name of their stream, and their numbers in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbering {
    /// The stream.
    pub stream: Arc<str>,
    /// The number of the first event that was queued.
    pub base: u64,
}

/// Events that are sent together, borrowed from where they are stored.
#[derive(Debug, Clone)]
pub struct Body<'a> {
    extent: Extent,
    slices: Vec<&'a [u8]>,
    seqs: Vec<Range<Seq>>,
}

impl<'a> Body<'a> {
    /// A body of these pieces, each of whole lines, with their numbers; `extent` is that of all pieces together.
    pub fn new(extent: Extent, slices: Vec<&'a [u8]>, seqs: Vec<Range<Seq>>) -> Self {
        Body {
            extent,
            slices,
            seqs,
        }
    }

    /// A body of whole lines, one after the other.
    pub fn of(lines: &'a [u8]) -> Self {
        let extent = Extent {
            events: memchr_iter(b'\n', lines).count(),
            bytes: lines.len(),
        };
        let seqs = 0..extent.events as Seq;
        Body::new(extent, vec![lines], Vec::from([seqs]))
    }

    /// The numbers of the events of each piece.
    pub fn seqs(&self) -> &[Range<Seq>] {
        &self.seqs
    }

    /// Number of events and bytes.
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// Its bytes, in pieces; each holds whole lines.
    pub fn slices(&self) -> &[&'a [u8]] {
        &self.slices
    }

    /// Reads the bytes from the beginning.
    pub fn reader(&self) -> impl Read {
        Reader {
            slices: self.slices.iter(),
            current: &[],
        }
    }
}

struct Reader<'a> {
    slices: std::slice::Iter<'a, &'a [u8]>,
    current: &'a [u8],
}

impl Read for Reader<'_> {
    /// Fills as much of `out` as possible: the HTTP client writes to the socket whatever one read returns.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            if self.current.is_empty() {
                let Some(next) = self.slices.next() else {
                    break;
                };
                self.current = next;
            }
            filled += self.current.read(&mut out[filled..])?;
        }
        Ok(filled)
    }
}
