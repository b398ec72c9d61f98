//! A request's body on its way to the buffer: decoded, framed, and then taken whole or not at all.

use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::{Decompress, FlushDecompress, Status};

use super::answer::Answer;
use crate::buffer::chunk::Chunk;
use crate::framer::{Frame, Framer, Lost};

/// Restored is asked for in steps of this; the first is every connection's own.
const STEP: usize = 64 << 10;

/// Restored for bodies, which all connections share.
#[derive(Debug)]
pub struct Budget {
    left: AtomicUsize,
}

impl Budget {
    /// So many bytes.
    pub fn new(bytes: usize) -> Self {
        Budget {
            left: AtomicUsize::new(bytes),
        }
    }

    fn take(&self, bytes: usize) -> bool {
        let taken = |left: usize| left.checked_sub(bytes);
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken)
            .is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// One body.
pub struct BodyDecoder<'a> {
    framer: Framer,
    /// Its events so far.
    pub chunk: Chunk,
    /// What came to nothing first: which event, from 0, and why.
    bad: Option<(usize, Lost)>,
    /// Objects that came to nothing.
    lost: usize,
    budget: &'a Budget,
    taken: usize,
    decompress: Option<Decompress>,
    decompressed: Vec<u8>,
    gzip: bool,
    gzip_done: bool,
    bytes: usize,
    limit: usize,
}

impl<'a> BodyDecoder<'a> {
    /// For bodies of at most `limit` bytes, also when decompressed, with events of at most
    /// `max_event` bytes.
    pub fn new(budget: &'a Budget, limit: usize, max_event: usize) -> Self {
        BodyDecoder {
            framer: Framer::new(max_event),
            chunk: Chunk::default(),
            bad: None,
            lost: 0,
            budget,
            taken: 0,
            decompress: None,
            decompressed: Vec::new(),
            gzip: false,
            gzip_done: false,
            bytes: 0,
            limit,
        }
    }

    /// A body begins.
    pub fn start(&mut self, gzip: bool) {
        (self.gzip, self.gzip_done) = (gzip, false);
        if gzip {
            // 15 bits of window, and a gzip header around it.
            self.decompress = Some(Decompress::new_gzip(15));
            self.decompressed.resize(STEP, 0);
        }
    }

    /// Is done with the body, and gives back its memory: the connection may be idle for long.
    pub fn clear(&mut self) {
        self.framer.end();
        self.take_frames();
        if self.taken > 0 {
            self.framer.release();
        }
        self.chunk.bytes.clear();
        self.chunk.bytes.shrink_to(STEP);
        self.chunk.events = 0;
        (self.bad, self.lost, self.bytes) = (None, 0, 0);
        self.budget.give_back(std::mem::take(&mut self.taken));
    }

    /// Events that were found, whatever they came to.
    pub fn events(&self) -> usize {
        self.chunk.events + self.lost
    }

    /// More of the body.
    ///
    /// # Errors
    /// It can't be taken.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Answer> {
        if self.gzip {
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
        // Nothing at all is no events, but a beginning that holds none yet may have lost some.
        let has_begun = |decompress: &Decompress| decompress.total_in() > 0;
        if self.gzip && !self.gzip_done && self.decompress.as_ref().is_some_and(has_begun) {
            return Err(Answer::BadCoding);
        }
        self.framer.end();
        self.take_frames();
        match self.bad {
            None => Ok(()),
            Some((_, Lost::TooLarge)) => Err(Answer::TooLarge),
            Some((number, Lost::Malformed)) => Err(Answer::BadEvent(number)),
        }
    }

    fn frame(&mut self, mut bytes: &[u8]) -> Result<(), Answer> {
        self.bytes += bytes.len();
        if self.bytes > self.limit {
            return Err(Answer::TooLarge);
        }
        while self.bytes > self.taken + STEP {
            if !self.budget.take(STEP) {
                return Err(Answer::Busy);
            }
            self.taken += STEP;
        }
        while !bytes.is_empty() {
            self.framer.copy_in(&mut bytes);
            self.take_frames();
        }
        Ok(())
    }

    fn take_frames(&mut self) {
        while let Some(frame) = self.framer.next() {
            match frame {
                Frame::Event(event) => {
                    event.append_line(&mut self.chunk.bytes);
                    self.chunk.events += 1;
                }
                Frame::Lost(lost) => {
                    self.bad.get_or_insert((self.chunk.events, lost));
                    self.lost += 1;
                }
            }
        }
    }

    fn inflate(&mut self, mut bytes: &[u8]) -> Result<(), Answer> {
        let mut decompress = self.decompress.take().ok_or(Answer::BadCoding)?;
        let mut out = std::mem::take(&mut self.decompressed);
        while !bytes.is_empty() {
            if self.gzip_done {
                // One member is what clients send; bytes behind it would go unseen.
                return Err(Answer::BadCoding);
            }
            let (before_in, before_out) = (decompress.total_in(), decompress.total_out());
            let status = decompress.decompress(bytes, &mut out, FlushDecompress::None);
            let used = (decompress.total_in() - before_in) as usize;
            let made = (decompress.total_out() - before_out) as usize;
            bytes = &bytes[used..];
            self.frame(&out[..made])?;
            match status {
                Ok(Status::StreamEnd) => self.gzip_done = true,
                Ok(_) if used + made > 0 => {}
                _ => return Err(Answer::BadCoding),
            }
        }
        (self.decompress, self.decompressed) = (Some(decompress), out);
        Ok(())
    }
}

impl Drop for BodyDecoder<'_> {
    fn drop(&mut self) {
        self.budget.give_back(self.taken);
    }
}
