//! CRI log entries that are split over lines: an object is joined from their parts, each byte moved twice at most.

use memchr::memchr;

use crate::header::{self, Found, Kind};
use crate::json::Scan;
use crate::{Framer, Lost, Mode, Step};

/// Max bytes, of the other stream's lines and the line itself, in which an entry's next line is searched for.
const BETWEEN_PARTS: usize = 64 << 10;

impl Framer {
    /// Continues an object whose bytes from `start` to `end` are joined.
    pub(crate) fn scan_joined(&mut self, start: usize, mut end: usize) -> Step {
        loop {
            let room = self.max_event - (end - start);
            let count = self.buffer.to_line_end(self.at).min(room);
            self.buffer.copy_within(self.at..self.at + count, end);
            self.at += count;
            let bytes = &self.buffer.bytes()[start..end + count];
            let scan = self.scanner.scan(bytes, end - start);
            end += count;
            self.mode = Mode::Joined { start, end };
            match scan {
                Scan::Done(length) => return self.end_joined(start, end, length),
                Scan::Error(_) => return self.break_joined(Lost::Malformed),
                Scan::More if end - start == self.max_event => {
                    return self.break_joined(Lost::TooLarge);
                }
                Scan::More if self.at == self.buffer.filled => return Step::Wait,
                Scan::More => {}
            }
            match self.next_part() {
                Step::Continue => {}
                Step::Wait => return Step::Wait,
                _ => return self.break_joined(Lost::Malformed),
            }
        }
    }

    /// The object is whole after `length` bytes; what follows them is read as the rest of the line.
    fn end_joined(&mut self, start: usize, end: usize, length: usize) -> Step {
        let gap = self.at - end;
        self.buffer.copy_within(start..end, start + gap);
        self.at = start + gap + length;
        self.end_object(start + gap)
    }

    /// Moves the joined bytes to where the rest of the input is.
    pub(crate) fn close_gap(&mut self) {
        if let Mode::Joined { start, end } = &mut self.mode {
            let gap = self.at - *end;
            self.buffer.copy_within(*start..*end, *start + gap);
            (*start, *end) = (*start + gap, self.at);
        }
    }

    /// The object can't become whole any more; its lines are passed over.
    pub(crate) fn break_joined(&mut self, lost: Lost) -> Step {
        self.broke_at = 0;
        self.doomed.clear();
        self.mode = Mode::EntryRest;
        self.count(lost)
    }

    pub(crate) fn pass_entry_rest(&mut self) -> Step {
        self.at += self.buffer.to_line_end(self.at);
        if self.at == self.buffer.filled {
            return Step::Continue;
        }
        match self.next_part() {
            Step::Lost(_) => {
                self.mode = Mode::Between;
                Step::Continue
            }
            step => step,
        }
    }

    /// At a line's end: passes over the next line's header if that line continues this one. Otherwise the entry has
    /// ended, and that is a loss.
    fn next_part(&mut self) -> Step {
        const ENDED: Step = Step::Lost(Lost::Malformed);
        if !self.line.is_part {
            return ENDED;
        }
        match header::find(&self.buffer.bytes()[self.at + 1..], false) {
            Found::Header(length, Kind::Cri { is_part, is_stderr })
                if is_stderr == self.line.is_stderr =>
            {
                self.at += 1 + length;
                self.line.is_part = is_part;
                Step::Continue
            }
            Found::Header(_, Kind::Cri { .. }) => match self.bring_forward() {
                Step::Continue => self.next_part(),
                step => step,
            },
            Found::Beginning if !self.ended => Step::Wait,
            _ => ENDED,
        }
    }

    /// At a line's end, before lines of the other stream: moves the next line of this one before them.
    fn bring_forward(&mut self) -> Step {
        let kept = match self.mode {
            Mode::Joined { start, end } => end - start,
            _ => 0,
        };
        let limit = BETWEEN_PARTS.min(self.max_event - kept);
        let behind = &self.buffer.bytes()[self.at..];
        let window = &behind[..behind.len().min(limit)];
        // The offset of the line break before a line.
        let mut at = 0;
        while let Some(line) = window.get(at + 1..) {
            let length = match memchr(b'\n', line) {
                Some(length) => length,
                None if window.len() == limit => break,
                None if self.ended => line.len(),
                None => return Step::Wait,
            };
            let Found::Header(_, Kind::Cri { is_stderr, .. }) = header::find(line, false) else {
                break;
            };
            let end = at + 1 + length;
            if is_stderr == self.line.is_stderr {
                self.buffer.swap(self.at, self.at + at, self.at + end);
                self.reordered_to = self.buffer.offset_of(self.at + end);
                self.doomed.clear();
                return Step::Continue;
            }
            at = end;
        }
        Step::Lost(Lost::Malformed)
    }
}
