//! What people want to know of an X.509 certificate: its subject, expiry and fingerprints. A small reader of DER, which
//! unlike webpki accepts version 1 too. It does not judge.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use ring::digest::{SHA256, digest};

use crate::text::hex;

/// A SHA-256 digest.
pub type Fingerprint = [u8; 32];

/// What is in a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The version of X.509: 1 or 3.
    pub version: u8,
    /// Whose it is: `CN=hec.example.com, O=Example`.
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// DNS names and IP addresses that it is valid for; the common name does not count.
    pub names: Vec<String>,
    /// When it expires.
    pub not_after: SystemTime,
    /// The fingerprint of the whole certificate.
    pub fingerprint: Fingerprint,
    /// The fingerprint of the public key with its algorithm (SPKI), which a renewed certificate may keep.
    pub key_fingerprint: Fingerprint,
    /// The public key's algorithm, as verifiers compare it, and the key itself.
    pub key: (Vec<u8>, Vec<u8>),
    signature_algorithm: Vec<u8>,
}

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];
/// MD5 and SHA-1 with RSA, SHA-1 with ECDSA.
const WEAK_SIGNATURES: [(&[u8], &str); 3] = [
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x04],
        "MD5",
    ),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05],
        "SHA-1",
    ),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01], "SHA-1"),
];
const ATTRIBUTES: [(&[u8], &str); 7] = [
    (&[0x55, 0x04, 0x03], "CN"),
    (&[0x55, 0x04, 0x06], "C"),
    (&[0x55, 0x04, 0x07], "L"),
    (&[0x55, 0x04, 0x08], "ST"),
    (&[0x55, 0x04, 0x0a], "O"),
    (&[0x55, 0x04, 0x0b], "OU"),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01],
        "emailAddress",
    ),
];

impl Certificate {
    /// Reads DER, which more data may follow. `None` if it is not a certificate.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let (whole, content) = Der(der).element(SEQUENCE)?;
        let mut content = Der(content);
        let mut tbs = Der(content.element(SEQUENCE)?.1);
        let version = tbs
            .optional(0xa0)
            .and_then(<[u8]>::last)
            .map_or(1, |last| last.saturating_add(1));
        tbs.element(0x02)?;
        tbs.element(SEQUENCE)?;
        let issuer = name(tbs.element(SEQUENCE)?.1)?;
        let mut validity = Der(tbs.element(SEQUENCE)?.1);
        validity.any()?;
        let (tag, not_after) = validity.any()?;
        let subject = name(tbs.element(SEQUENCE)?.1)?;
        let (spki, key) = tbs.element(SEQUENCE)?;
        let mut key = Der(key);
        let algorithm = key.element(SEQUENCE)?.1;
        // The bits are preceded by the number of unused ones, which is 0.
        let bits = key.element(0x03)?.1.get(1..)?;
        tbs.optional(0x81);
        tbs.optional(0x82);
        let extensions = tbs.optional(0xa3).unwrap_or_default();
        let mut signature = Der(content.element(SEQUENCE)?.1);
        Some(Certificate {
            version,
            subject,
            issuer,
            names: names(extensions).unwrap_or_default(),
            not_after: time(tag, not_after)?,
            fingerprint: sha256(whole),
            key_fingerprint: sha256(spki),
            key: (algorithm.to_owned(), bits.to_owned()),
            signature_algorithm: signature.element(OBJECT_IDENTIFIER)?.1.to_owned(),
        })
    }

    /// Whether it was issued by itself, judging by the names.
    pub fn is_self_signed(&self) -> bool {
        self.subject == self.issuer
    }

    /// What about its key is too weak or too uncommon to be used.
    pub fn unusable_key(&self) -> Option<String> {
        let mut algorithm = Der(&self.key.0);
        let kind = algorithm.element(OBJECT_IDENTIFIER)?.1;
        if kind == RSA {
            let mut numbers = Der(Der(&self.key.1).element(SEQUENCE)?.1);
            let modulus = numbers.element(0x02)?.1;
            let start = modulus.iter().position(|byte| *byte != 0)?;
            let bits = (modulus.len() - start) * 8 - modulus[start].leading_zeros() as usize;
            return (bits < 2048).then(|| format!("an RSA key of {bits} bits"));
        }
        let curve = algorithm.optional(OBJECT_IDENTIFIER);
        (curve == Some(P521)).then(|| "a key on the curve P-521".into())
    }

    /// What about its signature is too weak to be used.
    pub fn weak_signature(&self) -> Option<String> {
        let weak = WEAK_SIGNATURES
            .iter()
            .find(|(oid, _)| *oid == self.signature_algorithm)?;
        Some(format!("a signature with {}", weak.1))
    }
}

