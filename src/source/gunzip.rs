//! Decompresses gzip that comes in pieces, with any number of members (RFC 1952, section 2.2). No I/O.

use flate2::{Decompress, FlushDecompress, Status};

/// This is not gzip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadGzip;

/// Decompresses a stream of gzip.
#[derive(Debug)]
pub struct Gunzip {
    decompress: Decompress,
    /// The current member has ended: only another one may follow.
    member_ended: bool,
    has_begun: bool,
}

impl Default for Gunzip {
    /// Before the first byte.
    fn default() -> Self {
        Gunzip {
            // 15 bits of window, and a gzip header around it.
            decompress: Decompress::new_gzip(15),
            member_ended: false,
            has_begun: false,
        }
    }
}

impl Gunzip {
    /// Memory that it takes: a window and tables.
    pub const MEMORY: usize = 48 << 10;

    /// Whether it may end here.
    pub fn is_done(&self) -> bool {
        self.member_ended || !self.has_begun
    }

    /// Inflates some bytes of `input` to the beginning of `out`. Returns how many came out.
    ///
    /// # Errors
    /// This is not gzip.
    pub fn next(&mut self, input: &mut &[u8], out: &mut [u8]) -> Result<usize, BadGzip> {
        if self.member_ended {
            self.decompress = Decompress::new_gzip(15);
            self.member_ended = false;
        }
        self.has_begun = true;
        let (before_in, before_out) = (self.decompress.total_in(), self.decompress.total_out());
        let status = self
            .decompress
            .decompress(input, out, FlushDecompress::None);
        let used = (self.decompress.total_in() - before_in) as usize;
        let made = (self.decompress.total_out() - before_out) as usize;
        *input = input.get(used..).unwrap_or_default();
        match status {
            Ok(Status::StreamEnd) => self.member_ended = true,
            Ok(_) if used + made > 0 => {}
            _ => return Err(BadGzip),
        }
        Ok(made)
    }
}

/// A member of gzip with this content.
#[cfg(test)]
pub(super) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, content).unwrap();
    encoder.finish().unwrap()
}
