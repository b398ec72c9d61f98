//! Decompresses gzip that comes in pieces, with any number of members (RFC 1952, section 2.2). No I/O.

use flate2::{Decompress, FlushDecompress, Status};

/// This is not gzip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadGzip;

/// Decompresses a stream of gzip: `None` where a member may begin, and the stream may end.
#[derive(Debug, Default)]
pub struct Gunzip(Option<Decompress>);

impl Gunzip {
    /// Memory that it takes: a window and tables.
    pub const MEMORY: usize = 48 << 10;

    /// Whether it may end here.
    pub fn is_done(&self) -> bool {
        self.0.is_none()
    }

    /// Inflates some bytes of `input` to the beginning of `out`. Returns how many came out.
    ///
    /// # Errors
    /// This is not gzip.
    pub fn next(&mut self, input: &mut &[u8], out: &mut [u8]) -> Result<usize, BadGzip> {
        // 15 bits of window, and a gzip header around it.
        let new = || Decompress::new_gzip(15);
        let member = self.0.get_or_insert_with(new);
        let (before_in, before_out) = (member.total_in(), member.total_out());
        let status = member.decompress(input, out, FlushDecompress::None);
        let used = (member.total_in() - before_in) as usize;
        let made = (member.total_out() - before_out) as usize;
        *input = input.get(used..).unwrap_or_default();
        match status {
            Ok(Status::StreamEnd) => self.0 = None,
            // What came out before an error counts; the next call has the error again.
            _ if made > 0 => {}
            Ok(_) if used > 0 => {}
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
