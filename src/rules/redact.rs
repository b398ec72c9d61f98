//! Masks what a thief could use, in place: an event never grows.
//!
//! Secrets are found by the names before them, as text: `Signature=…` anywhere, and `"Authorization":"…"` also where the
//! JSON is in a string of other JSON. So only what is near a name is looked at. A masked value is `REDACTED`, or as many
//! `*` as it had bytes if it was shorter.

use memchr::{memchr, memchr_iter, memrchr};

use super::name::{Endings, MAX_NAME, decoded, folded, is_of_name, last_name, unescaped};
use crate::buffer::chunk::Chunk;
use crate::framer::marks::Marks;
use crate::framer::walk;

const MASK: &[u8] = b"REDACTED";

/// Of each byte whether it is in signatures and tokens, and stands for itself.
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

/// A name is not longer than this, however its bytes are escaped.
const MAX_ESCAPED: usize = MAX_NAME * 16;

/// Which values are masked.
#[derive(Debug, Clone)]
pub struct Redactor {
    names: Vec<Name>,
    endings: Endings,
}

#[derive(Debug, Clone)]
struct Name {
    /// In lower case, with `-` for `_`, without `HTTP_`.
    text: Vec<u8>,
    /// Its last eight bytes as a number, and which bits of that count.
    last: u64,
    mask: u64,
    kind: Kind,
}

/// Makes letters lower, and of `_` what can be made of `-` too.
const FOLDED: u64 = u64::from_be_bytes([0x72; 8]);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A member's value.
    Member,
    /// That too, and of a parameter in a URL what is behind the equals sign, up to one of these bytes or a blank.
    Parameter(&'static [u8]),
    /// Of a member's value what proves who it is, but not who: `Signature=` is a parameter's name already.
    Authorization,
}

/// What ends a value: what can't be in a signature or a token; or only what can't be in any parameter.
const TOKEN: Kind = Kind::Parameter(b"\"&?,;|}<>");
const ANY: Kind = Kind::Parameter(b"\"&");

/// What `--redact s3` masks.
const S3: [(&str, Kind); 14] = [
    ("authorization", Kind::Authorization),
    ("signature", TOKEN),
    ("sig", TOKEN),
    ("x-amz-signature", TOKEN),
    ("x-goog-signature", TOKEN),
    ("x-amz-security-token", TOKEN),
    ("webidentitytoken", TOKEN),
    ("samlassertion", TOKEN),
    ("ldappassword", ANY),
    ("token", ANY),
    ("cookie", Kind::Member),
    ("set-cookie", Kind::Member),
    // Some clients sign these headers as parameters.
    ("x-amz-server-side-encryption-customer-key", TOKEN),
    (
        "x-amz-copy-source-server-side-encryption-customer-key",
        TOKEN,
    ),
];

/// What was done to events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Redacted {
    /// Values that were masked.
    pub values: usize,
    /// Events that were dropped because the end of a secret was not found.
    pub dropped: usize,
}

