//! Certificates and private keys in PEM files, checked as rustls will use them.

use memchr::memmem;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, RootCertStore};

/// What one side of a connection shows of itself.
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
/// Stands in an encrypted key that is no PKCS#8, and is no PEM to rustls.
const OLD_ENCRYPTED: &str = "Proc-Type: 4,ENCRYPTED";

/// All certificates of a file.
///
/// # Errors
/// There is none, or something else is wrong.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err("contains no certificate; fix: give a PEM file, with \
                                              '-----BEGIN CERTIFICATE-----'"
                .into())
        }
        Ok(found) => Ok(found),
        Err(_) if has(pem, OLD_ENCRYPTED) => Err(ENCRYPTED.into()),
        Err(error) => Err(format!("is no PEM file: {error}; fix: export it again")),
    }
}

/// A file of certificates of those who are trusted.
///
/// # Errors
/// As of [`certificates`], or one of them is none.
pub fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(invalid)?;
    }
    Ok(roots)
}

/// A certificate with its chain, and its key: from a file of its own, or from the same.
///
/// # Errors
/// What is wrong with which of them.
pub fn identity(certificate: &[u8], key: Option<&[u8]>) -> Result<CertifiedKey, (Part, String)> {
    let of_certificate = |what| (Part::Certificate, what);
    let of_key = |what: &str| match key {
        Some(_) => (Part::Key, what.to_owned()),
        None => of_certificate(what.to_owned()),
    };
    let chain = certificates(certificate).map_err(of_certificate)?;
    let pem = key.unwrap_or(certificate);
    if has(pem, "BEGIN ENCRYPTED PRIVATE KEY") || has(pem, OLD_ENCRYPTED) {
        return Err(of_key(ENCRYPTED));
    }
    let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| of_key(NO_KEY))?;
    CertifiedKey::from_der(chain, der, &ring::default_provider()).map_err(|error| match error {
        Error::InconsistentKeys(_) => of_key(OTHER_KEY),
        Error::InvalidCertificate(_) => of_certificate(invalid(error)),
        _ => of_key(UNUSABLE_KEY),
    })
}

fn invalid(error: Error) -> String {
    format!("contains a certificate that is none: {error}; fix: export it again")
}

fn has(pem: &[u8], words: &str) -> bool {
    memmem::find(pem, words.as_bytes()).is_some()
}
