//! Bytes in, whole JSON objects out; no I/O.
//!
//! Objects may be one per line, end to end, after commas, inside an array that never closes, or spread over lines.
//!
//! # Framing
//!
//! What may surround objects is not an event and is never counted:
//!
//! - anywhere between them: white space, commas, square brackets, byte-order marks, NUL, and RS (RFC 7464);
//! - before an object, on its line, one or more headers:
//!   - an octet count (RFC 6587): up to ten digits, a blank, then `{` or another header that begins with `<`;
//!   - syslog, RFC 5424: `<PRI>VERSION TIMESTAMP HOST APP PROCID MSGID STRUCTURED-DATA`, and a byte-order mark;
//!   - syslog, RFC 3164, as it is really written: `<PRI>`, then a date (`Nov 28 10:00:00` or ISO 8601) or none, then
//!     up to three words such as host, `tag[pid]:` and `@cee:`. Without `<PRI>`, as in files, date, host and `tag:`
//!     must be there;
//! - CRI, as the kubelet keeps a container's output: `TIME stdout F ` or `TIME stderr F ` with anything or nothing
//!   after it. Lines with `P` instead of `F` are joined with the following lines of their stream, up to one with `F`.
//!   Up to 64 KiB of the other stream's lines may be between two of them;
//! - a line that begins, after framing, with `#` or `//`: a comment, whatever is in it.
//!
//! A header has at most 2048 bytes. Other bytes before an object are garbage: they are counted, the object is taken.
//!
//! # Losses
//!
//! What is not a well-formed object is reported as lost and costs nothing else:
//!
//! - Garbage counts once for each run. A run continues over any number of lines that begin with garbage, together with
//!   any braces in them that break, and ends at an object, whole or broken.
//! - An object that breaks (bad JSON, nested deeper than [`MAX_DEPTH`], the stream's end) counts once for each line
//!   that begins with one. Reading resumes at the next line that begins with an object or with a header and an object,
//!   even among the lines that it had swallowed; or on the same line after NUL or RS, or at a `}{"` or `}{ "`, with or
//!   without a header between the brackets. (Neither can occur in an object, and in a string only at its end, where no
//!   object can follow.) If the broken object's first line is only its `{`, lines that are indented deeper are its own.
//! - An object may be appended on the line of one whose writing was cut (a full disk, a crash). It is an event if the
//!   cut one broke at its `{`, at headers before that, or in a string that the quote of its `{"` or `{ "` has ended;
//!   and if it is whole and followed by the line's end (perhaps after a comma and blanks) or by what reading resumes
//!   at. Where a value is expected, and on any line but the cut one's first, it can't be told from a part of that.
//! - An object over the limit counts as [`Lost::TooLarge`] and is followed to its end, but not kept.
//!
//! # Memory
//!
//! A framer has a buffer of up to 128 KiB; for an event that needs more, the least power of two that is twice as long
//! as the limit, which is given back when the event is taken (and half as much again while it grows). A framer that was
//! [shrunk](Framer::shrink) has the least power of two that has room for what is unfinished. Nesting takes at most
//! 6 KiB. The line made of an event may be three times as long as the event: [`Event::line_len`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod between;
mod block;
mod buffer;
mod event;
mod header;
pub mod json;
mod parts;
mod resync;
mod room;
mod steps;
mod text;
pub mod walk;

pub use event::Event;

use buffer::Buffer;
use json::{Scan, Scanner};

/// Objects nested deeper than this are malformed.
pub const MAX_DEPTH: usize = 512;

/// Record separator, which begins a JSON text of RFC 7464.
const RS: u8 = 0x1E;

/// Why bytes of the stream did not become an event.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Outside of objects.
    Between,
    /// Outside of objects, in something that was counted.
    Garbage,
    /// In a comment.
    Comment,
    /// Inside the object that begins at this offset of the buffer; its bytes are kept.
    Object(usize),
    /// The same, in a CRI log entry that is split over lines: the object is joined from `start` to `end`, and continues
    /// where reading does.
    Joined { start: usize, end: usize },
    /// In the rest of a CRI log entry after an object in it was counted as lost.
    EntryRest,
    /// On the first line of an object that broke and was counted, before the place where it broke.
    Torn,
    /// On the lines of an object that broke and was counted.
    Broken,
    /// Inside the object that begins at this offset, on the line of one that broke there; its bytes are kept.
    Appended(usize),
    /// Behind it.
    AppendedWhole(usize),
    /// Inside an object that is over the limit and was counted; its bytes are not kept.
    TooLarge,
}