/// The certificate that some DER begins with, without what follows it.
pub fn first(der: &[u8]) -> Option<&[u8]> {
    Certificate::parse(der)?;
    Some(Der(der).element(SEQUENCE)?.0)
}

/// The SHA-256 digest.
pub fn sha256(bytes: &[u8]) -> Fingerprint {
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest(&SHA256, bytes).as_ref());
    fingerprint
}

/// Reads a SHA-256 digest, with or without colons between its bytes, as `openssl x509 -fingerprint -sha256` prints it.
///
/// # Errors
/// It is not a SHA-256 digest.
pub fn parse_fingerprint(text: &str) -> Result<Fingerprint, String> {
    let digits: String = text.trim().split(':').collect();
    let bytes = hex::decode(&digits).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| {
        "is no SHA-256 of 64 hexadecimal digits; fix: use one that `s3-audit-webhook test` shows"
            .into()
    })
}

/// The day of a time, in UTC.
pub fn date(time: SystemTime) -> String {
    /// Formatting panics beyond the year 9999.
    const LATEST: u64 = 253_402_300_799;
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let time = UNIX_EPOCH + std::time::Duration::from_secs(seconds.min(LATEST));
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.split('T').next().unwrap_or_default().into()
}

/// The rest of some DER.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element: its tag and its content.
    fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
                (
                    digits
                        .iter()
                        .fold(0, |length, digit| length << 8 | usize::from(*digit)),
                    rest,
                )
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The next element, which must have this tag: as a whole, and its content.
    fn element(&mut self, tag: u8) -> Option<(&'a [u8], &'a [u8])> {
        let before = self.0;
        let (found, content) = self.any()?;
        let whole = &before[..before.len() - self.0.len()];
        (found == tag).then_some((whole, content))
    }

    /// The content of the next element if it has this tag.
    fn optional(&mut self, tag: u8) -> Option<&'a [u8]> {
        (self.0.first() == Some(&tag))
            .then(|| self.any())?
            .map(|(_, content)| content)
    }
}

/// Those attributes of a distinguished name that people know.
fn name(sets: &[u8]) -> Option<String> {
    let mut sets = Der(sets);
    let mut parts = Vec::new();
    while let Some((_, set)) = sets.any() {
        let mut attribute = Der(Der(set).element(SEQUENCE)?.1);
        let kind = attribute.element(OBJECT_IDENTIFIER)?.1;
        let (tag, value) = attribute.any()?;
        let value = match tag {
            // BMPString
            0x1e => String::from_utf16_lossy(
                &value
                    .chunks(2)
                    .map(|pair| {
                        pair.iter()
                            .fold(0, |unit, byte| unit << 8 | u16::from(*byte))
                    })
                    .collect::<Vec<_>>(),
            ),
            _ => String::from_utf8_lossy(value).into_owned(),
        };
        if let Some((_, kind)) = ATTRIBUTES.iter().find(|(oid, _)| *oid == kind) {
            parts.push(format!("{kind}={value}"));
        }
    }
    Some(parts.join(", "))
}

fn names(extensions: &[u8]) -> Option<Vec<String>> {
    let mut extensions = Der(Der(extensions).element(SEQUENCE)?.1);
    let mut found = Vec::new();
    while let Some((_, extension)) = extensions.any() {
        let mut extension = Der(extension);
        if extension.element(OBJECT_IDENTIFIER)?.1 != SUBJECT_ALT_NAME {
            continue;
        }
        // Whether it is critical.
        extension.optional(0x01);
        let mut names = Der(Der(extension.element(0x04)?.1).element(SEQUENCE)?.1);
        while let Some((tag, name)) = names.any() {
            found.extend(match tag {
                0x82 => Some(String::from_utf8_lossy(name).into_owned()),
                0x87 => address(name).map(|address| address.to_string()),
                _ => None,
            });
        }
    }
    Some(found)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    v4.or(v6).ok()
}

