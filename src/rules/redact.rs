//! Masks what a thief could use, in place: an event never grows.
//!
//! Secrets are found by the names before them, as text: `Signature=…` anywhere, and `"Authorization":"…"` also where the
//! JSON is in a string of other JSON. So only what is near a name is looked at. A masked value is `REDACTED`, or as many
//! `*` as it had bytes if it was shorter.

use memchr::memrchr;

use super::mask::{Kind, Pass};
use super::name::{Endings, MAX_NAME, decoded, folded, is_of_name, last_name};
use crate::buffer::chunk::Chunk;
use crate::framer::marks::Marks;

pub use super::mask::Redacted;

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

    /// Checks the name of a member that should be masked.
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
        let mut pass = Pass::new(&mut chunk.bytes, from);
        let mut marks = Marks::from(from);
        while let Some(mark) = self.next(pass.lines, &mut marks, pass.escaped_up_to) {
            pass.mask_nested_before(mark);
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

/// Ceph RGW has headers as CGI has them.
fn without_prefix(name: &[u8]) -> &[u8] {
    name.strip_prefix(b"http-").unwrap_or(name)
}
