//! Bytes in, whole JSON objects out; no I/O.
//!
//! Objects may stand one a line, end to end, behind commas, inside an array that never closes, or
//! spread over lines. White space, commas, square brackets and byte-order marks between them mean
//! nothing. What is no well-formed object is reported as lost, once each, and costs nothing else:
//!
//! - Outside of objects, garbage reaches to the line's end or to the next `{`.
//! - An object that breaks (bad JSON, or the stream's end) is taken back to its first byte, and the
//!   lines behind that one are read again, so that objects which a truncated one had swallowed come
//!   out whole. On its own lines nothing is taken for an event: those are the line on which it
//!   began, up to a `}{"` (which can't stand in an object, and in a string only at its end, where
//!   no object can follow); and, if it was spread over lines, those that are indented deeper.
//! - An object over the limit is followed, unkept, to its end.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod block;
pub mod json;
mod steps;
pub mod walk;

use std::mem;

use memchr::{memchr, memchr2};

use json::{Scan, Scanner};

/// Room that a read gets at least.
const MIN_READ: usize = 4 << 10;
/// First size of the buffer: a connection with little traffic costs no more.
const FIRST_BUFFER: usize = 16 << 10;
/// The buffer grows to this while reads fill it, and beyond only for an event that needs it.
const USUAL_BUFFER: usize = 128 << 10;
/// Objects nested deeper are refused: each level costs up to twelve bytes.
const MAX_DEPTH: usize = 128 << 10;

/// Why bytes of the stream became no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Garbage, bad JSON, or an object that the stream's end cut off.
    Malformed,
    /// Longer than the limit.
    TooLarge,
}

/// What comes next in the stream.
#[derive(Debug)]
pub enum Frame<'a> {
    /// A whole, well-formed object.
    Event(Event<'a>),
    /// One event's worth of bytes that can't be forwarded.
    Lost(Lost),
}

/// One JSON object as it came.
#[derive(Debug)]
pub struct Event<'a> {
    raw: &'a [u8],
    breaks: bool,
    ascii: bool,
}

impl Event<'_> {
    /// The event as it came.
    pub fn raw(&self) -> &[u8] {
        self.raw
    }

    /// A part of this one as an event of its own.
    pub fn part<'a>(&self, raw: &'a [u8]) -> Event<'a> {
        Event { raw, ..*self }
    }

    /// Length as it came; its line may be shorter, or longer by replaced bytes.
    pub fn raw_len(&self) -> usize {
        self.raw.len()
    }

    /// Appends the event as one line with its newline: line breaks between tokens go, with the
    /// indentation behind them; bytes that are no UTF-8 become U+FFFD; all else stays.
    pub fn append_line(&self, out: &mut Vec<u8>) {
        // `from_utf8_lossy` alone looks at every byte by itself, `from_utf8` at sixteen.
        if self.ascii || str::from_utf8(self.raw).is_ok() {
            self.append_unbroken(self.raw, out);
        } else {
            self.append_unbroken(String::from_utf8_lossy(self.raw).as_bytes(), out);
        }
        out.push(b'\n');
    }

    fn append_unbroken(&self, mut bytes: &[u8], out: &mut Vec<u8>) {
        // A string can't hold a raw line break, so each one stands between tokens.
        while self.breaks
            && let Some(at) = memchr2(b'\n', b'\r', bytes)
        {
            out.extend_from_slice(&bytes[..at]);
            bytes = bytes[at..].trim_ascii_start();
        }
        out.extend_from_slice(bytes);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Outside of objects.
    Between,
    /// Outside of objects, in something that was counted.
    Garbage,
    /// Inside the object that begins at this offset of the buffer; its bytes are kept.
    Object(usize),
    /// On the lines of an object that broke and was counted.
    Broken,
    /// Inside an object that is over the limit and was counted; its bytes are not kept.
    TooLarge,
}

