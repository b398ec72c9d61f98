//! Arbitrary bytes in the place of a checkpoint: it is refused, or says of each file something that can be true.

#![no_main]

use libfuzzer_sys::fuzz_target;
use s3_audit_webhook::state::checkpoint::{HEAD_BYTES, parse};

const SOURCE: &str = "file:/var/log/audit.log";

fuzz_target!(|data: &[u8]| {
    match parse(data, SOURCE) {
        Ok(places) => {
            for place in places {
                assert!(place.fingerprint.bytes <= HEAD_BYTES);
                let read = place.offset.min(HEAD_BYTES as u64);
                assert!(place.fingerprint.bytes as u64 >= read, "{place:?}");
                let _ = place.fingerprint.fits(data);
            }
        }
        Err(why) => assert!(!why.is_empty()),
    }
});
