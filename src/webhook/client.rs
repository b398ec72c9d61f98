//! One POST over one kept-alive connection, and what became of it.

use std::io::{self, ErrorKind, Read};
use std::time::{Duration, Instant};

use ureq::config::AutoHeaderValue;
use ureq::http::{HeaderName, HeaderValue, Response, Version, header};
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::{DefaultResolver, Resolver};
use ureq::unversioned::transport::{Connector, RustlsConnector, TcpConnector};
use ureq::{Agent, Error, SendBody};

use crate::delivery::body::Body;
use crate::delivery::outcome::{DeliveryError, Outcome, Overhead};
use crate::delivery::sender::{Abort, Target};
use crate::text::token::Token;
use crate::webhook::answer::{Answer, Question};
use crate::webhook::bulk::Items;
use crate::webhook::early_response::EarlyResponse;
use crate::webhook::endpoint::Endpoint;
use crate::webhook::error::{self, Timeouts, is_hang_up};
use crate::webhook::proxy::Proxy;
use crate::webhook::resolve::{Known, Resolve};
use crate::webhook::template::RequestTemplate;
use crate::webhook::tunnel::Tunnel;

/// How much of an answer is read. A longer one costs its connection.
const ANSWER_BYTES: u64 = 64 << 10;
/// How much more of one that tells of each event, for each event.
const ITEM_BYTES: u64 = 1 << 10;
/// How long an answer's body may take once its status is known.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// What is sent as it is, is written in pieces of this size: ureq's 128 KiB cost twice the CPU.
const PLAIN_BUFFER: usize = 1 << 20;
/// What is compressed or encrypted first gains nothing by more than ureq's own size.
const OUTPUT_BUFFER: usize = 128 << 10;
/// A connection ends with the first request after so long, and the next one looks the name up again: a name that
/// has got another address is followed, and a balancer that has got another server uses it.
const CONNECTION_AGE: Duration = Duration::from_secs(5 * 60);
/// What a request may take beyond its timeout, on a machine that hardly gets on.
const SLACK: Duration = Duration::from_secs(30);

/// The webhook.
#[derive(Debug)]
pub struct Webhook {
    agent: Agent,
    endpoint: Endpoint,
    /// None if the webhook wants none.
    token: Option<Token>,
    authorization: Option<HeaderValue>,
    shape: RequestTemplate,
    timeouts: Timeouts,
    proxy: Option<Proxy>,
    last_words: EarlyResponse,
    /// What the endpoint's name stood for when there was no connection.
    addresses: Known,
    /// Since when there is a connection that the last request has left open for the next one.
    kept_since: Option<Instant>,
    /// See [`CONNECTION_AGE`].
    connection_age: Duration,
}

/// What the webhook said.
#[derive(Debug)]
pub struct Reply {
    /// What it means.
    pub outcome: Outcome,
    /// The answer in one short line.
    pub said: String,
    /// It is a page for people.
    pub is_page: bool,
}

impl Webhook {
    /// Sets up the client; connects with the first post.
    ///
    /// # Errors
    /// The token is no header value.
    pub fn new(
        endpoint: Endpoint,
        token: Option<Token>,
        shape: RequestTemplate,
        tls: TlsConfig,
        proxy: Option<Proxy>,
        timeouts: Timeouts,
    ) -> Result<Self, String> {
        let authorization = token.as_ref().map(|token| {
            let mut value = HeaderValue::from_str(token.reveal())
                .map_err(|_| "can't be sent as an HTTP header".to_owned())?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        });
        let is_plain = endpoint.uri().scheme_str() == Some("http")
            && shape.encoder.content_encoding().is_none();
        let config = Agent::config_builder()
            .tls_config(tls)
            .proxy(proxy.as_ref().map(Proxy::for_client))
            .http_status_as_error(false)
            // The token must not travel to another host.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("s3-audit-webhook/", env!("CARGO_PKG_VERSION")))
            .accept_encoding(AutoHeaderValue::None)
            .max_idle_connections(1)
            .output_buffer_size(if is_plain {
                PLAIN_BUFFER
            } else {
                OUTPUT_BUFFER
            })
            .timeout_resolve(Some(timeouts.connect))
            .timeout_connect(Some(timeouts.connect))
            .timeout_global(Some(timeouts.request))
            .timeout_recv_body(Some(ANSWER_TIME))
            .build();
        let last_words = EarlyResponse::default();
        let addresses = Known::default();
        let resolver = Resolve {
            inner: DefaultResolver::default(),
            known: addresses.clone(),
        };
        // ureq's own chain, but for the limit of the tunnel's time and the last words.
        let connector =
            ().chain(Tunnel::default())
                .chain(TcpConnector::default())
                .chain(last_words.clone())
                .chain(RustlsConnector::default());
        Ok(Webhook {
            agent: Agent::with_parts(config, connector, resolver),
            endpoint,
            token,
            authorization: authorization.transpose()?,
            shape,
            timeouts,
            proxy,
            last_words,
            addresses,
            kept_since: None,
            connection_age: CONNECTION_AGE,
        })
    }

