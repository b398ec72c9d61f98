//! Masks what a thief could use, in place: no event grows.
//!
//! Secrets are found by the names before them, as text: `Signature=…` anywhere, and `"Authorization":"…"` even if the
//! JSON is in a string of other JSON. So only what is near a name is examined. A masked value becomes `REDACTED`, or,
//! if it was shorter, as many `*` as it had bytes.

use memchr::memrchr;

use super::endings::{BEHIND, ESCAPES, Endings};
use super::mask::{Kind, Pass};
use super::name::{
    BLANKS, MAX_NAME, behind_blanks, decoded, folded, is_of_name, last_name, unescaped,
};
use super::work::looked_at;
use crate::buffer::chunk::Chunk;

pub use super::mask::Redacted;

/// Which values are masked.
#[derive(Debug, Clone)]
pub struct Redactor {
    names: Vec<Name>,
    /// The last eight bytes of names, and which bits of those count.
    lasts: Vec<(u64, u64)>,
    endings: Endings,
}

#[derive(Debug, Clone)]
struct Name {
    /// In lower case, with `-` for `_`, without `HTTP_`.
    text: Vec<u8>,
    kind: Kind,
}

impl Name {
    /// Whether a header has this name: then it may also be in a text, as `Cookie: …`.
    fn is_header(&self) -> bool {
        let endings = [&b"cookie"[..], b"authorization"];
        self.text.starts_with(b"x-") || endings.iter().any(|end| self.text.ends_with(end))
    }
}

/// Makes letters lower-case, and turns `_` into what `-` is turned into, too.
const FOLDED: u64 = u64::from_be_bytes([0x72; 8]);

/// The bytes that end a value: those that can't be in a signature or a token, or only those that can't be in any
/// parameter.
const TOKEN: Kind = Kind::Parameter(b"\"&?,;|}<>\\");
const ANY: Kind = Kind::Parameter(b"\"&");

/// What `--redact s3` masks.
pub(super) const S3: [(&str, Kind); 29] = [
    ("authorization", Kind::Authorization),
    ("proxy-authorization", Kind::Authorization),
    ("signature", TOKEN),
    ("sig", TOKEN),
    ("x-amz-signature", TOKEN),
    ("x-goog-signature", TOKEN),
    ("x-amz-security-token", TOKEN),
    ("x-amz-s3session-token", TOKEN),
    ("sessiontoken", TOKEN),
    ("webidentitytoken", TOKEN),
    // MinIO takes it beside the one before.
    ("webidentityaccesstoken", TOKEN),
    ("samlassertion", TOKEN),
    ("ldappassword", ANY),
    ("token", ANY),
    ("cookie", Kind::Member),
    ("set-cookie", Kind::Member),
    // Some clients sign these headers as query parameters.
    ("x-amz-server-side-encryption-customer-key", TOKEN),
    (
        "x-amz-copy-source-server-side-encryption-customer-key",
        TOKEN,
    ),
    // RGW's and MinIO's admin APIs.
    ("secret-key", ANY),
    ("secretkey", ANY),
    // Swift, which RGW also speaks.
    ("x-auth-token", TOKEN),
    ("x-auth-key", ANY),
    ("x-storage-token", TOKEN),
    ("x-service-token", TOKEN),
    ("temp-url-sig", TOKEN),
    ("x-account-meta-temp-url-key", ANY),
    ("x-account-meta-temp-url-key-2", ANY),
    ("x-container-meta-temp-url-key", ANY),
    ("x-container-meta-temp-url-key-2", ANY),
];

/// Between a header's name and its value in a list, there may be so many other members.
const MAX_BETWEEN: usize = 2;