/// The current line, as far as it was read.
#[derive(Debug, Clone, Copy)]
struct Line {
    /// White space at its beginning.
    indent: usize,
    /// Only white space so far.
    is_blank: bool,
    /// Only framing so far.
    is_fresh: bool,
    /// It has a header.
    has_header: bool,
    /// A CRI header says that its stream's next line continues this one.
    is_part: bool,
    /// That stream is the container's stderr, not stdout.
    is_stderr: bool,
    /// Something on it was counted as lost.
    is_counted: bool,
}

impl Line {
    const START: Line = Line {
        indent: 0,
        is_blank: true,
        is_fresh: true,
        has_header: false,
        is_part: false,
        is_stderr: false,
        is_counted: false,
    };
}

/// The result of one step.
enum Step {
    /// An object between these offsets of the buffer.
    Event(usize, usize),
    /// Something to be counted.
    Lost(Lost),
    /// Nothing to report; the next step may be taken.
    Continue,
    /// More bytes are needed.
    Wait,
}

/// Cuts one stream into events. The source reads into [`space`](Self::space), says with [`filled`](Self::filled) how
/// much came, and takes frames from [`next`](Self::next) until there are none.
#[derive(Debug)]
pub struct Framer {
    buffer: Buffer,
    /// Bytes of the buffer that were processed, apart from those of an unfinished object.
    at: usize,
    mode: Mode,
    scanner: Scanner,
    line: Line,
    /// Garbage was counted, and nothing that begins like an object has come since.
    in_garbage: bool,
    /// Indentation of the line on which the last object began.
    indent: usize,
    /// Lines indented deeper belong to the object that broke last.
    own_indent: usize,
    /// Where the last broken object broke; everything before that is read for the second time.
    broke_at: usize,
    /// It broke there because of what stands there, not because of the limit.
    is_torn: bool,
    /// Where objects begin that the first reading has shown to break, ascending. Without this, re-reading could take
    /// quadratic time.
    doomed: Vec<usize>,
    max_event: usize,
    /// The bracket that an event begins with.
    opening: u8,
    ended: bool,
    /// The last offset in the stream from which a new framer could have continued.
    settled: u64,
    /// Up to here, lines are in another order than in the stream.
    reordered_to: u64,
}

impl Framer {
    /// A framer that refuses objects of more than `max_event` bytes (under 1 GiB).
    pub fn new(max_event: usize) -> Self {
        Framer::with_buffer(max_event, b'{', Buffer::default())
    }

    /// A framer for arrays instead of objects: messages of the fluent protocol. It knows no headers and comments.
    pub fn for_arrays(max_event: usize) -> Self {
        Framer::with_buffer(max_event, b'[', Buffer::default())
    }

    /// Takes objects that are nested this deep, instead of [`MAX_DEPTH`].
    pub fn set_max_depth(&mut self, max_depth: usize) {
        self.scanner = Scanner::new(max_depth);
    }

    fn with_buffer(max_event: usize, opening: u8, buffer: Buffer) -> Self {
        Framer {
            buffer,
            at: 0,
            mode: Mode::Between,
            scanner: Scanner::new(max_event.min(MAX_DEPTH)),
            line: Line::START,
            in_garbage: false,
            indent: 0,
            own_indent: usize::MAX,
            broke_at: 0,
            is_torn: false,
            doomed: Vec::new(),
            max_event,
            opening,
            ended: false,
            settled: 0,
            reordered_to: 0,
        }
    }

    /// Says that nothing more follows; what is unfinished is settled by the next calls of
    /// [`next`](Self::next). Afterwards the framer may be used for another stream.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Whether nothing is unfinished. All frames must have been taken before.
    pub fn is_done(&self) -> bool {
        self.mode == Mode::Between && self.at == self.buffer.filled
    }

    /// Whether the bytes read end with lines of a CRI log entry that continues.
    pub fn is_within_entry(&self) -> bool {
        let is_entry = matches!(self.mode, Mode::Joined { .. } | Mode::EntryRest);
        is_entry && self.line.is_part && self.buffer.bytes().ends_with(b"\n")
    }

    /// How many of the bytes read belong to something unfinished: an event that is not whole yet, with its header, or
    /// the rest of one that was lost. A new framer that begins with them makes the same events of the stream; the last
    /// loss, or event in a part of a CRI entry, may come once more. All frames must have been taken before.
    pub fn unfinished(&self) -> u64 {
        self.buffer.offset_of(self.buffer.filled) - self.settled
    }

