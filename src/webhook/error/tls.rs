//! The causes of handshakes that failed, and the fix for each.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};

use super::sent::Sent;
use crate::delivery::outcome::DeliveryError;
use crate::text::certificate;
use crate::text::escape;
use crate::webhook::foreign;

/// A connection that failed in TLS, with what was seen of the webhook.
#[derive(Debug)]
pub struct Failure {
    /// The error in the library's words.
    pub error: rustls::Error,
    /// What is too weak or too uncommon in its certificate, or in its CA's: `with an RSA key of 1024 bits`.
    pub unusable: Option<String>,
    /// It asked for a certificate, and there is none.
    pub is_certificate_wanted: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Failure {}

/// Characters of a library's text that are shown.
const MAX_TEXT: usize = 199;
const UNUSABLE: &str = "give the webhook a certificate whose keys, its CA's too, are RSA of 2048 bits or more, or EC \
                        P-256 or P-384, signed with SHA-256 or better";

/// The reason and the fix. Once something was sent, the handshake had succeeded.
pub(super) fn of(failure: &Failure, sent: Sent) -> DeliveryError {
    use rustls::Error as E;
    let permanent = |reason: &str, fix| DeliveryError::permanent(format!("TLS: {reason}"), fix);
    match &failure.error {
        E::InvalidCertificate(error) => of_certificate(error, failure.unusable.as_deref()),
        E::InvalidMessage(_) if sent == Sent::Nothing => permanent(
            "the webhook does not speak it on this port",
            "use http://, or another port",
        ),
        E::AlertReceived(alert) if failure.is_certificate_wanted && is_of_client(*alert) => {
            permanent(
                "the webhook wants a client certificate",
                "give one with --client-cert and --client-key",
            )
        }
        E::AlertReceived(AlertDescription::HandshakeFailure) if sent != Sent::Nothing => {
            DeliveryError {
                may_have_arrived: sent == Sent::All,
                ..permanent(
                    "the webhook wants to renegotiate, which is not supported",
                    "let it ask for a client certificate at the start of a connection, or not at all",
                )
            }
        }
        E::AlertReceived(
            AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity,
        )
        | E::PeerIncompatible(_) => permanent(
            "no version, cipher or kind of key that both sides support",
            "let the webhook speak TLS 1.2 or 1.3 with ECDHE and AES-GCM or ChaCha20, and a key of RSA (2048 bits or \
             more), P-256 or P-384",
        ),
        E::AlertReceived(AlertDescription::ProtocolVersion) => permanent(
            "no version that both sides speak",
            "let the webhook speak TLS 1.2 or 1.3",
        ),
        E::AlertReceived(alert) if is_of_client(*alert) => permanent(
            &format!(
                "the webhook refuses this host's client certificate ({})",
                foreign::plain(&format!("{alert:?}"))
            ),
            "give one that it trusts with --client-cert and --client-key",
        ),
        E::AlertReceived(AlertDescription::UnrecognisedName) => permanent(
            "the webhook has no certificate for this name",
            "use the name in the certificate in the --endpoint, or --tls-server-name",
        ),
        error => {
            let words = format!("TLS: {}", foreign::plain(&error.to_string()));
            sent.failure(escape::shown(&words, MAX_TEXT))
        }
    }
}

/// Whether it may be about a client's certificate. With TLS 1.2, OpenSSL sends the first of these if there is none.
fn is_of_client(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    matches!(
        alert,
        A::HandshakeFailure
            | A::CertificateRequired
            | A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
            | A::AccessDenied
    )
}

fn of_certificate(error: &CertificateError, unusable: Option<&str>) -> DeliveryError {
    const RENEW: &str = "renew it, or set this host's clock right";
    const CLOCK: &str = "set this host's clock right";
    const OTHER_NAME: &str =
        "use the name in the certificate in the --endpoint, or as --tls-server-name";
    use CertificateError as E;
    let permanent =
        |reason: &str, fix| DeliveryError::permanent(format!("TLS: certificate {reason}"), fix);
    match (error, unusable) {
        // A weak certificate fails as if its signature were wrong.
        (E::BadSignature | E::UnknownIssuer, Some(what)) => permanent(what, UNUSABLE),
        // A CA that was made anew under the same name shows as a bad signature.
        (E::UnknownIssuer | E::BadSignature, None) => permanent(
            "of an unknown CA",
            "give that CA's certificate with --ca-file",
        ),
        (
            E::UnsupportedSignatureAlgorithmContext { .. }
            | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. },
            what,
        ) => permanent(
            what.unwrap_or("with a signature of an unsupported kind"),
            UNUSABLE,
        ),
        (E::ApplicationVerificationFailure, _) => permanent(
            "is not that of --pin-sha256",
            "compare both: `s3-audit-webhook test` shows what the webhook has; if that was renewed, give the new value",
        ),
        (E::NotValidForName, _) => permanent("for another name", OTHER_NAME),
        (E::NotValidForNameContext { presented, .. }, _) if presented.is_empty() => permanent(
            "for no name at all",
            "give the webhook one with its host name as subjectAltName, which a common name is not, or use --pin-sha256",
        ),
        (E::NotValidForNameContext { presented, .. }, _) => permanent(
            &format!("for another name: {}", names(presented)),
            OTHER_NAME,
        ),
        (E::Expired, _) => permanent("expired", RENEW),
        (E::ExpiredContext { not_after, .. }, _) => {
            permanent(&format!("expired on {}", date(*not_after)), RENEW)
        }
        (E::NotValidYet, _) => permanent("not valid yet", CLOCK),
        (E::NotValidYetContext { not_before, .. }, _) => permanent(
            &format!("not valid yet, but from {}", date(*not_before)),
            CLOCK,
        ),
        (E::InvalidPurpose | E::InvalidPurposeContext { .. }, _) => permanent(
            "is not for servers",
            "give the webhook one with extendedKeyUsage serverAuth",
        ),
        (error, Some(what)) if foreign::is_of_a_ca(error) => permanent(what, UNUSABLE),
        (error, None) if foreign::is_of_a_ca(error) => permanent(
            "is a CA's own",
            "give the webhook a server certificate (basicConstraints CA:FALSE), self-signed or of a CA, or use --pin-sha256",
        ),
        (error, _) if foreign::is_of_version_1(error) => permanent(
            "of X.509 version 1, which can't be verified",
            "trust exactly this one with --pin-sha256, which `s3-audit-webhook test` shows, or give the webhook one of version 3",
        ),
        (error, _) => permanent(
            &escape::shown(
                &format!("not valid: {}", foreign::plain(&error.to_string())),
                MAX_TEXT - 20,
            ),
            "give the webhook a valid certificate",
        ),
    }
}

