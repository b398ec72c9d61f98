//! Errors, and their causes.

use rustls::{AlertDescription, CertificateError};

use super::*;
use crate::sys::lookup::{Family, lookup};

#[test]
fn each_error_has_its_cause() {
    let io = |kind: ErrorKind| Error::Io(kind.into());
    let not_http = || Error::Io(io::Error::new(ErrorKind::InvalidData, NotHttp));
    let tls = |error: rustls::Error| {
        let failure = Failure {
            error,
            unusable: None,
            is_certificate_wanted: false,
        };
        Error::Io(io::Error::new(ErrorKind::InvalidData, failure))
    };
    let lookup = || {
        Error::Io(io::Error::other(
            lookup("a\0b", 80, Family::V4).unwrap_err(),
        ))
    };
    let expired = || tls(CertificateError::Expired.into());
    let garbled = || tls(rustls::Error::DecryptError);
    let no_tls = || {
        let garbage = rustls::InvalidMessage::InvalidContentType;
        tls(rustls::Error::InvalidMessage(garbage))
    };
    let alert = |alert| tls(rustls::Error::AlertReceived(alert));
    let refused = || alert(AlertDescription::HandshakeFailure);
    let unknown_ca = || tls(rustls::Error::AlertReceived(AlertDescription::UnknownCA));
    use Cause::{Disconnected, Settings, Unreachable};
    use Error::{ConnectionFailed, HostNotFound, Timeout as TimedOut};
    use ErrorKind as K;
    use Sent::{All, Nothing, Part};
    const CLOSED: &str = "connection closed by the webhook";
    const RENEGOTIATES: &str = "TLS: the webhook wants to renegotiate, which is not supported";
    const LATE: &str = "no answer within 9s";
    let unreached = |error, message| (error, Nothing, Unreachable, false, message);
    let late = |what, sent| (TimedOut(what), sent, Cause::Timeout, sent == All, LATE);
    let broken = |error, sent, message| (error, sent, Disconnected, sent == All, message);
    let of_tls = |error, sent, cause, message| (error, sent, cause, false, message);
    for (error, sent, cause, may_have_arrived, message) in [
        unreached(HostNotFound, "host name not found"),
        unreached(lookup(), "host name not found: nul byte"),
        unreached(TimedOut(Timeout::Resolve), "name not resolved within 3s"),
        unreached(TimedOut(Timeout::Connect), "not connected within 3s"),
        // The end of the time for the whole request.
        unreached(TimedOut(Timeout::Global), "not connected within 3s"),
        unreached(io(K::ConnectionRefused), "connection refused"),
        unreached(io(K::HostUnreachable), "host unreachable"),
        unreached(io(K::UnexpectedEof), CLOSED),
        unreached(ConnectionFailed, ""),
        late(Timeout::SendBody, Part),
        late(Timeout::Global, Part),
        late(Timeout::Global, All),
        broken(io(K::BrokenPipe), Part, CLOSED),
        broken(io(K::ConnectionReset), All, CLOSED),
        broken(io(K::HostUnreachable), All, "host unreachable"),
        broken(not_http(), All, "the answer is not HTTP"),
        of_tls(expired(), Nothing, Settings, "TLS: certificate expired"),
        of_tls(unknown_ca(), All, Settings, "TLS: the webhook refuses"),
        broken(garbled(), All, "TLS: cannot decrypt"),
        broken(garbled(), Part, "TLS: cannot decrypt"),
        broken(no_tls(), All, "TLS: received corrupt message"),
        of_tls(no_tls(), Nothing, Settings, "TLS: the webhook does not"),
        of_tls(refused(), Nothing, Settings, "TLS: no version, cipher"),
        (refused(), All, Settings, true, RENEGOTIATES),
        (refused(), Part, Settings, false, RENEGOTIATES),
    ] {
        let timeouts = Timeouts {
            connect: Duration::from_secs(3),
            request: Duration::from_secs(9),
        };
        let uri = Uri::from_static("https://hec/");
        let found = of(&error, &uri, timeouts, sent);
        assert_eq!(
            (found.cause, found.may_have_arrived),
            (cause, may_have_arrived),
            "{error:?} {sent:?}"
        );
        let has_fix = cause == Settings || message == "the answer is not HTTP";
        assert_eq!(found.fix.is_some(), has_fix, "{error:?}");
        assert!(found.message.starts_with(message), "{}", found.message);
        let through = through("proxy:3128", &error, &uri, timeouts, sent);
        assert_eq!(
            (through.cause, through.may_have_arrived),
            (cause, may_have_arrived),
            "{error:?} {sent:?}"
        );
    }
    let proxied = |reason: &str| of_proxy("proxy:3128", reason, "hec");
    assert_eq!(proxied("proxy server responded 407/407").cause, Settings);
    assert_eq!(proxied("proxy server responded 403/403").cause, Settings);
    assert_eq!(proxied("proxy server responded 503/503").cause, Unreachable);
    assert_eq!(proxied("proxy server responded 429/429").cause, Unreachable);
    assert_eq!(proxied("proxy server did not respond").cause, Unreachable);
}

#[test]
fn what_is_not_connected_in_time_is_told_with_the_shorter_time_limit() {
    let uri = Uri::from_static("https://hec/");
    for (connect, request) in [(3, 9), (9, 3), (3, 3)] {
        let timeouts = Timeouts {
            connect: Duration::from_secs(connect),
            request: Duration::from_secs(request),
        };
        for (what, told) in [
            (Timeout::Resolve, "name not resolved within 3s"),
            (Timeout::Connect, "not connected within 3s"),
            (Timeout::Global, "not connected within 3s"),
        ] {
            let (error, nothing) = (Error::Timeout(what), Sent::Nothing);
            assert_eq!(of(&error, &uri, timeouts, nothing).message, told);
            let by_proxy = through("proxy:3128", &error, &uri, timeouts, nothing);
            let told = "not connected through proxy proxy:3128 within 3s";
            assert_eq!(
                (by_proxy.message.as_str(), by_proxy.cause),
                (told, Cause::Unreachable)
            );
        }
    }
}
