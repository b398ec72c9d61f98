//! What bodies are posted to.

use std::time::Duration;

use super::body::Body;
use super::outcome::{Outcome, Overhead};
use super::route::Policy;
use super::step::Terms;

/// Where bodies go.
pub trait Target: Send {
    /// Sends one body and waits for what becomes of it, within the target's own timeouts.
    fn post(&mut self, body: &Body<'_>) -> Outcome;

    /// How long that takes at the very most; longer only if something is broken.
    fn time_limit(&self) -> Duration;

    /// How long a request may take until it counts as failed.
    fn request_timeout(&self) -> Duration;

    /// How many events a body takes at most.
    fn max_events(&self) -> usize;

    /// What encoding adds to a body.
    fn overhead(&self) -> Overhead;

    /// What the operator should know of though all is delivered; each thing once.
    fn advice(&mut self) -> Option<&'static str> {
        None
    }

    /// Something that ends the post in flight, and all later ones, from another thread.
    fn cut(&self) -> Abort;

    /// The same, with a connection of its own.
    fn another(&self) -> Box<dyn Target>;
}

/// Ends a post from another thread.
pub type Abort = Box<dyn FnOnce() + Send>;

/// The endpoints of one webhook, with a connection to each.
pub struct Targets {
    /// Each of them; at least one.
    pub all: Vec<Box<dyn Target>>,
    /// What each is called; nothing if there is only one.
    pub names: Vec<String>,
    /// How they are used.
    pub policy: Policy,
}

impl Targets {
    /// A single one.
    pub fn one(target: Box<dyn Target>) -> Self {
        Targets {
            all: vec![target],
            names: Vec::new(),
            policy: Policy::default(),
        }
    }

    /// The same, with connections of their own.
    pub fn another(&self) -> Self {
        Targets {
            all: self.all.iter().map(|target| target.another()).collect(),
            names: self.names.clone(),
            policy: self.policy,
        }
    }

    /// Something that ends the post in flight, and all later ones, from another thread.
    pub fn cut(&self) -> Abort {
        let aborts: Vec<_> = self.all.iter().map(|target| target.cut()).collect();
        Box::new(|| aborts.into_iter().for_each(|abort| abort()))
    }

    /// What delivery must know of them: all take the same bodies.
    pub fn terms(&self) -> Terms {
        let policy = self.policy;
        self.all
            .first()
            .map_or_else(Terms::default, |target| Terms {
                max_events: target.max_events(),
                overhead: target.overhead(),
                timeout: target.request_timeout(),
                policy,
            })
    }
}
