//! The causes of requests without an answer, and the fix for each: one table for the log and for `test`. What an answer
//! means is in `answer`.

use std::io::{self, ErrorKind};
use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};
use ureq::http::Uri;
use ureq::{Error, Timeout};

use crate::delivery::outcome::{Cause, DeliveryError};
use crate::text::escape;
use crate::text::quantity::HumanDuration;
use crate::webhook::foreign;
use crate::webhook::head::NotHttp;

/// How long each step may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Name resolution, and connecting with the TLS handshake.
    pub connect: Duration,
    /// A whole request, from name resolution to the last byte of the answer.
    pub request: Duration,
}

/// How much of a body was sent when a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Nothing: there was no connection yet.
    Nothing,
    /// Not all of it.
    Part,
    /// All of it, as far as the kernel knows.
    All,
}

/// A request that was not answered.
#[derive(Debug)]
pub struct Unanswered {
    /// Why.
    pub error: Error,
    /// How much of it was sent.
    pub sent: Sent,
}

impl Sent {
    /// The cause of a failure that is nobody's answer.
    fn cause(self) -> Cause {
        match self {
            Sent::Nothing => Cause::Unreachable,
            Sent::Part | Sent::All => Cause::Disconnected,
        }
    }

    /// Such a failure.
    fn failure(self, message: impl Into<String>) -> DeliveryError {
        DeliveryError {
            may_have_arrived: self == Sent::All,
            ..DeliveryError::transient(self.cause(), message)
        }
    }
}

/// A request to `uri` that was not answered.
pub fn of(error: &Error, uri: &Uri, timeouts: Timeouts, sent: Sent) -> DeliveryError {
    let is_plain = uri.scheme_str() == Some("http");
    let (connect, request) = (
        HumanDuration(timeouts.connect),
        HumanDuration(timeouts.request),
    );
    match error {
        Error::Timeout(Timeout::Resolve) => {
            unreachable(format!("name not resolved within {connect}"), NAME)
        }
        Error::Timeout(Timeout::Connect) => {
            unreachable(format!("not connected within {connect}"), NOT_CONNECTED)
        }
        Error::Timeout(_) => DeliveryError {
            may_have_arrived: sent != Sent::Nothing,
            ..DeliveryError::transient(Cause::Timeout, format!("no answer within {request}"))
                .hint(SLOW)
        },
        Error::HostNotFound => unreachable("host name not found", NAME),
        Error::Rustls(error) => of_tls(error, sent),
        Error::Io(error) => of_io(error, is_plain, sent),
        Error::Protocol(_) | Error::LargeResponseHeader(..) => not_http(is_plain, sent),
        error => sent.failure(escape::shown(&error.to_string(), MAX_TEXT)),
    }
}

/// A request that the agent itself has ended, because it stops.
pub fn aborted(sent: Sent) -> DeliveryError {
    DeliveryError {
        may_have_arrived: sent != Sent::Nothing,
        ..DeliveryError::transient(Cause::Aborted, "request ended by the agent's own stop")
    }
}

/// A request to `uri` through the proxy at this address that was not answered.
pub fn through(
    proxy: &str,
    error: &Error,
    uri: &Uri,
    timeouts: Timeouts,
    sent: Sent,
) -> DeliveryError {
    let direct = of(error, uri, timeouts, sent);
    let webhook = uri.authority().map_or("", |authority| authority.as_str());
    match error {
        Error::ConnectProxyFailed(reason) => of_proxy(proxy, reason, webhook),
        Error::Timeout(Timeout::Resolve | Timeout::Connect) => unreachable(
            format!(
                "not connected through proxy {proxy} within {}",
                HumanDuration(timeouts.connect)
            ),
            "see that the proxy runs at this address, and that it can reach the webhook",
        ),
        Error::Io(error) if is_disconnect(error) => DeliveryError {
            message: format!("connection closed by proxy {proxy} or the webhook"),
            ..direct
        }
        .hint("look into the proxy's log and into the webhook's"),
        Error::Io(error) if is_of_tls(error) || is_not_http(error) => direct,
        Error::Io(_) | Error::HostNotFound if sent == Sent::Nothing => unreachable(
            format!("proxy {proxy}: {}", direct.message),
            "check the proxy's host name and port, and that it runs; --no-proxy goes without one",
        ),
        Error::Protocol(_) => DeliveryError::permanent(
            direct.message,
            "check the ports of the proxy and of the --endpoint",
        ),
        _ => direct,
    }
}

