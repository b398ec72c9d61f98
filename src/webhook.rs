//! One POST over one kept-alive connection, and what became of it.

use std::io::{self, Read};
use std::time::Duration;

use ureq::config::AutoHeaderValue;
use ureq::http::{HeaderName, HeaderValue, header};
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::Resolver;
use ureq::unversioned::transport::Connector;
use ureq::{Agent, Error, SendBody};

use crate::answer::{Answer, Question, Verdict};
use crate::batch::{Batch, Body};
use crate::bulk::Items;
use crate::chunk::Extent;
use crate::endpoint::Endpoint;
use crate::sender::{Cut, Target};
use crate::shape::Shape;
use crate::token::Token;
use crate::trouble::{Timeouts, Trouble, is_hang_up};

/// How much of an answer is read. A longer one costs its connection.
const ANSWER_BYTES: u64 = 64 << 10;
/// How much more of one that tells of each event, for each event.
const ITEM_BYTES: u64 = 1 << 10;
/// How long an answer's body may take once its status is known.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// Plain HTTP is written in pieces of this size; ureq's default of 128 KiB costs twice the CPU.
const OUTPUT_BUFFER: usize = 1 << 20;

/// The webhook.
#[derive(Debug)]
pub struct Webhook {
    agent: Agent,
    endpoint: Endpoint,
    /// None if the webhook wants none.
    token: Option<Token>,
    authorization: Option<HeaderValue>,
    shape: Shape,
    timeouts: Timeouts,
    /// The last request left its connection open for the next one.
    kept_alive: bool,
}

/// What the webhook said.
#[derive(Debug)]
pub struct Reply {
    /// What it means.
    pub verdict: Verdict,
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
        shape: Shape,
        tls: TlsConfig,
        timeouts: Timeouts,
    ) -> Result<Self, String> {
        let authorization = token.as_ref().map(|token| {
            let mut value = HeaderValue::from_str(token.reveal())
                .map_err(|_| "can't be sent as an HTTP header".to_owned())?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        });
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
            authorization: authorization.transpose()?,
            shape,
            timeouts,
            kept_alive: false,
        })
    }

    /// The same, but that connections are made by these.
    pub fn connecting_with(self, connector: impl Connector, resolver: impl Resolver) -> Self {
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

    /// One attempt, and what the webhook said: for `test`.
    ///
    /// # Errors
    /// It said nothing.
    pub fn ask(&mut self, body: &Body<'_>) -> Result<Reply, Trouble> {
        self.shape.encoder.encode(body);
        let answer = self.try_post(body).map_err(|error| self.trouble(&error))?;
        // A test event is no secret, so that the answer may repeat it.
        let (nothing, none) = (Batch::default(), Extent::default());
        let body = nothing.body(none);
        Ok(Reply {
            verdict: answer.verdict(&self.question(&body)),
            said: answer.shown(&self.question(&body)),
            is_page: answer.is_page(),
        })
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

    fn trouble(&self, error: &Error) -> Trouble {
        Trouble::of(error, self.endpoint.uri(), self.timeouts)
    }

    /// Posts these events, which were encoded last.
    fn try_post(&self, events: &Body<'_>) -> Result<Answer, Error> {
        let Shape {
            encoder,
            uri,
            headers,
        } = &self.shape;
        let body = encoder.body(events);
        let events = events.extent().events;
        let mut request = self
            .agent
            .post(uri)
            .header(header::CONTENT_LENGTH, body.bytes());
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

impl Target for Webhook {
    fn post(&mut self, body: &Body<'_>) -> Verdict {
        self.shape.encoder.encode(body);
        let kept_alive = std::mem::replace(&mut self.kept_alive, false);
        let result = match self.try_post(body) {
            // The usual end of a connection that the webhook had tired of: not its failure.
            Err(Error::Io(error)) if kept_alive && is_hang_up(&error) => self.try_post(body),
            result => result,
        };
        match result {
            Ok(answer) => {
                self.kept_alive = true;
                answer.verdict(&self.question(body))
            }
            Err(error) => Verdict::Retry(self.trouble(&error)),
        }
    }

    fn most_events(&self) -> usize {
        self.shape.encoder.format().most_events()
    }

    fn cut(&self) -> Cut {
        let agent = self.agent.clone();
        Box::new(move || agent.shutdown())
    }
}
