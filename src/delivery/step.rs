//! What the sender and [`Delivery`](super::machine::Delivery) say to each other.

use std::time::{Duration, Instant};

use super::attempt::Flight;
use super::batch::Batch;
use super::outcome::{DeliveryError, Overhead};
use super::route::Policy;
use crate::buffer::chunk::Extent;
use crate::text::ranges::Ranges;

/// The settings of delivery.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Events and bytes of a body as it is sent, at most; a single larger event goes alone.
    pub body: Extent,
    /// How large a body may be before compression.
    pub raw_bytes: usize,
    /// How long an event waits for others.
    pub age: Duration,
    /// How often a single event must fail in a row before it may be rejected; never if 0.
    pub reject_after: u32,
    /// How many senders there are, each with a connection of its own; at least 1.
    pub connections: usize,
    /// How many bytes before compression all of them send a second, in the long run; no limit if 0.
    pub rate: usize,
}

/// What the target needs of requests.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How many events a body may have.
    pub max_events: usize,
    /// What the encoding adds.
    pub overhead: Overhead,
    /// Bodies are compressed.
    pub is_compressed: bool,
    /// How long a request may take.
    pub timeout: Duration,
    /// Its endpoints.
    pub policy: Policy,
    /// How long Splunk may take to index a body; none if a successful answer is enough.
    pub ack_timeout: Option<Duration>,
}

impl Default for Terms {
    /// Those of no webhook.
    fn default() -> Self {
        Terms {
            max_events: usize::MAX,
            overhead: Overhead::default(),
            is_compressed: false,
            timeout: Duration::MAX,
            policy: Policy::default(),
            ack_timeout: None,
        }
    }
}

/// What a sender is to do.
#[derive(Debug)]
pub enum Step {
    /// Take events from the queue: wait until there are as many as `wanted`, or until the time `until`, if given. Then
    /// hand over what there is with [`Delivery::collected`](super::machine::Delivery::collected). Only one sender at a
    /// time gets this step, so that bodies are full at any rate.
    Collect {
        /// Events and bytes.
        wanted: Extent,
        /// When to come back in any case.
        until: Option<Instant>,
    },
    /// Post this body, and return it with its outcome.
    Send(Box<Flight>),
    /// Make this query, and pass the answer to [`Delivery::asked`](super::machine::Delivery::asked).
    Ask(Query),
    /// Read these events from the spool, and hand them over with [`Delivery::read`](super::machine::Delivery::read).
    Read(Ranges),
    /// Wait until then, or until another sender has changed something.
    Wait(Option<Instant>),
    /// Everything is final, or will not be before the agent ends.
    Finished,
}

/// What a sender asks an endpoint: which bodies of a channel are indexed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The sender whose channel it is.
    pub sender: usize,
    /// The endpoint of the channel.
    pub endpoint: usize,
    /// Its number, which no other channel has.
    pub channel: u64,
    /// Splunk's ids of the bodies.
    pub ids: Vec<u64>,
}

/// What the sender must do about what has happened.
#[derive(Debug)]
pub enum Effect {
    /// The webhook has these events.
    Delivered(Batch),
    /// The same for events that only the spool has, with how many bytes they have.
    Indexed(Ranges, usize),
    /// These were posted; from now on only the spool has them.
    Released(Batch),
    /// The webhook does not take this event.
    Rejected(Batch, String),
    /// A request failed, and its events are sent again after this time.
    Failed(DeliveryError, Duration),
    /// A request with several events was rejected; they are sent in smaller ones.
    Divided,
    /// This many events were sent again that may have arrived before, and the reason why that is not known.
    Redelivered(usize, String),
    /// The webhook takes bodies up to this size.
    BodySizeLearned(usize),
    /// The webhook has taken what it was sent: it works.
    Passed,
    /// A query for what is indexed was answered.
    QueryAnswered,
    /// Such a query failed, and is made again.
    QueryFailed(DeliveryError),
    /// One of several endpoints has failed, for this reason.
    EndpointFailed(usize, DeliveryError),
    /// An endpoint that had failed works again.
    EndpointRestored(usize),
    /// An event fails alone, for this reason, while others pass: it is tried separately from now on.
    SetAside(String),
}

impl Effect {
    /// Whether it is news of the webhook, rather than of events.
    pub(super) fn is_of_webhook(&self) -> bool {
        match self {
            Effect::Delivered(_)
            | Effect::Indexed(..)
            | Effect::Released(_)
            | Effect::Rejected(..)
            | Effect::Redelivered(..)
            | Effect::SetAside(_) => false,
            Effect::Failed(..)
            | Effect::Divided
            | Effect::BodySizeLearned(_)
            | Effect::Passed
            | Effect::QueryAnswered
            | Effect::QueryFailed(_)
            | Effect::EndpointFailed(..)
            | Effect::EndpointRestored(_) => true,
        }
    }
}