impl Redactor {
    /// Masks the values of members with one of these names, and of all that is secret in S3 events if `s3` is set. None
    /// if there is nothing to be masked.
    pub fn new<'a>(s3: bool, fields: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let fields = fields.into_iter().map(|field| (field, Kind::Member));
        let s3 = S3.into_iter().filter(|_| s3);
        let names = fields.chain(s3).map(|(name, kind)| {
            let text: Vec<_> = name.bytes().map(folded).collect();
            let text = without_prefix(&text).to_vec();
            let last = text.iter().rev().take(8).rev();
            let last = last.fold(0, |last, byte| last << 8 | u64::from(*byte));
            let unused = 64 - 8 * text.len().min(8) as u32;
            Name {
                text,
                last: last | FOLDED,
                mask: u64::MAX.checked_shr(unused).unwrap_or(0),
                kind,
            }
        });
        let names: Vec<_> = names.collect();
        let endings = Endings::of(names.iter().map(|name| &*name.text));
        (!names.is_empty()).then_some(Redactor { names, endings })
    }

    /// Checks what somebody wants to be masked: the name of a member.
    ///
    /// # Errors
    /// It can't be such a name.
    pub fn check(field: &str) -> Result<(), &'static str> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if field.is_empty() || field.len() > MAX_NAME || !field.bytes().all(is_name) {
            return Err("fix: give the name of a member: at most 64 letters, digits, - and _");
        }
        Ok(())
    }

    /// Masks all that is secret in the lines from this byte on.
    pub fn redact(&self, chunk: &mut Chunk, from: usize) -> Redacted {
        let mut pass = Pass {
            lines: &mut chunk.bytes,
            start: from,
            read: from,
            written: from,
            names_from: from,
            escaped_up_to: from,
            redacted: Redacted::default(),
        };
        let mut marks = Marks::from(from);
        while let Some(mark) = self.next(pass.lines, &mut marks, pass.escaped_up_to) {
            if mark >= pass.read {
                self.look_at(&mut pass, mark);
            }
        }
        let redacted = pass.finish();
        chunk.events = chunk.events.saturating_sub(redacted.dropped);
        redacted
    }

    /// The next mark that a secret's name may end at. All in one branch, since none of several could be foreseen.
    fn next(&self, text: &[u8], marks: &mut Marks, escaped_up_to: usize) -> Option<usize> {
        // A copy, since what is borrowed could not stay in registers.
        let mut ahead = *marks;
        let found = loop {
            let Some(mark) = ahead.next(text) else {
                break None;
            };
            let last = mark
                .checked_sub(7)
                .and_then(|start| text[start..].first_chunk());
            let Some(last) = last.map(|last| u64::from_le_bytes(*last)) else {
                break Some(mark);
            };
            let (byte, before) = ((last >> 56) as u8, (last >> 48) as u8);
            let name = last >> if before == b'"' { 16 } else { 24 };
            let is_escape = byte ^ b':' >= 8 && may_escape(&text[mark + 1..]);
            let is_blank = before <= b' ';
            if self.endings.may_be(name as u32) | is_escape | is_blank | (mark < escaped_up_to) {
                break Some(mark);
            }
        };
        *marks = ahead;
        found
    }

    /// Whether a text without escapes may end with a name, by its last eight bytes.
    fn may_be_named(&self, text: &[u8]) -> bool {
        let last = match text.last_chunk() {
            Some(last) => u64::from_be_bytes(*last) | FOLDED,
            None => return true,
        };
        let mut names = self.names.iter();
        names.any(|name| (last ^ name.last) & name.mask == 0)
    }

    fn named(&self, text: &[u8]) -> Option<Kind> {
        let mut room = [0; MAX_NAME];
        let text = without_prefix(last_name(text, &mut room));
        let name = self.names.iter().find(|name| name.text == text)?;
        Some(name.kind)
    }

    /// Masks the value behind this mark, if it is what separates a secret's name from it.
    fn look_at(&self, pass: &mut Pass<'_>, mark: usize) {
        let text = &pass.lines[..];
        // Where the name ends, and a member's colon.
        let (end, colon) = match text[mark] {
            b'=' => (mark, None),
            b':' => match text[..mark].trim_ascii_end().strip_suffix(b"\"") {
                Some(name) => (name.len(), Some(mark)),
                None => return,
            },
            // Each run of backslashes is looked at once.
            b'\\' if text[..mark].ends_with(b"\\") => return,
            _ => match decoded(&text[mark..]) {
                Some((b'=', _)) => (mark, None),
                // The end of a name in JSON within JSON.
                Some((b'"', rest)) if rest.trim_ascii_start().starts_with(b":") => {
                    (mark, Some(text.len() - rest.trim_ascii_start().len()))
                }
                Some((byte, _)) if is_of_name(byte) => {
                    pass.escaped_up_to = mark + MAX_ESCAPED;
                    return;
                }
                _ => return,
            },
        };
        if mark >= pass.escaped_up_to && !self.may_be_named(&text[..end]) {
            return;
        }
        match colon {
            Some(colon) => {
                let name = text.get(pass.read..end).unwrap_or_default();
                let name = &name[memrchr(b'"', name).unwrap_or(0)..];
                if let Some(kind) = self.named(name) {
                    let depth = text[end..colon].iter().take_while(|byte| **byte == b'\\');
                    let depth = depth.count();
                    // An even number is a name that ends with a backslash: no secret's.
                    if depth == 0 || depth % 2 == 1 || text[end + depth] != b'"' {
                        pass.mask_member(colon + 1, depth, kind);
                    }
                }
            }
            None => self.look_at_parameter(pass, mark, end),
        }
    }

    fn look_at_parameter(&self, pass: &mut Pass<'_>, mark: usize, end: usize) {
        let from = pass.names_from.max(pass.read).min(end);
        let may_be_of_name = |byte: &&u8| is_of_name(**byte) || b".~%\\".contains(byte);
        let name = pass.lines[from..end].iter().rev();
        let start = end - name.take_while(may_be_of_name).count();
        if let Some((_, value)) = decoded(&pass.lines[mark..]) {
            let value = pass.lines.len() - value.len();
            if let Some(Kind::Parameter(stops)) = self.named(&pass.lines[start..end]) {
                pass.mask_parameter(value, pass.lines[mark] != b'=', stops);
            }
            pass.names_from = value;
        }
    }
}

