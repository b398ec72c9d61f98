//! An event as it came, and the line that is made of it.

use memchr::memchr2;

/// One JSON object as it came.
#[derive(Debug)]
pub struct Event<'a> {
    pub(crate) raw: &'a [u8],
    /// There may be line breaks between its tokens.
    pub(crate) breaks: bool,
    /// It is certainly ASCII.
    pub(crate) ascii: bool,
}

impl<'a> Event<'a> {
    /// The event as it came.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// A part of this one as an event of its own.
    pub fn part<'b>(&self, raw: &'b [u8]) -> Event<'b> {
        Event { raw, ..*self }
    }

    /// Length as it came; its line may be shorter, or up to three times as long: see [`line_len`](Self::line_len).
    pub fn raw_len(&self) -> usize {
        self.raw.len()
    }

    /// Exactly how many bytes [`append_line`](Self::append_line) appends: at most three times
    /// [`raw_len`](Self::raw_len), plus one.
    pub fn line_len(&self) -> usize {
        let mut length = 1;
        self.each_part(|part| length += part.len());
        length
    }

    /// Appends the event as one line with its newline: line breaks between tokens are removed, with the indentation
    /// after them; bytes that are not UTF-8 become U+FFFD; everything else stays.
    pub fn append_line(&self, out: &mut Vec<u8>) {
        self.each_part(|part| out.extend_from_slice(part));
        out.push(b'\n');
    }

    /// The parts of its line, without the newline.
    #[inline(always)]
    fn each_part(&self, mut take: impl FnMut(&[u8])) {
        for piece in self.pieces() {
            // The check by chunks examines single bytes, `from_utf8` sixteen at a time.
            if self.ascii || str::from_utf8(piece).is_ok() {
                take(piece);
                continue;
            }
            for chunk in piece.utf8_chunks() {
                take(chunk.valid().as_bytes());
                if !chunk.invalid().is_empty() {
                    take(REPLACEMENT);
                }
            }
        }
    }

    /// The pieces between line breaks, without the indentation after a break. A string can't hold a raw line break, so
    /// each one is between tokens.
    fn pieces(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let breaks = self.breaks;
        let mut rest = Some(self.raw);
        std::iter::from_fn(move || {
            let bytes = rest.take()?;
            let at = if breaks {
                memchr2(b'\n', b'\r', bytes)
            } else {
                None
            };
            let Some(at) = at else {
                return Some(bytes);
            };
            let (piece, behind) = bytes.split_at(at);
            rest = Some(behind.trim_ascii_start());
            Some(piece)
        })
    }
}

/// U+FFFD, which replaces bytes that are not UTF-8.
const REPLACEMENT: &[u8] = "\u{FFFD}".as_bytes();
