//! Which endpoint a body goes to: a state machine without clock, I/O or threads, a part of
//! [`Delivery`](super::machine::Delivery).
//!
//! An endpoint that fails is not used while another one works, except for one event at a time, after its backoff. A
//! failure that may be the body's fault only makes it a suspect: if the body passes elsewhere, the endpoint is to
//! blame; if the body passes nowhere, all endpoints are as before, and delivery decides as if there were only one.

use std::str::FromStr;
use std::time::{Duration, Instant};

use super::attempt::Launch;
use super::outcome::{Cause, DeliveryError};
use crate::sys::backoff::Backoff;
use crate::text::choice::choose;

/// With `spread`, a sender changes its endpoint after this time: all get their share whatever the number of senders.
const TURN: Duration = Duration::from_secs(30);
/// An endpoint that is slow to fail is left alone for this many times as long.
pub(super) const RESTS: u32 = 10;
/// The same if the last endpoint that worked seems to be gone, too: events would wait for its backoff otherwise.
const SHORT_RESTS: u32 = 2;
/// How often an endpoint is tried before senders return to it.
const PROOFS: u32 = 10;

/// How several endpoints are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// All senders use the first that works.
    #[default]
    Failover,
    /// Senders use different ones.
    Spread,
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        choose(
            text,
            &[("failover", Mode::Failover), ("spread", Mode::Spread)],
        )
    }
}

/// The endpoints and how they are used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Policy {
    /// How many there are.
    pub endpoints: usize,
    /// How they are used.
    pub mode: Mode,
    /// With [`Mode::Failover`]: how long an endpoint must have worked again before it is preferred to a later one.
    pub failback: Duration,
}

/// Where the next body may go: to the usual endpoint, if one is open, or to one that failed and should be tried.
pub(super) type Ways = (Option<usize>, Option<usize>);

/// The endpoints' health.
#[derive(Debug)]
pub(super) struct Route {
    policy: Policy,
    endpoints: Vec<Endpoint>,
    /// When a sender first asked for its way.
    begin: Option<Instant>,
    /// Failures since a request passed, or since all endpoints were tried in turn.
    round: usize,
}

#[derive(Debug)]
struct Endpoint {
    health: Health,
    backoff: Backoff,
    /// The number of the last body sent when it last failed: the failures of earlier ones say nothing new.
    failed_at: u64,
    /// The reason for its last failure.
    error: Option<DeliveryError>,
    /// When it last failed, and how long that took.
    failed: Option<(Instant, Duration)>,
    /// A single body is testing whether it works.
    is_tried: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Up,
    /// It works again, but not for long yet.
    Proving {
        until: Instant,
        due: Instant,
    },
    /// It failed, but the body may be to blame.
    Suspected {
        due: Instant,
    },
    Down {
        due: Instant,
    },
}

/// What follows from an endpoint's failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    /// Another endpoint must be tried at once. Otherwise all have failed.
    pub(super) is_elsewhere: bool,
    /// The endpoint is to blame for certain.
    pub(super) is_sure: bool,
}

impl Route {
    /// A route to endpoints that were not tried yet.
    pub(super) fn new(policy: Policy, backoff: &Backoff) -> Self {
        let endpoint = |_| Endpoint {
            health: Health::Up,
            backoff: backoff.anew(),
            failed_at: 0,
            error: None,
            failed: None,
            is_tried: false,
        };
        Route {
            policy,
            endpoints: (0..policy.endpoints.max(1)).map(endpoint).collect(),
            begin: None,
            round: 0,
        }
    }

    /// Where the sender's next body goes: to its first endpoint that works and has room, or, if none works, to the one
    /// that has been untried for the longest time.
    pub(super) fn pick(
        &mut self,
        sender: usize,
        now: Instant,
        has_room: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let begin = *self.begin.get_or_insert(now);
        let turns = now.saturating_duration_since(begin).as_secs() / TURN.as_secs();
        let first = match self.policy.mode {
            Mode::Failover => 0,
            Mode::Spread => sender + turns as usize,
        };
        let count = self.endpoints.len();
        let any_works = self.any_works();
        let is_open =
            |place: &usize| self.endpoints[*place].works() == any_works && has_room(*place);
        let order = (0..count).map(|place| (first + place) % count);
        let rank = |place: &usize| match &self.endpoints[*place] {
            endpoint if endpoint.is_proven(now) => (0, 0),
            endpoint if endpoint.works() => (1, 0),
            endpoint => (2, endpoint.failed_at),
        };
        order.filter(is_open).min_by_key(rank)
    }

    /// An endpoint that failed and has room, at which one body should be tried now while others work.
    pub(super) fn due(&self, now: Instant, has_room: impl Fn(usize) -> bool) -> Option<usize> {
        let is_due = |endpoint: &Endpoint| match endpoint.health {
            _ if endpoint.is_tried || endpoint.is_proven(now) => false,
            Health::Up => false,
            Health::Proving { due, .. } | Health::Suspected { due } | Health::Down { due } => {
                due <= now
            }
        };
        let mut endpoints = self.endpoints.iter().enumerate();
        let (place, _) = endpoints.find(|(place, it)| is_due(it) && has_room(*place))?;
        self.others_work(place).then_some(place)
    }

    /// A single body is sent to test this endpoint.
    pub(super) fn tries(&mut self, place: usize) {
        self.endpoints[place].is_tried = true;
    }