/// A proxy that does not connect to the `webhook`, for this `reason` in ureq's words.
fn of_proxy(proxy: &str, reason: &str, webhook: &str) -> DeliveryError {
    match foreign::proxy_status(reason) {
        Some(407) => DeliveryError::permanent(
            format!("proxy {proxy} wants another user and password (407)"),
            "give those that it expects: http://user:password@HOST:PORT",
        ),
        Some(status @ 500..=599) => unreachable(
            format!("proxy {proxy} can't connect to {webhook} ({status})"),
            "see that the webhook runs, and that the proxy finds its name and reaches its port",
        ),
        Some(status @ 200..=499) => DeliveryError::permanent(
            format!("proxy {proxy} refuses to connect to {webhook} ({status})"),
            "let it allow CONNECT to this host and port, or go without it (--no-proxy)",
        ),
        _ => unreachable(
            format!("connection closed by proxy {proxy}"),
            "see that there is an HTTP proxy at this address, and look into its log",
        ),
    }
}

/// Nothing of the body was sent.
fn unreachable(message: impl Into<String>, hint: &'static str) -> DeliveryError {
    DeliveryError::transient(Cause::Unreachable, message).hint(hint)
}

fn not_http(is_plain: bool, sent: Sent) -> DeliveryError {
    DeliveryError {
        may_have_arrived: sent == Sent::All,
        ..DeliveryError::permanent(
            NotHttp.to_string(),
            if is_plain {
                "check the --endpoint: give https:// if its port speaks TLS, else another port"
            } else {
                "check the --endpoint's port"
            },
        )
    }
}

fn is_not_http(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|source| source.is::<NotHttp>())
}

fn is_of_tls(error: &io::Error) -> bool {
    let source = error.get_ref();
    source.is_some_and(|source| source.is::<rustls::Error>())
}

const NAME: &str =
    "check the --endpoint's host name, and this host's DNS servers in /etc/resolv.conf";
const NOT_CONNECTED: &str = "check the --endpoint's host and port, and the firewalls on the way; a port that lets \
                             connect but speaks no TLS needs http://";
const SLOW: &str = "look into the webhook's log, whether it is overloaded; if it needs so long, raise --request-timeout";
const REFUSED: &str = "see that the webhook runs and listens on this address and port (Splunk's collector: 8088), and \
                       that no firewall refuses";
/// Characters of a library's text that are shown.
const MAX_TEXT: usize = 200;

/// Whether the webhook has closed the connection.
pub fn is_disconnect(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
    )
}

fn of_io(error: &io::Error, is_plain: bool, sent: Sent) -> DeliveryError {
    let source = error.get_ref();
    if let Some(error) = source.and_then(|source| source.downcast_ref::<rustls::Error>()) {
        return of_tls(error, sent);
    }
    if is_not_http(error) {
        return not_http(is_plain, sent);
    }
    let text = error.to_string();
    if let Some(reason) = foreign::lookup_failure(&text) {
        return unreachable(format!("host name not found: {reason}"), NAME);
    }
    match error.kind() {
        _ if is_disconnect(error) => sent.failure("connection closed by the webhook").hint(if is_plain {
            "give https:// if its port speaks TLS; else look into the webhook's log"
        } else {
            "its port may speak no TLS (then give http://), or want a client certificate; look into the \
             webhook's log"
        }),
        ErrorKind::ConnectionRefused => unreachable("connection refused", REFUSED),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            sent.failure(text).hint("check the --endpoint's host, this host's routes, and firewalls")
        }
        _ => sent.failure(escape::shown(&text, MAX_TEXT)),
    }
}

