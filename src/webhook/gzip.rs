//! Gzip (RFC 1952), piece by piece, into a buffer.

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// A compressor that is used again and again: a new one for each body would cost a quarter of a megabyte of
/// zeroes each time.
pub struct Gzip {
    deflate: Compress,
    check: Crc,
    /// Small pieces, to be added together: each costs as much as compressing some hundred bytes.
    gathered: Vec<u8>,
}

/// Pieces from this size on are not gathered, in bytes.
const PIECE: usize = 16 << 10;

impl Gzip {
    /// At this level, from 1 to 9.
    pub fn new(level: u8) -> Self {
        Gzip {
            deflate: Compress::new(Compression::new(level.into()), false),
            check: Crc::new(),
            gathered: Vec::with_capacity(PIECE),
        }
    }

    /// Begins a body behind what is in `out`.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        self.deflate.reset();
        self.check.reset();
        // Deflate, no name, no time, of an unknown system.
        out.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
    }

    /// Adds a piece to the body.
    pub fn add(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.gathered.len() + bytes.len() > PIECE {
            self.add_gathered(out);
        }
        if bytes.len() < PIECE {
            self.gathered.extend_from_slice(bytes);
        } else {
            self.add_now(bytes, out);
        }
    }

    fn add_gathered(&mut self, out: &mut Vec<u8>) {
        let mut gathered = std::mem::take(&mut self.gathered);
        self.add_now(&gathered, out);
        gathered.clear();
        self.gathered = gathered;
    }

    fn add_now(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.check.update(bytes);
        self.deflate(bytes, FlushCompress::None, out);
    }

    /// Ends the body.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        self.add_gathered(out);
        self.deflate(&[], FlushCompress::Finish, out);
        out.extend_from_slice(&self.check.sum().to_le_bytes());
        out.extend_from_slice(&self.check.amount().to_le_bytes());
    }

    fn deflate(&mut self, mut bytes: &[u8], flush: FlushCompress, out: &mut Vec<u8>) {
        loop {
            out.reserve((bytes.len() / 4).max(4096));
            let before = self.deflate.total_in();
            let status = self.deflate.compress_vec(bytes, out, flush);
            let taken = (self.deflate.total_in() - before) as usize;
            bytes = &bytes[taken..];
            let done = match flush {
                FlushCompress::Finish => matches!(status, Ok(Status::StreamEnd)),
                _ => bytes.is_empty(),
            };
            // An error would be a misuse of the stream, which has no way to get here.
            if done || status.is_err() {
                return;
            }
        }
    }
}
