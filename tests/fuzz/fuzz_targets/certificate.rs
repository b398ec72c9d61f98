//! Arbitrary bytes in the place of a certificate, in DER and in PEM: nothing panics, and what is read is a part of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use s3_audit_webhook::text::certificate::{Certificate, date, first, parse_fingerprint, sha256};
use s3_audit_webhook::text::{hex, pem};

fuzz_target!(|data: &[u8]| {
    check(data);
    match pem::certificates(data) {
        Ok(found) => {
            found.iter().for_each(|der| check(der));
            assert!(pem::described(&found).len() <= found.len());
            let _ = pem::roots(data);
        }
        Err(error) => assert!(!error.is_empty()),
    }
    if let Ok(text) = str::from_utf8(data) {
        let _ = parse_fingerprint(text);
    }
});

fn check(der: &[u8]) {
    let Some(certificate) = Certificate::parse(der) else {
        assert_eq!(first(der), None);
        return;
    };
    let whole = first(der).expect("it is a certificate");
    assert!(der.starts_with(whole));
    assert_eq!(certificate.fingerprint, sha256(whole));
    assert_eq!(Certificate::parse(whole).as_ref(), Some(&certificate));
    assert_eq!(
        parse_fingerprint(&hex::encode(&certificate.key_fingerprint)),
        Ok(certificate.key_fingerprint)
    );
    let (algorithm, key) = &certificate.key;
    assert!(algorithm.len() + key.len() < whole.len());
    assert!(certificate.subject.len() + certificate.issuer.len() <= 3 * whole.len());
    let _ = (certificate.unusable_key(), certificate.weak_signature());
    assert_eq!(date(certificate.not_after).len(), "2026-01-01".len());
}
