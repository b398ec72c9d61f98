//! The counts that an audit rests on: `received + recovered = delivered + dropped{reason} + rejected + filtered{rule} +
//! in memory + in spool`.
//!
//! Counts only grow, and each event is counted once when it is received and once when it becomes final. What
//! is in memory or in the spool is the difference, so a lost count would show there forever.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::telemetry::labelled::labelled;
use crate::telemetry::requests::Requests;

/// A [`labelled`] set of causes, each also with its name in the log.
macro_rules! causes {
    ($(#[$about:meta])* $causes:ident { $($(#[$doc:meta])* $cause:ident = $label:literal $name:literal;)* }) => {
        labelled! { $(#[$about])* $causes { $($(#[$doc])* $cause = $label;)* } }

        impl $causes {
            /// As the log shows it.
            pub fn name(self) -> &'static str {
                match self {
                    $($causes::$cause => $name,)*
                }
            }
        }
    };
}

causes! {
    /// Why an event was dropped. Closed: every loss has one of these, or is a rejection by the webhook.
    Reason {
        /// No room while the webhook was unavailable or slow.
        BufferFull = "buffer_full" "buffer full";
        /// Not a well-formed JSON object.
        Malformed = "malformed" "malformed";
        /// Over `--max-event-bytes`.
        TooLarge = "too_large" "too large";
        /// Forwarding was disabled, or not enabled yet.
        Disabled = "disabled" "disabled";
        /// `--redact` did not find the end of a secret in it.
        Unredactable = "unredactable" "unredactable";
        /// Still in memory when the agent had to end, and not read again by the next start.
        Shutdown = "shutdown" "shutdown";
        /// No room in the spool.
        SpoolFull = "spool_full" "spool full";
        /// Damaged or missing in the spool.
        Corrupt = "corrupt" "corrupt";
    }
}

causes! {
    /// Why a client's request was refused, with an answer where there can be one. Its events are in no count: the
    /// client still has them.
    Refusal {
        /// 400: contains no JSON objects.
        MalformedEvents = "malformed_events" "400 malformed events";
        /// 400: not HTTP.
        MalformedHead = "malformed_head" "400 malformed request";
        /// 400: not valid chunked encoding.
        BadChunking = "bad_chunking" "400 malformed chunked body";
        /// 400: the client speaks TLS.
        TlsHello = "tls_hello" "400 the client speaks TLS, this address does not";
        /// 400: the client speaks HTTP/2.
        Http2Preface = "http2_preface" "400 the client speaks HTTP/2, this address does not";
        /// 400: the client speaks HTTP.
        Http = "http" "400 the client speaks HTTP, this address does not";
        /// 400: the client, a balancer, sends a PROXY header.
        ProxyHeader = "proxy_header" "400 the client sends a PROXY header";
        /// 401: no token.
        Unauthorized = "unauthorized" "401 no token";
        /// 403: wrong token.
        Forbidden = "forbidden" "403 invalid token";
        /// 405: wrong method.
        Method = "method" "405 method not allowed";
        /// 408: too slow.
        Timeout = "timeout" "408 request too slow";
        /// 411: no length.
        LengthRequired = "length_required" "411 no length";
        /// 413: over `--max-body-bytes`, or an event over `--max-event-bytes`.
        TooLarge = "too_large" "413 too large";
        /// 415: unknown encoding.
        Encoding = "encoding" "415 unknown encoding";
        /// 431: headers too large.
        HeadTooLarge = "head_too_large" "431 headers too large";
        /// 501: unknown transfer encoding.
        NotImplemented = "not_implemented" "501 unknown transfer encoding";
        /// 503: no room in the buffer.
        BufferFull = "buffer_full" "503 buffer full";
        /// 503: as many connections as are allowed.
        ConnectionLimit = "connection_limit" "503 too many connections; raise --listen-connections";
        /// 503: as many connections as one peer is allowed.
        PeerLimit = "peer_limit" "503 too many connections of one client";
        /// No answer: the client ended the connection before the end of its request.
        Disconnected = "disconnected" "client disconnected before the end of its request";
        /// 400: the client does not speak TLS.
        NotTls = "not_tls" "400 the client does not speak TLS, this address does";
        /// No answer: the handshake of TLS failed.
        Handshake = "tls_handshake" "TLS handshake failed";
        /// No answer: the client has none of the certificates that are accepted.
        ClientCertificate = "client_certificate" "no valid client certificate";
        /// 400: not encoded as its `Content-Encoding` says.
        BadEncoding = "bad_encoding" "400 body not as its Content-Encoding says";
        /// No answer: closed during an unfinished request, to make room for another connection.
        Displaced = "displaced" "closed in an unfinished request, to make room; see --listen-connections";
        /// No answer: the client has not read earlier ones.
        Unread = "unread" "the client does not read its answers";
        /// No answer, or 503 over HTTP: refused in an unfinished request, because such requests took too much memory.
        MemoryLimit = "memory_limit" "too much memory for unfinished messages";
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
    /// How many bytes these have, each with its newline.
    pub delivered_bytes: u64,
    /// By source; the last entry is for events whose source is unknown.
    dropped: Vec<[u64; Reason::ALL.len()]>,
    /// Events that the webhook rejects.
    pub rejected: u64,
    /// Events that were not sent because of a rule, by rule.
    pub filtered: BTreeMap<Arc<str>, u64>,
    /// Values that were masked.
    pub redacted: u64,
    /// Requests to the webhook.
    pub requests: Requests,
}

impl Balance {
    /// Nothing was counted yet, with this many sources.
    pub fn new(sources: usize) -> Self {
        Balance {
            received: vec![0; sources],
            dropped: vec![Default::default(); sources + 1],
            ..Balance::default()
        }
    }

    /// Events were received from a source.
    pub(super) fn add_received(&mut self, source: usize, events: usize) {
        if let Some(received) = self.received.get_mut(source) {
            *received += events as u64;
        }
    }

    /// Events were dropped, of this source if it is known: if there is only one, it is.
    pub(super) fn add_dropped(&mut self, reason: Reason, source: Option<usize>, events: usize) {
        let unknown = self.received.len();
        let source = source.unwrap_or(if unknown == 1 { 0 } else { unknown });
        if let Some(dropped) = self.dropped.get_mut(source) {
            dropped[reason as usize] += events as u64;
        }
    }

    /// Events that had been counted as received are not sent, because of a rule.
    pub(super) fn add_filtered(&mut self, rule: &Arc<str>, events: usize) {
        *self.filtered.entry(Arc::clone(rule)).or_default() += events as u64;
    }

    /// Events received.
    pub fn received(&self) -> u64 {
        self.received.iter().sum()
    }

    /// How many sources there are.
    pub fn sources(&self) -> usize {
        self.received.len()
    }

    /// Events received from one source.
    pub fn received_from(&self, source: usize) -> u64 {
        self.received.get(source).copied().unwrap_or_default()
    }

    /// Events dropped for `reason`.
    pub fn dropped_for(&self, reason: Reason) -> u64 {
        self.dropped.iter().map(|of| of[reason as usize]).sum()
    }

    /// Events of one source dropped for `reason`; without a source, those whose source is unknown.
    pub fn dropped_from(&self, source: Option<usize>, reason: Reason) -> u64 {
        let of = match source {
            Some(source) => self.dropped.get(source),
            None => self.dropped.last(),
        };
        of.map_or(0, |of| of[reason as usize])
    }

    /// Events dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.iter().flatten().sum()
    }

    /// Events that were not sent because of a rule.
    pub fn filtered(&self) -> u64 {
        self.filtered.values().sum()
    }

    /// Events that were received or recovered and are not final.
    pub fn buffered(&self) -> u64 {
        let end = self.delivered + self.dropped() + self.rejected + self.filtered();
        (self.received() + self.recovered).saturating_sub(end)
    }

    /// The counts at the agent's end, when what is not final never will be: it is lost, except for up to `left` events
    /// that the next start reads again.
    pub fn at_end(mut self, left: u64) -> Balance {
        let lost = self.buffered().saturating_sub(left);
        if let Some(unknown) = self.dropped.last_mut() {
            unknown[Reason::Shutdown as usize] += lost;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_final_is_in_memory() {
        let mut balance = Balance::new(2);
        balance.add_received(0, 7);
        balance.add_received(1, 3);
        balance.add_received(2, 9);
        (balance.delivered, balance.rejected) = (7, 2);
        (balance.recovered, balance.redacted) = (4, 5);
        balance.add_filtered(&"a=1".into(), 1);
        balance.add_dropped(Reason::Malformed, Some(1), 1);
        balance.add_dropped(Reason::Malformed, None, 1);
        assert_eq!((balance.received(), balance.received_from(1)), (10, 3));
        assert_eq!((balance.received_from(2), balance.sources()), (0, 2));
        assert_eq!((balance.recovered, balance.redacted), (4, 5));
        assert_eq!((balance.dropped(), balance.buffered()), (2, 2));
        assert_eq!((balance.filtered(), balance.filtered["a=1"]), (1, 1));
        assert_eq!(balance.dropped_for(Reason::Malformed), 2);
        for (source, dropped) in [(Some(0), 0), (Some(1), 1), (None, 1)] {
            assert_eq!(balance.dropped_from(source, Reason::Malformed), dropped);
        }
        for (left, dropped, buffered) in [(0, 2, 0), (1, 1, 1), (2, 0, 2), (9, 0, 2)] {
            let at_end = balance.clone().at_end(left);
            assert_eq!(at_end.dropped_for(Reason::Shutdown), dropped);
            assert_eq!(at_end.buffered(), buffered);
        }
        let mut one = Balance::new(1);
        one.add_dropped(Reason::TooLarge, None, 3);
        assert_eq!(one.dropped_from(Some(0), Reason::TooLarge), 3);
    }
}
