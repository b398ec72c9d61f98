//! What a request wants, by its method and path. HTTP Event Collector's own paths mean what they mean to Splunk; all
//! others take events, whatever path a server's webhook is set to.

/// What a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Which methods there are; some balancers and Docker use it as a probe.
    Options,
    /// Whether the listener can take events. Needs no token, as with Splunk.
    Health,
    /// A probe.
    Probe,
    /// Which events an indexer has written, which is not known here.
    Acknowledgements,
    /// To bring events, as they are.
    Events,
    /// To bring events in the envelopes of HTTP Event Collector.
    Envelopes,
}

impl Route {
    /// Where a request goes; `None` if the path does not know the method.
    pub fn of(method: &str, target: &str) -> Option<Route> {
        let path = path_of(target);
        let is_read = matches!(method, "GET" | "HEAD");
        let is_write = matches!(method, "POST" | "PUT");
        match path {
            _ if method == "OPTIONS" => Some(Route::Options),
            "/services/collector/health" | "/services/collector/health/1.0" => {
                is_read.then_some(Route::Health)
            }
            "/health" if is_read => Some(Route::Health),
            "/services/collector/ack" | "/services/collector/ack/1.0" => {
                (is_read || is_write).then_some(Route::Acknowledgements)
            }
            _ if is_read => Some(Route::Probe),
            "/services/collector"
            | "/services/collector/1.0"
            | "/services/collector/event"
            | "/services/collector/event/1.0" => is_write.then_some(Route::Envelopes),
            _ => is_write.then_some(Route::Events),
        }
    }

    /// Whether a client must show a token, if there is one.
    pub fn needs_token(self) -> bool {
        !matches!(self, Route::Options | Route::Health)
    }

    /// Whether the body is events.
    pub fn has_events(self) -> bool {
        matches!(self, Route::Events | Route::Envelopes)
    }
}

/// The path, with single slashes whatever a client makes of its base URL, and without the server's name, which every
/// server must accept (RFC 9112, section 3.2.2).
fn path_of(target: &str) -> &str {
    let path = target.split('?').next().unwrap_or_default();
    let path = match path.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => path,
    };
    let path = path.trim_end_matches('/');
    let extra = path.len() - path.trim_start_matches('/').len();
    &path[extra.saturating_sub(1)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_requests_go() {
        let table = "
            Options OPTIONS * / /services/collector/event/1.0 /x
            Health GET /services/collector/health /services/collector/health/1.0 /health /health?a
            Health GET /services/collector/health/?token=x
            Health HEAD /services/collector/health /health
            none POST /services/collector/health
            Events POST /health / /a/b // http://a /services/collector/raw
            Events POST /services/collector/raw/1.0?channel=1
            Events PUT / /services/collector/events
            Envelopes POST /services/collector /services/collector/ /services/collector/event
            Envelopes POST /services/collector/1.0 /services/collector/event/1.0
            Envelopes POST /services/collector/event?auto_extract_timestamp=true
            Envelopes POST //services/collector/event// http://a:8088/services/collector/event?x=://
            Probe GET / /services/collector /x?/health
            Probe HEAD /
            Acknowledgements POST /services/collector/ack /services/collector/ack?channel=x
            Acknowledgements POST /services/collector/ack/1.0
            Acknowledgements GET /services/collector/ack
            none DELETE / /services/collector/ack /health /services/collector
            none get /";
        for line in table.trim().lines() {
            let mut words = line.split_whitespace();
            let (route, method) = (words.next().unwrap(), words.next().unwrap());
            for target in words {
                let found = Route::of(method, target);
                let found = found.map_or("none".into(), |route| format!("{route:?}"));
                assert_eq!(found, route, "{method} {target}");
            }
        }
        assert_eq!(Route::of("POST", ""), Some(Route::Events));
    }

    #[test]
    fn only_probes_need_no_token() {
        use Route::{Acknowledgements, Envelopes, Events, Health, Options, Probe};
        assert!(![Options, Health].iter().any(|route| route.needs_token()));
        let others = [Probe, Acknowledgements, Events, Envelopes];
        assert!(others.iter().all(|route| route.needs_token()));
    }
}
