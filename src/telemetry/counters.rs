//! The counts that an audit rests on: `received + recovered = delivered + dropped{reason} + rejected + in memory + in spool`.
//!
//! Counters only grow, and each event is counted once when it is received and once when it becomes final. What
//! is in memory or in the spool is the difference, so a lost count would show there for ever.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Why an event was dropped. Closed: every loss has one of these, or is a rejection by the webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No room while the webhook was unavailable or slow.
    BufferFull,
    /// No well-formed JSON object.
    Malformed,
    /// Over `--max-event-bytes`.
    TooLarge,
    /// Forwarding was disabled, or not enabled yet.
    Disabled,
    /// Still in memory when the agent had to end, and not read again by the next start.
    Shutdown,
    /// No room in the spool.
    SpoolFull,
    /// Damaged or missing in the spool.
    Corrupt,
}

impl Reason {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Reason; 7] = [
        Reason::BufferFull,
        Reason::Malformed,
        Reason::TooLarge,
        Reason::Disabled,
        Reason::Shutdown,
        Reason::SpoolFull,
        Reason::Corrupt,
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
            Reason::Disabled => "disabled",
            Reason::Shutdown => "shutdown",
            Reason::SpoolFull => "spool full",
            Reason::Corrupt => "corrupt",
        }
    }
}

/// What became of a request to the webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestResult {
    /// Its events were taken.
    Delivered,
    /// It failed, and its events are sent again.
    Retried,
    /// Events of it were rejected.
    Rejected,
}

impl RequestResult {
    /// All of them.
    pub const ALL: [RequestResult; 3] = [
        RequestResult::Delivered,
        RequestResult::Retried,
        RequestResult::Rejected,
    ];

    /// As a label of metrics.
    pub fn label(self) -> &'static str {
        match self {
            RequestResult::Delivered => "delivered",
            RequestResult::Retried => "retried",
            RequestResult::Rejected => "rejected",
        }
    }
}

/// Why a client's request was refused, with an answer where there can be one. Its events are in no count: the client has
/// them still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// 400: no JSON objects.
    MalformedEvents,
    /// 400: no HTTP.
    MalformedHead,
    /// 400: not as chunked encoding is.
    BadChunking,
    /// 400: the client speaks TLS.
    TlsHello,
    /// 400: the client speaks HTTP/2.
    Http2Preface,
    /// 400: a PROXY header of a balancer.
    ProxyHeader,
    /// 401: no token.
    Unauthorized,
    /// 403: another token.
    Forbidden,
    /// 405.
    Method,
    /// 408: too slow.
    Timeout,
    /// 411: no length.
    LengthRequired,
    /// 413: over `--max-body-bytes`, or an event over `--max-event-bytes`.
    TooLarge,
    /// 415: an encoding that is not known.
    Encoding,
    /// 431: a head too large.
    HeadTooLarge,
    /// 501: a transfer encoding that is not known.
    NotImplemented,
    /// 503: no room in the buffer.
    BufferFull,
    /// 503: as many connections as are allowed.
    ConnectionLimit,
    /// 503: as many connections as one peer is allowed.
    PeerLimit,
    /// No answer: the client ended the connection before the end of its request.
    Disconnected,
    /// 400: the client does not speak TLS.
    NotTls,
    /// No answer: the handshake of TLS failed.
    Handshake,
    /// No answer: the client has no certificate of those that are wanted.
    ClientCertificate,
    /// 400: not as its content encoding says.
    BadEncoding,
    /// No answer: ended in an unfinished request, to make room for another connection.
    Displaced,
    /// No answer: ended in an unfinished request, since those took too much memory.
    MemoryLimit,
}

impl Refusal {
    /// All of them, in the order in which they are declared.
    pub const ALL: [Refusal; 25] = [
        Refusal::MalformedEvents,
        Refusal::MalformedHead,
        Refusal::BadChunking,
        Refusal::TlsHello,
        Refusal::Http2Preface,
        Refusal::ProxyHeader,
        Refusal::Unauthorized,
        Refusal::Forbidden,
        Refusal::Method,
        Refusal::Timeout,
        Refusal::LengthRequired,
        Refusal::TooLarge,
        Refusal::Encoding,
        Refusal::HeadTooLarge,
        Refusal::NotImplemented,
        Refusal::BufferFull,
        Refusal::ConnectionLimit,
        Refusal::PeerLimit,
        Refusal::Disconnected,
        Refusal::NotTls,
        Refusal::Handshake,
        Refusal::ClientCertificate,
        Refusal::BadEncoding,
        Refusal::Displaced,
        Refusal::MemoryLimit,
    ];