/// The line at hand, as far as it tells where an object may begin.
#[derive(Debug, Clone, Copy)]
struct Line {
    /// White space at its beginning.
    indent: usize,
    /// Nothing but white space so far.
    blank: bool,
    /// Nothing but white space, commas and opening brackets so far.
    fresh: bool,
}

impl Line {
    const START: Line = Line {
        indent: 0,
        blank: true,
        fresh: true,
    };

    fn step(&mut self, byte: u8) {
        match byte {
            b'\n' => *self = Line::START,
            b' ' | b'\t' | b'\r' => self.indent += usize::from(self.blank),
            b',' | b'[' => self.blank = false,
            _ => (self.blank, self.fresh) = (false, false),
        }
    }
}

/// Cuts one stream into events. The source reads into [`space`](Self::space), says how much came
/// with [`filled`](Self::filled), and takes frames from [`next`](Self::next) until there is none.
#[derive(Debug)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Bytes of the buffer that hold input.
    filled: usize,
    /// Bytes of the buffer that are dealt with, but for those of an unfinished object.
    at: usize,
    mode: Mode,
    scanner: Scanner,
    line: Line,
    /// This line's garbage was counted already.
    noted: bool,
    /// Indentation of the line on which the last object began.
    indent: usize,
    /// The last object was spread over lines and broke, and this line may still be one of its own.
    after_broken: bool,
    /// Where the last broken object broke; before it, everything is read for the second time.
    broke_at: usize,
    /// Where objects begin of which the first reading has shown that they break, ascending. Without
    /// it, re-reading could take quadratic time.
    doomed: Vec<usize>,
    max_event: usize,
    /// The object at hand is over the limit, however long it is.
    given_up: bool,
    /// What an event begins with.
    opening: u8,
    ended: bool,
    /// Bytes that came before the buffer's.
    shifted: u64,
    /// How far the stream was read when a new framer could last have gone on from there.
    settled: u64,
}

impl Framer {
    /// A framer for arrays instead of objects: messages of the fluent protocol.
    pub fn for_arrays(max_event: usize) -> Self {
        Framer {
            opening: b'[',
            ..Framer::new(max_event)
        }
    }

    /// A framer that refuses objects of more than `max_event` bytes (under 1 GiB).
    pub fn new(max_event: usize) -> Self {
        Framer {
            buffer: Vec::new(),
            filled: 0,
            at: 0,
            mode: Mode::Between,
            scanner: Scanner::new(max_event.min(MAX_DEPTH)),
            line: Line::START,
            noted: false,
            indent: 0,
            after_broken: false,
            broke_at: 0,
            doomed: Vec::new(),
            max_event,
            given_up: false,
            opening: b'{',
            ended: false,
            shifted: 0,
            settled: 0,
        }
    }

