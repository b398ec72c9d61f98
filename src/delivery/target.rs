//! What bodies are posted to.

use std::sync::Arc;
use std::time::Duration;

use super::batch::Batch;
use super::compression::Packed;
use super::outcome::{DeliveryError, Outcome};
use super::route::Policy;
use super::step::Terms;
use crate::telemetry::expiry::Expiries;

/// What identifies events in an archive, if there is a trail: the name of their stream, and their numbers in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbering {
    /// The stream.
    pub stream: Arc<str>,
    /// The number of the first event that was queued.
    pub base: u64,
    /// Differs from start to start, also between those that continue from copies of one state directory.
    pub start: u32,
}

/// Where bodies go.
pub trait Target: Send {
    /// Makes the body of the next post from these events. If it is compressed, returns its size; a body larger than
    /// `max_bytes` is of no use.
    fn prepare(&mut self, events: &Batch, max_bytes: usize) -> Option<Packed>;

    /// Begins to make the next body while the prepared one is posted: [`prepare`](Self::prepare) has less to do if it
    /// is then given the same events.
    fn prepare_ahead(&mut self, next: Batch, max_bytes: usize) {
        let _ = (next, max_bytes);
    }

    /// Sends the prepared body and waits for its outcome, within the target's own timeouts. With a channel, Splunk's id
    /// of the body is needed.
    fn post(&mut self, events: &Batch, channel: Option<u64>) -> Outcome;

    /// Which of these bodies of a channel are indexed; each is reported once.
    ///
    /// # Errors
    /// There was no answer, or none to this query; because of the settings if asking again is of no use.
    fn ask(&mut self, channel: u64, ids: &[u64]) -> Result<Vec<u64>, DeliveryError> {
        let _ = (channel, ids);
        Ok(Vec::new())
    }

    /// Whether the last answer came from another server than before, judging by a balancer's cookies.
    fn has_moved(&mut self) -> bool {
        false
    }

    /// The longest that a post can take; longer only if something is broken.
    fn time_limit(&self) -> Duration;

    /// What delivery must know of its bodies and requests; the rest is not for a single target to say.
    fn terms(&self) -> Terms;

    /// What the operator should know although all is delivered; each thing once.
    fn advice(&mut self) -> Option<&'static str> {
        None
    }

    /// Its URL, for people.
    fn endpoint(&self) -> String {
        String::new()
    }

    /// When the certificates of a new connection expire; once for each connection.
    fn expiries(&mut self) -> Option<Expiries> {
        None
    }

    /// Something that ends the post in flight, and all later ones, from another thread.
    fn cut(&self) -> Abort;

    /// By how many seconds the webhook's clock was ahead of this host's at the last answer, if that is known.
    fn clock_skew(&mut self) -> Option<i64> {
        None
    }

    /// Has all bodies from now on say the numbers of their events.
    fn number(&mut self, numbering: &Numbering);

    /// The same, with a connection of its own.
    fn another(&self) -> Box<dyn Target>;
}

/// Ends a post from another thread.
pub type Abort = Box<dyn FnOnce() + Send>;

/// The endpoints of one webhook, with a connection to each.
pub struct Targets {
    /// Each of them; at least one.
    pub all: Vec<Box<dyn Target>>,
    /// The name of each; empty if there is only one.
    pub names: Vec<String>,
    /// How they are used.
    pub policy: Policy,
    /// How long Splunk may take to index a body, if it is asked about that.
    pub ack_timeout: Option<Duration>,
}

impl Targets {
    /// A single one.
    pub fn one(target: Box<dyn Target>) -> Self {
        Targets {
            all: vec![target],
            names: Vec::new(),
            policy: Policy::default(),
            ack_timeout: None,
        }
    }

    /// For each of these senders the same, with connections of its own.
    pub fn each(targets: Option<Targets>, senders: usize) -> Vec<Option<Targets>> {
        let others = (1..senders).map(|_| targets.as_ref().map(Targets::another));
        let mut each: Vec<_> = others.collect();
        each.push(targets);
        each
    }

    fn another(&self) -> Self {
        Targets {
            all: self.all.iter().map(|target| target.another()).collect(),
            names: self.names.clone(),
            policy: self.policy,
            ack_timeout: self.ack_timeout,
        }
    }

    /// Has all bodies from now on say the numbers of their events.
    pub fn number(&mut self, numbering: &Numbering) {
        (self.all.iter_mut()).for_each(|target| target.number(numbering));
    }

    /// Something that ends the post in flight, and all later ones, from another thread.
    pub fn cut(&self) -> Abort {
        let aborts: Vec<_> = self.all.iter().map(|target| target.cut()).collect();
        Box::new(|| aborts.into_iter().for_each(|abort| abort()))
    }

    /// What delivery must know of them: all take the same bodies.
    pub fn terms(&self) -> Terms {
        Terms {
            policy: self.policy,
            ack_timeout: self.ack_timeout,
            ..self
                .all
                .first()
                .map(|target| target.terms())
                .unwrap_or_default()
        }
    }
}
