//! Whom to trust: the host's own roots, or a file's.

use std::fs;
use std::path::Path;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// Settings for connections that are verified against the host's own roots.
///
/// # Errors
/// The host has none: there is nothing to verify with.
pub fn with_host_roots() -> Result<TlsConfig, String> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let why = found
            .errors
            .first()
            .map_or_else(String::new, |error| format!(" ({error})"));
        return Err(format!(
            "no trusted roots found on this host{why}; install ca-certificates, or give --ca-file"
        ));
    }
    Ok(with_roots(
        found
            .certs
            .iter()
            .map(|der| Certificate::from_der(der).to_owned()),
    ))
}

/// Settings for connections that are verified against the certificates of a PEM file, and no others.
///
/// # Errors
/// The file can't be read or holds no certificate.
pub fn with_ca_file(path: &Path) -> Result<TlsConfig, String> {
    let pem = fs::read(path).map_err(|error| format!("can't be read: {error}"))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(format!("is no PEM file: {error}")),
        }
    }
    // ureq drops what it can't use without a word, so use it once here.
    let mut store = rustls::RootCertStore::empty();
    for certificate in &certificates {
        let der = rustls::pki_types::CertificateDer::from(certificate.der());
        store
            .add(der)
            .map_err(|error| format!("holds a certificate that is none: {error}"))?;
    }
    if certificates.is_empty() {
        return Err("holds no certificate; expected '-----BEGIN CERTIFICATE-----'".into());
    }
    Ok(with_roots(certificates))
}

/// Settings for connections that are not verified at all.
pub fn unverified() -> TlsConfig {
    TlsConfig::builder().disable_verification(true).build()
}

fn with_roots(certificates: impl IntoIterator<Item = Certificate<'static>>) -> TlsConfig {
    TlsConfig::builder()
        .root_certs(RootCerts::from(certificates))
        .build()
}