    /// As a label of metrics.
    pub fn label(self) -> &'static str {
        match self {
            Refusal::MalformedEvents => "malformed_events",
            Refusal::MalformedHead => "malformed_head",
            Refusal::BadChunking => "bad_chunking",
            Refusal::TlsHello => "tls_hello",
            Refusal::Http2Preface => "http2_preface",
            Refusal::ProxyHeader => "proxy_header",
            Refusal::Unauthorized => "unauthorized",
            Refusal::Forbidden => "forbidden",
            Refusal::Method => "method",
            Refusal::Timeout => "timeout",
            Refusal::LengthRequired => "length_required",
            Refusal::TooLarge => "too_large",
            Refusal::Encoding => "encoding",
            Refusal::HeadTooLarge => "head_too_large",
            Refusal::NotImplemented => "not_implemented",
            Refusal::BufferFull => "buffer_full",
            Refusal::ConnectionLimit => "connection_limit",
            Refusal::PeerLimit => "peer_limit",
            Refusal::Disconnected => "disconnected",
            Refusal::NotTls => "not_tls",
            Refusal::Handshake => "tls_handshake",
            Refusal::ClientCertificate => "client_certificate",
            Refusal::BadEncoding => "bad_encoding",
            Refusal::Displaced => "displaced",
            Refusal::MemoryLimit => "memory_limit",
        }
    }

    /// As the log shows it.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::MalformedEvents => "400 malformed events",
            Refusal::MalformedHead => "400 malformed request",
            Refusal::BadChunking => "400 malformed chunked body",
            Refusal::TlsHello => "400 the client speaks TLS, this address does not",
            Refusal::Http2Preface => "400 the client speaks HTTP/2, this address does not",
            Refusal::ProxyHeader => "400 the client sends a PROXY header",
            Refusal::Unauthorized => "401 no token",
            Refusal::Forbidden => "403 invalid token",
            Refusal::Method => "405 method not allowed",
            Refusal::Timeout => "408 request too slow",
            Refusal::LengthRequired => "411 no length",
            Refusal::TooLarge => "413 too large",
            Refusal::Encoding => "415 unknown encoding",
            Refusal::HeadTooLarge => "431 headers too large",
            Refusal::NotImplemented => "501 unknown transfer encoding",
            Refusal::BufferFull => "503 buffer full",
            Refusal::ConnectionLimit => "503 too many connections; raise --listen-connections",
            Refusal::PeerLimit => "503 too many connections of one client",
            Refusal::Disconnected => "client disconnected before the end of its request",
            Refusal::NotTls => "400 the client does not speak TLS, this address does",
            Refusal::Handshake => "TLS handshake failed",
            Refusal::ClientCertificate => "no valid client certificate",
            Refusal::BadEncoding => "400 body not as its Content-Encoding says",
            Refusal::Displaced => {
                "closed in an unfinished request, to make room; see --listen-connections"
            }
            Refusal::MemoryLimit => "too much memory for unfinished messages",
        }
    }
}

/// The counters. Shared by all threads; updated once a chunk or batch, not once an event.
#[derive(Debug)]
pub struct Counters {
    /// By source.
    received: Vec<AtomicU64>,
    recovered: AtomicU64,
    delivered: AtomicU64,
    dropped: [AtomicU64; Reason::ALL.len()],
    rejected: AtomicU64,
    requests: [AtomicU64; RequestResult::ALL.len()],
}

impl Counters {
    /// For so many sources.
    pub fn new(sources: usize) -> Self {
        Counters {
            received: (0..sources).map(|_| AtomicU64::new(0)).collect(),
            recovered: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            dropped: Default::default(),
            rejected: AtomicU64::new(0),
            requests: Default::default(),
        }
    }

    /// Events were received from a source. To be counted before anybody else can see them.
    pub fn received(&self, source: usize, events: usize) {
        if let Some(received) = self.received.get(source) {
            received.fetch_add(events as u64, SeqCst);
        }
    }

