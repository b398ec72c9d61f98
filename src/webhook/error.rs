//! Why a request came to nothing, and what to do about it: one table for the log and for `test`. What a
//! webhook answered is in `answer`; here is what kept it from answering.

use std::io::{self, ErrorKind};
use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};
use ureq::http::Uri;
use ureq::{Error, Timeout};

use crate::delivery::outcome::{Cause, DeliveryError};
use crate::text::quantity::HumanDuration;

/// How long each step may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Name resolution, and connecting with the TLS handshake.
    pub connect: Duration,
    /// A whole request, from name resolution to the last byte of the answer.
    pub request: Duration,
}

/// What a closed connection means.
fn closed(message: impl Into<String>) -> DeliveryError {
    DeliveryError {
        may_have_arrived: true,
        ..DeliveryError::transient(Cause::Disconnected, message)
    }
}

/// A request to `uri` that was not answered.
pub fn of(error: &Error, uri: &Uri, timeouts: Timeouts) -> DeliveryError {
    let is_plain = uri.scheme_str() == Some("http");
    match error {
        Error::Timeout(Timeout::Resolve) => {
            let limit = HumanDuration(timeouts.connect);
            DeliveryError::transient(
                Cause::Unreachable,
                format!("name not resolved within {limit}"),
            )
            .hint(NAME)
        }
        Error::Timeout(Timeout::Connect) => DeliveryError::transient(
            Cause::Unreachable,
            format!("not connected within {}", HumanDuration(timeouts.connect)),
        )
        .hint(
            "check the --endpoint's host and port, and the firewalls on the way; a port that \
                     lets connect but speaks no TLS needs http://",
        ),
        Error::Timeout(_) => DeliveryError::transient(
            Cause::Timeout,
            format!("no answer within {}", HumanDuration(timeouts.request)),
        )
        .hint(
            "look into the webhook's log, whether it is overloaded; if it needs so long, raise \
                     --request-timeout",
        ),
        Error::HostNotFound => {
            DeliveryError::transient(Cause::Unreachable, "host name not found").hint(NAME)
        }
        Error::Rustls(error) => of_tls(error),
        Error::Io(error) => of_io(error, is_plain),
        Error::Protocol(_) | Error::LargeResponseHeader(..) => DeliveryError::permanent(
            "the answer is not HTTP",
            if is_plain {
                "check the --endpoint: give https:// if its port speaks TLS, else another port"
            } else {
                "check the --endpoint's port"
            },
        ),
        error => DeliveryError::transient(Cause::Answer, error.to_string()),
    }
}

/// A request to `uri` through the proxy at this address that was not answered.
pub fn through(proxy: &str, error: &Error, uri: &Uri, timeouts: Timeouts) -> DeliveryError {
    let trouble = of(error, uri, timeouts);
    let webhook = uri.authority().map_or("", |authority| authority.as_str());
    match error {
        Error::ConnectProxyFailed(reason) => of_proxy(proxy, reason, webhook),
        Error::Timeout(Timeout::Resolve | Timeout::Connect) => DeliveryError::transient(
            Cause::Unreachable,
            format!(
                "not connected through proxy {proxy} within {}",
                HumanDuration(timeouts.connect)
            ),
        )
        .hint("see that the proxy runs at this address, and that it can reach the webhook"),
        Error::Io(error) if is_hang_up(error) => {
            closed(format!("connection closed by proxy {proxy} or the webhook"))
                .hint("look into the proxy's log and into the webhook's")
        }
        Error::Io(error) if is_of_tls(error) => trouble,
        Error::Io(_) | Error::HostNotFound => DeliveryError::transient(
            Cause::Unreachable,
            format!("proxy {proxy}: {}", trouble.message),
        )
        .hint(
            "check the proxy's host name and port, and that it runs; --no-proxy goes without one",
        ),
        Error::Protocol(_) => DeliveryError::permanent(
            trouble.message,
            "check the ports of the proxy and of the --endpoint",
        ),
        _ => trouble,
    }
}

/// A proxy that does not connect to the `webhook`, for this `reason` in ureq's words.
fn of_proxy(proxy: &str, reason: &str, webhook: &str) -> DeliveryError {
    // There is no other way to the status than "proxy server responded 407/407".
    let status = reason.rsplit(['/', ' ']).next().unwrap_or_default();
    match status.parse() {
        Ok(407) => DeliveryError::permanent(
            format!("proxy {proxy} wants another user and password (407)"),
            "give those that it expects: http://user:password@HOST:PORT",
        ),
        Ok(500..=599) => DeliveryError::transient(
            Cause::Answer,
            format!("proxy {proxy} can't connect to {webhook} ({status})"),
        )
        .hint("see that the webhook runs, and that the proxy finds its name and reaches its port"),
        Ok(200..=499_u16) => DeliveryError::permanent(
            format!("proxy {proxy} refuses to connect to {webhook} ({status})"),
            "let it allow CONNECT to this host and port, or go without it (--no-proxy)",
        ),
        _ => DeliveryError::transient(
            Cause::Unreachable,
            format!("connection closed by proxy {proxy}"),
        )
        .hint("see that there is an HTTP proxy at this address, and look into its log"),
    }
}

fn is_of_tls(error: &io::Error) -> bool {
    let source = error.get_ref();
    source.is_some_and(|source| source.is::<rustls::Error>())
}

const NAME: &str =
    "check the --endpoint's host name, and this host's DNS servers in /etc/resolv.conf";

/// Whether the webhook has closed the connection.
pub fn is_hang_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
    )
}

