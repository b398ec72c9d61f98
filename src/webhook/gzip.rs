//! Gzip (RFC 1952), piece by piece, into a buffer.

use std::io::{self, BufWriter, Write};

use crc32fast::Hasher;
use flate2::Compression;
use flate2::write::DeflateEncoder;

/// How compressed texts begin.
pub const MAGIC: &[u8] = b"\x1f\x8b";
/// Small pieces are joined up to this size, in bytes: each costs as much as compressing some hundred bytes.
const PIECE: usize = 16 << 10;

/// A compressor that is reused: a new one for each body would cost a quarter of a megabyte of zeroes each time. Writing
/// to it never fails, since it writes to memory.
pub struct Gzip {
    level: u8,
    writer: BufWriter<Summed>,
}

impl Clone for Gzip {
    /// Another one of this level, without a body.
    fn clone(&self) -> Self {
        Gzip::new(self.level)
    }
}

/// Sums up what is compressed. flate2's own sum takes four times as long.
struct Summed {
    deflate: DeflateEncoder<Vec<u8>>,
    crc: Hasher,
    bytes: usize,
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.deflate.write(bytes)?;
        self.crc.update(&bytes[..written]);
        self.bytes += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Gzip {
    /// At this level, from 1 to 9.
    pub fn new(level: u8) -> Self {
        let summed = Summed {
            deflate: DeflateEncoder::new(Vec::new(), Compression::new(level.into())),
            crc: Hasher::new(),
            bytes: 0,
        };
        Gzip {
            level,
            writer: BufWriter::with_capacity(PIECE, summed),
        }
    }

    /// Begins a body after what is in `out`.
    pub fn begin(&mut self, mut out: Vec<u8>) {
        // Deflate, no name, no time, of an unknown system.
        out.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
        let summed = self.writer.get_mut();
        summed.crc.reset();
        summed.bytes = 0;
        *summed.deflate.get_mut() = out;
    }

    /// Adds a piece to the body.
    pub fn add(&mut self, bytes: &[u8]) {
        let _ = self.writer.write_all(bytes);
    }

    /// The size of the body so far, in bytes; some of the last pieces may not be in it yet.
    pub fn bytes(&self) -> usize {
        self.writer.get_ref().deflate.get_ref().len()
    }

    /// Ends the body. Returns how many bytes it was made from.
    pub fn end(&mut self, body: &mut Vec<u8>) -> usize {
        let _ = self.writer.flush();
        let summed = self.writer.get_mut();
        *body = summed.deflate.reset(Vec::new()).unwrap_or_default();
        body.extend_from_slice(&summed.crc.clone().finalize().to_le_bytes());
        // Modulo 2^32, as gzip has it.
        body.extend_from_slice(&(summed.bytes as u32).to_le_bytes());
        summed.bytes
    }
}