    /// Events of an earlier start were found in the spool.
    pub fn recovered(&self, events: u64) {
        self.recovered.fetch_add(events, SeqCst);
    }

    /// A request came to an end.
    pub fn request(&self, result: RequestResult) {
        self.requests[result as usize].fetch_add(1, SeqCst);
    }

    /// The webhook has taken events.
    pub fn delivered(&self, events: usize) {
        self.delivered.fetch_add(events as u64, SeqCst);
    }

    /// The webhook does not take events. Returns how many so far.
    pub fn rejected(&self, events: usize) -> u64 {
        let events = events as u64;
        self.rejected.fetch_add(events, SeqCst) + events
    }

    /// Events were dropped. Returns how many were for this reason so far.
    pub fn dropped(&self, reason: Reason, events: usize) -> u64 {
        let events = events as u64;
        self.dropped[reason as usize].fetch_add(events, SeqCst) + events
    }

    /// The counts at one moment.
    pub fn balance(&self) -> Balance {
        // Final events first: one that becomes final in between still counts as in memory, never as less than nothing.
        let rejected = self.rejected.load(SeqCst);
        let dropped = std::array::from_fn(|reason| self.dropped[reason].load(SeqCst));
        let delivered = self.delivered.load(SeqCst);
        let received = self.received.iter().map(|events| events.load(SeqCst));
        Balance {
            received: received.collect(),
            recovered: self.recovered.load(SeqCst),
            delivered,
            dropped,
            rejected,
            requests: std::array::from_fn(|result| self.requests[result].load(SeqCst)),
        }
    }
}

/// The counts at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Balance {
    /// Events received, by source.
    received: Vec<u64>,
    /// Events of earlier starts that were found in the spool.
    pub recovered: u64,
    /// Events that the webhook has taken.
    pub delivered: u64,
    dropped: [u64; Reason::ALL.len()],
    /// Events that the webhook does not take.
    pub rejected: u64,
    requests: [u64; RequestResult::ALL.len()],
}

impl Balance {
    /// Events received.
    pub fn received(&self) -> u64 {
        self.received.iter().sum()
    }

    /// Events received from one source.
    pub fn received_from(&self, source: usize) -> u64 {
        self.received.get(source).copied().unwrap_or_default()
    }

    /// Events dropped for `reason`.
    pub fn dropped_for(&self, reason: Reason) -> u64 {
        self.dropped[reason as usize]
    }

    /// Events dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Requests to the webhook that came to this end.
    pub fn requests(&self, result: RequestResult) -> u64 {
        self.requests[result as usize]
    }

    /// Events that were received or recovered and are not final.
    pub fn buffered(&self) -> u64 {
        let end = self.delivered + self.dropped() + self.rejected;
        (self.received() + self.recovered).saturating_sub(end)
    }

    /// The same at the agent's end, where what is not final never will be: it is lost, but for `left` events at most that
    /// the next start reads again.
    pub fn at_end(mut self, left: u64) -> Balance {
        self.dropped[Reason::Shutdown as usize] += self.buffered().saturating_sub(left);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_final_is_in_memory() {
        let counters = Counters::new(2);
        counters.received(0, 7);
        counters.received(1, 3);
        counters.delivered(4);
        assert_eq!(counters.rejected(2), 2);
        assert_eq!(counters.dropped(Reason::Malformed, 1), 1);
        assert_eq!(counters.dropped(Reason::Malformed, 1), 2);
        let balance = counters.balance();
        assert_eq!((balance.received(), balance.received_from(1)), (10, 3));
        assert_eq!((balance.dropped(), balance.buffered()), (2, 2));
        assert_eq!(balance.dropped_for(Reason::Malformed), 2);
        for (left, dropped, buffered) in [(0, 2, 0), (1, 1, 1), (2, 0, 2), (9, 0, 2)] {
            let at_end = balance.clone().at_end(left);
            assert_eq!(at_end.dropped_for(Reason::Shutdown), dropped);
            assert_eq!(at_end.buffered(), buffered);
        }
    }

    #[test]
    fn places_are_those_of_the_declaration() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
        }
        for (place, result) in RequestResult::ALL.into_iter().enumerate() {
            assert_eq!(result as usize, place);
        }
        for (place, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, place);
        }
    }
}
