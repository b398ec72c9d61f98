//! Arbitrary bodies of requests, plain and gzip: what is made of one is the same however it arrives and whatever came
//! before it, is within the limits, and is given back.
//!
//! Input: how it is coded (modulo 4; 1: gzip; 3: it is to be compressed before, in two members; and 4 more: the limit is
//! 1 KiB), how many lengths of pieces follow (modulo 16), those lengths, and the body.

#![no_main]

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use libfuzzer_sys::fuzz_target;
use s3_audit_webhook::source::http::answer::Answer;
use s3_audit_webhook::source::http::budget::Budget;
use s3_audit_webhook::source::http::decoder::{BodyDecoder, Coding};

const MEMORY: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let [kind, count, rest @ ..] = data else {
        return;
    };
    let Some((lengths, body)) = rest.split_at_checked(usize::from(count % 16)) else {
        return;
    };
    let limit = if kind & 4 == 0 { 1 << 20 } else { 1 << 10 };
    let compressed = compress(body);
    let (gzip, body) = match kind & 3 {
        0 | 2 => (false, body),
        1 => (true, body),
        _ => (true, &*compressed),
    };
    let budget = Budget::new(MEMORY, || false);
    let mut decoder = BodyDecoder::new(&budget, limit, limit);
    let whole = made_of(&mut decoder, gzip, [body]);
    let cut = made_of(&mut decoder, gzip, pieces(body, lengths));
    // What is wrong first may depend on where it is cut, that something is may not.
    match (&whole, &cut) {
        (Err(_), Err(_)) => {}
        _ => assert_eq!(cut, whole, "cut up, after another body"),
    }
    if let Ok((lines, events)) = &whole {
        assert!(lines.len() <= limit * 4, "{} bytes", lines.len());
        let ends = lines.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(ends, *events);
    }
    drop(decoder);
    if kind & 3 == 3 {
        let mut plain = BodyDecoder::new(&budget, limit, limit);
        let [_, _, rest @ ..] = data else { return };
        let plain = made_of(&mut plain, false, [&rest[lengths.len()..]]);
        match (&whole, &plain) {
            (Err(_), Err(_)) => {}
            _ => assert_eq!(whole, plain, "the same without gzip"),
        }
    }
    assert!(budget.is_whole(), "memory was not given back");
});

/// The lines and their number, or why there are none.
fn made_of<'a>(
    decoder: &mut BodyDecoder<'_>,
    is_gzip: bool,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(Vec<u8>, usize), Answer> {
    decoder.start(Coding {
        is_gzip,
        ..Coding::default()
    });
    let fed = pieces.into_iter().try_for_each(|piece| decoder.feed(piece));
    let made = fed.and_then(|()| decoder.finish());
    let made = made.map(|()| (decoder.chunk.bytes.clone(), decoder.chunk.events));
    decoder.clear();
    made
}

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

fn compress(bytes: &[u8]) -> Vec<u8> {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let member = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("to memory");
        encoder.finish().expect("to memory")
    };
    [member(first), member(second)].concat()
}
