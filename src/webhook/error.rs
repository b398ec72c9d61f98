//! The causes of requests without an answer, and the fix for each: one table for the log and for `test`. What an answer
//! means is in `answer`.

use std::io::{self, ErrorKind};
use std::time::Duration;

use ureq::http::Uri;
use ureq::{Error, Timeout};

use crate::delivery::outcome::{Cause, DeliveryError};
use crate::sys::lookup::LookupError;
use crate::text::escape;
use crate::text::quantity::HumanDuration;
use crate::webhook::foreign;
use crate::webhook::head::NotHttp;
pub use sent::Sent;
use tls::Failure;

mod sent;
pub mod tls;

/// How long each step may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Name resolution, and connecting with the TLS handshake.
    pub connect: Duration,
    /// A whole request, from name resolution to the last byte of the answer.
    pub request: Duration,
}

impl Timeouts {
    /// The time in which a connection must be made: that of a whole request if it is shorter.
    fn connecting(self) -> HumanDuration {
        HumanDuration(self.connect.min(self.request))
    }
}

/// A request that was not answered.
#[derive(Debug)]
pub struct Unanswered {
    /// The reason.
    pub error: Error,
    /// How much of it was sent.
    pub sent: Sent,
}

/// The error of a request to `uri` that was not answered.
pub fn of(error: &Error, uri: &Uri, timeouts: Timeouts, sent: Sent) -> DeliveryError {
    let is_plain = uri.scheme_str() == Some("http");
    let (connect, request) = (timeouts.connecting(), HumanDuration(timeouts.request));
    match error {
        Error::Timeout(Timeout::Resolve) => {
            unreachable(format!("name not resolved within {connect}"), NAME)
        }
        // Whichever time is over.
        Error::Timeout(_) if sent == Sent::Nothing => {
            unreachable(format!("not connected within {connect}"), NOT_CONNECTED)
        }
        Error::Timeout(_) => DeliveryError {
            may_have_arrived: sent == Sent::All,
            ..DeliveryError::transient(Cause::Timeout, format!("no answer within {request}"))
                .hint(SLOW)
        },
        Error::HostNotFound => unreachable("host name not found", NAME),
        Error::Io(error) => of_io(error, is_plain, sent),
        Error::Protocol(_) | Error::LargeResponseHeader(..) => not_http(is_plain, sent),
        error => sent.failure(escape::shown(&error.to_string(), MAX_TEXT)),
    }
}

/// The error of a request that the agent itself has ended, because it stops.
pub fn aborted(sent: Sent) -> DeliveryError {
    DeliveryError {
        may_have_arrived: sent == Sent::All,
        ..DeliveryError::transient(Cause::Aborted, "request ended by the agent's own stop")
    }
}

/// The error of a request to `uri` through the proxy at this address that was not answered.
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
        Error::Timeout(_) if sent == Sent::Nothing => unreachable(
            format!(
                "not connected through proxy {proxy} within {}",
                timeouts.connecting()
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

/// The error of a proxy that does not connect to the `webhook`, for this `reason` in ureq's words.
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
        Some(status @ (408 | 425 | 429)) => unreachable(
            format!("proxy {proxy} does not connect to {webhook} now ({status})"),
            "see that the proxy is not overloaded, and that its limits let the agent connect",
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

/// The error if nothing of the body was sent.
fn unreachable(message: impl Into<String>, hint: &'static str) -> DeliveryError {
    DeliveryError::transient(Cause::Unreachable, message).hint(hint)
}

/// Usually the port is wrong; but what answers like this to one body only must not hold up the others, so this is not a
/// [`Cause::Settings`].
fn not_http(is_plain: bool, sent: Sent) -> DeliveryError {
    let fix = match is_plain {
        true => "check the --endpoint: give https:// if its port speaks TLS, else another port",
        false => "check the --endpoint's port",
    };
    DeliveryError {
        fix: Some(fix),
        ..sent.failure(NotHttp.to_string())
    }
}

fn is_not_http(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|source| source.is::<NotHttp>())
}

fn is_of_tls(error: &io::Error) -> bool {
    let source = error.get_ref();
    source.is_some_and(|source| source.is::<Failure>())
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
    if let Some(failure) = source.and_then(|source| source.downcast_ref()) {
        return tls::of(failure, sent);
    }
    if is_not_http(error) {
        return not_http(is_plain, sent);
    }
    let text = error.to_string();
    if let Some(reason) = source.and_then(|source| source.downcast_ref::<LookupError>()) {
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

#[cfg(test)]
mod tests;
