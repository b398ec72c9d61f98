//! Masks values in lines, in place.

use memchr::{memchr, memchr_iter, memrchr};

use super::authorization::{is_signed, secret_in};
use super::name::{BLANKS, Next, behind_blanks, decoded, in_string, level, unescaped};
use super::secrets::{Kind, Names, PLAIN, begins_plain};
use super::work::looked_at;
use crate::framer::walk;

const MASK: &[u8] = b"REDACTED";

/// What was done to events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Redacted {
    /// Values that were masked.
    pub values: usize,
    /// Events that were dropped because the end of a secret was not found.
    pub dropped: usize,
}

/// How many backslashes the text ends with: before a quote, this shows its depth in JSON within JSON.
pub(super) fn backslashes(text: &[u8]) -> usize {
    text.iter().rev().take_while(|byte| **byte == b'\\').count()
}

/// How many of the backslashes before a quote belong to it. The others stand for backslashes in the string.
pub(super) fn depth_of(backslashes: usize) -> usize {
    backslashes & !(backslashes + 1)
}

/// Whether a byte ends a line, or the string that contains it, whose quotes have `depth` backslashes.
pub(super) fn ends_line(depth: usize) -> impl Fn(u8, &[u8]) -> bool {
    move |byte, written| match byte {
        b'"' => depth_of(written.iter().take_while(|byte| **byte == b'\\').count()) <= depth,
        _ => byte < b' ' && byte != b'\t',
    }
}

/// Where a string ends, if `depth` backslashes precede its quotes. It also ends where the string around it ends, even
/// if it is cut off after a backslash: an even number of backslashes escapes no quote.
fn string_end(line: &[u8], from: usize, depth: usize) -> Option<usize> {
    let mut quotes = memchr_iter(b'"', line.get(from..)?).map(|at| from + at);
    let end = quotes.find_map(|quote| {
        let escape = backslashes(&line[from..quote]) % (2 * depth + 2);
        (escape <= depth || escape.is_multiple_of(2)).then(|| quote - escape)
    });
    looked_at(2 * (end.unwrap_or(line.len()) - from));
    end
}

/// What a value other than a text becomes.
fn mask_of(value: &[u8]) -> Option<&'static [u8]> {
    match value {
        b"true" | b"false" => Some(b"null"),
        b"0" => None,
        [b'0'..=b'9' | b'-', ..] => Some(b"0"),
        _ => None,
    }
}

/// Lines while they are masked: what is before `read` was looked at, and the result is written up to `written`.
pub(super) struct Pass<'a> {
    names: &'a Names,
    pub(super) lines: &'a mut Vec<u8>,
    start: usize,
    pub(super) read: usize,
    pub(super) written: usize,
    /// Of what is written, the string that contains the last header was searched for up to here.
    pub(super) searched: usize,
    /// How many backslashes are before the quotes of that string.
    pub(super) header_depth: usize,
    /// No parameter's name begins before this.
    pub(super) names_from: usize,
    /// Names had escaped bytes; a name that ends before this may have more of them.
    pub(super) escaped_up_to: usize,
    /// Where the line that was looked at last ends.
    line_end: usize,
    /// From here on, an object or array is masked, once all before was looked at: between its values may be names with
    /// secrets.
    nested: usize,
    nested_end: usize,
    nested_kind: Kind,
    /// Where a text that was masked ended, and what kind of secret it had named.
    hidden: Option<(usize, Kind)>,
    redacted: Redacted,
}

impl<'a> Pass<'a> {
    /// Starts a pass over the lines from this byte on.
    pub(super) fn new(names: &'a Names, lines: &'a mut Vec<u8>, from: usize) -> Self {
        Pass {
            names,
            lines,
            start: from,
            read: from,
            written: from,
            searched: from,
            header_depth: 0,
            names_from: from,
            escaped_up_to: from,
            line_end: from,
            nested: from,
            nested_end: from,
            nested_kind: Kind::Member,
            hidden: None,
            redacted: Redacted::default(),
        }
    }

    pub(super) fn finish(mut self) -> Redacted {
        self.mask_nested_before(usize::MAX);
        self.copy_up_to(self.lines.len());
        self.lines.truncate(self.written);
        self.redacted
    }

    pub(super) fn copy_up_to(&mut self, end: usize) {
        looked_at(end - self.read);
        if self.written < self.read {
            self.lines.copy_within(self.read..end, self.written);
        }
        self.written += end - self.read;
        self.read = end;
    }

    fn replace(&mut self, start: usize, end: usize, by: &[u8]) {
        self.copy_up_to(start);
        self.lines[self.written..self.written + by.len()].copy_from_slice(by);
        self.written += by.len();
        self.read = end;
        self.redacted.values += 1;
    }

