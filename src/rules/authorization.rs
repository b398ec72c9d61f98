//! What of an `Authorization` is secret: not who it is of.

use memchr::memchr;

use super::name::{is_of_name, unescaped};
use super::secrets::{Kind, begins_plain};
use super::work::looked_at;

/// Schemes whose headers have a signature with a name of its own.
const SIGNED: [&[u8]; 2] = [b"AWS4-", b"GOOG4-"];
/// The names up to there, the last one included, in a header that is well-formed.
const KEPT: [&[u8]; 6] = [
    b"Credential",
    b"SignedHeaders",
    b" Signature",
    b",Signature",
    b" signature",
    b",signature",
];

/// Whether a value is left to the name of the signature in it, as is an `Authorization` up to there if it is
/// well-formed: the secret of another name before it could reach beyond it, and take its name away. No more is examined.
pub(super) fn is_signed(value: &[u8], kind: Kind) -> bool {
    if kind != Kind::Authorization || !begins_with_any(value, &SIGNED) {
        return false;
    }
    let is_mark = |byte: &u8| *byte < b' ' || b"=:\"%\\".contains(byte);
    let mut rest = value;
    loop {
        let plain = rest.iter().take_while(|byte| !is_mark(byte)).count();
        looked_at(plain);
        rest = &rest[plain..];
        let before = &value[..value.len() - rest.len()];
        let Some((byte, behind)) = unescaped(rest) else {
            return false;
        };
        match KEPT.iter().find(|name| before.ends_with(name)) {
            Some(name) if byte == b'=' && name.ends_with(b"ignature") => {
                return behind.starts_with(b"*") || begins_plain(behind);
            }
            Some(_) if byte == b'=' => {}
            _ if is_mark(&byte) => return false,
            _ => {}
        }
        rest = behind;
    }
}

/// Where the secret begins in a text that should be masked. `None` if a name of its own leads to it.
pub(super) fn secret_in(value: &[u8], kind: Kind) -> Option<usize> {
    looked_at(value.len());
    if is_signed(value, kind) {
        return None;
    }
    let kept = match kind {
        // The part before the colon says who it is.
        Kind::Authorization if begins_with_any(value, &[b"AWS "]) => memchr(b':', value),
        Kind::Authorization
            if begins_with_any(value, &SIGNED)
                || begins_with_any(value, &[b"Basic ", b"Bearer "]) =>
        {
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
    Some(kept.filter(is_word).map_or(0, |at| at + 1))
}

fn begins_with_any(value: &[u8], schemes: &[&[u8]]) -> bool {
    schemes.iter().any(|scheme| {
        let mut rest = value;
        scheme.iter().all(|expected| {
            let next = unescaped(rest).filter(|(byte, _)| byte.eq_ignore_ascii_case(expected));
            next.is_some_and(|(_, behind)| {
                rest = behind;
                true
            })
        })
    })
}