impl Redactor {
    /// Masks the values of members with one of these names, and, if `s3` is set, all that is secret in S3 events.
    /// `None` if there is nothing to mask.
    pub fn new<'a>(s3: bool, fields: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let text_of = |name: &str| {
            let text: Vec<_> = name.bytes().map(folded).collect();
            without_prefix(&text).to_vec()
        };
        let s3 = S3.into_iter().filter(|_| s3);
        let s3 = s3.map(|(name, kind)| Name {
            text: text_of(name),
            kind,
        });
        let mut names: Vec<_> = s3.collect();
        for text in fields.into_iter().map(text_of) {
            let kind = Kind::Member;
            match names.iter_mut().find(|known| known.text == text) {
                Some(known) if known.kind == Kind::Authorization => known.kind = kind,
                // What is masked for S3 is masked in members, too.
                Some(_) => {}
                None => names.push(Name { text, kind }),
            }
        }
        // First those that others may end with.
        names.sort_by_key(|name| name.text.len());
        let mut lasts: Vec<(u64, u64)> = Vec::new();
        for name in &names {
            let last = name.text.iter().rev().take(8).rev();
            let last = last.fold(0, |last, byte| last << 8 | u64::from(*byte)) | FOLDED;
            let unused = 64 - 8 * name.text.len().min(8) as u32;
            if !is_any_of(&lasts, last) {
                lasts.push((last, u64::MAX.checked_shr(unused).unwrap_or(0)));
            }
        }
        let endings = Endings::of(names.iter().map(|name| &*name.text));
        (!names.is_empty()).then_some(Redactor {
            names,
            lasts,
            endings,
        })
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
        let mut pass = Pass::new(&mut chunk.bytes, from);
        let mut next = from;
        while let Some(window) = self.endings.next(pass.lines, next) {
            looked_at(1);
            self.look_at(&mut pass, window);
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

    /// Whether a text without escapes may end with a name, by its last eight bytes.
    fn may_be_named(&self, text: &[u8]) -> bool {
        text.last_chunk()
            .is_none_or(|last| is_any_of(&self.lasts, u64::from_be_bytes(*last) | FOLDED))
    }

    /// Whether the whole value of a member of this name is masked.
    pub(super) fn masks(&self, name: &str) -> bool {
        let name = self.named(name.as_bytes());
        name.is_some_and(|name| name.kind != Kind::Authorization)
    }

    fn named(&self, text: &[u8]) -> Option<&Name> {
        let mut room = [0; MAX_NAME];
        let name = last_name(text, &mut room);
        // In JSON within JSON, line breaks and tabs are a letter behind two or more backslashes.
        let is_escape = |letter| text.windows(2).any(|pair| pair == [b'\\', letter]);
        let behind_escape = match name {
            [letter @ (b'n' | b'r' | b't'), behind @ ..] if is_escape(*letter) => behind,
            _ => name,
        };
        let find = |name| {
            let name = without_prefix(name);
            self.names.iter().find(|known| known.text == name)
        };
        find(name).or_else(|| find(behind_escape))
    }

    /// Masks the value after this end of a name, if the name is that of a secret.
    fn look_at_end(&self, pass: &mut Pass<'_>, end: usize, has_escapes: bool) {
        if !has_escapes && !self.may_be_named(&pass.lines[..end]) {
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
            b'"' if let Some(behind) = self.value_of_name(rest, text[end] == b'%') => {
                let colon = text.len() - behind.len() - 1;
                let name = &text[pass.names_from.max(pass.read).min(end)..end];
                looked_at(name.len());
                let name = &name[memrchr(b'"', name).unwrap_or(0)..];
                let name = self.named(name);
                pass.names_from = pass.names_from.max(end);
                if let Some(name) = name {
                    if pass.lines[end] == b'%' {
                        pass.mask_escaped_member(colon + 1);
                        return;
                    }
                    let text = &pass.lines[..];
                    let depth = text[end..colon].iter().take_while(|byte| **byte == b'\\');
                    let depth = depth.count();
                    // An even number means that the name ends with a backslash: no secret's name does.
                    if depth == 0 || depth % 2 == 1 || text[end + depth] != b'"' {
                        pass.mask_member(colon + 1, depth, name.kind);
                    }
                }
            }
            _ => {}
        }
    }

    /// What follows the colon of the member whose name's closing quote is right before this; or of another member, if
    /// that has the value for what the first one names: `"name":"Cookie","type":"header","value":…`.
    fn value_of_name<'a>(&self, behind: &'a [u8], is_in_url: bool) -> Option<&'a [u8]> {
        let next = if is_in_url { decoded } else { unescaped };
        // In JSON within JSON, line breaks are escaped.
        let mut rest = behind_blanks(behind, BLANKS, next);
        for _ in 0..=MAX_BETWEEN {
            let Some((b',', other)) = next(rest) else {
                break;
            };
            let (name, behind) = plain_string(behind_blanks(other, BLANKS, next))?;
            rest = behind_blanks(behind, BLANKS, next);
            let mut value_names = [&b"value"[..], b"values"].into_iter();
            if value_names.any(|value| name.eq_ignore_ascii_case(value)) {
                break;
            }
            // The value between them is skipped: it must not be a secret itself.
            let is_other = |colon: &u8| *colon == b':' && self.named(name).is_none();
            let (_, value) = next(rest).filter(|(byte, _)| is_other(byte))?;
            let (_, value) = plain_string(behind_blanks(value, BLANKS, next))?;
            rest = behind_blanks(value, BLANKS, next);
        }
        let (_, value) = next(rest).filter(|(colon, _)| *colon == b':')?;
        Some(value)
    }

    fn look_at_parameter(&self, pass: &mut Pass<'_>, end: usize, value: usize) {
        let name = self.named_before(pass, end);
        if let Some(Kind::Parameter(stops)) = name.map(|name| name.kind) {
            pass.mask_parameter(value, pass.lines[end] != b'=', stops);
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
        self.named(&pass.lines[start..end])
    }
}

fn is_any_of(lasts: &[(u64, u64)], text: u64) -> bool {
    let mut lasts = lasts.iter();
    lasts.any(|(last, mask)| (text ^ last) & mask == 0)
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

/// Ceph RGW writes headers as CGI does.
fn without_prefix(name: &[u8]) -> &[u8] {
    name.strip_prefix(b"http-").unwrap_or(name)
}
