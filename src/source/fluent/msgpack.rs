//! MessagePack as JSON text. Bytes in, bytes out: no tree, no recursion, no I/O.
//!
//! What JSON lacks is written as the nearest thing that it has:
//!
//! | MessagePack | JSON |
//! |---|---|
//! | `str` and `bin` | a string; bytes that are not UTF-8 become U+FFFD |
//! | a map's key that is neither | its JSON text as a string |
//! | NaN, infinities | `null` |
//! | EventTime, and MessagePack's own timestamp | a number: seconds, with nine decimals unless they are zero |
//! | any other extension | its bytes as base64 |
//!
//! Members keep their order, and duplicate keys stay. An array or a map that is a key may not have such a key in it:
//! each level would double the text.

use std::io::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::head::{Fault, Head};

/// Arrays and maps nested deeper are malformed.
pub const MAX_DEPTH: usize = 512;

/// Writes values as JSON.
#[derive(Debug, Default)]
pub struct Transcoder {
    /// The arrays and maps around the innermost one, outermost first.
    outer: Vec<Open>,
}

/// An array or map that is written in part; or, outermost, the frame of the value itself.
#[derive(Debug, Clone, Copy)]
struct Open {
    is_map: bool,
    /// Its values that are still to come; in a map, keys and values count separately.
    left: u64,
    /// It is a map's key, whose text begins at this offset.
    key_at: Option<usize>,
    /// It is such a key, or a part of one.
    is_in_key: bool,
}

impl Open {
    fn next_is_key(&self) -> bool {
        self.is_map && self.left.is_multiple_of(2)
    }
}

impl Transcoder {
    /// Appends the value that `bytes` begins with to `out` as JSON of `max` bytes at most. Returns the value's length.
    ///
    /// # Errors
    /// Why it can't be written; `out` is then as before.
    pub fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>, max: usize) -> Result<usize, Fault> {
        let start = out.len();
        let written = self.write_parts(bytes, out, start.saturating_add(max));
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    fn write_parts(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<usize, Fault> {
        self.outer.clear();
        let mut inner = Open {
            is_map: false,
            left: 1,
            key_at: None,
            is_in_key: false,
        };
        let mut rest = bytes;
        loop {
            let is_key = inner.next_is_key();
            inner.left -= 1;
            if let Some((text, behind)) = short_text(rest) {
                write_string(text, out, limit)?;
                rest = behind;
            } else {
                let (head, length) = Head::read(rest)?.ok_or(Fault::Malformed)?;
                let (payload, behind) = rest
                    .get(length..)
                    .and_then(|behind| behind.split_at_checked(head.payload()))
                    .ok_or(Fault::Malformed)?;
                rest = behind;
                let key_at = is_key.then_some(out.len());
                match head {
                    Head::Str(_) | Head::Bin(_) => write_string(payload, out, limit)?,
                    Head::Array(_) | Head::Map(_) => {
                        self.outer.push(inner);
                        inner = inner.open(head, key_at, self.outer.len())?;
                        out.push(if inner.is_map { b'{' } else { b'[' });
                        if inner.left > 0 {
                            continue;
                        }
                    }
                    _ => write_scalar(head, payload, key_at, out, limit)?,
                }
            }
            while inner.left == 0 {
                let Some(outer) = self.outer.pop() else {
                    let is_over = out.len() > limit;
                    return if is_over {
                        Err(Fault::TooLarge)
                    } else {
                        Ok(bytes.len() - rest.len())
                    };
                };
                inner.close(out, limit)?;
                inner = outer;
            }
            if out.len() > limit {
                return Err(Fault::TooLarge);
            }
            let is_behind_key = inner.is_map && !inner.next_is_key();
            out.push(if is_behind_key { b':' } else { b',' });
        }
    }
}

impl Open {
    /// An array or a map in this one begins, at this depth.
    fn open(&self, head: Head, key_at: Option<usize>, depth: usize) -> Result<Open, Fault> {
        if depth > MAX_DEPTH || (self.is_in_key && key_at.is_some()) {
            return Err(Fault::Malformed);
        }
        Ok(Open {
            is_map: matches!(head, Head::Map(_)),
            left: head.parts(),
            key_at,
            is_in_key: self.is_in_key || key_at.is_some(),
        })
    }

    fn close(&self, out: &mut Vec<u8>, limit: usize) -> Result<(), Fault> {
        out.push(if self.is_map { b'}' } else { b']' });
        if let Some(key_at) = self.key_at {
            let text = out.split_off(key_at);
            write_text(&text, out, limit)?;
        }
        Ok(())
    }
}

/// The string that `bytes` begin with, if its length takes at most a byte, and what follows it. Nearly all values are
/// such strings.
fn short_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match bytes {
        [head @ 0xa0..=0xbf, rest @ ..] => rest.split_at_checked(usize::from(head & 0x1f)),
        [0xd9, length, rest @ ..] => rest.split_at_checked(usize::from(*length)),
        _ => None,
    }
}

fn write_scalar(
    head: Head,
    payload: &[u8],
    key_at: Option<usize>,
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), Fault> {
    // Writing into memory can't fail.
    let _ = match head {
        Head::Ext(kind, _) => match seconds(kind, payload) {
            Some(nanoseconds) => write_seconds(nanoseconds, out),
            None => return write_base64(payload, out, limit),
        },
        Head::Bool(value) => write!(out, "{value}"),
        Head::Unsigned(number) => serde_json::to_writer(&mut *out, &number).map_err(Into::into),
        Head::Signed(number) => serde_json::to_writer(&mut *out, &number).map_err(Into::into),
        // NaN and infinities become null.
        Head::Float32(number) => serde_json::to_writer(&mut *out, &number).map_err(Into::into),
        Head::Float64(number) => serde_json::to_writer(&mut *out, &number).map_err(Into::into),
        _ => out.write_all(b"null"),
    };
    if let Some(key_at) = key_at {
        out.insert(key_at, b'"');
        out.push(b'"');
    }
    Ok(())
}

