//! Where reading resumes after an object that breaks or is too large.

use memchr::memchr;

use crate::header::{self, Found};
use crate::json::Scan;
use crate::{Framer, Line, Lost, Mode, RS, Step};

impl Framer {
    /// The object that began at `start` breaks at the offset reached: counts it, and goes back.
    pub(crate) fn break_object(&mut self, start: usize, lost: Lost) -> Step {
        self.doomed.clear();
        self.doomed
            .extend(self.scanner.open_brackets().map(|offset| start + offset));
        self.broke_at = self.at;
        self.is_torn = lost == Lost::Malformed;
        self.leave_object(start, lost)
    }

    pub(crate) fn leave_object(&mut self, start: usize, lost: Lost) -> Step {
        self.own_indent = self.own_indent_of(start, self.broke_at);
        self.at = start + 1;
        self.mode = match self.is_torn {
            true => Mode::Torn,
            false => Mode::Broken,
        };
        self.count(lost)
    }

    /// How deep lines after the object's first one, which was read up to `end`, may be indented without belonging to
    /// it: as deep as the first one, if that holds nothing but its `{`.
    fn own_indent_of(&self, start: usize, end: usize) -> usize {
        let behind = &self.buffer.bytes()[start + 1..end];
        let is_blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\r');
        match behind.iter().find(|byte| !is_blank(byte)) {
            Some(b'\n') => self.indent,
            _ => usize::MAX,
        }
    }

    /// The object that began at `start` has reached the limit. It is either a very long one, or was cut off and has
    /// swallowed those after it.
    pub(crate) fn exceed(&mut self, start: usize) -> Step {
        let deepest = self.own_indent_of(start, self.at);
        let mut line = Line {
            is_fresh: false,
            ..Line::START
        };
        let mut at = start + 1;
        let mut last = None;
        let candidate = |bytes, line: &mut _| find_candidate(bytes, line, self.opening, deepest);
        while let Some(found) = candidate(&self.buffer.bytes()[at..self.at], &mut line) {
            last = Some(at + found);
            line.step(self.opening);
            at += found + 1;
        }
        let Some(last) = last else {
            let step = self.count(Lost::TooLarge);
            (self.own_indent, self.line) = (deepest, line);
            self.mode = Mode::TooLarge;
            return step;
        };
        let step = self.break_object(start, Lost::TooLarge);
        // Reaching the limit does not mean that the last of them is broken, too: more of it follows.
        self.doomed.retain(|doomed| *doomed != last);
        step
    }

    /// Inside an object that is over the limit.
    pub(crate) fn pass_too_large(&mut self) -> Step {
        let window = &self.buffer.bytes()[self.at..];
        let (opening, deepest) = (self.opening, self.own_indent);
        let candidate = find_candidate(window, &mut { self.line }, opening, deepest);
        let window = &window[..candidate.unwrap_or(window.len())];
        let scan = self.scanner.scan(window, 0);
        let passed = match scan {
            Scan::Done(at) | Scan::Error(at) => at,
            Scan::More => window.len(),
        };
        find_candidate(&window[..passed], &mut self.line, opening, deepest);
        self.at += passed;
        match scan {
            Scan::Done(_) => {
                self.line.step(b'}');
                (self.own_indent, self.mode) = (usize::MAX, Mode::Between);
                self.line.is_counted = false;
            }
            Scan::Error(_) => {
                self.broke_at = self.at;
                self.line.is_counted = true;
                self.mode = Mode::Broken;
            }
            Scan::More if candidate.is_some() => self.mode = Mode::Between,
            Scan::More => {}
        }
        Step::Continue
    }

    /// On a line that belongs to a broken object.
    pub(crate) fn pass_line(&mut self) -> Step {
        self.mode = Mode::Broken;
        Step::Continue
    }

    /// On the line of an object that broke, before that place: goes to the line's end, or to where it broke. What was
    /// read as part of the object contains no other object, but one may have been appended to it.
    pub(crate) fn pass_torn(&mut self) -> Step {
        self.mode = Mode::Broken;
        self.skip_read();
        if self.at < self.broke_at {
            return Step::Continue;
        }
        match self.appended() {
            None => {
                self.mode = Mode::Torn;
                return Step::Wait;
            }
            Some(Some(start)) => {
                self.scanner.reset();
                self.at = start;
                self.mode = Mode::Appended(start);
            }
            Some(None) => {}
        }
        Step::Continue
    }

    /// Where the object begins, if any, that made the one before it break: there, or before it if the latter was cut
    /// off in a string, which the first quote of the other one ended. It can't be a part of what it broke. `None` if
    /// more bytes are needed to tell.
    fn appended(&self) -> Option<Option<usize>> {
        let (before, behind) = self.buffer.bytes().split_at(self.at);
        match (before, behind) {
            _ if self.opening != b'{' => Some(None),
            ([.., b'{', b'"'], [b' '..=0xFF, ..]) => Some(Some(self.at - 2)),
            ([.., b'{', b' ', b'"'], [b' '..=0xFF, ..]) => Some(Some(self.at - 3)),
            (_, [b'{', ..]) => Some(Some(self.at)),
            _ => self.object_behind(self.at),
        }
    }