    /// The same, but that connections are made by these.
    pub fn connecting_with(self, connector: impl Connector, resolver: impl Resolver) -> Self {
        let resolver = Resolve {
            inner: resolver,
            known: self.addresses.clone(),
        };
        let agent = Agent::with_parts(self.agent.config().clone(), connector, resolver);
        Webhook { agent, ..self }
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether requests have an `Authorization` header.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// What it is reached through.
    pub fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    /// One attempt, and what the webhook said: for `test`.
    ///
    /// # Errors
    /// It said nothing.
    pub fn ask(&mut self, body: &Body<'_>) -> Result<Reply, DeliveryError> {
        self.shape.encoder.encode(body);
        let answer = self.try_post(body).map_err(|error| self.error(&error))?;
        // A test event is no secret, so that the answer may repeat it.
        let body = Body::of(b"");
        Ok(Reply {
            outcome: answer.verdict(&self.question(&body)),
            said: answer.shown(&self.question(&body)),
            is_page: answer.is_page(),
        })
    }

    fn is_connection_old(&self) -> bool {
        self.kept_since
            .is_some_and(|since| since.elapsed() >= self.connection_age)
    }

    fn question<'a>(&'a self, body: &'a Body<'a>) -> Question<'a> {
        Question {
            endpoint: &self.endpoint,
            token: self.token.as_ref(),
            headers: &self.shape.headers,
            is_compressed: self.shape.encoder.content_encoding().is_some(),
            body,
        }
    }

    fn error(&self, error: &Error) -> DeliveryError {
        match &self.proxy {
            Some(proxy) => error::through(
                &proxy.to_string(),
                error,
                self.endpoint.uri(),
                self.timeouts,
            ),
            None => error::of(error, self.endpoint.uri(), self.timeouts),
        }
    }

    /// Posts these events, which were encoded last.
    fn try_post(&self, events: &Body<'_>) -> Result<Answer, Error> {
        let RequestTemplate {
            encoder,
            uri,
            headers,
        } = &self.shape;
        let body = encoder.body(events);
        let events = events.extent().events;
        // Of the request before.
        self.last_words.has_cut_short();
        if self.kept_since.is_none() {
            self.addresses.forget();
        }
        let mut request = self
            .agent
            .post(uri)
            .header(header::CONTENT_LENGTH, body.bytes());
        if self.is_connection_old() {
            request = request.header(header::CONNECTION, "close");
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if let Some(content_type) = self.shape.content_type() {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        if let Some(encoding) = encoder.content_encoding() {
            request = request.header(header::CONTENT_ENCODING, encoding);
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let mut response = request.send(SendBody::from_reader(&mut body.reader()))?;
        if ends_connection(&response) {
            self.addresses.forget();
        }
        if response.status().is_success() && self.last_words.has_cut_short() {
            // It can't have what was not sent.
            return Err(Error::Io(ErrorKind::ConnectionAborted.into()));
        }
        let mut text = Vec::new();
        let mut items = Items::default();
        let tells_of_each = encoder.has_prefix() && response.status().is_success();
        let more = if tells_of_each {
            ITEM_BYTES * events as u64
        } else {
            0
        };
        // The status says what became of the body, so a cut-off or endless text costs only the
        // connection, which goes back to the pool when a text was read to its end.
        let mut from = response.body_mut().as_reader().take(ANSWER_BYTES + more);
        let read = from.by_ref().take(ANSWER_BYTES).read_to_end(&mut text);
        if tells_of_each {
            items = Items::read(text.as_slice().chain(from.by_ref()));
            items.cut_off |= read.is_err() && text.is_empty();
            let _ = io::copy(&mut from, &mut io::sink());
        }
        let header = |name: HeaderName| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        Ok(Answer {
            status: response.status().as_u16(),
            retry_after: header(header::RETRY_AFTER),
            location: header(header::LOCATION),
            text,
            events,
            items,
        })
    }
}

/// Whether the webhook wants the next request over another connection.
fn ends_connection<B>(response: &Response<B>) -> bool {
    let connection = response.headers().get(header::CONNECTION);
    response.version() < Version::HTTP_11
        || connection.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}

/// Whether a connection, or what it was made to, was there no more.
fn is_gone(error: &io::Error) -> bool {
    is_hang_up(error) || error.kind() == ErrorKind::ConnectionRefused
}

impl Target for Webhook {
    fn post(&mut self, body: &Body<'_>) -> Outcome {
        self.shape.encoder.encode(body);
        let mut since = self.kept_since.unwrap_or_else(Instant::now);
        let mut is_last = self.is_connection_old();
        let result = match self.try_post(body) {
            // The usual end of a connection that the webhook had tired of, or whose webhook has gone to another
            // address: not its failure.
            Err(Error::Io(error)) if self.kept_since.is_some() && is_gone(&error) => {
                (since, is_last) = (Instant::now(), false);
                self.kept_since = None;
                self.try_post(body)
            }
            result => result,
        };
        self.kept_since = (result.is_ok() && !is_last).then_some(since);
        match result {
            Ok(answer) => answer.verdict(&self.question(body)),
            Err(error) => Outcome::Failed(self.error(&error)),
        }
    }

    fn time_limit(&self) -> Duration {
        // Over a connection that the webhook had tired of it is tried twice.
        self.timeouts
            .request
            .saturating_mul(2)
            .saturating_add(SLACK)
    }

    fn request_timeout(&self) -> Duration {
        self.timeouts.request
    }

    fn max_events(&self) -> usize {
        self.shape.encoder.format().max_events()
    }

    fn overhead(&self) -> Overhead {
        self.shape.encoder.overhead()
    }

    fn cut(&self) -> Abort {
        let agent = self.agent.clone();
        Box::new(move || agent.shutdown())
    }
}

#[cfg(test)]
mod tests;