    pub(super) fn mask(&mut self, start: usize, end: usize) {
        let stars = |byte: &u8| *byte == b'*';
        let value = &self.lines[start..end];
        looked_at(value.len());
        let first = value.iter().take_while(|byte| stars(byte)).count();
        let last = value[first..].iter().rev().take_while(|byte| stars(byte));
        let inner = &value[first..value.len() - last.count()];
        // It is empty or masked already.
        if inner.is_empty() || inner.eq_ignore_ascii_case(MASK) {
            return;
        }
        // Before a quote, it may be a name: `"name":"Cookie","value":…`.
        if let Some((b'"', _)) = decoded(&self.lines[end..]) {
            self.hidden = self.names.named(value).map(|name| (end, name.kind));
        }
        match value.len() {
            length if length < MASK.len() => self.replace(start, end, &[b'*'; 8][..length]),
            _ => self.replace(start, end, MASK),
        }
    }

    /// The kind of secret that the text that was just masked had named: no scan finds that name any more.
    pub(super) fn take_hidden(&mut self) -> Option<Kind> {
        let (end, kind) = self.hidden.take()?;
        (end == self.read).then_some(kind)
    }

    /// Masks what follows a parameter's equals sign, which was escaped for URLs so many times: what is escaped more often
    /// than that is in the value.
    pub(super) fn mask_parameter(&mut self, start: usize, times: usize, stops: &[u8]) {
        // A quote that is followed by a value begins it: one that ends a JSON string does not.
        let next = if times > 0 { decoded } else { unescaped };
        let quoted = next(&self.lines[start..]);
        let quoted = quoted.filter(|(quote, value)| *quote == b'"' && begins_plain(value));
        let value = quoted.map(|(_, value)| self.lines.len() - value.len());
        let end = match value {
            Some(value) => self.end_of_text(value, next, |byte, written| {
                (byte < b' ' || byte == b'"') && level(written) <= times
            }),
            None => self.end_of_word(start, next, |byte, written| {
                (byte <= b' ' || stops.contains(&byte)) && level(written) <= times
            }),
        };
        self.mask(value.unwrap_or(start), end);
    }

    /// Masks what follows the colon of a member in JSON that is escaped as in URLs: a string, or else the whole rest.
    /// Returns where the string ends.
    pub(super) fn mask_escaped_member(&mut self, colon: usize) -> Option<usize> {
        let value = behind_blanks(&self.lines[colon..], BLANKS, decoded);
        let start = self.lines.len() - value.len();
        match decoded(value) {
            // As above, another one may end the string that contains all this.
            Some((b'"', text)) if value[0] == b'%' || begins_plain(text) => {
                // A quote that was escaped more often than this one is in the string; but an even number of backslashes
                // escapes no quote.
                let longest = value.len() - text.len();
                let text = self.lines.len() - text.len();
                let end = self.end_of_text(text, in_string, |byte, written| {
                    let ends_event_string = || {
                        let escape = written.strip_suffix(b"\"").map(backslashes);
                        escape.is_some_and(|escape| escape.is_multiple_of(2))
                    };
                    byte < b' ' || byte == b'"' && (written.len() <= longest || ends_event_string())
                });
                self.mask(text, end);
                Some(end)
            }
            _ => {
                let is_end = |byte, _: &[u8]| byte <= b' ' || byte == b'"' || byte == b'&';
                self.mask(start, self.end_of_word(start, unescaped, is_end));
                None
            }
        }
    }

    /// The position of the first byte that, as `next` reads it, is an end. It may depend on how the byte is written.
    pub(super) fn end_of_text(
        &self,
        start: usize,
        next: Next,
        mut is_end: impl FnMut(u8, &[u8]) -> bool,
    ) -> usize {
        let mut end = start;
        loop {
            let plain = self.lines[end..].iter();
            let plain = plain.take_while(|byte| PLAIN[usize::from(**byte)]).count();
            looked_at(plain);
            end += plain;
            match next(&self.lines[end..]) {
                Some((byte, rest)) => {
                    let behind = self.lines.len() - rest.len();
                    if is_end(byte, &self.lines[end..behind]) {
                        return end;
                    }
                    end = behind;
                }
                None => return end,
            }
        }
    }

    /// The same for a value that may end at a blank. If it ends with the name of a header, what follows on the line is
    /// that header's.
    fn end_of_word(
        &self,
        start: usize,
        next: Next,
        is_end: impl FnMut(u8, &[u8]) -> bool,
    ) -> usize {
        let end = self.end_of_text(start, next, is_end);
        let is_name = self.lines[start..end].ends_with(b":");
        match unescaped(&self.lines[end..]) {
            Some((b' ' | b'\t' | b'"', _)) if is_name => {
                self.end_of_text(end, unescaped, ends_line(0))
            }
            _ => end,
        }
    }