    /// Inside an object that was appended to a broken one: an event only if it is whole, and followed by its line's end
    /// or by what reading resumes at.
    pub(crate) fn scan_appended(&mut self, start: usize) -> Step {
        // Line ends are searched for by and by: many of these objects may break at once.
        const WINDOW: usize = 64;
        let limit = start.saturating_add(self.max_event);
        let window = self.buffer.filled.min(limit).min(self.at + WINDOW);
        let line = &self.buffer.bytes()[self.at..window];
        let end = self.at + memchr(b'\n', line).unwrap_or(line.len());
        let scan = (self.scanner).scan(&self.buffer.bytes()[start..end], self.at - start);
        self.at = match scan {
            Scan::Done(at) | Scan::Error(at) => start + at,
            Scan::More => end,
        };
        match scan {
            Scan::Done(_) => self.mode = Mode::AppendedWhole(start),
            Scan::Error(_) => return self.break_object(start, Lost::Malformed),
            Scan::More if end < window || end == limit => self.mode = Mode::Broken,
            Scan::More if end == self.buffer.filled => return Step::Wait,
            Scan::More => {}
        }
        Step::Continue
    }

    /// Behind an appended object.
    pub(crate) fn end_appended(&mut self, start: usize) -> Step {
        // Bounded, since they are passed again with each read.
        const MAX_BLANKS: usize = 64;
        let (object, behind) = self.buffer.bytes()[start..].split_at(self.at - start);
        let rest = behind.strip_prefix(b",").unwrap_or(behind);
        let is_blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\r');
        let blanks = rest.iter().take(MAX_BLANKS).take_while(is_blank).count();
        let is_event = match rest[blanks..] {
            [] => self.ended.then_some(true),
            [b'\n' | RS | 0, ..] => Some(true),
            _ => self.object_behind(self.at).map(|start| start.is_some()),
        };
        match is_event {
            None => return Step::Wait,
            Some(true) if begins_member(&object[1..]) => return self.end_object(start),
            Some(_) => self.mode = Mode::Broken,
        }
        Step::Continue
    }

    /// Skips what was read as part of the object that broke, up to the line's end: that contains no other object.
    fn skip_read(&mut self) {
        if self.at < self.broke_at {
            let line = &self.buffer.bytes()[self.at..self.broke_at];
            self.at += memchr(b'\n', line).unwrap_or(line.len());
        }
    }

    /// On a broken object's line: goes to its end, or to where an object can begin on it.
    pub(crate) fn pass_broken(&mut self) -> Step {
        self.skip_read();
        let closing = self.opening + 2; // in ASCII, of both kinds of bracket
        while let Some(&byte) = self.buffer.bytes().get(self.at) {
            if byte == b'\n' || byte == RS || byte == 0 {
                if byte != b'\n' {
                    self.own_indent = usize::MAX;
                }
                self.mode = Mode::Between;
                return Step::Continue;
            }
            if byte == closing {
                match self.object_behind(self.at + 1) {
                    None => return Step::Wait,
                    Some(Some(_)) => {
                        self.at += 1;
                        self.own_indent = usize::MAX;
                        self.mode = Mode::Between;
                        return Step::Continue;
                    }
                    Some(None) => {}
                }
            }
            self.at += 1;
        }
        Step::Continue
    }

    /// Where an object with a member begins: here, or behind headers that are here. `None` if more bytes are needed to
    /// tell.
    fn object_behind(&self, mut at: usize) -> Option<Option<usize>> {
        loop {
            let rest = &self.buffer.bytes()[at..];
            match rest {
                [first, behind @ ..] if *first == self.opening && begins_member(behind) => {
                    return Some(Some(at));
                }
                [first] | [first, b' '] if *first == self.opening && !self.ended => return None,
                [] if !self.ended => return None,
                [b'<' | b'0'..=b'9', ..] if self.opening == b'{' => {}
                _ => return Some(None),
            }
            match header::find(rest, false) {
                Found::Header(length, _) => at += length,
                Found::Beginning if !self.ended => return None,
                _ => return Some(None),
            }
        }
    }
}

/// Whether a member is right behind an opening bracket: in all usual spellings, at most one blank is between them.
fn begins_member(behind: &[u8]) -> bool {
    matches!(behind, [b'"', ..] | [b' ', b'"', ..])
}

impl Line {
    /// One more byte inside an object.
    fn step(&mut self, byte: u8) {
        match byte {
            b'\n' => *self = Line::START,
            b' ' | b'\t' | b'\r' => self.indent += usize::from(self.is_blank),
            b',' | b'[' => self.is_blank = false,
            _ => (self.is_blank, self.is_fresh) = (false, false),
        }
    }
}

/// The first `opening` bracket that begins a line indented no deeper than `deepest`: inside an object that does not
/// end, another one may have begun there. `line` is carried from piece to piece.
fn find_candidate(bytes: &[u8], line: &mut Line, opening: u8, deepest: usize) -> Option<usize> {
    let mut at = 0;
    while at < bytes.len() {
        if !line.is_fresh {
            at += memchr(b'\n', &bytes[at..])?;
        }
        let byte = bytes[at];
        if byte == opening && line.is_fresh && line.indent <= deepest {
            return Some(at);
        }
        line.step(byte);
        at += 1;
    }
    None
}
