//! Masks values in lines, in place.

use std::collections::VecDeque;

use memchr::{memchr, memchr_iter, memrchr};

use super::name::{decoded, is_of_name, unescaped};
use crate::framer::walk;

const MASK: &[u8] = b"REDACTED";

/// For each byte whether it occurs in signatures and tokens, unescaped.
static PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        plain[byte] =
            matches!(byte as u8, b'A'..=b'Z' | b'a'..=b'z' | b'+' | b'-'..=b'9' | b'_' | b'~');
        byte += 1;
    }
    plain
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A member's value.
    Member,
    /// That too, and of a parameter in a URL what is behind the equals sign, up to one of these bytes or a blank.
    Parameter(&'static [u8]),
    /// Of a member's value what proves who it is, but not who: `Signature=` is a parameter's name already.
    Authorization,
}

/// What was done to events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Redacted {
    /// Values that were masked.
    pub values: usize,
    /// Events that were dropped because the end of a secret was not found.
    pub dropped: usize,
}

/// How many of them the text ends with: before a quote, how deep that is in JSON within JSON.
fn backslashes(text: &[u8]) -> usize {
    text.iter().rev().take_while(|byte| **byte == b'\\').count()
}

/// Where a string ends, with `depth` backslashes before its quotes. Where the string ends that it is in, it ends too, also
/// if it is cut off behind a backslash: an even number of them escapes no quote.
fn string_end(line: &[u8], from: usize, depth: usize) -> Option<usize> {
    let mut quotes = memchr_iter(b'"', line.get(from..)?).map(|at| from + at);
    quotes.find_map(|quote| {
        let escape = backslashes(&line[from..quote]) % (2 * depth + 2);
        (escape <= depth || escape.is_multiple_of(2)).then(|| quote - escape)
    })
}

/// Lines as they are masked: what is before `read` was looked at, and is written up to `written`.
pub(super) struct Pass<'a> {
    pub(super) lines: &'a mut Vec<u8>,
    start: usize,
    pub(super) read: usize,
    written: usize,
    /// No parameter's name begins before.
    pub(super) names_from: usize,
    /// Bytes of names were escaped; names that end before this may have more such.
    pub(super) escaped_up_to: usize,
    /// Where values begin and end that are masked when what is before them was looked at, or what takes their place.
    nested: VecDeque<(usize, usize, Option<&'static [u8]>)>,
    /// All such values before this are in there.
    nested_up_to: usize,
    redacted: Redacted,
}

impl<'a> Pass<'a> {
    /// Over the lines from this byte on.
    pub(super) fn new(lines: &'a mut Vec<u8>, from: usize) -> Self {
        Pass {
            lines,
            start: from,
            read: from,
            written: from,
            names_from: from,
            escaped_up_to: from,
            nested: VecDeque::new(),
            nested_up_to: from,
            redacted: Redacted::default(),
        }
    }

    pub(super) fn finish(mut self) -> Redacted {
        self.mask_nested_before(usize::MAX);
        self.copy_up_to(self.lines.len());
        self.lines.truncate(self.written);
        self.redacted
    }