/// A certificate's names. Nobody vouches for them yet, so they are cut short.
fn names(presented: &[String]) -> String {
    const NAMES: usize = 3;
    const CHARACTERS: usize = 50;
    let mut shown: Vec<String> = presented
        .iter()
        .take(NAMES)
        .map(|name| escape::shown(foreign::certificate_name(name), CHARACTERS))
        .collect();
    if presented.len() > NAMES {
        shown.push("…".into());
    }
    shown.join(", ")
}

fn date(time: UnixTime) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs()));
    time.map_or_else(|| "?".into(), certificate::date)
}

#[cfg(test)]
mod tests {
    use rustls::{Error, InvalidMessage, OtherError, PeerIncompatible, PeerMisbehaved};

    use super::*;

    fn text(error: Error, unusable: Option<&str>, is_certificate_wanted: bool) -> String {
        let unusable = unusable.map(Into::into);
        let failure = Failure {
            error,
            unusable,
            is_certificate_wanted,
        };
        let found = of(&failure, Sent::Nothing);
        assert!(found.message.chars().count() < 200, "{}", found.message);
        assert!(!found.message.contains("{ "), "{}", found.message);
        found.message
    }

    #[track_caller]
    fn check(error: impl Into<Error>, expected: &str) {
        let found = text(error.into(), None, false);
        assert!(found.starts_with(&format!("TLS: {expected}")), "{found}");
    }