/// Whether a percent sign or a backslash before this may escape a byte of a name, what ends one, or a quote that does.
#[inline(always)]
fn may_escape(behind: &[u8]) -> bool {
    match behind {
        [b'4'..=b'7' | b'u' | b'\\', ..] => true,
        [b'2' | b'3', digit, ..] => b"5Dd".contains(digit),
        [b'"', byte, ..] => *byte <= b' ' || *byte == b':',
        _ => false,
    }
}

/// How many of them the text ends with: before a quote, how deep that is in JSON within JSON.
fn backslashes(text: &[u8]) -> usize {
    text.iter().rev().take_while(|byte| **byte == b'\\').count()
}

/// Ceph RGW has headers as CGI has them.
fn without_prefix(name: &[u8]) -> &[u8] {
    name.strip_prefix(b"http-").unwrap_or(name)
}

/// Where a string ends, with `depth` backslashes before its quotes. Where the string ends that it is in, it ends too, also
/// if it is cut off behind a backslash: an even number of them escapes no quote.
fn string_end(line: &[u8], from: usize, depth: usize) -> Option<usize> {
    let mut quotes = memchr_iter(b'"', line.get(from..)?).map(|at| from + at);
    quotes.find_map(|quote| {
        let escape = backslashes(&line[from..quote]) % (2 * depth + 2);
        (escape <= depth || escape % 2 == 0).then(|| quote - escape)
    })
}

/// Lines as they are masked: what is before `read` was looked at, and is written up to `written`.
struct Pass<'a> {
    lines: &'a mut Vec<u8>,
    start: usize,
    read: usize,
    written: usize,
    /// No parameter's name begins before.
    names_from: usize,
    /// Bytes of names were escaped; names that end before this may have more such.
    escaped_up_to: usize,
    redacted: Redacted,
}

impl Pass<'_> {
    fn finish(mut self) -> Redacted {
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
        // It is empty, or somebody else has masked it.
        if inner.is_empty() || inner.eq_ignore_ascii_case(MASK) {
            return;
        }
        match value.len() {
            length if length < MASK.len() => self.replace(start, end, &[b'*'; 8][..length]),
            _ => self.replace(start, end, MASK),
        }
    }

    /// What is behind a parameter's equals sign, which was escaped for URLs once more if `is_decoded`.
    fn mask_parameter(&mut self, start: usize, is_decoded: bool, stops: &[u8]) {
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
    fn mask_member(&mut self, colon: usize, depth: usize, kind: Kind) {
        let text = &self.lines[colon..];
        let text = &text[..memchr(b'\n', text).unwrap_or(text.len())];
        let value = text.trim_ascii_start();
        let start = colon + text.len() - value.len();
        let run = value.iter().take_while(|byte| **byte == b'\\').count();
        let is_string = run == depth && value.get(run) == Some(&b'"');
        let masked = if is_string {
            let end = string_end(value, run + 1, depth);
            end.map(|end| self.mask_text(start + run + 1, start + end, kind))
        } else if depth == 0 {
            let length = walk::value(value).map(<[u8]>::len);
            length.map(|length| self.mask_nested(start, start + length, kind))
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

    fn mask_text(&mut self, start: usize, end: usize, kind: Kind) {
        let value = &self.lines[start..end];
        let begins = |scheme: &[u8]| {
            let beginning = value.get(..scheme.len());
            beginning.is_some_and(|beginning| beginning.eq_ignore_ascii_case(scheme))
        };
        let kept = match kind {
            Kind::Authorization if begins(b"AWS4-") => return,
            // Who it is stands before the colon.
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
        self.mask(start + kept.filter(is_word).map_or(0, |at| at + 1), end);
    }

    /// The texts in an object or array; numbers become 0, and what is true or false null.
    fn mask_nested(&mut self, start: usize, end: usize, kind: Kind) {
        let mut at = start;
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
                    if !rest.starts_with(b":") {
                        self.mask_text(at + 1, behind - 1, kind);
                    }
                }
                b"null" | b"0" => {}
                b"true" | b"false" => self.replace(at, behind, b"null"),
                _ => self.replace(at, behind, b"0"),
            }
            at = behind;
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
