//! Arbitrary bytes as an HTTP request: the reader never panics, makes the same of them however they arrive, and accepts
//! nothing that another reader could understand differently.
//!
//! Input: how many lengths of pieces follow (modulo 16; they are taken in turn), those lengths, and the request.

#![no_main]

use libfuzzer_sys::fuzz_target;
use s3_audit_webhook::source::http::chunked::{BadChunking, Chunked, Piece};
use s3_audit_webhook::source::http::request::{HEAD_BYTES, Head, Length, parse_head};
use s3_audit_webhook::source::http::route::Route;

fuzz_target!(|data: &[u8]| {
    let Some((lengths, rest)) = data.split_first() else {
        return;
    };
    let Some((lengths, request)) = rest.split_at_checked(usize::from(lengths % 16)) else {
        return;
    };
    let head = parse_head(request);
    let mut end = 0;
    for piece in pieces(request, lengths) {
        end += piece.len();
        match parse_head(&request[..end]) {
            // Not all there: then what is accepted in the end is longer.
            Ok(None) => assert!(!matches!(&head, Ok(Some(head)) if head.bytes <= end)),
            decided => assert_eq!(decided, head, "otherwise with what came later"),
        }
    }
    let mut body = request;
    if let Ok(Some(head)) = head {
        assert!(head.bytes <= HEAD_BYTES);
        assert_has_one_meaning(&head, &request[..head.bytes]);
        let route = Route::of(head.method, head.target);
        assert!(route.is_none_or(|route| route.needs_token() || !route.has_events()));
        body = &request[head.bytes..];
    }

    let whole = dechunk([body]);
    assert_eq!(dechunk(pieces(body, lengths)), whole, "cut up");
    match (whole, judge(body)) {
        ((body, Ended::Done(bytes)), judged) => assert_eq!(Some((body, bytes)), judged),
        // Lines have a limit, which no line of these reaches.
        (found, Some(_)) => assert!(body.len() > 1024, "{found:?}"),
        (_, None) => {}
    }
});

/// The bytes in pieces of these lengths, taken in turn.
fn pieces<'a>(mut bytes: &'a [u8], lengths: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut lengths = lengths.iter().cycle();
    std::iter::from_fn(move || {
        let length = lengths.next().map_or(1, |byte| usize::from(*byte) + 1);
        let (piece, rest) = bytes.split_at(length.min(bytes.len()));
        bytes = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Reads an accepted head again, in the plainest way there is: any reader that keeps to the standard must find this.
fn assert_has_one_meaning(head: &Head<'_>, mut bytes: &[u8]) {
    while let Some(rest) = bytes.strip_prefix(b"\r\n") {
        bytes = rest;
    }
    let bytes = bytes
        .strip_suffix(b"\r\n\r\n")
        .expect("ends with an empty line");
    // Every byte as the character of the same number.
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let mut lines = text.split("\r\n");

    let first: Vec<_> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, path, version @ ("HTTP/1.0" | "HTTP/1.1")] = first[..] else {
        panic!("{first:?}");
    };
    assert!(is_token(method) && method == head.method);
    assert!(path.chars().eq(head.target.bytes().map(char::from)));
    let is_1_1 = version == "HTTP/1.1";

    let mut values = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').expect("a header");
        assert!(is_token(name), "{name:?}");
        assert!(!value.contains(['\r', '\n', '\0']), "{value:?}");
        values.push((name.to_lowercase(), value.trim_matches([' ', '\t'])));
    }
    let all = |name: &str| -> Vec<&str> {
        let named = values.iter().filter(|(found, _)| found == name);
        named.map(|(_, value)| *value).collect()
    };
    let length = match (&all("content-length")[..], &all("transfer-encoding")[..]) {
        ([], []) => Length::None,
        ([digits], []) => {
            assert!(digits.bytes().all(|byte| byte.is_ascii_digit()), "{digits}");
            Length::Known(digits.parse().expect("a number"))
        }
        ([], [coding]) => {
            assert!(coding.eq_ignore_ascii_case("chunked") && is_1_1, "{coding}");
            Length::Chunked
        }
        both => panic!("{both:?}"),
    };
    assert_eq!(head.length, length);
    assert!(all("host").len() <= 1 && (!is_1_1 || all("host").len() == 1));
    match (&all("authorization")[..], head.authorization) {
        ([], None) => {}
        ([value], Some(found)) => {
            assert!(value.chars().eq(found.iter().map(|byte| char::from(*byte))));
        }
        other => panic!("{other:?}"),
    }
    let connection = all("connection").join(",").to_lowercase();
    let closes = connection
        .split(',')
        .any(|token| token.trim_matches([' ', '\t']) == "close");
    assert_eq!(head.keep_alive, is_1_1 && !closes);
}

fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

/// How a body's coding ended.
#[derive(Debug, PartialEq)]
enum Ended {
    /// Behind so many bytes.
    Done(usize),
    /// Not within the bytes there are.
    Open,
    Refused(BadChunking),
}

/// The body without its coding, as far as it goes.
fn dechunk<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Ended) {
    let (mut chunked, mut body) = (Chunked::default(), Vec::new());
    let mut bytes = 0;
    for mut piece in pieces {
        while !piece.is_empty() {
            let passed = match chunked.next(piece) {
                Ok(Piece::Data { skip, take }) => {
                    body.extend_from_slice(&piece[skip..skip + take]);
                    skip + take
                }
                Ok(Piece::Done(count)) => {
                    assert!(count <= piece.len());
                    return (body, Ended::Done(bytes + count));
                }
                Err(refusal) => return (body, Ended::Refused(refusal)),
            };
            assert!(passed > 0, "it would go on for ever");
            bytes += passed;
            piece = &piece[passed..];
        }
    }
    (body, Ended::Open)
}

/// A whole body and the bytes of its coding, read in the plainest way there is.
fn judge(coded: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut rest) = (Vec::new(), coded);
    loop {
        let line = next_line(&mut rest)?;
        let digits = match line.iter().position(|byte| *byte == b';') {
            Some(end) => line[..end].trim_ascii_end(),
            None => line,
        };
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let size = u128::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        let size = u32::try_from(size).ok()? as usize;
        if size == 0 {
            while !next_line(&mut rest)?.is_empty() {}
            return Some((body, coded.len() - rest.len()));
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest[size..].strip_prefix(b"\r\n")?;
    }
}

/// A line that holds nothing which is no text.
fn next_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.windows(2).position(|two| two == b"\r\n")?;
    let line = &rest[..end];
    *rest = &rest[end + 2..];
    let is_text = |byte: &u8| !byte.is_ascii_control() || *byte == b'\t';
    line.iter().all(is_text).then_some(line)
}
