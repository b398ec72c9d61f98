//! Arbitrary streams, cut anywhere: the framer never panics, makes the same of a stream however it
//! is cut, and lets only whole, well-formed objects (or arrays) within its limit through.
//!
//! Input: the limit in units of eight bytes (0: none that matters), how many lengths of pieces
//! follow (modulo 16; they are taken in turn; the highest bit asks for arrays), those lengths, and
//! the stream.

#![no_main]

use libfuzzer_sys::fuzz_target;
use memchr::memmem;
use s3_audit_webhook::framer::{Frame, Framer, Lost};
use serde::de::IgnoredAny;

#[derive(Debug, PartialEq)]
enum Found {
    Event { line: String, raw_len: usize },
    Lost(Lost),
}

fuzz_target!(|data: &[u8]| {
    let [limit, kind, rest @ ..] = data else {
        return;
    };
    let Some((lengths, stream)) = rest.split_at_checked(usize::from(kind % 16)) else {
        return;
    };
    let limit = match usize::from(*limit) {
        0 => 4 << 20,
        eights => eights * 8,
    };

    let arrays = kind & 0x80 != 0;
    let new_framer = || match arrays {
        true => Framer::for_arrays(limit),
        false => Framer::new(limit),
    };
    let mut framer = new_framer();
    let whole = frames(&mut framer, [stream], false);
    let cut = frames(&mut framer, pieces(stream, lengths), false);
    assert_eq!(cut, whole, "cut up, after another stream");
    let mut framer = new_framer();
    let released = frames(&mut framer, [stream], true);
    assert_eq!(released, whole, "cut up, and the buffer given back");

    if !whole.iter().any(|found| matches!(found, Found::Lost(_))) {
        let cut = stream.len() * usize::from(*lengths.first().unwrap_or(&128)) / 255;
        let mut resumed = Vec::new();
        let mut framer = new_framer();
        feed(&mut framer, &stream[..cut], &mut resumed);
        let from = cut - usize::try_from(framer.unfinished()).expect("not more than it was fed");
        resumed.extend(frames(&mut new_framer(), [&stream[from..]], false));
        assert_eq!(resumed, whole, "gone on with after {from} of {cut}");
    }

    let brackets = if arrays { ('[', ']') } else { ('{', '}') };
    for found in &whole {
        if let Found::Event { line, raw_len } = found {
            assert!(*raw_len <= limit, "{raw_len} bytes, over {limit}: {line}");
            assert!(
                line.starts_with(brackets.0),
                "not what was asked for: {line}"
            );
            assert!(!line.contains(['\n', '\r']), "no single line: {line}");
            let judged = serde_json::from_str::<IgnoredAny>(line);
            assert!(judged.is_ok(), "{judged:?}: {line}");
        }
    }
    if let Ok(text) = str::from_utf8(stream) {
        // Parts of a CRI log entry are joined.
        if !text.contains("std") {
            unchanged(text, &whole);
        }
        complete(text, &whole, limit, brackets);
    }
});

/// The stream in pieces of these lengths, taken in turn.
fn pieces<'a>(mut stream: &'a [u8], lengths: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut lengths = lengths.iter().cycle();
    std::iter::from_fn(move || {
        let length = lengths.next().map_or(1, |byte| usize::from(*byte) + 1);
        let (piece, rest) = stream.split_at(length.min(stream.len()));
        stream = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

fn feed(framer: &mut Framer, mut piece: &[u8], found: &mut Vec<Found>) {
    while !piece.is_empty() {
        framer.copy_in(&mut piece);
        take(framer, found);
    }
}

fn frames<'a>(
    framer: &mut Framer,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    release: bool,
) -> Vec<Found> {
    let mut found = Vec::new();
    for piece in pieces {
        if release {
            // Smaller pieces, with a pause behind each.
            for (turn, piece) in piece.chunks(97).enumerate() {
                feed(framer, piece, &mut found);
                match turn % 2 {
                    0 => framer.release(),
                    _ => framer.shrink(),
                }
            }
        } else {
            feed(framer, piece, &mut found);
        }
    }
    framer.end();
    take(framer, &mut found);
    found
}

fn take(framer: &mut Framer, found: &mut Vec<Found>) {
    while let Some(frame) = framer.next() {
        found.push(match frame {
            Frame::Event(event) => {
                let mut line = Vec::new();
                event.append_line(&mut line);
                assert_eq!(line.len(), event.line_len());
                assert_eq!(line.pop(), Some(b'\n'));
                Found::Event {
                    line: String::from_utf8(line).expect("a line is UTF-8"),
                    raw_len: event.raw_len(),
                }
            }
            Frame::Lost(lost) => Found::Lost(lost),
        });
    }
}

/// Events of which nothing was taken out stand in the stream as they are, in order, none twice.
fn unchanged(text: &str, found: &[Found]) {
    let mut rest = text.as_bytes();
    for found in found {
        if let Found::Event { line, raw_len } = found
            && line.len() == *raw_len
        {
            let at = memmem::find(rest, line.as_bytes());
            let at = at.unwrap_or_else(|| panic!("made up, or out of order: {line}"));
            rest = &rest[at + line.len()..];
        }
    }
}

/// Where each line is one well-formed object (or array) within the limit, all of them come out, and
/// nothing is lost.
fn complete(text: &str, found: &[Found], limit: usize, brackets: (char, char)) {
    let lines = || text.lines().filter(|line| !line.is_empty());
    let good = |line: &str| {
        line.starts_with(brackets.0)
            && line.ends_with(brackets.1)
            && !line.contains('\r')
            && line.len() <= limit
            && serde_json::from_str::<IgnoredAny>(line).is_ok()
    };
    if lines().all(good) {
        let events = found.iter().map(|found| match found {
            Found::Event { line, .. } => line.as_str(),
            Found::Lost(lost) => panic!("{lost:?} among good lines"),
        });
        assert!(events.eq(lines()), "not the lines that came");
    }
}
