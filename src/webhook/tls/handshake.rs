//! Whether the webhook's certificate is trusted, and what was seen of it.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{AlgorithmIdentifier, CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use ureq::Error;

use super::{TlsSettings, Trust};
use crate::text::certificate::Certificate;
use crate::text::pem;
use crate::webhook::error::tls::Failure;

/// rustls' check for each version of TLS.
type SignatureCheck = fn(
    &[u8],
    &CertificateDer<'_>,
    &DigitallySignedStruct,
    &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, rustls::Error>;

/// Decides about a certificate, and remembers what was seen, for an error that comes later.
pub(super) struct Handshake {
    pub(super) settings: Arc<TlsSettings>,
    /// The certificates that were shown last.
    chain: Mutex<Vec<Certificate>>,
    /// The webhook has asked for a certificate, and there is none.
    is_certificate_wanted: AtomicBool,
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handshake")
    }
}

impl Handshake {
    pub(super) fn new(settings: Arc<TlsSettings>) -> Self {
        Handshake {
            settings,
            chain: Mutex::default(),
            is_certificate_wanted: AtomicBool::new(false),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Certificate>> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self) {
        self.seen().clear();
        self.is_certificate_wanted.store(false, Relaxed);
    }

    pub(super) fn chain(&self) -> Vec<Certificate> {
        self.seen().clone()
    }

    pub(super) fn failure(&self, error: rustls::Error) -> Failure {
        Failure {
            error,
            unusable: self.unusable(),
            is_certificate_wanted: self.is_certificate_wanted.load(Relaxed),
        }
    }

    /// What in the certificates is too weak, or too uncommon, to be used.
    fn unusable(&self) -> Option<String> {
        let chain = self.chain();
        let (leaf, others) = chain.split_first()?;
        let issued = others.iter().filter(|ca| !ca.is_self_signed());
        let is_issuer = |ca: &&Certificate| chain.iter().any(|one| one.issuer == ca.subject);
        let issuers = self.settings.authorities.iter().filter(is_issuer);
        let of_leaf = leaf.unusable_key().or_else(|| leaf.weak_signature());
        let of_ca = || {
            let key = others
                .iter()
                .chain(issuers)
                .find_map(Certificate::unusable_key);
            key.or_else(|| issued.clone().find_map(Certificate::weak_signature))
        };
        let of_leaf = of_leaf.map(|what| format!("with {what}"));
        of_leaf.or_else(|| Some(format!("of a CA with {}", of_ca()?)))
    }

    /// An error as ureq's; if it is rustls', with what else is known.
    pub(super) fn explain(&self, error: io::Error) -> Error {
        let of_tls = error
            .get_ref()
            .and_then(|source| source.downcast_ref::<rustls::Error>());
        match of_tls {
            Some(source) => Error::Io(io::Error::new(error.kind(), self.failure(source.clone()))),
            None => Error::from(error),
        }
    }

    /// Whether whoever signed the handshake has the certificate's key; `of_version` is for verified certificates.
    fn check_signature(
        &self,
        of_version: SignatureCheck,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match self.settings.trust {
            Trust::Roots(_) => {
                let known = ring::default_provider().signature_verification_algorithms;
                of_version(message, cert, dss, &known)
            }
            Trust::Pins(_) => self.has_key(message, cert, dss),
            Trust::Anyone => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    /// Whether whoever signed the handshake has the key of the pinned certificate.
    fn has_key(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let certificate = Certificate::parse(cert).ok_or(CertificateError::BadEncoding)?;
        let (algorithm, key) = &certificate.key;
        let is_its = |id: AlgorithmIdentifier| id.as_ref() == algorithm.as_slice();
        let known = ring::default_provider().signature_verification_algorithms;
        let mut schemes = known
            .mapping
            .iter()
            .filter(|(scheme, _)| *scheme == dss.scheme)
            .flat_map(|(_, all)| all.iter());
        let is_valid = schemes.any(|algorithm| {
            is_its(algorithm.public_key_alg_id())
                && algorithm
                    .verify_signature(key, message, dss.signature())
                    .is_ok()
        });
        is_valid
            .then(HandshakeSignatureValid::assertion)
            .ok_or_else(|| CertificateError::BadSignature.into())
    }
}

impl ServerCertVerifier for Handshake {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut chain = pem::described(std::slice::from_ref(end_entity));
        let leaf = chain.first().cloned();
        chain.extend(pem::described(intermediates));
        *self.seen() = chain;
        match &self.settings.trust {
            Trust::Roots(roots) => {
                roots.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            Trust::Pins(pins) => {
                let leaf = leaf.ok_or(CertificateError::BadEncoding)?;
                let is_pinned =
                    pins.contains(&leaf.fingerprint) || pins.contains(&leaf.key_fingerprint);
                let verified = is_pinned.then(ServerCertVerified::assertion);
                verified.ok_or_else(|| CertificateError::ApplicationVerificationFailure.into())
            }
            Trust::Anyone => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(verify_tls12_signature, message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(verify_tls13_signature, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let known = ring::default_provider().signature_verification_algorithms;
        let mut schemes = known.supported_schemes();
        if let Trust::Anyone = self.settings.trust {
            // These can't be verified, and need not be.
            schemes.extend([
                SignatureScheme::ECDSA_NISTP521_SHA512,
                SignatureScheme::ED448,
                SignatureScheme::RSA_PKCS1_SHA1,
            ]);
        }
        schemes
    }
}

impl ResolvesClientCert for Handshake {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let identity = self.settings.identity.clone();
        self.is_certificate_wanted
            .store(identity.is_none(), Relaxed);
        identity
    }

    fn has_certs(&self) -> bool {
        self.settings.identity.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(pem: &[u8]) -> CertificateDer<'static> {
        pem::certificates(pem).unwrap().remove(0)
    }

    #[test]
    fn what_can_not_be_used_is_named_even_if_it_is_the_cas() {
        let [ca, rsa1024, sha1, ca521, by521] = [
            &include_bytes!("../../../tests/data/certificates/ca.pem")[..],
            include_bytes!("../../../tests/data/certificates/rsa1024.pem"),
            include_bytes!("../../../tests/data/certificates/sha1.pem"),
            include_bytes!("../../../tests/data/certificates/ca521.pem"),
            include_bytes!("../../../tests/data/certificates/by521.pem"),
        ]
        .map(certificate);
        let seen = |chain: &[&CertificateDer<'static>], authorities: &[CertificateDer<'static>]| {
            let handshake = Handshake::new(Arc::new(TlsSettings {
                trust: Trust::Pins(Vec::new()),
                authorities: pem::described(authorities),
                identity: None,
                name: None,
            }));
            let others: Vec<_> = chain[1..].iter().map(|der| (*der).clone()).collect();
            let name = ServerName::try_from("hec").unwrap();
            let now = UnixTime::now();
            let result = handshake.verify_server_cert(chain[0], &others, &name, &[], now);
            handshake.failure(result.unwrap_err()).unusable
        };
        let cas = [ca521.clone()];
        for (chain, authorities, expected) in [
            (&[&ca][..], &[][..], None),
            (&[&rsa1024, &ca], &[], Some("with an RSA key of 1024 bits")),
            (&[&sha1, &ca], &[], Some("with a signature with SHA-1")),
            (&[&by521], &[], None),
            (
                &[&by521, &ca521],
                &[],
                Some("of a CA with a key on the curve P-521"),
            ),
            (
                &[&by521],
                &cas,
                Some("of a CA with a key on the curve P-521"),
            ),
            // Of no concern to this one.
            (&[&ca], &cas, None),
            (
                &[&ca, &sha1],
                &[],
                Some("of a CA with a signature with SHA-1"),
            ),
        ] {
            assert_eq!(seen(chain, authorities).as_deref(), expected);
        }
    }
}
