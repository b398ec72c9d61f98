//! TLS: the handshake, whom to trust, and which certificate to show.

use std::env;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use memchr::memmem;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use ureq::Error;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, parse_pem};
use ureq::unversioned::transport::{ConnectionDetails, Connector, RustlsConnector, Transport};

use crate::telemetry::message::Message;
use crate::webhook::observer::Observer;
use crate::webhook::wire::Wire;

/// Mozilla's roots, which ureq brings along. A test holds it to `Cargo.lock`.
const BUNDLED: &str = "webpki-roots 1.0.10";

/// By these another place for the host's roots was asked for.
const PLACES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The host's own roots; where there are none the bundled ones, and a warning that says so.
///
/// # Errors
/// The environment names a place for them, and there are none.
pub fn host_roots() -> Result<(RootCerts, Option<Message>), String> {
    let found = rustls_native_certs::load_native_certs();
    if !found.certs.is_empty() {
        let roots = found.certs.iter();
        let roots = roots.map(|der| Certificate::from_der(der).to_owned());
        return Ok((RootCerts::from(roots), None));
    }
    let reason = found.errors.first();
    let reason = reason.map_or_else(String::new, |error| format!(" ({error})"));
    if let Some(name) = PLACES.into_iter().find(|name| env::var_os(name).is_some()) {
        return Err(format!(
            "{name}: no trusted roots there{reason}; unset it, or give --ca-file"
        ));
    }
    let warning = Message::BundledRoots {
        reason,
        date: BUNDLED.into(),
    };
    Ok((RootCerts::WebPki, Some(warning)))
}

/// The certificates of a PEM file, and no others.
///
/// # Errors
/// The file can't be read or holds no certificate.
pub fn ca_file(path: &Path) -> Result<RootCerts, String> {
    let certificates = Pem::read(path)?.certificates()?;
    // ureq drops what it can't use without a word, so use it once here.
    let mut store = rustls::RootCertStore::empty();
    for certificate in &certificates {
        store
            .add(CertificateDer::from(certificate.der()))
            .map_err(|error| format!("holds a certificate that is none: {error}"))?;
    }
    Ok(RootCerts::from(certificates))
}

/// The files of a client's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientFile {
    /// That of the certificate, maybe with its key.
    Certificate,
    /// That of the key alone.
    Key,
}

/// The certificate that a client shows, with its chain, and its key: from a file of its own, or from the same.
///
/// # Errors
/// A file can't be read or does not hold what it should, or the key is another certificate's. Names which
/// file that is.
pub fn client(certificate: &Path, key: Option<&Path>) -> Result<ClientCert, (ClientFile, String)> {
    let of_certificate = |what| (ClientFile::Certificate, what);
    let pem = Pem::read(certificate).map_err(of_certificate)?;
    let chain = pem.certificates().map_err(of_certificate)?;
    let (key_file, key) = match key {
        Some(path) => (ClientFile::Key, Pem::read(path).and_then(|pem| pem.key())),
        None => (ClientFile::Certificate, pem.key()),
    };
    let (key, der) = key.map_err(|what| (key_file, what))?;
    // ureq panics at what does not fit, so fit it once here.
    let ders = chain
        .iter()
        .map(|one| CertificateDer::from(one.der()).into_owned());
    CertifiedKey::from_der(ders.collect(), der, &ring::default_provider()).map_err(
        |error| match error {
            rustls::Error::InconsistentKeys(_) => (
                key_file,
                "holds a private key that is not the client certificate's".into(),
            ),
            rustls::Error::InvalidCertificate(error) => {
                of_certificate(format!("holds a certificate that is none: {error}"))
            }
            _ => (
                key_file,
                "holds a private key that can't be used; expected RSA of 2048 to 8192 bits, EC P-256 or P-384, or \
                 Ed25519"
                    .into(),
            ),
        },
    )?;
    Ok(ClientCert::new_with_certs(&chain, key))
}

/// ureq's connector to TLS, with somebody who learns of the handshake.
#[derive(Debug)]
pub struct Tls {
    inner: RustlsConnector,
    wire: Wire,
    observer: Arc<dyn Observer>,
}

impl Tls {
    /// Shakes hands over what these learn of.
    pub fn new(wire: Wire, observer: Arc<dyn Observer>) -> Self {
        Tls {
            inner: RustlsConnector::default(),
            wire,
            observer,
        }
    }
}

impl Connector<Box<dyn Transport>> for Tls {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        socket: Option<Box<dyn Transport>>,
    ) -> Result<Option<Self::Out>, Error> {
        if !details.needs_tls() || self.wire.is_to_proxy() {
            return Ok(socket);
        }
        self.observer.begin("TLS", "");
        let transport = self.inner.connect(details, socket)?;
        self.observer.end("established");
        self.observer.begin("answer", "");
        Ok(transport.map(|transport| Box::new(transport) as Self::Out))
    }
}

const ENCRYPTED: &str = "holds an encrypted private key, and nobody is there to be asked for its password; decrypt \
                         it with `openssl pkey -in FILE -out NEW_FILE`";
/// Stands in an encrypted key that is no PKCS#8, and is no PEM to rustls.
const OLD_ENCRYPTED: &str = "Proc-Type: 4,ENCRYPTED";

/// A file of certificates and keys.
struct Pem(Vec<u8>);

impl Pem {
    fn read(path: &Path) -> Result<Self, String> {
        let bytes = fs::read(path);
        bytes
            .map(Pem)
            .map_err(|error| format!("can't be read: {error}"))
    }

    fn certificates(&self) -> Result<Vec<Certificate<'static>>, String> {
        let mut certificates = Vec::new();
        for item in parse_pem(&self.0) {
            match item {
                Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
                Ok(_) => {}
                Err(_) if self.has(OLD_ENCRYPTED) => return Err(ENCRYPTED.into()),
                Err(error) => return Err(format!("is no PEM file: {error}")),
            }
        }
        if certificates.is_empty() {
            return Err("holds no certificate; expected '-----BEGIN CERTIFICATE-----'".into());
        }
        Ok(certificates)
    }

    fn has(&self, words: &str) -> bool {
        memmem::find(&self.0, words.as_bytes()).is_some()
    }

    /// The first one, in any of the three forms, for ureq and for rustls.
    fn key(&self) -> Result<(PrivateKey<'static>, PrivateKeyDer<'static>), String> {
        if self.has("BEGIN ENCRYPTED PRIVATE KEY") || self.has(OLD_ENCRYPTED) {
            return Err(ENCRYPTED.into());
        }
        match (PrivateKey::from_pem(&self.0), PrivateKeyDer::from_pem_slice(&self.0)) {
            (Ok(key), Ok(der)) => Ok((key, der)),
            _ => Err("holds no private key; expected '-----BEGIN PRIVATE KEY-----', in the certificate's file \
                      or in --client-key's"
                .into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_roots_are_named_with_their_version() {
        let (name, version) = BUNDLED.split_once(' ').unwrap();
        let locked = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        assert!(include_str!("../../Cargo.lock").contains(&locked));
    }
}
