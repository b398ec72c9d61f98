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
    let lookup = lookup("a\0b", 80, Family::V4).unwrap_err();
    let (nothing, part, all) = (Sent::Nothing, Sent::Part, Sent::All);
    use Cause::{Disconnected, Settings, Unreachable};
    for (error, sent, cause, may_have_arrived, message) in [
        (
            Error::HostNotFound,
            nothing,
            Unreachable,
            false,
            "host name not found",
        ),
        (
            Error::Io(io::Error::other(lookup)),
            nothing,
            Unreachable,
            false,
            "host name not found: nul byte",
        ),
        (
            Error::Timeout(Timeout::Resolve),
            nothing,
            Unreachable,
            false,
            "name not resolved within 3s",
        ),
        (
            Error::Timeout(Timeout::Connect),
            nothing,
            Unreachable,
            false,
            "not connected within 3s",
        ),
        (
            Error::Timeout(Timeout::SendBody),
            part,
            Cause::Timeout,
            true,
            "no answer within 9s",
        ),
        (
            Error::Timeout(Timeout::Global),
            all,
            Cause::Timeout,
            true,
            "no answer within 9s",
        ),
        (
            Error::Timeout(Timeout::Global),
            nothing,
            Cause::Timeout,
            false,
            "no answer within 9s",
        ),
        (
            io(ErrorKind::ConnectionRefused),
            nothing,
            Unreachable,
            false,
            "connection refused",
        ),
        (
            io(ErrorKind::HostUnreachable),
            nothing,
            Unreachable,
            false,
            "host unreachable",
        ),
        (
            io(ErrorKind::UnexpectedEof),
            nothing,
            Unreachable,
            false,
            "connection closed by the webhook",
        ),
        (
            io(ErrorKind::BrokenPipe),
            part,
            Disconnected,
            false,
            "connection closed by the webhook",
        ),
        (
            io(ErrorKind::ConnectionReset),
            all,
            Disconnected,
            true,
            "connection closed by the webhook",
        ),
        (
            io(ErrorKind::HostUnreachable),
            all,
            Disconnected,
            true,
            "host unreachable",
        ),
        (
            not_http(),
            all,
            Disconnected,
            true,
            "the answer is not HTTP",
        ),
        (
            tls(CertificateError::Expired.into()),
            nothing,
            Settings,
            false,
            "TLS: certificate expired",
        ),
        (
            tls(rustls::Error::AlertReceived(AlertDescription::UnknownCA)),
            all,
            Settings,
            false,
            "TLS: the webhook refuses",
        ),
        (
            tls(rustls::Error::DecryptError),
            all,
            Disconnected,
            false,
            "TLS: cannot decrypt",
        ),
        (Error::ConnectionFailed, nothing, Unreachable, false, ""),
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
    assert_eq!(proxied("proxy server did not respond").cause, Unreachable);
}
