//! Masks what a thief could use, in place: no event grows.
//!
//! Secrets are found by the names before them, as text: `Signature=…` anywhere, and `"Authorization":"…"` even if the
//! JSON is in a string of other JSON. So only what is near a name is examined. A masked value becomes `REDACTED`, or,
//! if it was shorter, as many `*` as it had bytes.

use memchr::memrchr;

use super::endings::{BEHIND, ESCAPES, Endings};
use super::mask::Pass;
use super::name::{BLANKS, MAX_NAME, behind_blanks, decoded, is_of_name, level, unescaped};
use super::secrets::{Kind, Name, Names};
use super::work::looked_at;
use crate::buffer::chunk::Chunk;

pub use super::mask::Redacted;

/// Which values are masked.
#[derive(Debug, Clone)]
pub struct Redactor {
    names: Names,
    endings: Endings,
}

/// Between a header's name and its value in a list, there may be so many other members.
const MAX_BETWEEN: usize = 2;

impl Redactor {
    /// Masks the values of members with one of these names, and, if `s3` is set, all that is secret in S3 events.
    /// `None` if there is nothing to mask.
    pub fn new<'a>(s3: bool, fields: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let names = Names::new(s3, fields);
        let endings = Endings::of(names.texts());
        (!names.is_empty()).then_some(Redactor { names, endings })
    }

    /// Checks the name of a member that should be masked.
    ///
    /// # Errors
    /// It can't be such a name.
    pub fn check(field: &str) -> Result<(), &'static str> {
        if field.is_empty() || field.len() > MAX_NAME || !field.bytes().all(is_of_name) {
            return Err(
                "is no name; fix: give the name of a member: at most 64 letters, digits, - and _",
            );
        }
        Ok(())
    }

    /// Masks all that is secret in the lines from this byte on.
    pub fn redact(&self, chunk: &mut Chunk, from: usize) -> Redacted {
        let mut pass = Pass::new(&self.names, &mut chunk.bytes, from);
        let mut next = from;
        while let Some(window) = self.endings.next(pass.lines, next) {
            looked_at(1);
            self.look_at(&mut pass, window);
            while let Some(kind) = pass.take_hidden() {
                let end = pass.read;
                self.mask_named(&mut pass, end, kind);
            }
            next = pass.read.max(window + 1);
        }
        let redacted = pass.finish();
        chunk.events = chunk.events.saturating_sub(redacted.dropped);
        redacted
    }

    /// Looks for the end of a name in this [window](Endings), or after the escape that begins there.
    fn look_at(&self, pass: &mut Pass<'_>, window: usize) {
        let text = &pass.lines[..];
        let first = text[window];
        // Each run of backslashes is examined only once.
        let is_run = first == b'\\' && text[..window].ends_with(b"\\");
        if ESCAPES.contains(&first) && window >= pass.escaped_up_to && !is_run {
            let mut rest = &text[window..];
            while let Some((byte, behind)) = decoded(rest)
                && is_of_name(byte)
            {
                rest = behind;
            }
            let end = text.len() - rest.len();
            if end > window {
                pass.escaped_up_to = end;
                self.look_at_end(pass, end, true);
            }
        } else if BEHIND.contains(&text[window + 2]) {
            self.look_at_end(pass, window + 2, false);
        }
    }

    /// Whether the whole value of a member of this name is masked.
    pub(super) fn masks(&self, name: &str) -> bool {
        let name = self.names.named(name.as_bytes());
        name.is_some_and(|name| name.kind != Kind::Authorization)
    }

    /// Masks the value after this end of a name, if the name is that of a secret.
    fn look_at_end(&self, pass: &mut Pass<'_>, end: usize, has_escapes: bool) {
        if !has_escapes && !self.names.may_end(&pass.lines[..end]) {
            return;
        }
        pass.mask_nested_before(end);
        if end < pass.read {
            return;
        }
        let text = &pass.lines[..];
        let Some((byte, rest)) = decoded(&text[end..]) else {
            return;
        };
        match byte {
            b'=' => self.look_at_parameter(pass, end, text.len() - rest.len()),
            b':' => {
                let value = text.len() - rest.len();
                let name = self.named_before(pass, end);
                pass.names_from = value;
                if let Some(name) = name.filter(|name| name.is_header()) {
                    pass.mask_header(value, name.kind);
                }
            }
            // A member's name, possibly in JSON within JSON.
            b'"' => {
                let name = &text[pass.names_from.max(pass.read).min(end)..end];
                looked_at(name.len());
                let name = &name[memrchr(b'"', name).unwrap_or(0)..];
                pass.names_from = pass.names_from.max(end);
                if let Some(name) = self.names.named(name) {
                    self.mask_named(pass, end, name.kind);
                }
            }
            _ => {}
        }
    }

    /// Masks the value that a name before this quote leads to; in a list, also those of secrets between the two.
    fn mask_named(&self, pass: &mut Pass<'_>, mut end: usize, kind: Kind) {
        for _ in 0..=MAX_BETWEEN {
            let text = &pass.lines[end..];
            let Some((b'"', behind)) = decoded(text) else {
                return;
            };
            let is_in_url = text[0] == b'%';
            let Some((value, own)) = self.value_of_name(behind, is_in_url) else {
                return;
            };
            let start = pass.lines.len() - value.len();
            let depth = text.iter().take_while(|byte| **byte == b'\\').count();
            // An even number means that the name ends with a backslash: no secret's name does.
            if depth > 0 && depth % 2 == 0 && text[depth] == b'"' {
                return;
            }
            let string_end = match own {
                _ if is_in_url => pass.mask_escaped_member(start),
                Some(own) => pass.mask_member(start, depth, own.kind),
                None => pass.mask_member(start, depth, kind),
            };
            match string_end {
                Some(string_end) if own.is_some() => end = string_end,
                _ => return,
            }
        }
    }

    /// What follows the colon of the member whose name's closing quote is right before this; or of another member, if
    /// that has the value for what the first one names: `"name":"Cookie","type":"header","value":…`; or, if a secret's
    /// member is between the two, of that one, and its name.
    fn value_of_name<'a>(
        &self,
        behind: &'a [u8],
        is_in_url: bool,
    ) -> Option<(&'a [u8], Option<&Name>)> {
        let next = if is_in_url { decoded } else { unescaped };
        // In JSON within JSON, line breaks are escaped.
        let mut rest = behind_blanks(behind, BLANKS, next);
        let mut own = None;
        for _ in 0..=MAX_BETWEEN {
            let Some((b',', other)) = next(rest) else {
                break;
            };
            let (name, behind) = plain_string(behind_blanks(other, BLANKS, next))?;
            rest = behind_blanks(behind, BLANKS, next);
            own = self.names.named(name);
            let mut value_names = [&b"value"[..], b"values"].into_iter();
            if own.is_some() || value_names.any(|value| name.eq_ignore_ascii_case(value)) {
                break;
            }
            let (_, value) = next(rest).filter(|(colon, _)| *colon == b':')?;
            let (_, value) = plain_string(behind_blanks(value, BLANKS, next))?;
            rest = behind_blanks(value, BLANKS, next);
        }
        let (_, value) = next(rest).filter(|(colon, _)| *colon == b':')?;
        Some((value, own))
    }

    fn look_at_parameter(&self, pass: &mut Pass<'_>, end: usize, value: usize) {
        let name = self.named_before(pass, end);
        if let Some(Kind::Parameter(stops)) = name.map(|name| name.kind) {
            pass.mask_parameter(value, level(&pass.lines[end..]), stops);
        }
        pass.names_from = value;
    }

    /// The name that ends there in a text.
    fn named_before(&self, pass: &Pass<'_>, end: usize) -> Option<&Name> {
        let from = pass.names_from.max(pass.read).min(end);
        let may_be_of_name = |byte: &&u8| is_of_name(**byte) || b".~%\\".contains(byte);
        let name = pass.lines[from..end].iter().rev();
        let start = end - name.take_while(may_be_of_name).count();
        looked_at(end - start);
        self.names.named(&pass.lines[start..end])
    }
}

/// The text in the quotes that begin here, if it can't contain a secret's name and its value, and what follows them.
fn plain_string(quoted: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, text) = decoded(quoted).filter(|(quote, _)| *quote == b'"')?;
    let quote = &quoted[..quoted.len() - text.len()];
    let is_plain = |byte: &&u8| is_of_name(**byte) || b" ./".contains(byte);
    let (text, behind) = text.split_at(text.iter().take_while(is_plain).count());
    looked_at(text.len());
    Some((text, behind.strip_prefix(quote)?))
}