    /// The next frame, or `None` if more bytes are needed (after [`end`](Self::end): if there is nothing more).
    #[expect(
        clippy::should_implement_trait,
        reason = "a frame borrows from the framer"
    )]
    pub fn next(&mut self) -> Option<Frame<'_>> {
        loop {
            let step = match self.mode {
                Mode::Object(start) => self.scan_object(start),
                Mode::Joined { start, end } => self.scan_joined(start, end),
                Mode::Appended(start) => self.scan_appended(start),
                Mode::AppendedWhole(start) => self.end_appended(start),
                _ if self.at == self.buffer.filled => {
                    self.settle();
                    self.start_over_if_ended();
                    return None;
                }
                Mode::Between => self.find_object(),
                Mode::Garbage => self.pass_garbage(),
                Mode::Comment => self.pass_comment(),
                Mode::Torn => self.pass_torn(),
                Mode::Broken => self.pass_broken(),
                Mode::EntryRest => self.pass_entry_rest(),
                Mode::TooLarge => self.pass_too_large(),
            };
            let lost = match step {
                Step::Event(start, end) => {
                    return Some(Frame::Event(Event {
                        raw: &self.buffer.bytes()[start..end],
                        breaks: self.scanner.has_breaks(),
                        ascii: self.scanner.is_ascii(),
                    }));
                }
                Step::Lost(lost) => lost,
                Step::Continue => continue,
                Step::Wait if !self.ended => return None,
                Step::Wait => match self.cut_off() {
                    Step::Lost(lost) => lost,
                    _ => continue,
                },
            };
            return Some(Frame::Lost(lost));
        }
    }

    fn start_over_if_ended(&mut self) {
        if self.ended {
            let buffer = self.buffer.emptied();
            *self = Framer::with_buffer(self.max_event, self.opening, buffer);
        }
    }

    /// A new framer could resume here, if it sees the line's indentation and header.
    fn settle(&mut self) {
        let is_own = self.own_indent != usize::MAX;
        let is_in_order = self.buffer.offset_of(self.at) >= self.reordered_to;
        if self.mode == Mode::Between && is_in_order && !is_own && !self.line.has_header {
            let indent = if self.line.is_blank {
                self.line.indent
            } else {
                0
            };
            self.settled = self.buffer.offset_of(self.at) - indent as u64;
        }
    }

    /// Something is lost: counts it, unless something else on the line was counted.
    fn count(&mut self, lost: Lost) -> Step {
        if std::mem::replace(&mut self.line.is_counted, true) {
            return Step::Continue;
        }
        self.in_garbage = false;
        Step::Lost(lost)
    }

    fn begin_object(&mut self) -> Step {
        self.own_indent = usize::MAX;
        self.settle();
        self.indent = self.line.indent;
        (self.line.is_blank, self.line.is_fresh) = (false, false);
        let start = self.at;
        if self.doomed.binary_search(&start).is_ok() {
            return self.leave_object(start, Lost::Malformed);
        }
        self.scanner.reset();
        self.mode = if self.line.is_part {
            Mode::Joined { start, end: start }
        } else {
            Mode::Object(start)
        };
        Step::Continue
    }

    fn scan_object(&mut self, start: usize) -> Step {
        let limit = start.saturating_add(self.max_event);
        let end = self.buffer.filled.min(limit);
        let bytes = &self.buffer.bytes()[start..end];
        let scan = self.scanner.scan(bytes, self.at - start);
        self.at = match scan {
            Scan::Done(at) | Scan::Error(at) => start + at,
            Scan::More => end,
        };
        match scan {
            Scan::Done(_) => self.end_object(start),
            Scan::Error(_) => self.break_object(start, Lost::Malformed),
            Scan::More if end < limit => Step::Wait,
            Scan::More => self.exceed(start),
        }
    }

    /// The object that began at `start` is whole.
    fn end_object(&mut self, start: usize) -> Step {
        self.mode = Mode::Between;
        (self.in_garbage, self.line.is_counted) = (false, false);
        // Without the header, the rest of a part can't be distinguished from other lines.
        self.line.has_header = self.line.is_part;
        Step::Event(start, self.at)
    }

    /// The stream ends within the current object.
    fn cut_off(&mut self) -> Step {
        match self.mode {
            Mode::Object(start) | Mode::Appended(start) => {
                self.break_object(start, Lost::Malformed)
            }
            Mode::Joined { .. } => self.break_joined(Lost::Malformed),
            _ => Step::Continue,
        }
    }
}

#[cfg(test)]
mod tests;
