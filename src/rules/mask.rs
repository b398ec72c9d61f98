//! Masks values in lines, in place.

use std::collections::VecDeque;

use memchr::{memchr, memchr_iter, memmem, memrchr};

use super::name::{decoded, is_of_name, unescaped};
use crate::framer::walk;

const MASK: &[u8] = b"REDACTED";

/// A header's signature is no farther than this from its beginning.
const MAX_SCHEME: usize = 8 << 10;

/// The name before the signature in a header, with its first letter in either case.
const SIGNATURE: &[u8] = b"ignature=";
/// The names up to there, in a header that is well-formed.
const KEPT: [&[u8]; 6] = [
    b"Credential",
    b"SignedHeaders",
    b" Signature",
    b",Signature",
    b" signature",
    b",signature",
];

/// For each byte, whether it occurs unescaped in signatures and tokens.
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
    /// The same; and for a parameter in a URL, what follows the equals sign, up to one of these bytes or a blank.
    Parameter(&'static [u8]),
    /// The part of a member's value that proves an identity, not the identity: `Signature=` names a parameter already.
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

/// How many backslashes the text ends with: before a quote, this shows its depth in JSON within JSON.
fn backslashes(text: &[u8]) -> usize {
    text.iter().rev().take_while(|byte| **byte == b'\\').count()
}

/// Where a string ends, if `depth` backslashes precede its quotes. It also ends where the string around it ends, even
/// if it is cut off after a backslash: an even number of backslashes escapes no quote.
fn string_end(line: &[u8], from: usize, depth: usize) -> Option<usize> {
    let mut quotes = memchr_iter(b'"', line.get(from..)?).map(|at| from + at);
    quotes.find_map(|quote| {
        let escape = backslashes(&line[from..quote]) % (2 * depth + 2);
        (escape <= depth || escape.is_multiple_of(2)).then(|| quote - escape)
    })
}

/// Lines while they are masked: what is before `read` was looked at, and the result is written up to `written`.
pub(super) struct Pass<'a> {
    pub(super) lines: &'a mut Vec<u8>,
    start: usize,
    pub(super) read: usize,
    written: usize,
    /// No parameter's name begins before this.
    pub(super) names_from: usize,
    /// Names had escaped bytes; a name that ends before this may have more of them.
    pub(super) escaped_up_to: usize,
    /// Where the line that was looked at last ends.
    line_end: usize,
    /// Where values begin and end that are masked once all before them was looked at, and what replaces them, if given.
    nested: VecDeque<(usize, usize, Option<&'static [u8]>)>,
    /// All such values before this position are in `nested`.
    nested_up_to: usize,
    redacted: Redacted,
}

impl<'a> Pass<'a> {
    /// Starts a pass over the lines from this byte on.
    pub(super) fn new(lines: &'a mut Vec<u8>, from: usize) -> Self {
        Pass {
            lines,
            start: from,
            read: from,
            written: from,
            names_from: from,
            escaped_up_to: from,
            line_end: from,
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
        // It is empty or masked already.
        if inner.is_empty() || inner.eq_ignore_ascii_case(MASK) {
            return;
        }
        match value.len() {
            length if length < MASK.len() => self.replace(start, end, &[b'*'; 8][..length]),
            _ => self.replace(start, end, MASK),
        }
    }

    /// Masks what follows a parameter's equals sign, which was escaped for URLs once more if `is_decoded`.
    pub(super) fn mask_parameter(&mut self, start: usize, is_decoded: bool, stops: &[u8]) {
        // A quote that is followed by a value begins it: one that ends a JSON string does not.
        let quoted = unescaped(&self.lines[start..]).filter(|(quote, value)| {
            *quote == b'"' && value.first().is_some_and(|byte| PLAIN[usize::from(*byte)])
        });
        let value = quoted.map(|(_, value)| self.lines.len() - value.len());
        let end = match value {
            Some(value) => self.end_of_text(value, false, |byte, _| byte < b' ' || byte == b'"'),
            None => self.end_of_text(start, is_decoded, |byte, _| {
                byte <= b' ' || stops.contains(&byte)
            }),
        };
        self.mask(value.unwrap_or(start), end);
    }

    /// Masks what follows a header's colon, up to the end of its line, or of the string that contains it: a quote in a
    /// cookie does not end it.
    pub(super) fn mask_header(&mut self, colon: usize, kind: Kind) {
        let blanks = self.lines[colon + 1..].iter();
        let start = colon + 1 + blanks.take_while(|byte| **byte == b' ').count();
        // The end of a line that is left as it is may be far away, and there may be many headers in the line.
        let near = (start + MAX_SCHEME).min(self.lines.len());
        if self.secret_of(start, near, kind).is_none() {
            return;
        }
        let end = self.end_of_text(start, false, |byte, behind| {
            let next = behind.trim_ascii_start().first();
            byte < b' ' || byte == b'"' && next.is_none_or(|next| b",:]}".contains(next))
        });
        if let Some(secret) = self.secret_of(start, end, kind) {
            self.mask(secret, end);
        }
    }

    /// The position of the first byte that, decoded, is an end.
    fn end_of_text(
        &self,
        start: usize,
        is_decoded: bool,
        is_end: impl Fn(u8, &[u8]) -> bool,
    ) -> usize {
        let next = if is_decoded { decoded } else { unescaped };
        let mut end = start;
        loop {
            let plain = self.lines[end..].iter();
            end += plain.take_while(|byte| PLAIN[usize::from(**byte)]).count();
            match next(&self.lines[end..]) {
                Some((byte, rest)) if !is_end(byte, rest) => end = self.lines.len() - rest.len(),
                _ => return end,
            }
        }
    }

    /// Masks the value of a member, which follows its colon.
    pub(super) fn mask_member(&mut self, colon: usize, depth: usize, kind: Kind) {
        if colon >= self.line_end {
            let rest = memchr(b'\n', &self.lines[colon..]);
            self.line_end = rest.map_or(self.lines.len(), |rest| colon + rest);
        }
        let text = &self.lines[colon..self.line_end];
        let value = text.trim_ascii_start();
        let start = colon + text.len() - value.len();
        let run = value.iter().take_while(|byte| **byte == b'\\').count();
        let is_string = run == depth && value.get(run) == Some(&b'"');
        let masked = if is_string {
            let end = string_end(value, run + 1, depth);
            let text = start + run + 1;
            // In a member that is masked as a whole, nothing of it stays.
            self.mask_nested_before(text + 1);
            end.map(|end| {
                if self.read <= text
                    && let Some(secret) = self.secret_of(text, start + end, kind)
                {
                    self.mask(secret, start + end);
                }
            })
        } else if depth == 0 {
            let length = walk::value(value).map(<[u8]>::len);
            length.map(|length| self.find_nested(start, start + length, kind))
        } else if let [b'[' | b'{' | b'\\', ..] = value {
            // In JSON within JSON, if the value is more than a string, the whole rest is masked.
            string_end(value, 0, 0).map(|end| self.mask(start, start + end))
        } else {
            Some(())
        };
        if masked.is_none() {
            self.drop_event(start);
        }
    }

    /// Where the secret begins in a text that should be masked. `None` if a name of its own leads to it.
    fn secret_of(&self, start: usize, end: usize, kind: Kind) -> Option<usize> {
        let value = &self.lines[start..end];
        let begins = |scheme: &[u8]| {
            let beginning = value.get(..scheme.len());
            beginning.is_some_and(|beginning| beginning.eq_ignore_ascii_case(scheme))
        };
        let is_any = |schemes: &[&[u8]]| schemes.iter().any(|scheme| begins(scheme));
        let is_signed = is_any(&[b"AWS4-", b"GOOG4-"]);
        let signature = memmem::find(value, SIGNATURE).map(|at| at + SIGNATURE.len());
        // The secret of another name before it could reach beyond it, and take its name away.
        let is_alone = |at: &usize| {
            let before = &value[..*at];
            let is_known = |end: usize| KEPT.iter().any(|name| before[..end].ends_with(name));
            let is_plain = |byte: &u8| !b":\"%".contains(byte);
            memchr_iter(b'=', before).all(is_known)
                && before.iter().all(is_plain)
                && memmem::find(before, b"\\u").is_none()
        };
        let signature = signature.filter(is_alone);
        let kept = match kind {
            Kind::Authorization
                if is_signed
                    && signature
                        .and_then(|at| value.get(at))
                        .is_some_and(|byte| *byte > b' ') =>
            {
                return None;
            }
            // The part before the colon says who it is.
            Kind::Authorization if begins(b"AWS ") => memchr(b':', value),
            Kind::Authorization if is_signed || is_any(&[b"Basic ", b"Bearer "]) => {
                memchr(b' ', value)
            }
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

    /// Finds the values in an object or array: texts will be masked, numbers become 0, true and false become null. This
    /// is not done at once: between them may be names with secrets.
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
                // It was masked because of a nearer name, or its event was dropped.
                _ if start < self.read => {}
                Some(by) => self.replace(start, end, by),
                None => self.mask(start, end),
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
