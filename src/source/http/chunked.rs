//! Chunked coding (RFC 9112, section 7.1), removed from a body that comes in pieces. No I/O.

/// Max bytes of a chunk's size line, or of a trailer's line.
const LINE_BYTES: usize = 1 << 10;
/// Max bytes of a chunk.
const MAX_SIZE: u64 = u32::MAX as u64;

/// This is not chunked coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadChunking;

/// Removes chunked coding from a body that comes in pieces.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chunked {
    state: State,
    /// Bytes of the chunk that are still to come.
    left: u64,
    /// Bytes of the current line.
    line: usize,
    /// The current size has digits.
    has_digits: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    /// Before an extension.
    Blank,
    Extension,
    SizeEnd,
    Data,
    DataEnd,
    DataEndLine,
    Trailer,
    TrailerEnd,
    TrailerLine,
    LastEnd,
    Done,
}

/// What [`Chunked::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of the body, after some of framing.
    Data {
        /// Bytes to pass over.
        skip: usize,
        /// Bytes of the body after them.
        take: usize,
    },
    /// The body has ended after this many bytes.
    Done(usize),
}

impl Chunked {
    /// The next piece of `bytes`, which continue where the last piece ended.
    ///
    /// # Errors
    /// This is not chunked coding.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Piece, BadChunking> {
        for (at, byte) in bytes.iter().copied().enumerate() {
            self.line += 1;
            if self.line > LINE_BYTES {
                return Err(BadChunking);
            }
            self.state = match (self.state, byte) {
                (State::Size, _) if byte.is_ascii_hexdigit() && self.left <= MAX_SIZE >> 4 => {
                    let digit = (byte as char).to_digit(16).unwrap_or(0);
                    self.left = self.left << 4 | u64::from(digit);
                    self.has_digits = true;
                    State::Size
                }
                (State::Size, b'\r') if self.has_digits => State::SizeEnd,
                (State::Size | State::Blank, b';') if self.has_digits => State::Extension,
                (State::Size | State::Blank, b' ' | b'\t') if self.has_digits => State::Blank,
                (State::Extension, b'\r') => State::SizeEnd,
                (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => State::Extension,
                (State::SizeEnd, b'\n') => {
                    self.line = 0;
                    self.has_digits = false;
                    if self.left == 0 {
                        State::Trailer
                    } else {
                        State::Data
                    }
                }
                (State::Data, _) => {
                    let rest = bytes.len() - at;
                    let take = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
                    self.left -= take as u64;
                    self.line = 0;
                    if self.left == 0 {
                        self.state = State::DataEnd;
                    }
                    return Ok(Piece::Data { skip: at, take });
                }
                (State::DataEnd, b'\r') => State::DataEndLine,
                (State::DataEndLine, b'\n') => {
                    self.line = 0;
                    State::Size
                }
                (State::Trailer, b'\r') => State::LastEnd,
                (State::Trailer | State::TrailerLine, b'\t' | b' '..=b'~' | 0x80..) => {
                    State::TrailerLine
                }
                (State::TrailerLine, b'\r') => State::TrailerEnd,
                (State::TrailerEnd, b'\n') => State::Trailer,
                (State::LastEnd, b'\n') => {
                    self.state = State::Done;
                    return Ok(Piece::Done(at + 1));
                }
                _ => return Err(BadChunking),
            };
        }
        Ok(Piece::Data {
            skip: bytes.len(),
            take: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn dechunk(pieces: &[&[u8]]) -> Result<(Vec<u8>, bool), BadChunking> {
        let (mut chunked, mut body) = (Chunked::default(), Vec::new());
        for mut piece in pieces.iter().copied() {
            while !piece.is_empty() {
                match chunked.next(piece)? {
                    Piece::Data { skip, take } => {
                        body.extend_from_slice(&piece[skip..skip + take]);
                        piece = &piece[skip + take..];
                    }
                    Piece::Done(at) => return Ok((body, at == piece.len())),
                }
            }
        }
        Ok((body, false))
    }

    #[test]
    fn chunked_coding() {
        let whole = b"3\r\n{\"a\r\n1 \t; x = \"\xfc;\"\r\n\"\r\n00000000000000003\r\n:1}\r\n0\r\nTrailer: x\r\n\r\n";
        assert_eq!(dechunk(&[whole]), Ok((b"{\"a\":1}".to_vec(), true)));
        for bad in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "3\n",
            "3\r\n{}\r\n",
            "1\r\n{}\r\n",
            "1\r\nx\n",
            ";\r\n",
            "123456789\r\n",
            "1 \r\nx\r\n",
            "1 1\r\nx\r\n",
            " ;x\r\n",
            "0\r\n\n",
            "0\r\nA: b\n\r\n",
            "1;\u{0}\r\n",
        ] {
            assert!(
                dechunk(&[bad.as_bytes(), b"0123456789"]).is_err(),
                "{bad:?}"
            );
        }
        assert!(dechunk(&[b"1;", &[b'x'; LINE_BYTES]]).is_err());
    }

    proptest! {
        #[test]
        fn chunked_coding_comes_off_however_it_is_cut(
            chunks in vec(vec(any::<u8>(), 1..50), 0..5),
            cuts in vec(any::<prop::sample::Index>(), 0..10),
        ) {
            let mut coded = Vec::new();
            for chunk in &chunks {
                coded.extend(format!("{:x}\r\n", chunk.len()).bytes());
                coded.extend(chunk);
                coded.extend(b"\r\n");
            }
            coded.extend(b"0\r\n\r\n");
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(coded.len())).collect();
            cuts.extend([0, coded.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &coded[cut[0]..cut[1]]).collect();
            prop_assert_eq!(dechunk(&pieces), Ok((chunks.concat(), true)));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = dechunk(&[&bytes]);
        }
    }
}
