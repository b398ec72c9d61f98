//! TLS: the handshake, whom to trust, and which certificate to show.

use std::env;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use ureq::Error;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts};
use ureq::unversioned::transport::{ConnectionDetails, Connector, RustlsConnector, Transport};

use crate::telemetry::message::Message;
use crate::text::pem::{self, Part};
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
            "{name}: no trusted roots there{reason}; fix: unset it, or give --ca-file"
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
/// The file can't be read or contains no certificate.
pub fn ca_file(path: &Path) -> Result<RootCerts, String> {
    let pem = read(path)?;
    // ureq drops what it can't use without a word.
    pem::roots(&pem)?;
    let certificates = pem::certificates(&pem)?;
    Ok(RootCerts::from(
        certificates
            .iter()
            .map(|der| Certificate::from_der(der).to_owned()),
    ))
}

/// The certificate that a client shows, with its chain, and its key: from a file of its own, or from the same.
///
/// # Errors
/// A file can't be read or does not contain what it should, or the key is another certificate's. Names which
/// file that is.
pub fn client(certificate: &Path, key: Option<&Path>) -> Result<ClientCert, (Part, String)> {
    let certificate = read(certificate).map_err(|what| (Part::Certificate, what))?;
    let key = key
        .map(read)
        .transpose()
        .map_err(|what| (Part::Key, what))?;
    // ureq panics at what does not fit.
    let identity = pem::identity(&certificate, key.as_deref())?;
    let chain = identity
        .cert
        .iter()
        .map(|der| Certificate::from_der(der).to_owned());
    let key = PrivateKey::from_pem(key.as_deref().unwrap_or(&certificate));
    let key = key.map_err(|error| (Part::Key, error.to_string()))?;
    Ok(ClientCert::new_with_certs(&chain.collect::<Vec<_>>(), key))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("can't be read: {error}"))
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
