//! TLS: whom to trust, and which certificate to show. The handshake itself is in [`connect`].

use std::env;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;

use crate::telemetry::message::Message;
use crate::text::certificate::{Certificate, Fingerprint};
use crate::text::pem::{self, Part};
use crate::text::small_file;

mod below;
pub mod connect;
mod handshake;

/// Mozilla's roots. A test compares it with `Cargo.lock`.
const BUNDLED: &str = "webpki-roots 1.0.10";

/// The variables that name another place for the host's roots.
const PLACES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Whom to trust, as whom, and what to show.
#[derive(Debug)]
pub struct TlsSettings {
    /// Whose certificates are accepted.
    pub trust: Trust,
    /// The CA certificates of a file of the operator's.
    pub authorities: Vec<Certificate>,
    /// The certificate that the webhook may ask for.
    pub identity: Option<Arc<CertifiedKey>>,
    /// The name that its certificate must have, if not that of the endpoint.
    pub name: Option<ServerName<'static>>,
}

/// Whose certificates are accepted.
#[derive(Debug)]
pub enum Trust {
    /// Those that one of these CAs vouches for.
    Roots(Arc<WebPkiServerVerifier>),
    /// Certificates with these fingerprints, or with keys that have them, whatever else is in them.
    Pins(Vec<Fingerprint>),
    /// Anybody's.
    Anyone,
}

impl Trust {
    fn roots(roots: RootCertStore) -> Result<Self, String> {
        let verifier = WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::new(ring::default_provider()),
        );
        verifier
            .build()
            .map(Trust::Roots)
            .map_err(|error| error.to_string())
    }
}

/// The host's own roots; if there are none, the bundled ones and a warning that says so.
///
/// # Errors
/// The environment names a place for them, and there are none.
pub fn host_roots() -> Result<(Trust, Option<Message>), String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    if roots.add_parsable_certificates(found.certs).0 > 0 {
        return Ok((Trust::roots(roots)?, None));
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
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    Ok((Trust::roots(roots)?, Some(warning)))
}

/// The certificates of a file, and no others.
///
/// # Errors
/// The file can't be read or contains no certificate.
pub fn ca_file(path: &Path) -> Result<(Trust, Vec<Certificate>), String> {
    let file = read(path)?;
    let authorities = pem::described(&pem::certificates(&file)?);
    Ok((Trust::roots(pem::roots(&file)?)?, authorities))
}

/// The certificate that a client shows, with its chain, and its key, which is in a file of its own or in the same.
///
/// # Errors
/// A file can't be read or does not contain what it should, or the key does not belong to the certificate. Says which
/// file that is.
pub fn client(certificate: &Path, key: Option<&Path>) -> Result<CertifiedKey, (Part, String)> {
    let certificate = read(certificate).map_err(|what| (Part::Certificate, what))?;
    let key = key
        .map(read)
        .transpose()
        .map_err(|what| (Part::Key, what))?;
    pem::identity(&certificate, key.as_deref())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    small_file::read(path).map_err(|error| small_file::unreadable(&error))
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
