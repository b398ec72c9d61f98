//! Certificates and private keys in PEM or DER files, checked as rustls will use them.

use std::borrow::Cow;

use memchr::memmem;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, RootCertStore};

use crate::text::certificate::{self, Certificate};

/// What one side of a connection presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The certificate, with its chain.
    Certificate,
    /// The private key.
    Key,
}

const ENCRYPTED: &str = "contains an encrypted private key, and nobody is there to be asked for its password; fix: \
                         decrypt it with `openssl pkey -in FILE -out NEW_FILE`";
const NO_KEY: &str = "contains no private key; fix: put one, with '-----BEGIN PRIVATE KEY-----', into the certificate's \
                      file or one of its own";
const OTHER_KEY: &str =
    "contains a private key that is not the certificate's; fix: give the key that belongs to it";
const UNUSABLE_KEY: &str = "contains a private key that can't be used; fix: use RSA of 2048 to 8192 bits, EC P-256 or \
                            P-384, or Ed25519";
/// This is in an encrypted key that is not PKCS#8, and which rustls does not recognise as PEM.
const OLD_ENCRYPTED: &str = "Proc-Type: 4,ENCRYPTED";

/// What files contain instead of a certificate, and how to get one from that.
const OTHERS: [(&str, &str); 3] = [
    (
        "BEGIN CERTIFICATE REQUEST",
        "is a request for a certificate; fix: give the certificate that the CA made of it",
    ),
    (
        "BEGIN PKCS7",
        "is PKCS#7; fix: `openssl pkcs7 -print_certs -in FILE -out NEW_FILE`",
    ),
    ("-\0B\0E", "is UTF-16; fix: save it as UTF-8 or ASCII"),
];

/// All certificates of a file: in PEM, even with a byte order mark or with OpenSSL's trust settings, or one in DER.
///
/// # Errors
/// There is none, or something else is wrong with the file.
pub fn certificates(file: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    if file.first() == Some(&0x30) {
        return match certificate::first(file) {
            Some(der) => Ok(vec![CertificateDer::from(der.to_owned())]),
            None => Err("is DER, but no certificate, perhaps PKCS#7 or PKCS#12; fix: `openssl pkcs12 -nokeys -in FILE \
                         -out NEW_FILE` or `openssl pkcs7 -inform DER -print_certs -in FILE -out NEW_FILE`".into()),
        };
    }
    let pem = plain(file);
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if found.is_empty() => {
            let what = OTHERS.iter().find(|(words, _)| has(file, words));
            Err(what.map_or("contains no certificate; fix: give a PEM file, with '-----BEGIN CERTIFICATE-----'", |(_, what)| what).into())
        }
        // In a certificate with trust settings, these follow it.
        Ok(found) => Ok(found
            .into_iter()
            .map(|der| {
                certificate::first(&der)
                    .map_or_else(|| der.clone(), |der| CertificateDer::from(der.to_owned()))
            })
            .collect()),
        Err(_) if has(file, OLD_ENCRYPTED) => Err(ENCRYPTED.into()),
        Err(_) => Err("is no PEM file, or a damaged one; fix: export it again".into()),
    }
}

/// The file without a byte order mark, and with the usual label for certificates.
fn plain(file: &[u8]) -> Cow<'_, [u8]> {
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    if !has(file, " TRUSTED CERTIFICATE-") && !has(file, " X509 CERTIFICATE-") {
        return file.into();
    }
    let text = String::from_utf8_lossy(file);
    text.replace(" TRUSTED CERTIFICATE-", " CERTIFICATE-")
        .replace(" X509 CERTIFICATE-", " CERTIFICATE-")
        .into_bytes()
        .into()
}

/// The contents of those of a file's certificates that can be read.
pub fn described(certificates: &[CertificateDer<'_>]) -> Vec<Certificate> {
    certificates
        .iter()
        .filter_map(|der| Certificate::parse(der))
        .collect()
}

/// A file of trusted certificates.
///
/// # Errors
/// As for [`certificates`], or one of them is not a certificate.
pub fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(invalid)?;
    }
    Ok(roots)
}

/// A certificate with its chain, and its key: from a separate file, or from the same.
///
/// # Errors
/// Which of them is wrong, and what is wrong with it.
pub fn identity(certificate: &[u8], key: Option<&[u8]>) -> Result<CertifiedKey, (Part, String)> {
    let of_certificate = |what| (Part::Certificate, what);
    let of_key = |what: &str| match key {
        Some(_) => (Part::Key, what.to_owned()),
        None => of_certificate(what.to_owned()),
    };
    let chain = certificates(certificate).map_err(of_certificate)?;
    let key_file = key.unwrap_or(certificate);
    if has(key_file, "BEGIN ENCRYPTED PRIVATE KEY") || has(key_file, OLD_ENCRYPTED) {
        return Err(of_key(ENCRYPTED));
    }
    let der = PrivateKeyDer::from_pem_slice(&plain(key_file)).or_else(|_| {
        let der = PrivateKeyDer::try_from(key_file);
        der.map(|der| der.clone_key()).map_err(|_| of_key(NO_KEY))
    })?;
    CertifiedKey::from_der(chain, der, &ring::default_provider()).map_err(|error| match error {
        Error::InconsistentKeys(_) => of_key(OTHER_KEY),
        Error::InvalidCertificate(_) => of_certificate(invalid(error)),
        _ => of_key(UNUSABLE_KEY),
    })
}

fn invalid(error: Error) -> String {
    format!("contains a certificate that is none: {error}; fix: export it again")
}

fn has(file: &[u8], words: &str) -> bool {
    memmem::find(file, words.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CA: &[u8] = include_bytes!("../../tests/data/certificates/ca.pem");

    #[test]
    fn certificates_are_read_in_all_usual_forms() {
        let expected = certificates(CA).unwrap();
        let trusted = include_bytes!("../../tests/data/certificates/trusted.pem");
        let x509 = String::from_utf8_lossy(CA).replace(" CERTIFICATE", " X509 CERTIFICATE");
        for file in [
            [b"\xef\xbb\xbf", CA].concat(),
            trusted.to_vec(),
            x509.into_bytes(),
            expected[0].to_vec(),
        ] {
            assert_eq!(certificates(&file).unwrap(), expected);
            assert_eq!(roots(&file).unwrap().len(), 1);
        }
    }

    #[test]
    fn what_is_no_certificate_is_named() {
        let utf16: Vec<u8> = CA.iter().flat_map(|byte| [*byte, 0]).collect();
        for (file, what) in [
            (&b""[..], "contains no certificate"),
            (&utf16, "UTF-16"),
            (&utf16[1..], "UTF-16"),
            (
                b"-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----",
                "is a request",
            ),
            (b"-----BEGIN CERTIFICATE-----\nAAAA", "damaged"),
            (b"-----BEGIN PKCS7-----\n-----END PKCS7-----", "is PKCS#7"),
            (b"0\x03\x02\x01\x00", "is DER, but no certificate"),
        ] {
            let error = certificates(file).unwrap_err();
            assert!(error.contains(what) && error.contains("; fix: "), "{error}");
        }
    }
}