/// `YYMMDDhhmmssZ`, with a century before it if it is a GeneralizedTime.
fn time(tag: u8, text: &[u8]) -> Option<SystemTime> {
    let text = std::str::from_utf8(text)
        .ok()
        .filter(|text| text.is_ascii())?;
    let text = match tag {
        0x17 if text < "50" => format!("20{text}"),
        0x17 => format!("19{text}"),
        _ => text.to_owned(),
    };
    let part = |range| text.get(range);
    let [year, month, day] = [part(0..4)?, part(4..6)?, part(6..8)?];
    let [hour, minute, second] = [part(8..10)?, part(10..12)?, part(12..14)?];
    let text = format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z");
    humantime::parse_rfc3339(&text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    fn der(pem: &[u8]) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem).unwrap()
    }

    const V1: &[u8] = include_bytes!("../../tests/data/certificates/v1.pem");
    const RSA1024: &[u8] = include_bytes!("../../tests/data/certificates/rsa1024.pem");
    const SHA1: &[u8] = include_bytes!("../../tests/data/certificates/sha1.pem");
    const P521: &[u8] = include_bytes!("../../tests/data/certificates/ca521.pem");

    #[test]
    fn version_1_is_read_too() {
        let certificate = Certificate::parse(&der(V1)).unwrap();
        assert_eq!(certificate.version, 1);
        assert_eq!(certificate.subject, "CN=v1, O=Test");
        assert_eq!(
            certificate.issuer,
            "C=US, ST=CA, L=San Francisco, O=Splunk, CN=SplunkCommonCA"
        );
        assert!(!certificate.is_self_signed() && certificate.names.is_empty());
        assert_eq!(date(certificate.not_after), "2126-11-04");
        // As `openssl x509 -fingerprint -sha256` and `openssl pkey -pubin -outform der | sha256sum` print them.
        assert_eq!(
            hex::encode(&certificate.fingerprint),
            "efbf440c1bc60b15d8d74e5bc6f68fbce5032db98f6ed99d79449027d94341e1"
        );
        assert_eq!(
            hex::encode(&certificate.key_fingerprint),
            "4d9b6ecd3e9325830a7ede8bd199e77e78f69782b4b5b48944fb435bc10a055a"
        );
    }

    #[test]
    fn names_and_expiry_of_version_3_are_read() {
        let names = ["hec.example.com", "192.0.2.1", "2001:db8::1"];
        let mut params = CertificateParams::new(names.map(String::from)).unwrap();
        params.distinguished_name.push(DnType::CommonName, "Größe");
        for year in [1999, 2049, 2050, 2999] {
            params.not_after = date_time_ymd(year, 12, 31);
            let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            let certificate = Certificate::parse(made.der()).unwrap();
            assert_eq!(certificate.names, names);
            assert_eq!(date(certificate.not_after), format!("{year}-12-31"));
            assert!(certificate.is_self_signed() && certificate.subject == "CN=Größe");
            assert_eq!(
                (certificate.unusable_key(), certificate.weak_signature()),
                (None, None)
            );
            let longer = [made.der().as_ref(), b"more"].concat();
            assert_eq!(first(&longer), Some(made.der().as_ref()));
        }
    }

    #[test]
    fn weak_keys_and_signatures_are_named() {
        let of = |pem| Certificate::parse(&der(pem)).unwrap();
        assert_eq!(
            of(RSA1024).unusable_key().unwrap(),
            "an RSA key of 1024 bits"
        );
        assert_eq!(of(P521).unusable_key().unwrap(), "a key on the curve P-521");
        assert_eq!(of(SHA1).weak_signature().unwrap(), "a signature with SHA-1");
        assert_eq!(
            (of(V1).unusable_key(), of(V1).weak_signature()),
            (None, None)
        );
    }

    #[test]
    fn what_is_cut_off_is_no_certificate() {
        let whole = der(V1);
        for length in 0..whole.len() {
            assert_eq!(Certificate::parse(&whole[..length]), None);
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(place in 0_usize..900, bytes: [u8; 4], rest: Vec<u8>) {
            let mut changed = der(V1).to_vec();
            let end = changed.len().min(place + 4);
            changed[place.min(end)..end].copy_from_slice(&bytes[..end - place.min(end)]);
            if let Some(certificate) = Certificate::parse(&changed) {
                let _ = (certificate.unusable_key(), date(certificate.not_after));
            }
            let _ = Certificate::parse(&rest);
        }
    }

    #[test]
    fn fingerprints_are_read_as_openssl_writes_them() {
        let text = hex::encode(&sha256(b""));
        let pairs: Vec<_> = text
            .as_bytes()
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).unwrap())
            .collect();
        for text in [
            text.clone(),
            pairs.join(":").to_uppercase(),
            format!(" {text}\n"),
        ] {
            assert_eq!(parse_fingerprint(&text), Ok(sha256(b"")));
        }
        for wrong in [
            "",
            "00",
            &text[1..],
            &format!("{text}0"),
            &text.replace('e', "é"),
            &text.replace('e', "g"),
        ] {
            assert!(
                parse_fingerprint(wrong)
                    .unwrap_err()
                    .contains("64 hexadecimal digits")
            );
        }
    }
}