    /// Where to read the next bytes into; never empty. All frames must have been taken before.
    pub fn space(&mut self) -> &mut [u8] {
        let keep = match self.mode {
            Mode::Object(start) => start,
            _ => self.at,
        };
        let was_full = self.filled == self.buffer.len();
        if keep == self.filled {
            self.shift(keep);
            if self.buffer.len() > USUAL_BUFFER {
                self.buffer.truncate(USUAL_BUFFER);
                self.buffer.shrink_to_fit();
            }
        } else if self.buffer.len() - self.filled < MIN_READ {
            self.shift(keep);
            // Moving is paid for by a read of at least the same size.
            if self.filled > self.buffer.len() / 2 {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
        if was_full && self.buffer.len() < USUAL_BUFFER {
            self.buffer
                .resize((self.buffer.len() * 2).max(FIRST_BUFFER), 0);
        }
        &mut self.buffer[self.filled..]
    }

    fn shift(&mut self, keep: usize) {
        self.buffer.copy_within(keep..self.filled, 0);
        self.filled -= keep;
        self.at -= keep;
        self.shifted += keep as u64;
        if let Mode::Object(start) = &mut self.mode {
            *start -= keep;
        }
        self.broke_at = self.broke_at.saturating_sub(keep);
        self.doomed.clear();
    }

    /// Says that `count` bytes were read into the [`space`](Self::space).
    pub fn filled(&mut self, count: usize) {
        self.filled += count;
    }

    /// Copies as much of `bytes` as there is [`space`](Self::space) for, and leaves the rest in it. All frames must have
    /// been taken before.
    pub fn copy_in(&mut self, bytes: &mut &[u8]) {
        let space = self.space();
        let (now, rest) = bytes.split_at(bytes.len().min(space.len()));
        space[..now.len()].copy_from_slice(now);
        *bytes = rest;
        self.filled(now.len());
    }

    /// Says that nothing more follows; what is unfinished is settled by the next calls of
    /// [`next`](Self::next). Afterwards the framer may be used for another stream.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Whether nothing is unfinished. All frames must have been taken before.
    pub fn is_done(&self) -> bool {
        self.mode == Mode::Between && self.at == self.filled
    }

    /// How many of the bytes read belong to something that is not done with: an event that is not whole
    /// yet, or the rest of one that was lost. A new framer that begins with them makes the same of the stream, or
    /// nearly so if an object breaks that is spread over lines. All frames must have been taken before.
    pub fn unfinished(&self) -> u64 {
        self.shifted + self.filled as u64 - self.settled
    }

    /// Bytes of memory that an event takes which is not whole yet, beyond the buffer that any stream has.
    pub fn surplus(&self) -> usize {
        self.buffer.len().saturating_sub(USUAL_BUFFER)
    }

    /// Bytes of memory that this takes at most when more bytes are read into the [`space`](Self::space). All frames must
    /// have been taken before.
    pub fn memory_of_next_read(&self) -> usize {
        let keep = match self.mode {
            Mode::Object(start) => start,
            _ => self.at,
        };
        let (length, unfinished) = (self.buffer.len(), self.filled - keep);
        let mut buffer = length;
        if unfinished > length / 2 && length - self.filled < MIN_READ {
            buffer *= 2;
        }
        if self.filled == length && buffer < USUAL_BUFFER {
            buffer = (buffer * 2).max(FIRST_BUFFER);
        }
        buffer + self.doomed.capacity() * size_of::<usize>() + self.scanner.memory()
    }

    /// Says that there is no memory for the event that is not whole yet: it is [too large](Lost::TooLarge), unless
    /// what is read next ends it.
    pub fn give_up(&mut self) {
        self.given_up = matches!(self.mode, Mode::Object(_));
    }

    /// Gives back the buffer if nothing is kept in it: for sources with many idle streams.
    pub fn release(&mut self) {
        if self.at == self.filled && !matches!(self.mode, Mode::Object(_)) {
            self.shift(self.at);
            self.buffer = Vec::new();
        }
    }

    /// The next frame, or `None` if more bytes are needed (after [`end`](Self::end): if there is
    /// nothing more).
    #[expect(
        clippy::should_implement_trait,
        reason = "a frame borrows from the framer"
    )]
    pub fn next(&mut self) -> Option<Frame<'_>> {
        loop {
            if self.mode == Mode::Between && !self.after_broken {
                self.settle();
            }
            let lost = match self.mode {
                Mode::Object(start) => match self.scan_object(start) {
                    Step::Event(end) => {
                        return Some(Frame::Event(Event {
                            raw: &self.buffer[start..end],
                            breaks: self.scanner.has_breaks(),
                            ascii: self.scanner.is_ascii(),
                        }));
                    }
                    Step::Lost(lost) => lost,
                    Step::Wait if !self.ended => return None,
                    Step::Wait => self.break_object(start, Lost::Malformed),
                },
                _ if self.at == self.filled => {
                    self.start_over_if_ended();
                    return None;
                }
                Mode::Between => self.find_object(),
                Mode::Garbage => {
                    self.pass_garbage();
                    None
                }
                Mode::Broken => {
                    if !self.pass_broken() {
                        return None;
                    }
                    None
                }
                Mode::TooLarge => {
                    self.pass_too_large();
                    None
                }
            };
            if let Some(lost) = lost {
                return Some(Frame::Lost(lost));
            }
        }
    }

    fn start_over_if_ended(&mut self) {
        if self.ended {
            *self = Framer {
                buffer: mem::take(&mut self.buffer),
                opening: self.opening,
                ..Framer::new(self.max_event)
            };
        }
    }

    /// Between objects: passes over what means nothing, up to an object or garbage.
    fn find_object(&mut self) -> Option<Lost> {
        while self.at < self.filled {
            let byte = self.buffer[self.at];
            let own_line = self.after_broken && self.line.indent > self.indent;
            match byte {
                b' ' | b'\t' | b'\r' => {}
                b'\n' => self.noted = false,
                // The rest of a broken object that was spread over lines, and its last line.
                _ if own_line => {
                    self.mode = Mode::Broken;
                    return None;
                }
                b'}' if self.after_broken && self.line.blank => {
                    self.after_broken = false;
                    self.mode = Mode::Garbage;
                    return None;
                }
                _ if byte == self.opening => return self.begin_object(),
                b',' | b'[' | b']' => {}
                // A byte-order mark, three bytes that can stand nowhere else here.
                0xEF | 0xBB | 0xBF => {
                    self.at += 1;
                    continue;
                }
                _ => {
                    self.after_broken = false;
                    self.mode = Mode::Garbage;
                    return self.note(Lost::Malformed);
                }
            }
            self.line.step(byte);
            self.at += 1;
        }
        None
    }

    /// A line of garbage counts once, however many pieces of it look like something.
    fn note(&mut self, lost: Lost) -> Option<Lost> {
        let noted = mem::replace(&mut self.noted, true);
        (!noted).then_some(lost)
    }

    /// A new framer could go on from here, if it sees how far the line at hand is indented.
    fn settle(&mut self) {
        let indent = if self.line.blank { self.line.indent } else { 0 };
        self.settled = self.shifted + self.at as u64 - indent as u64;
    }

    fn begin_object(&mut self) -> Option<Lost> {
        self.settle();
        self.after_broken = false;
        self.indent = self.line.indent;
        self.line.step(b'x');
        let start = self.at;
        if self.doomed.binary_search(&start).is_ok() {
            return self.leave_object(start, Lost::Malformed);
        }
        self.scanner.reset();
        self.given_up = false;
        self.mode = Mode::Object(start);
        None
    }

    fn scan_object(&mut self, start: usize) -> Step {
        let limit = start.saturating_add(self.max_event);
        let end = self.filled.min(limit);
        let scan = self.scanner.scan(&self.buffer[start..end], self.at - start);
        self.at = match scan {
            Scan::Done(at) | Scan::Error(at) => start + at,
            Scan::More => end,
        };
        match scan {
            Scan::Done(_) => {
                self.mode = Mode::Between;
                self.noted = false;
                Step::Event(self.at)
            }
            Scan::Error(_) => Step::Lost(self.break_object(start, Lost::Malformed)),
            Scan::More if end < limit && !self.given_up => Step::Wait,
            Scan::More => Step::Lost(self.exceed(start)),
        }
    }

    /// The object that began at `start` breaks at the place reached: counts it, and goes back.
    fn break_object(&mut self, start: usize, lost: Lost) -> Option<Lost> {
        self.doomed.clear();
        self.doomed
            .extend(self.scanner.open_brackets().map(|offset| start + offset));
        self.broke_at = self.at;
        self.leave_object(start, lost)
    }

    fn leave_object(&mut self, start: usize, lost: Lost) -> Option<Lost> {
        self.after_broken = self.is_spread(start, self.broke_at);
        self.at = start + 1;
        self.mode = Mode::Broken;
        self.note(lost)
    }

    /// Whether the first line of the object, which was read up to `end`, holds nothing but its `{`.
    fn is_spread(&self, start: usize, end: usize) -> bool {
        let behind = &self.buffer[start + 1..end];
        let first = behind
            .iter()
            .find(|byte| !matches!(byte, b' ' | b'\t' | b'\r'));
        first == Some(&b'\n')
    }

    /// The object that began at `start` has reached the limit. It is either a very long one, or was
    /// cut off and has swallowed those behind it.
    fn exceed(&mut self, start: usize) -> Option<Lost> {
        let deepest = if self.is_spread(start, self.at) {
            self.indent
        } else {
            usize::MAX
        };
        let mut line = Line {
            fresh: false,
            ..Line::START
        };
        let mut at = start + 1;
        let mut last = None;
        while let Some(found) = find_candidate(&self.buffer[at..self.at], &mut line, deepest) {
            last = Some(at + found);
            line.step(b'{');
            at += found + 1;
        }
        let Some(last) = last else {
            self.indent = deepest;
            self.line = line;
            self.mode = Mode::TooLarge;
            return self.note(Lost::TooLarge);
        };
        let lost = self.break_object(start, Lost::TooLarge);
        // The limit does not say that the last of them is broken too; more follows of it.
        self.doomed.retain(|doomed| *doomed != last);
        lost
    }

    /// On a broken object's line: goes to its end, or to an object that surely begins on it.
    /// False if that takes more bytes.
    fn pass_broken(&mut self) -> bool {
        let opening = self.opening;
        let closing = opening + 2; // in ASCII, of both kinds of bracket
        while let Some(found) = memchr2(b'\n', closing, &self.buffer[self.at..self.filled]) {
            self.at += found;
            if self.buffer[self.at] == b'\n' {
                self.mode = Mode::Between;
                return true;
            }
            match &self.buffer[self.at + 1..self.filled] {
                [next, b'"', ..] if *next == opening && self.at >= self.broke_at => {
                    self.at += 1;
                    self.after_broken = false;
                    self.mode = Mode::Between;
                    return true;
                }
                [] if !self.ended => return false,
                [next] if *next == opening && !self.ended => return false,
                _ => self.at += 1,
            }
        }
        self.at = self.filled;
        true
    }

    fn pass_garbage(&mut self) {
        let rest = &self.buffer[self.at..self.filled];
        match memchr2(b'\n', self.opening, rest) {
            Some(found) => {
                self.at += found;
                self.line.step(b'x');
                self.mode = Mode::Between;
            }
            None => self.at = self.filled,
        }
    }

    fn pass_too_large(&mut self) {
        let window = &self.buffer[self.at..self.filled];
        let candidate = find_candidate(window, &mut { self.line }, self.indent);
        let window = &window[..candidate.unwrap_or(window.len())];
        let scan = self.scanner.scan(window, 0);
        let passed = match scan {
            Scan::Done(at) | Scan::Error(at) => at,
            Scan::More => window.len(),
        };
        find_candidate(&window[..passed], &mut self.line, self.indent);
        self.at += passed;
        match scan {
            Scan::Done(_) => {
                self.line.step(b'}');
                self.noted = false;
                self.mode = Mode::Between;
            }
            Scan::Error(_) => {
                self.broke_at = self.at;
                self.mode = Mode::Broken;
            }
            Scan::More if candidate.is_some() => {
                self.noted = false;
                self.mode = Mode::Between;
            }
            Scan::More => {}
        }
    }
}

/// What scanning an object came to.
enum Step {
    /// It ends before this offset of the buffer.
    Event(usize),
    /// It broke or is too large; nothing is returned if that was counted before.
    Lost(Option<Lost>),
    /// More bytes are needed.
    Wait,
}

/// The first `{` that begins a line which is not indented deeper than `indent`: where, inside an
/// object that does not end, another one may have begun. `line` is carried from piece to piece.
fn find_candidate(bytes: &[u8], line: &mut Line, indent: usize) -> Option<usize> {
    let mut at = 0;
    while at < bytes.len() {
        if !line.fresh {
            at += memchr(b'\n', &bytes[at..])?;
        }
        let byte = bytes[at];
        if byte == b'{' && line.fresh && line.indent <= indent {
            return Some(at);
        }
        line.step(byte);
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests;
