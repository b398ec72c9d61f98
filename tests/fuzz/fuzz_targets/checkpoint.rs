//! Arbitrary bytes in the place of a checkpoint, of either version: it is rejected, or says of each file something that can
//! be true.

#![no_main]

use libfuzzer_sys::fuzz_target;
use s3_audit_webhook::state::checkpoint::{FileOffset, HEAD_BYTES, journal, v1};

const SOURCE: &str = "file:/var/log/audit.log";

fuzz_target!(|data: &[u8]| {
    match v1::parse(data, Some(SOURCE)) {
        Ok(files) => files.iter().for_each(|file| check(file, data)),
        Err(reason) => assert!(!reason.is_empty()),
    }
    match journal::replay(data, Some(SOURCE)) {
        Ok(replayed) => replayed.files.values().for_each(|file| check(file, data)),
        Err(reason) => assert!(!reason.is_empty()),
    }
});

fn check(file: &FileOffset, data: &[u8]) {
    assert!(file.head.len() <= HEAD_BYTES);
    assert!(file.tail.len() as u64 <= file.offset, "{file:?}");
    let _ = file.head.fits(data);
}