fn of_io(error: &io::Error, is_plain: bool) -> DeliveryError {
    /// How the standard library begins what it says of a failed lookup, which has no kind of its own.
    const LOOKUP: &str = "failed to lookup address information: ";
    let text = error.to_string();
    if let Some(error) = error
        .get_ref()
        .and_then(|source| source.downcast_ref::<rustls::Error>())
    {
        of_tls(error)
    } else if is_hang_up(error) {
        closed("connection closed by the webhook").hint(if is_plain {
            "give https:// if its port speaks TLS; else look into the webhook's log"
        } else {
            "its port may speak no TLS (then give http://), or want a client certificate; look into the \
             webhook's log"
        })
    } else if let Some(why) = text.strip_prefix(LOOKUP) {
        DeliveryError::transient(Cause::Unreachable, format!("host name not found: {why}"))
            .hint(NAME)
    } else {
        match error.kind() {
            ErrorKind::ConnectionRefused => DeliveryError::transient(Cause::Unreachable, "connection refused").hint(
                "see that the webhook runs and listens on this address and port (Splunk's collector: 8088), \
                 and that no firewall refuses",
            ),
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                DeliveryError::transient(Cause::Unreachable, text).hint("check the --endpoint's host, this host's routes, and firewalls")
            }
            _ => DeliveryError::transient(Cause::Answer, text),
        }
    }
}

fn of_tls(error: &rustls::Error) -> DeliveryError {
    let lasting = |why: &str, remedy| DeliveryError::permanent(format!("TLS: {why}"), remedy);
    match error {
        rustls::Error::InvalidCertificate(error) => of_certificate(error),
        rustls::Error::InvalidMessage(_) => lasting(
            "the webhook does not speak it on this port",
            "use http://, or another port",
        ),
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => lasting(
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
        ) => lasting(
            &format!("the webhook refuses this host's client certificate ({alert:?})"),
            "give one that it trusts with --client-cert and --client-key",
        ),
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => lasting(
            "no version or cipher that both sides speak",
            "let the webhook speak TLS 1.2 or 1.3",
        ),
        // OpenSSL says so in TLS 1.2 of a missing client certificate too.
        rustls::Error::AlertReceived(AlertDescription::HandshakeFailure) => lasting(
            "no cipher that both sides speak, or the webhook wants a client certificate",
            "let the webhook speak TLS 1.2 or 1.3; if it wants a certificate, give one with --client-cert",
        ),
        rustls::Error::AlertReceived(AlertDescription::UnrecognisedName) => lasting(
            "the webhook has no certificate for this name",
            "use the name in the certificate in the --endpoint",
        ),
        error => DeliveryError::transient(Cause::Answer, format!("TLS: {error}")),
    }
}

fn of_certificate(error: &CertificateError) -> DeliveryError {
    const RENEW: &str = "renew it, or set this host's clock right";
    const CLOCK: &str = "set this host's clock right";
    const OTHER_NAME: &str = "use the name in the certificate in the --endpoint";
    let lasting =
        |why: &str, remedy| DeliveryError::permanent(format!("TLS: certificate {why}"), remedy);
    match error {
        // A bad signature is what a CA of the same name looks like that was made anew.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => lasting(
            "of an unknown CA",
            "give that CA's certificate with --ca-file",
        ),
        CertificateError::NotValidForName => lasting("for another name", OTHER_NAME),
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            lasting(
                "for no name at all",
                "give the webhook one with its host name as subjectAltName, which a common name is not",
            )
        }
        CertificateError::NotValidForNameContext { presented, .. } => lasting(
            &format!("for another name: {}", names(presented)),
            OTHER_NAME,
        ),
        CertificateError::Expired => lasting("expired", RENEW),
        CertificateError::ExpiredContext { not_after, .. } => {
            lasting(&format!("expired on {}", date(*not_after)), RENEW)
        }
        CertificateError::NotValidYet => lasting("not valid yet", CLOCK),
        CertificateError::NotValidYetContext { not_before, .. } => lasting(
            &format!("not valid yet, but from {}", date(*not_before)),
            CLOCK,
        ),
        // What `openssl req -x509` makes by default. It has no variant of its own.
        error if format!("{error:?}").contains("CaUsedAsEndEntity") => lasting(
            "is a CA's own",
            "give the webhook a server certificate (basicConstraints CA:FALSE), self-signed or of a CA",
        ),
        error => lasting(
            &format!("not valid: {error}"),
            "mend the webhook's certificate",
        ),
    }
}

/// A certificate's names, which rustls gives as `DnsName("…")` and `IpAddress(…)`. Nobody vouches for
/// them yet, so they are cut short.
fn names(presented: &[String]) -> String {
    const NAMES: usize = 3;
    const CHARACTERS: usize = 64;
    let mut shown: Vec<String> = presented
        .iter()
        .take(NAMES)
        .map(|name| {
            let (_, name) = name.split_once('(').unwrap_or(("", name));
            let name = name.trim_matches(['"', ')']).chars();
            name.filter(|c| !c.is_control()).take(CHARACTERS).collect()
        })
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
mod tests {
    use super::*;

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
        let shown = names(&vec![hostile; 9]);
        assert!(
            !shown.contains('\u{1b}') && shown.chars().count() < 210,
            "{shown}"
        );
    }

    #[test]
    fn no_time_in_a_certificate_panics() {
        let at = |seconds| date(UnixTime::since_unix_epoch(Duration::from_secs(seconds)));
        assert_eq!(at(0), "1970-01-01");
        assert_eq!(at(1_609_459_200), "2021-01-01");
        assert_eq!(at(u64::MAX), "9999-12-31");
    }
}
