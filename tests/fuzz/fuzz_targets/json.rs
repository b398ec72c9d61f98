//! Arbitrary bytes behind a `{`, scanned in pieces: the scanner says what `serde_json` says.
//!
//! Input: the pieces' length (0: whole), then what follows the `{`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use s3_audit_webhook::framer::json::{Scan, Scanner};
use serde::de::IgnoredAny;

fuzz_target!(|data: &[u8]| {
    let Some((piece, tail)) = data.split_first() else {
        return;
    };
    let bytes = [b"{", tail].concat();
    let piece = match usize::from(*piece) {
        0 => bytes.len(),
        length => length,
    };
    let mut scanner = Scanner::new(usize::MAX);
    let found = scan(&mut scanner, &bytes, piece);
    match (found, judge(&bytes)) {
        // Where an error is seen first may differ, that there is one may not.
        (Scan::Error(at), Scan::Error(_)) => assert!(at < bytes.len()),
        // serde_json calls a number that was cut off wrong, not unfinished.
        (Scan::More, Scan::Error(_)) if b"-+.eE".contains(&bytes[bytes.len() - 1]) => {}
        // It looks at the four digits behind \u only when it has them all.
        (Scan::Error(at), Scan::More) if bytes[at.saturating_sub(5)..at].contains(&b'u') => {}
        (found, judged) => assert_eq!(found, judged),
    }
    if let Scan::Done(end) = found {
        let breaks = scanner.has_breaks();
        // No raw line break can stand in a string.
        assert_eq!(
            breaks,
            bytes[..end].iter().any(|byte| b"\n\r".contains(byte))
        );
        assert!(!scanner.is_ascii() || bytes[..end].is_ascii());
        assert_eq!(scanner.open_brackets().count(), 0);
    }
    scanner.reset();
    assert_eq!(scan(&mut scanner, &bytes, bytes.len()), found, "used again");
});

fn scan(scanner: &mut Scanner, bytes: &[u8], piece: usize) -> Scan {
    let mut at = 0;
    while at < bytes.len() {
        let end = bytes.len().min(at + piece);
        match scanner.scan(&bytes[..end], at) {
            Scan::More => at = end,
            found => return found,
        }
    }
    Scan::More
}

/// What the scanner should say, by serde_json's word.
fn judge(bytes: &[u8]) -> Scan {
    let mut stream = serde_json::Deserializer::from_slice(bytes).into_iter::<IgnoredAny>();
    match stream.next() {
        Some(Ok(_)) => Scan::Done(stream.byte_offset()),
        Some(Err(error)) if !error.is_eof() => Scan::Error(0),
        _ => Scan::More,
    }
}
