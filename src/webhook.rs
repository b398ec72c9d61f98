//! One POST over one kept-alive connection, and what became of it.

use std::io::{self, ErrorKind, Read};
use std::time::Duration;

use rustls::{AlertDescription, CertificateError};
use ureq::config::AutoHeaderValue;
use ureq::http::{HeaderValue, header};
use ureq::tls::TlsConfig;
use ureq::{Agent, Error, SendBody, Timeout};

use crate::answer::{Answer, Trouble, Verdict};
use crate::batch::Body;
use crate::endpoint::Endpoint;
use crate::quantity::Took;
use crate::sender::{Cut, Target};
use crate::token::Token;

/// How much of an answer is read. A longer one costs its connection.
const ANSWER_BYTES: u64 = 64 << 10;
/// How long an answer's body may take once its status is known.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// Plain HTTP is written in pieces of this size; ureq's default of 128 KiB costs twice the CPU.
const OUTPUT_BUFFER: usize = 1 << 20;

/// How long each step may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Name resolution, and connecting with the TLS handshake.
    pub connect: Duration,
    /// A whole request, from name resolution to the last byte of the answer.
    pub request: Duration,
}

/// The webhook.
#[derive(Debug)]
pub struct Webhook {
    agent: Agent,
    endpoint: Endpoint,
    token: Token,
    authorization: HeaderValue,
    timeouts: Timeouts,
    /// The last request left its connection open for the next one.
    kept_alive: bool,
}

impl Webhook {
    /// Sets up the client; connects with the first post.
    ///
    /// # Errors
    /// The token is no header value.
    pub fn new(
        endpoint: Endpoint,
        token: Token,
        tls: TlsConfig,
        timeouts: Timeouts,
    ) -> Result<Self, String> {
        let mut authorization = HeaderValue::from_str(token.reveal())
            .map_err(|_| "can't be sent as an HTTP header".to_owned())?;
        authorization.set_sensitive(true);
        let agent = Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .http_status_as_error(false)
            // The token must not travel to another host.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("s3-audit-webhook/", env!("CARGO_PKG_VERSION")))
            .accept_encoding(AutoHeaderValue::None)
            .max_idle_connections(1)
            .output_buffer_size(OUTPUT_BUFFER)
            .timeout_resolve(Some(timeouts.connect))
            .timeout_connect(Some(timeouts.connect))
            .timeout_global(Some(timeouts.request))
            .timeout_recv_body(Some(ANSWER_TIME))
            .build()
            .new_agent();
        Ok(Webhook {
            agent,
            endpoint,
            token,
            authorization,
            timeouts,
            kept_alive: false,
        })
    }

    fn try_post(&self, body: &Body<'_>) -> Result<Verdict, Error> {
        let mut reader = body.reader();
        let mut response = self
            .agent
            .post(self.endpoint.uri())
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::CONTENT_TYPE, "application/x-ndjson")
            .header(header::CONTENT_LENGTH, body.extent().bytes)
            .send(SendBody::from_reader(&mut reader))?;
        let mut text = Vec::new();
        // The status says what became of the body, so a cut-off or endless text costs only the
        // connection, which goes back to the pool when a text was read to its end.
        let _ = response
            .body_mut()
            .as_reader()
            .take(ANSWER_BYTES)
            .read_to_end(&mut text);
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let answer = Answer {
            status: response.status().as_u16(),
            retry_after: retry_after.and_then(|value| value.to_str().ok()),
            text: &text,
        };
        Ok(answer.verdict(Some(&self.token), body))
    }
}

impl Target for Webhook {
    fn post(&mut self, body: &Body<'_>) -> Verdict {
        let kept_alive = std::mem::replace(&mut self.kept_alive, false);
        let result = match self.try_post(body) {
            // The usual end of a connection that the webhook had tired of: not its failure.
            Err(Error::Io(error)) if kept_alive && is_hang_up(&error) => self.try_post(body),
            result => result,
        };
        match result {
            Ok(verdict) => {
                self.kept_alive = true;
                verdict
            }
            Err(error) => Verdict::Retry(trouble(&error, self.timeouts)),
        }
    }

    fn cut(&self) -> Cut {
        let agent = self.agent.clone();
        Box::new(move || agent.shutdown())
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
    )
}

/// Names a failed request in words for the log.
fn trouble(error: &Error, timeouts: Timeouts) -> Trouble {
    match error {
        Error::Timeout(Timeout::Resolve) => Trouble::passing(format!(
            "name not resolved within {}",
            Took(timeouts.connect)
        )),
        Error::Timeout(Timeout::Connect) => {
            Trouble::passing(format!("not connected within {}", Took(timeouts.connect)))
        }
        Error::Timeout(_) => {
            Trouble::passing(format!("no answer within {}", Took(timeouts.request)))
        }
        Error::HostNotFound => Trouble::passing("host name not found"),
        Error::Rustls(error) => tls_trouble(error),
        Error::Io(error) => {
            let source = error
                .get_ref()
                .and_then(|source| source.downcast_ref::<rustls::Error>());
            match source {
                Some(error) => tls_trouble(error),
                None if is_hang_up(error) => Trouble::passing("connection closed by the webhook"),
                None if error.kind() == ErrorKind::ConnectionRefused => {
                    Trouble::passing("connection refused")
                }
                None => Trouble::passing(error.to_string()),
            }
        }
        Error::Protocol(_) | Error::LargeResponseHeader(..) => Trouble::lasting(
            "the answer is not HTTP",
            "check the --endpoint, https:// or http://",
        ),
        error => Trouble::passing(error.to_string()),
    }
}

fn tls_trouble(error: &rustls::Error) -> Trouble {
    let lasting = |why: &str, remedy| Trouble::lasting(format!("TLS: {why}"), remedy);
    match error {
        // A bad signature is what a CA of the same name looks like that was made anew.
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => lasting(
            "certificate of an unknown CA",
            "give that CA's certificate with --ca-file",
        ),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => lasting(
            "certificate for another name",
            "use the name in the certificate in the --endpoint",
        ),
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => lasting(
            "certificate expired",
            "renew it, or set this host's clock right",
        ),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => lasting("certificate not valid yet", "set this host's clock right"),
        rustls::Error::InvalidCertificate(error) => lasting(
            &format!("certificate not valid: {error}"),
            "mend the webhook's certificate",
        ),
        rustls::Error::InvalidMessage(_) => lasting(
            "the webhook does not speak it on this port",
            "use http://, or another port",
        ),
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => lasting(
            "the webhook wants a client certificate",
            "give it one, or another endpoint",
        ),
        error => Trouble::passing(format!("TLS: {error}")),
    }
}