    fn copy_up_to(&mut self, end: usize) {
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

    fn mask(&mut self, start: usize, end: usize) {
        let stars = |byte: &u8| *byte == b'*';
        let value = &self.lines[start..end];
        let first = value.iter().take_while(|byte| stars(byte)).count();
        let last = value[first..].iter().rev().take_while(|byte| stars(byte));
        let inner = &value[first..value.len() - last.count()];
        // It is empty, or masked already.
        if inner.is_empty() || inner.eq_ignore_ascii_case(MASK) {
            return;
        }
        match value.len() {
            length if length < MASK.len() => self.replace(start, end, &[b'*'; 8][..length]),
            _ => self.replace(start, end, MASK),
        }
    }

    /// What is behind a parameter's equals sign, which was escaped for URLs once more if `is_decoded`.
    pub(super) fn mask_parameter(&mut self, start: usize, is_decoded: bool, stops: &[u8]) {
        let next = if is_decoded { decoded } else { unescaped };
        let text = &self.lines[..];
        let mut end = start;
        loop {
            let plain = text[end..].iter();
            end += plain.take_while(|byte| PLAIN[usize::from(**byte)]).count();
            match next(&text[end..]) {
                Some((byte, rest)) if byte > b' ' && !stops.contains(&byte) => {
                    end = text.len() - rest.len();
                }
                _ => break,
            }
        }
        self.mask(start, end);
    }

    /// The value of a member, behind its colon.
    pub(super) fn mask_member(&mut self, colon: usize, depth: usize, kind: Kind) {
        let text = &self.lines[colon..];
        let text = &text[..memchr(b'\n', text).unwrap_or(text.len())];
        let value = text.trim_ascii_start();
        let start = colon + text.len() - value.len();
        let run = value.iter().take_while(|byte| **byte == b'\\').count();
        let is_string = run == depth && value.get(run) == Some(&b'"');
        let masked = if is_string {
            let end = string_end(value, run + 1, depth);
            end.map(|end| {
                if let Some(secret) = self.secret_of(start + run + 1, start + end, kind) {
                    self.mask(secret, start + end);
                }
            })
        } else if depth == 0 {
            let length = walk::value(value).map(<[u8]>::len);
            length.map(|length| self.find_nested(start, start + length, kind))
        } else if let [b'[' | b'{' | b'\\', ..] = value {
            // Of JSON within JSON that is more than a string, all that is left is masked.
            string_end(value, 0, 0).map(|end| self.mask(start, start + end))
        } else {
            Some(())
        };
        if masked.is_none() {
            self.drop_event(start);
        }
    }

    /// Where in a text that is to be masked the secret begins. None if that is found by a name of its own.
    fn secret_of(&self, start: usize, end: usize, kind: Kind) -> Option<usize> {
        let value = &self.lines[start..end];
        let begins = |scheme: &[u8]| {
            let beginning = value.get(..scheme.len());
            beginning.is_some_and(|beginning| beginning.eq_ignore_ascii_case(scheme))
        };
        let kept = match kind {
            Kind::Authorization if begins(b"AWS4-") => return None,
            // The part before the colon says who it is.
            Kind::Authorization if begins(b"AWS ") => memchr(b':', value),
            Kind::Authorization => memchr(b' ', value),
            _ => None,
        };
        // What is kept is skipped too: it must be a word or two, without a secret of its own.
        let is_word = |at: &usize| {
            value[..*at]
                .iter()
                .all(|byte| is_of_name(*byte) || *byte == b' ')
        };
        Some(start + kept.filter(is_word).map_or(0, |at| at + 1))
    }

    /// Finds the texts in an object or array, which are masked; numbers become 0, and what is true or false null. Not at
    /// once: between them may be names with secrets.
    fn find_nested(&mut self, start: usize, end: usize, kind: Kind) {
        let mut at = start.max(self.nested_up_to);
        while at < end {
            let value = match self.lines[at] {
                b'{' | b'[' => None,
                _ => walk::value(&self.lines[at..end]),
            };
            let Some(value) = value else {
                at += 1;
                continue;
            };
            let behind = at + value.len();
            match value {
                [b'"', ..] => {
                    let rest = self.lines[behind..end].trim_ascii_start();
                    let is_name = rest.starts_with(b":");
                    let secret = self.secret_of(at + 1, behind - 1, kind);
                    let secret = secret.filter(|_| !is_name);
                    let found = secret.map(|secret| (secret, behind - 1, None));
                    self.nested.extend(found);
                }
                b"null" | b"0" => {}
                b"true" | b"false" => self.nested.push_back((at, behind, Some(b"null"))),
                _ => self.nested.push_back((at, behind, Some(b"0"))),
            }
            at = behind;
        }
        self.nested_up_to = self.nested_up_to.max(end);
    }

    /// Masks what [was found](Self::find_nested) before this byte.
    pub(super) fn mask_nested_before(&mut self, before: usize) {
        while let Some(&(start, end, by)) = self.nested.front()
            && start < before
        {
            self.nested.pop_front();
            match by {
                // It was masked because of a name that is nearer, or its event was dropped.
                _ if start < self.read => {}
                Some(by) => self.replace(start, end, by),
                None => self.mask(start, end),
            }
        }
    }

    /// Leaves out the line of this byte: what is secret in it is not known.
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