    /// Masks the value of a member, which follows its colon. If that is a string, returns where it ends, unless this is
    /// not known.
    pub(super) fn mask_member(&mut self, colon: usize, depth: usize, kind: Kind) -> Option<usize> {
        if colon >= self.line_end {
            let rest = memchr(b'\n', &self.lines[colon..]);
            self.line_end = rest.map_or(self.lines.len(), |rest| colon + rest);
        }
        let text = &self.lines[colon..self.line_end];
        let value = text.trim_ascii_start();
        let start = colon + text.len() - value.len();
        let run = value.iter().take_while(|byte| **byte == b'\\').count();
        looked_at(start - colon + run);
        if run == depth && value.get(run) == Some(&b'"') {
            return self.mask_string(start + run + 1, depth, kind);
        }
        let masked = if depth == 0 {
            self.mask_nested(start, kind)
        } else if let [b'[' | b'{' | b'\\', ..] = value {
            // In JSON within JSON, if the value is more than a string or a number, the whole rest is masked.
            string_end(value, 0, 0).map(|end| self.mask(start, start + end))
        } else {
            let is_end = |byte, _: &[u8]| byte <= b' ' || b"\",]}\\".contains(&byte);
            let end = self.end_of_text(start, unescaped, is_end);
            let by = mask_of(&self.lines[start..end]);
            by.into_iter().for_each(|by| self.replace(start, end, by));
            Some(())
        };
        if masked.is_none() {
            self.drop_event(start);
        }
        None
    }

    /// Masks the text of a string. Returns where it ends, unless it is left to a name of its own, or to one around it.
    fn mask_string(&mut self, text: usize, depth: usize, kind: Kind) -> Option<usize> {
        // In a member that is masked as a whole, nothing of it stays.
        self.mask_nested_before(text + 1);
        if self.read > text || is_signed(&self.lines[text..], kind) {
            return None;
        }
        let Some(end) = string_end(&self.lines[..self.line_end], text, depth) else {
            self.drop_event(text);
            return None;
        };
        if let Some(secret) = secret_in(&self.lines[text..end], kind) {
            self.mask(text + secret, end);
        }
        Some(end)
    }

    /// From now on, masks a value that begins here. `None` if it has no end.
    fn mask_nested(&mut self, start: usize, kind: Kind) -> Option<()> {
        // Otherwise, it is in one that is masked.
        if start >= self.nested_end {
            let value = walk::value(&self.lines[start..self.line_end])?.len();
            looked_at(value);
            self.mask_nested_before(start);
            (self.nested, self.nested_end) = (start, start + value);
            self.nested_kind = kind;
        }
        Some(())
    }

    /// Masks what begins before this byte in [the value that is masked](Self::mask_nested): texts; numbers become 0,
    /// true and false become null.
    pub(super) fn mask_nested_before(&mut self, before: usize) {
        while self.nested < self.nested_end.min(before) {
            // What is before that was masked because of a nearer name, or its event was dropped.
            let at = self.nested.max(self.read);
            self.nested = at + 1;
            let value = match self.lines.get(at..self.nested_end) {
                None | Some([] | [b'{' | b'[', ..]) => None,
                Some(text) => walk::value(text),
            };
            let Some(value) = value else { continue };
            looked_at(value.len());
            let behind = at + value.len();
            self.nested = behind;
            if value[0] != b'"' {
                let by = mask_of(value);
                by.into_iter().for_each(|by| self.replace(at, behind, by));
                continue;
            }
            let rest = self.lines[behind..self.nested_end].trim_ascii_start();
            looked_at(self.nested_end - behind - rest.len());
            let is_name = rest.starts_with(b":");
            let secret = secret_in(&self.lines[at + 1..behind - 1], self.nested_kind);
            if let Some(secret) = secret.filter(|_| !is_name) {
                self.mask(at + 1 + secret, behind - 1);
            }
        }
    }

    /// Removes the line that contains this byte: it is not known what is secret in it.
    fn drop_event(&mut self, at: usize) {
        match memrchr(b'\n', &self.lines[self.read..at]) {
            Some(line) => self.copy_up_to(self.read + line + 1),
            None => {
                let line = memrchr(b'\n', &self.lines[self.start..self.written]);
                self.written = line.map_or(self.start, |line| self.start + line + 1);
            }
        }
        let rest = memchr(b'\n', &self.lines[at..]);
        self.read = rest.map_or(self.lines.len(), |rest| at + rest + 1);
        self.redacted.dropped += 1;
    }
}
