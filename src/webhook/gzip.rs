//! Gzip (RFC 1952), piece by piece, into a buffer.

use std::io::{BufWriter, Write as _};

use flate2::write::DeflateEncoder;
use flate2::{Compression, CrcWriter};

/// Small pieces are joined up to this size, in bytes: each costs as much as compressing some hundred bytes.
const PIECE: usize = 16 << 10;

/// A compressor that is reused: a new one for each body would cost a quarter of a megabyte of zeroes each time. Writing
/// to it never fails, since it writes to memory.
pub struct Gzip(BufWriter<CrcWriter<DeflateEncoder<Vec<u8>>>>);

impl Gzip {
    /// At this level, from 1 to 9.
    pub fn new(level: u8) -> Self {
        let deflate = DeflateEncoder::new(Vec::new(), Compression::new(level.into()));
        Gzip(BufWriter::with_capacity(PIECE, CrcWriter::new(deflate)))
    }

    /// Begins a body after what is in `out`.
    pub fn begin(&mut self, mut out: Vec<u8>) {
        // Deflate, no name, no time, of an unknown system.
        out.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
        self.0.get_mut().reset();
        *self.0.get_mut().get_mut().get_mut() = out;
    }

    /// Adds a piece to the body.
    pub fn add(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }

    /// The size of the body so far, in bytes; some of the last pieces may not be in it yet.
    pub fn bytes(&self) -> usize {
        self.0.get_ref().get_ref().get_ref().len()
    }

    /// Ends the body. Returns how many bytes it was made from.
    pub fn end(&mut self, body: &mut Vec<u8>) -> usize {
        let _ = self.0.flush();
        let deflate = self.0.get_mut();
        let (check, length) = (deflate.crc().sum(), deflate.crc().amount());
        *body = deflate.get_mut().reset(Vec::new()).unwrap_or_default();
        body.extend_from_slice(&check.to_le_bytes());
        body.extend_from_slice(&length.to_le_bytes());
        length as usize
    }
}
