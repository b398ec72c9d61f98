//! One POST over one kept-alive connection, and what became of it.

mod acks;
mod advice;
mod ahead;
mod build;
mod clock;
mod exchange;
mod session;
mod target;

use std::cell::{Cell, RefCell};
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flate2::read::MultiGzDecoder;
use ureq::Agent;
use ureq::config::Config;
use ureq::http::{HeaderName, HeaderValue, Response, header};

use crate::delivery::batch::Batch;
use crate::delivery::outcome::{DeliveryError, Outcome};
use crate::text::secret::Secrets;
use crate::text::token::Token;
use crate::webhook::address_family::AddressFamily;
use crate::webhook::answer::{Answer, Question};
use crate::webhook::bulk::Items;
use crate::webhook::endpoint::{Collector, Endpoint};
use crate::webhook::error::{self, Timeouts, Unanswered};
use crate::webhook::foreign;
use crate::webhook::gzip;
use crate::webhook::head::FIREWALL;
use crate::webhook::observer::{Nobody, Observer};
use crate::webhook::proxy::Proxy;
use crate::webhook::resolve::{Known, Names, SystemNames};
use crate::webhook::sign;
use crate::webhook::template::RequestTemplate;
use crate::webhook::tls::TlsSettings;
use crate::webhook::wire::Wire;
use advice::FLUENT_BIT_RAW;
use ahead::Ahead;
use session::Session;

/// How much of an answer is read, in bytes. After a longer one the connection is closed.
const ANSWER_BYTES: u64 = 64 << 10;
/// From this time on an answer that broke off has noticeably delayed delivery.
const LONG_ANSWER: Duration = Duration::from_secs(1);
/// How much more is read of an answer with a part for each event, per event.
const ITEM_BYTES: u64 = 1 << 10;
/// A connection ends with the first request after this time, and the next one looks the name up again: a name that has
/// a new address is followed, and a balancer's new server is used.
const CONNECTION_AGE: Duration = Duration::from_secs(5 * 60);

/// The webhook, over a connection of its own.
#[derive(Debug)]
pub struct Webhook {
    agent: Agent,
    shared: Arc<Shared>,
    template: RequestTemplate,
    ahead: Ahead,
    wire: Wire,
    /// Set when the agent ends all requests.
    is_aborted: Arc<AtomicBool>,
    /// What the endpoint's name resolved to when there was no connection.
    addresses: Known,
    /// For indexer acknowledgement.
    session: RefCell<Session>,
    /// Since when the connection exists that the last request left open for the next one.
    kept_since: Option<Instant>,
    /// See [`CONNECTION_AGE`].
    connection_age: Duration,
    /// By how many seconds the webhook's clock was ahead at the last answer.
    skew: Cell<Option<i64>>,
    /// The last answer came from a server that takes all events of a body for one.
    is_one_record: bool,
    /// The last answer did not end in time.
    is_late: bool,
}

/// What all connections to a webhook have in common.
#[derive(Debug)]
struct Shared {
    endpoint: Endpoint,
    /// None if the webhook needs none.
    token: Option<Token>,
    authorization: Option<HeaderValue>,
    secrets: Secrets,
    timeouts: Timeouts,
    proxy: Option<Proxy>,
    tls: Arc<TlsSettings>,
    family: AddressFamily,
    /// What was logged already.
    advised: [AtomicBool; 3],
}

/// What the webhook answered.
#[derive(Debug)]
pub struct Reply {
    /// What it means.
    pub outcome: Outcome,
    /// The answer in one short line.
    pub shown: String,
    /// What the operator should know although the body was delivered.
    pub note: Option<&'static str>,
}

impl Webhook {
    /// Sets up the client; connects with the first post.
    ///
    /// # Errors
    /// The token is not a valid header value.
    pub fn new(
        endpoint: Endpoint,
        token: Option<Token>,
        template: RequestTemplate,
        tls: Arc<TlsSettings>,
        proxy: Option<Proxy>,
        timeouts: Timeouts,
        family: AddressFamily,
    ) -> Result<Self, String> {
        let authorization = token.as_ref().map(|token| {
            let mut value = HeaderValue::from_str(token.reveal())
                .map_err(|_| "can't be sent as an HTTP header".to_owned())?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        });
        let config = build::config(proxy.as_ref(), timeouts);
        let shared = Shared {
            secrets: build::secrets(&endpoint, token.as_ref(), &template, proxy.as_ref()),
            endpoint,
            token,
            authorization: authorization.transpose()?,
            timeouts,
            proxy,
            tls,
            family,
            advised: Default::default(),
        };
        Ok(Self::connecting(Arc::new(shared), template, config))
    }

    fn connecting(shared: Arc<Shared>, template: RequestTemplate, config: Config) -> Self {
        let (wire, addresses) = (Wire::default(), Known::default());
        let (nobody, names) = (Arc::new(Nobody), SystemNames::new(shared.family));
        Webhook {
            agent: build::agent(config, &shared.tls, &wire, &addresses, nobody, names),
            shared,
            template,
            ahead: Ahead::default(),
            wire,
            is_aborted: Arc::default(),
            addresses,
            session: RefCell::default(),
            kept_since: None,
            connection_age: CONNECTION_AGE,
            skew: Cell::default(),
            is_one_record: false,
            is_late: false,
        }
    }

    /// The same, with an observer for each step.
    pub fn observed_by(self, observer: Arc<dyn Observer>) -> Self {
        let names = SystemNames::new(self.shared.family);
        self.connecting_with(observer, names)
    }

