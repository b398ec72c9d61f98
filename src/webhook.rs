//! One POST over one kept-alive connection, and what became of it.

use std::io::Read;
use std::time::Duration;

use ureq::config::AutoHeaderValue;
use ureq::http::{HeaderName, HeaderValue, header};
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::Resolver;
use ureq::unversioned::transport::Connector;
use ureq::{Agent, Error, SendBody};

use crate::answer::{Answer, Question, Verdict};
use crate::batch::{Batch, Body};
use crate::chunk::Extent;
use crate::endpoint::Endpoint;
use crate::sender::{Cut, Target};
use crate::token::Token;
use crate::trouble::{Timeouts, Trouble, is_hang_up};

/// How much of an answer is read. A longer one costs its connection.
const ANSWER_BYTES: u64 = 64 << 10;
/// How long an answer's body may take once its status is known.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// Plain HTTP is written in pieces of this size; ureq's default of 128 KiB costs twice the CPU.
const OUTPUT_BUFFER: usize = 1 << 20;

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

    /// The same, but that connections are made by these.
    pub fn connecting_with(self, connector: impl Connector, resolver: impl Resolver) -> Self {
        let agent = Agent::with_parts(self.agent.config().clone(), connector, resolver);
        Webhook { agent, ..self }
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// One attempt, and what the webhook said: for `test`.
    ///
    /// # Errors
    /// It said nothing.
    pub fn ask(&self, body: &Body<'_>) -> Result<Reply, Trouble> {
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
            token: &self.token,
            body,
        }
    }

    fn trouble(&self, error: &Error) -> Trouble {
        Trouble::of(error, self.endpoint.uri(), self.timeouts)
    }

    fn try_post(&self, body: &Body<'_>) -> Result<Answer, Error> {
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
        let header = |name: HeaderName| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        Ok(Answer {
            status: response.status().as_u16(),
            retry_after: header(header::RETRY_AFTER),
            location: header(header::LOCATION),
            text,
        })
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
            Ok(answer) => {
                self.kept_alive = true;
                answer.verdict(&self.question(body))
            }
            Err(error) => Verdict::Retry(self.trouble(&error)),
        }
    }

    fn cut(&self) -> Cut {
        let agent = self.agent.clone();
        Box::new(move || agent.shutdown())
    }
}
