//! A stand-in for Splunk's indexer acknowledgement.

use super::poison::random;
use super::*;

/// Indexers behind a balancer, behaving like Splunk's: each counts the bodies of a channel from 0, and says once of
/// each that it is indexed.
#[derive(Debug)]
pub(super) struct Splunk {
    pub(super) indexers: Vec<Indexer>,
    /// The balancer's cookie leads to the same indexer, as long as that is up.
    pub(super) is_sticky: bool,
    /// There is no balancer: each indexer is an endpoint.
    pub(super) has_endpoints: bool,
    /// The indexer that each sender's cookie names.
    pub(super) cookies: BTreeMap<usize, usize>,
    /// How long indexing takes.
    pub(super) delay: Duration,
    /// The indexer that takes bodies and never indexes them.
    pub(super) deaf: Option<usize>,
    /// The indexer that refuses queries, which only an operator can change.
    pub(super) refuses: Option<usize>,
    /// The id of a channel's first body.
    pub(super) first_id: u64,
    pub(super) took: Duration,
    /// The next query gets no answer, and ends after this time.
    pub(super) hangs: Option<Duration>,
    pub(super) dice: u64,
    /// What goes wrong now and then.
    pub(super) trouble: Trouble,
    /// What is indexed, and when the next body will be.
    indexed: BTreeSet<Seq>,
    next_due: Duration,
    /// Bodies that were posted and queries that were made.
    pub(super) posts: usize,
    pub(super) queries: usize,
}

/// How many of a hundred requests do this.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Trouble {
    /// Are answered with 503.
    pub(super) busy: u64,
    /// Arrive, but their answer is lost.
    pub(super) answer_lost: u64,
    /// Find an indexer that has just restarted, and has forgotten what was not yet indexed.
    pub(super) restarts: u64,
    /// Find that the indexer has forgotten an idle channel.
    pub(super) forgets: u64,
    /// Are answered with another cookie, though by the same indexer.
    pub(super) renews: u64,
}

#[derive(Debug, Default)]
pub(super) struct Indexer {
    channels: BTreeMap<u64, Channel>,
}

#[derive(Debug, Default)]
struct Channel {
    next: u64,
    /// When each body is indexed.
    bodies: BTreeMap<u64, (Vec<Seq>, Duration)>,
}

impl Splunk {
    pub(super) fn new(indexers: usize) -> Self {
        Splunk {
            indexers: (0..indexers).map(|_| Indexer::default()).collect(),
            is_sticky: true,
            has_endpoints: false,
            cookies: BTreeMap::new(),
            delay: Duration::from_secs(10),
            deaf: None,
            refuses: None,
            first_id: 0,
            took: QUICK,
            hangs: None,
            dice: 1,
            trouble: Trouble::default(),
            indexed: BTreeSet::new(),
            next_due: Duration::MAX,
            posts: 0,
            queries: 0,
        }
    }

    fn is(&mut self, percent: u64) -> bool {
        random(&mut self.dice) % 100 < percent
    }

    /// Indexes what is due.
    fn pass(&mut self, at: Duration) {
        if at < self.next_due {
            return;
        }
        self.next_due = Duration::MAX;
        for channel in self
            .indexers
            .iter_mut()
            .flat_map(|it| it.channels.values_mut())
        {
            for (seqs, due) in channel.bodies.values_mut() {
                match *due <= at {
                    true => self.indexed.extend(seqs.drain(..)),
                    false => self.next_due = self.next_due.min(*due),
                }
            }
        }
    }

    pub(super) fn has(&mut self, seq: Seq, at: Duration) -> bool {
        self.pass(at);
        self.indexed.contains(&seq)
    }

    pub(super) fn restart(&mut self, indexer: usize, at: Duration) {
        self.pass(at);
        self.indexers[indexer] = Indexer::default();
        // The balancer notices, and sends clients elsewhere.
        self.cookies.retain(|_, place| *place != indexer);
    }

    /// The indexer that gets a sender's request, and whether its cookie has changed.
    fn choose(&mut self, sender: usize, endpoint: usize, at: Duration) -> (usize, bool) {
        let (indexer, has_moved) = self.balance(sender, endpoint, at);
        let renews = self.trouble.renews;
        (indexer, has_moved || (renews > 0 && self.is(renews)))
    }

    fn balance(&mut self, sender: usize, endpoint: usize, at: Duration) -> (usize, bool) {
        let any = (random(&mut self.dice) % self.indexers.len() as u64) as usize;
        let old = self.cookies.get(&sender).copied();
        if self.is(self.trouble.restarts) {
            let place = if self.has_endpoints {
                endpoint
            } else {
                old.unwrap_or(any)
            };
            self.restart(place, at);
        }
        if self.has_endpoints {
            return (endpoint, false);
        }
        if !self.is_sticky {
            return (any, false);
        }
        let indexer = *self.cookies.entry(sender).or_insert(any);
        if self.is(self.trouble.forgets) {
            self.pass(at);
            self.indexers[indexer].channels.clear();
        }
        (indexer, old.is_some_and(|old| old != indexer))
    }

    pub(super) fn post(&mut self, request: &Request, channel: u64) -> (Outcome, Duration, bool) {
        self.posts += 1;
        let (indexer, has_moved) = self.choose(request.sender, request.endpoint, request.at);
        if self.is(self.trouble.busy) {
            return (failed(Cause::Answer), self.took, has_moved);
        }
        let new = Channel {
            next: self.first_id,
            ..Channel::default()
        };
        let channels = &mut self.indexers[indexer].channels;
        let channel = channels.entry(channel).or_insert(new);
        let id = channel.next;
        channel.next = id.saturating_add(1);
        let due = match self.deaf == Some(indexer) {
            true => Duration::MAX,
            false => request.at + self.delay,
        };
        self.next_due = self.next_due.min(due);
        // With the largest id there may be several, which are indexed together.
        let body = channel.bodies.entry(id).or_default();
        body.0.extend(&request.seqs);
        body.1 = due;
        match self.is(self.trouble.answer_lost) {
            true => (failed(Cause::Timeout), self.took, false),
            false => (Outcome::Accepted(id), self.took, has_moved),
        }
    }

    pub(super) fn ask(
        &mut self,
        query: &Query,
        at: Duration,
    ) -> (Result<Vec<u64>, DeliveryError>, Duration, bool) {
        self.queries += 1;
        let (indexer, has_moved) = self.choose(query.sender, query.endpoint, at);
        let error = |cause| Err(DeliveryError::transient(cause, "query"));
        if let Some(took) = self.hangs.take() {
            return (error(Cause::Timeout), took, has_moved);
        }
        if self.is(self.trouble.busy) {
            return (error(Cause::Answer), self.took, has_moved);
        }
        if self.refuses == Some(indexer) {
            return (error(Cause::Settings), self.took, has_moved);
        }
        self.pass(at);
        let channel = self.indexers[indexer]
            .channels
            .entry(query.channel)
            .or_default();
        let is_indexed = |id: &&u64| channel.bodies.get(*id).is_some_and(|(_, due)| *due <= at);
        let ids: Vec<_> = query.ids.iter().filter(is_indexed).copied().collect();
        ids.iter().for_each(|id| drop(channel.bodies.remove(id)));
        match self.is(self.trouble.answer_lost) {
            true => (error(Cause::Timeout), self.took, false),
            false => (Ok(ids), self.took, has_moved),
        }
    }
}