    fn connecting_with(self, observer: Arc<dyn Observer>, names: impl Names) -> Self {
        let config = self.agent.config().clone();
        let agent = build::agent(
            config,
            &self.shared.tls,
            &self.wire,
            &self.addresses,
            observer,
            names,
        );
        Webhook { agent, ..self }
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.shared.endpoint
    }

    /// Whether requests have an `Authorization` header.
    pub fn has_token(&self) -> bool {
        self.shared.token.is_some()
    }

    /// The proxy that it is reached through.
    pub fn proxy(&self) -> Option<&Proxy> {
        self.shared.proxy.as_ref()
    }

    /// One attempt, and what the webhook answered: for `test`.
    ///
    /// # Errors
    /// There was no answer.
    pub fn try_out(&mut self, event: &Batch) -> Result<Reply, DeliveryError> {
        self.template.encoder.encode(event, usize::MAX);
        let channel = self.template.ack_uri.as_ref().map(|_| 0);
        let answer = self
            .try_post(event, channel)
            .map_err(|unanswered| self.error(&unanswered))?;
        // A test event is no secret, so the answer may repeat it.
        let nothing = Batch::default();
        let question = self.question(&nothing);
        Ok(Reply {
            outcome: answer.outcome(&question, SystemTime::now()),
            shown: answer.shown(&question),
            note: self.makes_one_record(&answer).then_some(FLUENT_BIT_RAW),
        })
    }

    fn makes_one_record(&self, answer: &Answer) -> bool {
        self.shared.endpoint.collector() == Some(Collector::Raw)
            && (answer.server.as_deref()).is_some_and(foreign::is_fluent_bit)
    }

    fn is_connection_old(&self) -> bool {
        self.kept_since
            .is_some_and(|since| since.elapsed() >= self.connection_age)
    }

    fn question<'a>(&'a self, body: &'a Batch) -> Question<'a> {
        Question {
            is_splunk: self.template.is_splunk,
            token: self.shared.token.as_ref(),
            secrets: &self.shared.secrets,
            is_compressed: self.template.encoder.content_encoding().is_some(),
            wants_id: self.template.ack_uri.is_some(),
            body,
        }
    }

    fn error(&self, Unanswered { error, sent }: &Unanswered) -> DeliveryError {
        let (uri, sent) = (self.shared.endpoint.uri(), *sent);
        if self.is_aborted.load(Ordering::Relaxed) {
            return error::aborted(sent);
        }
        match &self.shared.proxy {
            Some(proxy) => {
                error::through(&proxy.to_string(), error, uri, self.shared.timeouts, sent)
            }
            None => error::of(error, uri, self.shared.timeouts, sent),
        }
    }

    /// Posts these events, which were encoded last.
    fn try_post(&self, events: &Batch, channel: Option<u64>) -> Result<Answer, Unanswered> {
        let RequestTemplate { encoder, uri, .. } = &self.template;
        let mut request = self.request(uri, channel);
        if let Some(content_type) = self.template.content_type() {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        if let Some(encoding) = encoder.content_encoding() {
            request = request.header(header::CONTENT_ENCODING, encoding);
        }
        for (name, value) in encoder.audit_headers(events) {
            request = request.header(name, value);
        }
        let body = encoder.body(events);
        if let Some(signer) = &self.template.signer {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let id = sign::message_id(&events.seqs().collect::<Vec<_>>());
            let values = signer.sign(&id, now.map_or(0, |now| now.as_secs()), &body);
            for (name, value) in sign::HEADERS.iter().zip(values) {
                request = request.header(name, value);
            }
        }
        let mut response = self.send(request, body, channel)?;
        let events = events.extent().events;
        let is_bulk = encoder.has_prefix() && response.status().is_success();
        let more = if is_bulk {
            ITEM_BYTES * events as u64
        } else {
            0
        };
        let mut answer = read(&mut response, ANSWER_BYTES + more);
        answer.events = events;
        if is_bulk {
            answer.items = Items::read(&answer.text);
            // What breaks off before it says that there are no errors may have had some to tell.
            let may_be_json = matches!(answer.text.trim_ascii_start(), [] | [b'{', ..]);
            let is_clear = answer.items.errors == Some(false) || !may_be_json;
            answer.items.cut_off |= answer.cut_off && !is_clear;
            if self.shared.endpoint.is_bulk() {
                answer.items = answer.items.demanded(events);
            }
        }
        Ok(answer)
    }
}

/// Reads an answer up to this many bytes of its text; to its end if that is near, so that the connection can be kept. The
/// status says what became of a body, so a cut-off or endless text mostly costs only the connection.
fn read(response: &mut Response<ureq::Body>, limit: u64) -> Answer {
    let header = |name| {
        let value: &HeaderValue = response.headers().get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let mut answer = Answer {
        status: response.status().as_u16(),
        content_type: header(header::CONTENT_TYPE),
        retry_after: header(header::RETRY_AFTER),
        date: header(header::DATE),
        location: header(header::LOCATION),
        server: header(header::SERVER),
        firewall: header(HeaderName::from_static(FIREWALL)),
        ..Answer::default()
    };
    let (began, mut from) = (Instant::now(), response.body_mut().as_reader().take(limit));
    answer.cut_off = from.read_to_end(&mut answer.text).is_err();
    answer.late = answer.cut_off && began.elapsed() >= LONG_ANSWER;
    if answer.text.starts_with(gzip::MAGIC) {
        // Nobody asked for that, but some proxies do it.
        let packed = std::mem::take(&mut answer.text);
        let mut plain = MultiGzDecoder::new(&*packed).take(limit);
        answer.cut_off |= plain.read_to_end(&mut answer.text).is_err();
    }
    answer
}

#[cfg(test)]
mod address_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
