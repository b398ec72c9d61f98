//! Names of members and parameters in their plain form, however they are written: escaped as in JSON, as in URLs, or
//! one of these within the other, in upper or lower case, with `_` for `-`.

use super::work::looked_at;

/// The maximum length of a name.
pub(super) const MAX_NAME: usize = 64;

/// What may be around a colon or comma in JSON, and in a URL a `+` for it.
pub(super) const BLANKS: &[u8] = b" \t\n\r+";

/// A way to read a text, one of these: its first byte, and what follows it.
pub(super) type Next = fn(&[u8]) -> Option<(u8, &[u8])>;

/// The first byte of a JSON text, unescaped, and what follows it. A text may be JSON within JSON: any number of
/// backslashes counts as one escape.
pub(super) fn unescaped(text: &[u8]) -> Option<(u8, &[u8])> {
    looked_at(1);
    let (&first, rest) = text.split_first()?;
    if first != b'\\' {
        return Some((first, rest));
    }
    let run = rest.iter().take_while(|byte| **byte == b'\\').count();
    looked_at(run);
    let behind = &rest[run..];
    match behind {
        [b'u', digits @ ..] if let Some((byte, rest)) = unicode(digits) => Some((byte, rest)),
        [byte @ (b'/' | b'"'), rest @ ..] => Some((*byte, rest)),
        // An even number of backslashes stands for backslashes, or for an escape in the inner JSON.
        [b't', rest @ ..] if run % 2 == 0 => Some((b'\t', rest)),
        [b'b' | b'f' | b'n' | b'r', rest @ ..] if run % 2 == 0 => Some((b'\n', rest)),
        _ => Some((b'\\', behind)),
    }
}

/// What is not ASCII becomes one byte that is in no name.
fn unicode(digits: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, rest) = digits.split_at_checked(4)?;
    let digits = digits.iter().map(|digit| hex(*digit));
    let code = digits.reduce(|code, digit| Some(code? << 4 | digit?))??;
    Some((u8::try_from(code).unwrap_or(u8::MAX), rest))
}

fn hex(digit: u8) -> Option<u32> {
    char::from(digit).to_digit(16)
}

/// The same for a URL in JSON: `%41`, and `%2541`, where that is escaped once more, are an A.
pub(super) fn decoded(text: &[u8]) -> Option<(u8, &[u8])> {
    let (byte, rest, _) = decoded_with_level(text)?;
    Some((byte, rest))
}

/// How often the first byte is escaped for URLs: `A` not at all, `%41` once, `%2541` twice.
pub(super) fn level(text: &[u8]) -> usize {
    decoded_with_level(text).map_or(0, |(_, _, level)| level)
}

fn decoded_with_level(text: &[u8]) -> Option<(u8, &[u8], usize)> {
    let percent = |text| {
        let (high, rest) = unescaped(text)?;
        let (low, rest) = unescaped(rest)?;
        Some(((hex(high)? << 4 | hex(low)?) as u8, rest))
    };
    let (mut byte, mut rest) = unescaped(text)?;
    let mut level = 0;
    while byte == b'%'
        && let Some((inner, behind)) = percent(rest)
    {
        (byte, rest) = (inner, behind);
        level += 1;
    }
    Some((byte, rest, level))
}

/// The same for a string of JSON in a URL: an escaped quote or backslash of it counts as a backslash. One that is not
/// escaped for URLs, too, is the event's own.
pub(super) fn in_string(text: &[u8]) -> Option<(u8, &[u8])> {
    let (byte, rest) = decoded(text)?;
    if byte == b'\\'
        && rest.starts_with(b"%")
        && let Some((b'"' | b'\\', behind)) = decoded(rest)
    {
        return Some((byte, behind));
    }
    Some((byte, rest))
}

/// What follows these blanks.
pub(super) fn behind_blanks<'a>(text: &'a [u8], blanks: &[u8], next: Next) -> &'a [u8] {
    let mut rest = text;
    while let Some((byte, behind)) = next(rest)
        && blanks.contains(&byte)
    {
        rest = behind;
    }
    rest
}

/// The name that `text` ends with, in lower case and with `-` for `_`; empty if it is longer than [`MAX_NAME`].
pub(super) fn last_name<'a>(text: &[u8], room: &'a mut [u8; MAX_NAME]) -> &'a [u8] {
    let mut length = 0;
    let mut push = |byte| {
        if let Some(place) = room.get_mut(length) {
            *place = folded(byte);
        }
        length = if is_of_name(byte) { length + 1 } else { 0 };
    };
    let plain = text.iter().rev().take_while(|byte| is_of_name(**byte));
    let (before, plain) = text.split_at(text.len() - plain.count());
    looked_at(plain.len());
    if before.ends_with(b"%") || before.ends_with(b"\\") {
        let mut rest = text;
        while let Some((byte, behind)) = decoded(rest) {
            push(byte);
            rest = behind;
        }
    } else {
        plain.iter().for_each(|byte| push(*byte));
    }
    room.get(..length).unwrap_or_default()
}

/// A letter in lower case; `-` for `_`.
pub(super) fn folded(byte: u8) -> u8 {
    match byte {
        b'_' => b'-',
        _ => byte.to_ascii_lowercase(),
    }
}

/// Whether names may contain this byte.
pub(super) fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_however_it_is_written() {
        for (text, expected) in [
            ("X-Amz-Signature", "x-amz-signature"),
            ("HTTP_X_AMZ_SECURITY_TOKEN", "http-x-amz-security-token"),
            ("a=b&Sig", "sig"),
            (r"a\u0026sig", "sig"),
            (r"a\\u0026sig", "sig"),
            ("a%26sig", "sig"),
            ("X%2DAmz%2dDate", "x-amz-date"),
            ("%2541%252542c", "abc"),
            (r"\u0041b", "ab"),
            (r"\\\u0041b", "ab"),
            (r"%\u0034\u0031b", "ab"),
            (r"\u002541b", "ab"),
            (r"x\nsig", "sig"),
            (r"x\\sig", "sig"),
            (r"x\\nsig", "nsig"),
            (r"x\/sig", "sig"),
            ("é-sig", "-sig"),
            (r"\u00e9sig", "sig"),
            ("100%sig", "sig"),
            (r"\u00zzsig", "u00zzsig"),
            ("", ""),
            ("sig?", ""),
        ] {
            let mut room = [0; MAX_NAME];
            let found = last_name(text.as_bytes(), &mut room);
            assert_eq!(String::from_utf8_lossy(found), expected, "{text}");
        }
        let long = "x".repeat(MAX_NAME + 1);
        assert_eq!(last_name(long.as_bytes(), &mut [0; MAX_NAME]), b"");
    }
}