    #[test]
    fn each_failure_of_a_certificate_has_its_text() {
        use CertificateError as E;
        check(E::UnknownIssuer, "certificate of an unknown CA");
        let pinned = E::ApplicationVerificationFailure;
        check(pinned, "certificate is not that of --pin-sha256");
        check(E::InvalidPurpose, "certificate is not for servers");
        check(E::BadEncoding, "certificate not valid: bad encoding");
        let critical = "certificate not valid: unhandled critical extension";
        check(E::UnhandledCriticalExtension, critical);
        let unsupported = E::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id: vec![1; 99],
            supported_algorithms: Vec::new(),
        };
        let kind = "certificate with a signature of an unsupported kind";
        check(unsupported, kind);
        let weak = "with an RSA key of 1024 bits";
        let found = text(E::BadSignature.into(), Some(weak), false);
        assert_eq!(found, format!("TLS: certificate {weak}"));
    }

    #[test]
    fn each_failure_of_a_handshake_has_its_text() {
        use AlertDescription as A;
        let alert = Error::AlertReceived;
        let nothing_in_common = "no version, cipher or kind of key that both sides support";
        check(alert(A::HandshakeFailure), nothing_in_common);
        let incompatible = PeerIncompatible::NoCipherSuitesInCommon;
        check(incompatible, nothing_in_common);
        let versions = "no version that both sides speak";
        check(alert(A::ProtocolVersion), versions);
        let refuses = "the webhook refuses this host's client certificate";
        let expired = format!("{refuses} (certificate expired)");
        check(alert(A::CertificateExpired), &expired);
        check(alert(A::UnknownCA), &format!("{refuses} (unknown CA)"));
        for received in [A::HandshakeFailure, A::BadCertificate] {
            let found = text(alert(received), None, true);
            assert_eq!(found, "TLS: the webhook wants a client certificate");
        }
        let found = text(alert(A::InternalError), None, true);
        assert_eq!(found, "TLS: received fatal alert: internal error");
        let misbehaved = PeerMisbehaved::IllegalMiddleboxChangeCipherSpec;
        let words = "peer misbehaved: illegal middlebox change cipher spec";
        check(misbehaved, words);
        let no_tls = "the webhook does not speak it on this port";
        check(InvalidMessage::InvalidContentType, no_tls);
        let long = Error::General("x".repeat(999));
        check(long, "unexpected error: xxx");
        #[derive(Debug)]
        struct LongName([u8; 99]);
        impl fmt::Display for LongName {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
        impl std::error::Error for LongName {}
        let other = OtherError(std::sync::Arc::new(LongName([7; 99])));
        text(CertificateError::Other(other.clone()).into(), None, false);
        text(Error::Other(other), None, false);
    }

    #[test]
    fn what_a_pin_would_not_help_is_said_of_a_cas_own_certificate() {
        #[derive(Debug)]
        struct CaUsedAsEndEntity;
        impl std::fmt::Display for CaUsedAsEndEntity {
            fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                Ok(())
            }
        }
        impl std::error::Error for CaUsedAsEndEntity {}
        let other = OtherError(std::sync::Arc::new(CaUsedAsEndEntity));
        for (unusable, expected) in [
            (None, "is a CA's own"),
            (
                Some("with an RSA key of 1024 bits"),
                "with an RSA key of 1024 bits",
            ),
        ] {
            let error = CertificateError::Other(other.clone());
            let found = text(error.into(), unusable, false);
            assert_eq!(found, format!("TLS: certificate {expected}"));
        }
    }

    #[test]
    fn a_certificates_names_are_shown_short_and_plain() {
        let presented =
            |names: &[&str]| -> Vec<_> { names.iter().map(ToString::to_string).collect() };
        assert_eq!(
            names(&presented(&[
                "DnsName(\"a.example\")",
                "IpAddress(192.0.2.1)"
            ])),
            "a.example, 192.0.2.1"
        );
        let hostile = format!("DnsName(\"\u{1b}[2J{}\")", "a".repeat(500));
        let context = CertificateError::NotValidForNameContext {
            expected: "hec.example.com".try_into().unwrap(),
            presented: vec![hostile; 9],
        };
        assert!(!text(context.into(), None, false).contains('\u{1b}'));
    }

    #[test]
    fn no_time_in_a_certificate_panics() {
        let at = |seconds| date(UnixTime::since_unix_epoch(Duration::from_secs(seconds)));
        assert_eq!(at(0), "1970-01-01");
        assert_eq!(at(1_609_459_200), "2021-01-01");
        assert_eq!(at(1 << 40), "9999-12-31");
        assert_eq!(at(u64::MAX), "?");
    }
}
