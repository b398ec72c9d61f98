//! The counts that an audit rests on: `received = delivered + dropped{reason} + in buffer`.
//!
//! Counters only grow, and each event is counted once when it comes in and once when it ends. What
//! is in the buffer is the difference, so a lost count would show there for ever.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Why an event was dropped. Closed: every loss has one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No room while the webhook was away or slow.
    BufferFull,
    /// No well-formed JSON object.
    Malformed,
    /// Over `--max-event-bytes`.
    TooLarge,
    /// The webhook would not have it.
    Refused,
    /// Forwarding was disabled, or not enabled yet.
    Disabled,
    /// Still held when the agent had to end.
    Shutdown,
}

impl Reason {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Reason; 6] = [
        Reason::BufferFull,
        Reason::Malformed,
        Reason::TooLarge,
        Reason::Refused,
        Reason::Disabled,
        Reason::Shutdown,
    ];

    /// As a label of metrics.
    pub fn label(self) -> String {
        self.name().replace(' ', "_")
    }

    /// As the log shows it.
    pub fn name(self) -> &'static str {
        match self {
            Reason::BufferFull => "buffer full",
            Reason::Malformed => "malformed",
            Reason::TooLarge => "too large",
            Reason::Refused => "refused",
            Reason::Disabled => "disabled",
            Reason::Shutdown => "shutdown",
        }
    }
}

/// What became of a request to the webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestResult {
    /// Its events were taken.
    Delivered,
    /// It failed, and is tried again.
    Retried,
    /// Its events were refused.
    Refused,
}

impl RequestResult {
    /// All of them.
    pub const ALL: [RequestResult; 3] = [
        RequestResult::Delivered,
        RequestResult::Retried,
        RequestResult::Refused,
    ];

    /// As a label of metrics.
    pub fn label(self) -> &'static str {
        match self {
            RequestResult::Delivered => "delivered",
            RequestResult::Retried => "retried",
            RequestResult::Refused => "refused",
        }
    }
}

/// The counters. Shared by all threads; updated once a chunk or batch, not once an event.
#[derive(Debug)]
pub struct Counters {
    /// By source.
    received: Vec<AtomicU64>,
    delivered: AtomicU64,
    dropped: [AtomicU64; Reason::ALL.len()],
    requests: [AtomicU64; RequestResult::ALL.len()],
}

impl Counters {
    /// For so many sources.
    pub fn new(sources: usize) -> Self {
        Counters {
            received: (0..sources).map(|_| AtomicU64::new(0)).collect(),
            delivered: AtomicU64::new(0),
            dropped: Default::default(),
            requests: Default::default(),
        }
    }

    /// Events came in from a source. To be counted before anybody else can see them.
    pub fn received(&self, source: usize, events: usize) {
        self.received[source].fetch_add(events as u64, SeqCst);
    }

    /// Events that came in from a source so far.
    pub fn received_from(&self, source: usize) -> u64 {
        self.received[source].load(SeqCst)
    }

    /// A request came to an end.
    pub fn request(&self, outcome: RequestResult) {
        self.requests[outcome as usize].fetch_add(1, SeqCst);
    }

    /// Requests that came to this end so far.
    pub fn requests(&self, outcome: RequestResult) -> u64 {
        self.requests[outcome as usize].load(SeqCst)
    }

    /// The webhook has taken events.
    pub fn delivered(&self, events: usize) {
        self.delivered.fetch_add(events as u64, SeqCst);
    }

    /// Events were dropped. Returns how many were for this reason so far.
    pub fn dropped(&self, reason: Reason, events: usize) -> u64 {
        let events = events as u64;
        self.dropped[reason as usize].fetch_add(events, SeqCst) + events
    }

    /// The counts at one moment.
    pub fn balance(&self) -> Balance {
        // Ends first: an event that ends in between is then still in the buffer, never less than none.
        let dropped = std::array::from_fn(|reason| self.dropped[reason].load(SeqCst));
        let delivered = self.delivered.load(SeqCst);
        Balance {
            received: self.received.iter().map(|events| events.load(SeqCst)).sum(),
            delivered,
            dropped,
        }
    }
}

/// The ledger at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// Events that came in.
    pub received: u64,
    /// Events that the webhook has taken.
    pub delivered: u64,
    dropped: [u64; Reason::ALL.len()],
}

impl Balance {
    /// Events dropped for `reason`.
    pub fn dropped_for(&self, reason: Reason) -> u64 {
        self.dropped[reason as usize]
    }

    /// Events dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// The same at the agent's end, where what has not ended never will.
    pub fn with_rest_dropped(mut self) -> Balance {
        self.dropped[Reason::Shutdown as usize] += self.in_buffer();
        self
    }

    /// Events that came in and have not ended.
    pub fn in_buffer(&self) -> u64 {
        self.received - self.delivered - self.dropped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_not_ended_is_in_the_buffer() {
        let ledger = Counters::new(2);
        ledger.received(0, 7);
        ledger.received(1, 3);
        ledger.delivered(4);
        assert_eq!(ledger.dropped(Reason::Refused, 1), 1);
        assert_eq!(ledger.dropped(Reason::Refused, 2), 3);
        let balance = ledger.balance();
        assert_eq!((balance.dropped(), balance.in_buffer()), (3, 3));
        assert_eq!(balance.dropped_for(Reason::Refused), 3);
        assert_eq!(balance.dropped_for(Reason::Shutdown), 0);
        let at_end = balance.with_rest_dropped();
        assert_eq!((at_end.dropped(), at_end.in_buffer()), (6, 0));
        assert_eq!(at_end.dropped_for(Reason::Shutdown), 3);
    }

    #[test]
    fn reasons_stand_at_their_own_place() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
        }
        for (place, outcome) in RequestResult::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place);
        }
    }
}