fn of_tls(error: &rustls::Error, sent: Sent) -> DeliveryError {
    let permanent = |reason: &str, fix| DeliveryError::permanent(format!("TLS: {reason}"), fix);
    match error {
        rustls::Error::InvalidCertificate(error) => of_certificate(error),
        rustls::Error::InvalidMessage(_) => permanent(
            "the webhook does not speak it on this port",
            "use http://, or another port",
        ),
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => permanent(
            "the webhook wants a client certificate",
            "give one with --client-cert and --client-key",
        ),
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied),
        ) => permanent(
            &format!("the webhook refuses this host's client certificate ({alert:?})"),
            "give one that it trusts with --client-cert and --client-key",
        ),
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => permanent(
            "no version or cipher that both sides speak",
            "let the webhook speak TLS 1.2 or 1.3",
        ),
        // OpenSSL says so in TLS 1.2 of a missing client certificate too.
        rustls::Error::AlertReceived(AlertDescription::HandshakeFailure) => permanent(
            "no cipher that both sides speak, or the webhook wants a client certificate",
            "let the webhook speak TLS 1.2 or 1.3; if it wants a certificate, give one with --client-cert",
        ),
        rustls::Error::AlertReceived(AlertDescription::UnrecognisedName) => permanent(
            "the webhook has no certificate for this name",
            "use the name in the certificate in the --endpoint",
        ),
        error => DeliveryError::transient(
            sent.cause(),
            escape::shown(&format!("TLS: {error}"), MAX_TEXT),
        ),
    }
}

fn of_certificate(error: &CertificateError) -> DeliveryError {
    const RENEW: &str = "renew it, or set this host's clock right";
    const CLOCK: &str = "set this host's clock right";
    const OTHER_NAME: &str = "use the name in the certificate in the --endpoint";
    let permanent =
        |reason: &str, fix| DeliveryError::permanent(format!("TLS: certificate {reason}"), fix);
    match error {
        // A bad signature is what a CA of the same name looks like that was made anew.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => permanent(
            "of an unknown CA",
            "give that CA's certificate with --ca-file",
        ),
        CertificateError::NotValidForName => permanent("for another name", OTHER_NAME),
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            permanent(
                "for no name at all",
                "give the webhook one with its host name as subjectAltName, which a common name is not",
            )
        }
        CertificateError::NotValidForNameContext { presented, .. } => permanent(
            &format!("for another name: {}", names(presented)),
            OTHER_NAME,
        ),
        CertificateError::Expired => permanent("expired", RENEW),
        CertificateError::ExpiredContext { not_after, .. } => {
            permanent(&format!("expired on {}", date(*not_after)), RENEW)
        }
        CertificateError::NotValidYet => permanent("not valid yet", CLOCK),
        CertificateError::NotValidYetContext { not_before, .. } => permanent(
            &format!("not valid yet, but from {}", date(*not_before)),
            CLOCK,
        ),
        error if foreign::is_of_a_ca(error) => permanent(
            "is a CA's own",
            "give the webhook a server certificate (basicConstraints CA:FALSE), self-signed or of a CA",
        ),
        error => permanent(
            &escape::shown(&format!("not valid: {error}"), MAX_TEXT),
            "give the webhook a valid certificate",
        ),
    }
}

/// A certificate's names. Nobody vouches for them yet, so they are cut short.
fn names(presented: &[String]) -> String {
    const NAMES: usize = 3;
    const CHARACTERS: usize = 64;
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
    /// Formatting panics beyond the year 9999.
    const LATEST: u64 = 253_402_300_799;
    let time = UNIX_EPOCH + Duration::from_secs(time.as_secs().min(LATEST));
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.split('T').next().unwrap_or_default().into()
}

#[cfg(test)]
mod tests;
