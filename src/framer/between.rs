//! Between objects: framing, headers and garbage.

use memchr::memchr2;

use crate::header::{self, Found, Kind};
use crate::{Framer, Line, Lost, Mode, RS, Step};

impl Framer {
    /// Between objects: passes over what means nothing, up to an object or garbage.
    pub(crate) fn find_object(&mut self) -> Step {
        self.settle();
        while let Some(&byte) = self.buffer.bytes().get(self.at) {
            let is_own = self.own_indent != usize::MAX;
            match byte {
                b'\n' => self.line = Line::START,
                b' ' | b'\t' | b'\r' => self.line.indent += usize::from(self.line.is_blank),
                // The rest of a broken object that was spread over lines, and its last line.
                _ if is_own && self.line.indent > self.own_indent => return self.pass_line(),
                b'}' if is_own && self.line.is_blank => return self.pass_line(),
                _ if byte == self.opening => return self.begin_object(),
                b',' | b'[' | b']' | RS | 0xEF | 0xBB | 0xBF => self.line.is_blank = false,
                0 => {
                    self.line.is_blank = false;
                    self.at += zeros(&self.buffer.bytes()[self.at..]);
                    continue;
                }
                _ => return self.find_header(),
            }
            self.at += 1;
        }
        Step::Continue
    }

    /// Between objects, at something that is neither an object nor a separator.
    fn find_header(&mut self) -> Step {
        self.settle();
        let found = match self.opening {
            b'{' => header::find(&self.buffer.bytes()[self.at..], self.line.is_fresh),
            _ => Found::Nothing,
        };
        match found {
            Found::Header(length, kind) => {
                self.at += length;
                self.line.is_blank = false;
                self.line.has_header = true;
                (self.line.is_part, self.line.is_stderr) = match kind {
                    Kind::Cri { is_part, is_stderr } => (is_part, is_stderr),
                    Kind::Plain => (false, false),
                };
                Step::Continue
            }
            Found::Comment => {
                self.mode = Mode::Comment;
                Step::Continue
            }
            Found::Beginning if !self.ended => Step::Wait,
            Found::Beginning | Found::Nothing => self.begin_garbage(),
        }
    }

    fn begin_garbage(&mut self) -> Step {
        self.own_indent = usize::MAX;
        self.mode = Mode::Garbage;
        // What was swallowed by a broken object was counted with it.
        let is_counted = self.in_garbage || self.at < self.broke_at;
        let step = self.count(Lost::Malformed);
        self.in_garbage = true;
        if is_counted { Step::Continue } else { step }
    }

    pub(crate) fn pass_garbage(&mut self) -> Step {
        let rest = &self.buffer.bytes()[self.at..];
        match memchr2(b'\n', self.opening, rest) {
            Some(found) => {
                self.at += found;
                (self.line.is_blank, self.line.is_fresh) = (false, false);
                self.mode = Mode::Between;
            }
            None => self.at = self.buffer.filled,
        }
        Step::Continue
    }

    pub(crate) fn pass_comment(&mut self) -> Step {
        self.at += self.buffer.to_line_end(self.at);
        if self.at < self.buffer.filled {
            self.mode = Mode::Between;
        }
        Step::Continue
    }
}

/// How many zeros `bytes` begins with, at memory speed: a file that was truncated can begin with gigabytes of them.
pub(crate) fn zeros(bytes: &[u8]) -> usize {
    const BLOCK: usize = 64;
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    let is_other = |block: &[u8; BLOCK]| *block != [0; BLOCK];
    let start = blocks.iter().position(is_other).unwrap_or(blocks.len()) * BLOCK;
    let rest = &bytes[start..];
    start
        + rest
            .iter()
            .position(|byte| *byte != 0)
            .unwrap_or(rest.len())
}