/// An EventTime or a timestamp, in nanoseconds since 1970.
fn seconds(kind: i8, payload: &[u8]) -> Option<i128> {
    let (seconds, nanoseconds) = match (kind, payload) {
        (0, [s0, s1, s2, s3, n0, n1, n2, n3]) => (
            u32::from_be_bytes([*s0, *s1, *s2, *s3]).into(),
            u32::from_be_bytes([*n0, *n1, *n2, *n3]),
        ),
        (-1, [s0, s1, s2, s3]) => (u32::from_be_bytes([*s0, *s1, *s2, *s3]).into(), 0),
        (-1, [_, _, _, _, _, _, _, _]) => {
            let both = u64::from_be_bytes(payload.try_into().ok()?);
            (i128::from(both & 0x3_ffff_ffff), (both >> 34) as u32)
        }
        (-1, [n0, n1, n2, n3, seconds @ ..]) => (
            i64::from_be_bytes(seconds.try_into().ok()?).into(),
            u32::from_be_bytes([*n0, *n1, *n2, *n3]),
        ),
        _ => return None,
    };
    (nanoseconds < 1_000_000_000).then(|| seconds * 1_000_000_000 + i128::from(nanoseconds))
}

fn write_seconds(nanoseconds: i128, out: &mut Vec<u8>) -> std::io::Result<()> {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let nanoseconds = nanoseconds.unsigned_abs();
    let (seconds, rest) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    match rest {
        0 => write!(out, "{sign}{seconds}"),
        _ => write!(out, "{sign}{seconds}.{rest:09}"),
    }
}

fn write_base64(payload: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Fault> {
    // Base64 is longer than its bytes.
    if payload.len() > limit.saturating_sub(out.len()) {
        return Err(Fault::TooLarge);
    }
    write_text(BASE64_STANDARD.encode(payload).as_bytes(), out, limit)
}

/// A string of any bytes.
fn write_string(bytes: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Fault> {
    // No string becomes shorter.
    if bytes.len() > limit.saturating_sub(out.len()) {
        return Err(Fault::TooLarge);
    }
    out.reserve(bytes.len() + 3);
    out.push(b'"');
    if is_plain(bytes) {
        out.extend_from_slice(bytes);
    } else if str::from_utf8(bytes).is_ok() {
        escape(bytes, out, limit)?;
    } else {
        for chunk in bytes.utf8_chunks() {
            escape(chunk.valid().as_bytes(), out, limit)?;
            if !chunk.invalid().is_empty() {
                out.extend_from_slice("\u{fffd}".as_bytes());
            }
            if out.len() > limit {
                return Err(Fault::TooLarge);
            }
        }
    }
    out.push(b'"');
    Ok(())
}

/// A string of UTF-8.
fn write_text(text: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Fault> {
    out.push(b'"');
    escape(text, out, limit)?;
    out.push(b'"');
    Ok(())
}

fn escape(mut text: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Fault> {
    while let Some(at) = find_special(text) {
        let (plain, rest) = text.split_at(at);
        let Some((special, rest)) = rest.split_first() else {
            break;
        };
        text = rest;
        out.extend_from_slice(plain);
        match special {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *special]),
            // Writing into memory can't fail.
            _ => drop(write!(out, "\\u{special:04x}")),
        }
        if out.len() > limit {
            return Err(Fault::TooLarge);
        }
    }
    out.extend_from_slice(text);
    Ok(())
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGH: u64 = ONES << 7;

/// Not 0 if one of these eight bytes must be escaped in a JSON string.
fn special(bytes: [u8; 8]) -> u64 {
    let word = u64::from_ne_bytes(bytes);
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let control = word.wrapping_sub(ONES * u64::from(b' ')) & !word & HIGH;
    let quote = has_zero(word ^ (ONES * u64::from(b'"')));
    let backslash = has_zero(word ^ (ONES * u64::from(b'\\')));
    control | quote | backslash
}

/// Whether all are ASCII that needs no escape in a JSON string. Some bytes are looked at twice, which costs nothing.
fn is_plain(bytes: &[u8]) -> bool {
    let odd = |word: &[u8; 8]| special(*word) | (u64::from_ne_bytes(*word) & HIGH);
    if let Some(last) = bytes.last_chunk() {
        let words = bytes.as_chunks().0.iter();
        return words.fold(odd(last), |found, word| found | odd(word)) == 0;
    }
    match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some([a, b, c, d]), Some([e, f, g, h])) => odd(&[*a, *b, *c, *d, *e, *f, *g, *h]) == 0,
        _ => !bytes
            .iter()
            .any(|byte| is_special(byte) || !byte.is_ascii()),
    }
}

fn is_special(byte: &u8) -> bool {
    *byte < b' ' || matches!(byte, b'"' | b'\\')
}

/// The first byte that must be escaped in a JSON string. Looks at eight at a time.
fn find_special(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    for word in bytes.as_chunks::<8>().0 {
        if special(*word) != 0 {
            break;
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    rest.iter().position(is_special).map(|found| at + found)
}

#[cfg(test)]
mod tests;