    /// A request has ended, whatever its outcome.
    pub(super) fn landed(&mut self, launch: Launch) {
        self.endpoints[launch.endpoint].is_tried &= !launch.is_trial;
    }

    /// An endpoint has taken or rejected a body. Returns whether it had been down.
    pub(super) fn passed(&mut self, launch: Launch, now: Instant) -> bool {
        self.round = 0;
        launch.number > self.endpoints[launch.endpoint].failed_at
            && self.restore(launch.endpoint, now)
    }

    /// An endpoint works. Returns whether it had been down.
    pub(super) fn restore(&mut self, place: usize, now: Instant) -> bool {
        let must_prove = self.policy.mode == Mode::Failover && self.others_work(place);
        let failback = self.policy.failback;
        let endpoint = &mut self.endpoints[place];
        let health = endpoint.health;
        let until = match health {
            Health::Up => return false,
            Health::Proving { until, .. } => until,
            Health::Suspected { .. } | Health::Down { .. } => now + failback,
        };
        endpoint.health = match must_prove && now < until {
            true => Health::Proving {
                until,
                due: now + failback / PROOFS,
            },
            false => Health::Up,
        };
        if endpoint.health == Health::Up {
            endpoint.backoff.reset();
        }
        matches!(health, Health::Down { .. })
    }

    /// An endpoint has failed after the time `took`; it is left alone for as long as it asked for. `launches` counts
    /// all bodies that were sent. What is `suspicious` is a body that keeps failing while others pass.
    pub(super) fn failed(
        &mut self,
        launch: Launch,
        launches: u64,
        error: &DeliveryError,
        suspicious: bool,
        took: Duration,
        now: Instant,
    ) -> Failure {
        let endpoint = &mut self.endpoints[launch.endpoint];
        let did_work = endpoint.works();
        let is_news = launch.number > endpoint.failed_at;
        let mut is_sure = error.cause == Cause::Unreachable;
        if is_news {
            let due = endpoint.failed(launches, error, took, now);
            let is_suspect = matches!(endpoint.health, Health::Suspected { .. });
            is_sure |= matches!(endpoint.health, Health::Down { .. });
            is_sure |= is_suspect && self.others_work(launch.endpoint);
            self.endpoints[launch.endpoint].health = match is_sure {
                true => Health::Down { due },
                false => Health::Suspected { due },
            };
        }
        self.round += usize::from(is_news);
        if self.any_works() {
            return Failure {
                is_elsewhere: true,
                is_sure,
            };
        }
        // Endpoints that failed before a request passed may be back by now. What may be the body's fault is tried at
        // them only if that can't cost much of the time.
        let rests = match error.cause {
            Cause::Answer => RESTS,
            _ => SHORT_RESTS,
        };
        let mut others = self.endpoints.iter();
        let is_worth_it = !suspicious && others.any(|endpoint| endpoint.has_rested(rests, now));
        let is_another_left = (1..self.endpoints.len()).contains(&self.round);
        let is_elsewhere = is_another_left && (is_sure || !did_work || is_worth_it);
        if !is_elsewhere {
            self.round = 0;
            self.acquit();
        }
        Failure {
            is_elsewhere,
            is_sure,
        }
    }

    /// An endpoint takes bodies, but has failed in another way.
    pub(super) fn blame(
        &mut self,
        place: usize,
        launches: u64,
        error: &DeliveryError,
        now: Instant,
    ) {
        let endpoint = &mut self.endpoints[place];
        let due = endpoint.failed(launches, error, Duration::ZERO, now);
        endpoint.health = Health::Down { due };
    }

    /// What failed here has passed elsewhere. Returns that failure, unless the endpoint was known to be down.
    pub(super) fn convict(&mut self, place: usize) -> Option<DeliveryError> {
        let endpoint = &mut self.endpoints[place];
        let Health::Suspected { due } = endpoint.health else {
            return None;
        };
        endpoint.health = Health::Down { due };
        endpoint.error.clone()
    }

    /// All have failed: it may be the body.
    fn acquit(&mut self) {
        for endpoint in &mut self.endpoints {
            if let Health::Suspected { .. } = endpoint.health {
                endpoint.health = Health::Up;
            }
        }
    }

    pub(super) fn any_works(&self) -> bool {
        self.endpoints.iter().any(Endpoint::works)
    }

    fn others_work(&self, place: usize) -> bool {
        let mut others = self.endpoints.iter().enumerate();
        others.any(|(other, endpoint)| other != place && endpoint.works())
    }
}

impl Endpoint {
    fn works(&self) -> bool {
        matches!(self.health, Health::Up | Health::Proving { .. })
    }

    /// Notes a failure. Returns when it may be tried again.
    fn failed(
        &mut self,
        launches: u64,
        error: &DeliveryError,
        took: Duration,
        now: Instant,
    ) -> Instant {
        self.failed_at = launches;
        self.error = Some(error.clone());
        self.failed = Some((now, took));
        let delay = match error.retry_after {
            Some(asked) => self.backoff.clamp(asked),
            None => self.backoff.next_delay(),
        };
        now + delay.max(took * RESTS)
    }

    /// Whether it failed long ago, compared with how long that took.
    fn has_rested(&self, rests: u32, now: Instant) -> bool {
        (self.failed).is_some_and(|(at, took)| now.duration_since(at) >= took * rests)
    }

    fn is_proven(&self, now: Instant) -> bool {
        match self.health {
            Health::Up => true,
            Health::Proving { until, .. } => until <= now,
            Health::Suspected { .. } | Health::Down { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests;
