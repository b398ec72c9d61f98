//! The names of what is secret, and what of their values is.

use memchr::memchr2;

use super::name::{MAX_NAME, folded, last_name};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A member's value.
    Member,
    /// The same; and for a parameter in a URL, what follows the equals sign, up to one of these bytes or a blank.
    Parameter(&'static [u8]),
    /// The part of a member's value that proves an identity, not the identity: `Signature=` names a parameter already.
    Authorization,
}

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

/// For each byte, whether it occurs unescaped in signatures and tokens.
pub(super) static PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        plain[byte] =
            matches!(byte as u8, b'A'..=b'Z' | b'a'..=b'z' | b'+' | b'-'..=b'9' | b'_' | b'~');
        byte += 1;
    }
    plain
};

/// Whether a text begins with such a byte.
pub(super) fn begins_plain(text: &[u8]) -> bool {
    text.first().is_some_and(|byte| PLAIN[usize::from(*byte)])
}

#[derive(Debug, Clone)]
pub(super) struct Name {
    /// In lower case, with `-` for `_`, without `HTTP_`.
    text: Vec<u8>,
    pub(super) kind: Kind,
}

impl Name {
    /// Whether a header has this name: then it may also be in a text, as `Cookie: …`.
    pub(super) fn is_header(&self) -> bool {
        let endings = [&b"cookie"[..], b"authorization"];
        self.text.starts_with(b"x-") || endings.iter().any(|end| self.text.ends_with(end))
    }
}

/// Makes letters lower-case, and turns `_` into what `-` is turned into, too.
const FOLDED: u64 = u64::from_be_bytes([0x72; 8]);

/// The names whose values are masked; first those that others may end with.
#[derive(Debug, Clone)]
pub(super) struct Names {
    names: Vec<Name>,
    /// The last eight bytes of names, and which bits of those count.
    lasts: Vec<(u64, u64)>,
}

impl Names {
    /// These, and those of S3's secrets.
    pub(super) fn new<'a>(s3: bool, fields: impl IntoIterator<Item = &'a str>) -> Self {
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
        names.sort_by_key(|name| name.text.len());
        let mut lasts: Vec<(u64, u64)> = Vec::new();
        for name in &names {
            let text = &name.text;
            let last = text.iter().rev().take(8).rev();
            let last = last.fold(0, |last, byte| last << 8 | u64::from(*byte)) | FOLDED;
            let unused = 64 - 8 * text.len().min(8) as u32;
            if !is_any_of(&lasts, last) {
                lasts.push((last, u64::MAX.checked_shr(unused).unwrap_or(0)));
            }
        }
        Names { names, lasts }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub(super) fn texts(&self) -> impl Iterator<Item = &[u8]> {
        self.names.iter().map(|name| &*name.text)
    }

    /// The name that this text ends with.
    pub(super) fn named(&self, text: &[u8]) -> Option<&Name> {
        // Most values that are masked, such as signatures, name nothing.
        if !self.may_end(text) && memchr2(b'%', b'\\', text).is_none() {
            return None;
        }
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

    /// Whether a text without escapes may end with a name, by its last eight bytes.
    pub(super) fn may_end(&self, text: &[u8]) -> bool {
        text.last_chunk()
            .is_none_or(|last| is_any_of(&self.lasts, u64::from_be_bytes(*last) | FOLDED))
    }
}

fn is_any_of(lasts: &[(u64, u64)], text: u64) -> bool {
    let mut lasts = lasts.iter();
    lasts.any(|(last, mask)| (text ^ last) & mask == 0)
}

/// Ceph RGW writes headers as CGI does.
fn without_prefix(name: &[u8]) -> &[u8] {
    name.strip_prefix(b"http-").unwrap_or(name)
}
