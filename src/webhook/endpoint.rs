//! The webhook's URL.

use std::fmt;

use ureq::http::Uri;

use crate::text::secret::Secrets;

/// A checked `http://` or `https://` URL. Shown without path and query, which contain the secret of some services.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Uri);

impl Endpoint {
    /// Checks a URL as somebody wrote it.
    ///
    /// # Errors
    /// Says what is wrong and what would be right, without any password in the URL.
    pub fn parse(text: &str) -> Result<Self, String> {
        const WANTED: &str = "fix: use a URL such as https://splunk:8088/services/collector/raw";
        let text = text.trim();
        // Whatever else is wrong, a message must not repeat user:password@.
        if text
            .split(['/', '?'])
            .nth(2)
            .is_some_and(|authority| authority.contains('@'))
        {
            return Err(
                "holds a user name or password; fix: give the credential with --auth-token \
                        (for basic authentication: 'Basic <base64>')"
                    .into(),
            );
        }
        let wrong = |what: &str| match harmless(text) {
            Some(shown) => format!("'{shown}' {what}; {WANTED}"),
            None => format!("{what}; {WANTED}"),
        };
        let uri: Uri = text
            .parse()
            .map_err(|error| wrong(&format!("is no URL ({error})")))?;
        match uri.scheme_str() {
            Some("http" | "https") => {}
            Some(_) => return Err(wrong("is neither http:// nor https://")),
            None => return Err(wrong("lacks http:// or https://")),
        }
        if uri.host().is_none_or(str::is_empty) {
            return Err(wrong("lacks a host"));
        }
        if uri.host().is_some_and(|host| host.contains('%')) {
            return Err(wrong(
                "has an address with a zone, or a host with a %, which can't be looked up",
            ));
        }
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let port = authority
            .rsplit_once(':')
            .filter(|(_, port)| !port.ends_with(']'));
        if port.is_some_and(|(_, port)| !port.parse().is_ok_and(|port: u16| port > 0)) {
            return Err(wrong("has an invalid port"));
        }
        Ok(Endpoint(uri))
    }

    /// For the request.
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    /// Whether it is reached over TLS.
    pub fn is_https(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// Adds what [`shown`] hides.
    pub fn add_secrets(&self, secrets: &mut Secrets) {
        let path = self.0.path();
        for segment in path.split('/').filter(|segment| is_secret(segment, path)) {
            match is_long(segment) {
                true => secrets.add(segment),
                false => secrets.add_as_written(segment),
            }
        }
        for part in self.0.query().unwrap_or_default().split('&') {
            secrets.add_as_written(part);
            let words = part.split('=').filter(|word| word.len() >= 8);
            words.for_each(|word| secrets.add(word));
        }
    }

    /// Which of Splunk's endpoints it is, judging by the end of its path.
    pub fn collector(&self) -> Option<Collector> {
        Collector::of(self.0.path())
    }

    /// Whether it is Elasticsearch's `_bulk`, or one like it.
    pub fn is_bulk(&self) -> bool {
        is_bulk(self.0.path())
    }

    /// Where Splunk is asked what is indexed.
    pub fn ack_uri(&self) -> Option<Uri> {
        const COLLECTOR: &str = "/services/collector";
        let (before, _) = self.0.path().rsplit_once(COLLECTOR)?;
        let query = self.0.query().map(|query| format!("?{query}"));
        let path = format!("{before}{COLLECTOR}/ack{}", query.unwrap_or_default());
        let mut parts = self.0.clone().into_parts();
        parts.path_and_query = Some(path.parse().ok()?);
        Uri::from_parts(parts).ok()
    }

    /// Whether the token would travel in the clear over a network.
    pub fn is_plain_and_remote(&self) -> bool {
        let host = self.0.host().unwrap_or_default().trim_matches(['[', ']']);
        let loopback = host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
        self.0.scheme_str() == Some("http") && !loopback && host != "localhost"
    }
}

/// Each of several URLs separated by blanks or commas, as they were written. A comma may be a part of a URL too.
pub fn list(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split_whitespace().map(|word| word.trim_matches(','));
    let mut words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    if words.is_empty() {
        // It is wrong; parsing it will say so.
        words.push(text);
    }
    words.into_iter().flat_map(|mut word| {
        let mut urls = Vec::new();
        while let Some(comma) = word.find(",http") {
            urls.push(&word[..comma]);
            word = &word[comma + 1..];
        }
        urls.push(word);
        urls
    })
}

/// Splunk's endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collector {
    /// `/services/collector/raw`: any text.
    Raw,
    /// `/services/collector/event`: each event in an envelope.
    Event,
}

impl Collector {
    fn of(path: &str) -> Option<Collector> {
        let path = path.trim_end_matches('/');
        let path = path.strip_suffix("/1.0").unwrap_or(path);
        let (_, end) = path.rsplit_once("/services/collector")?;
        match end {
            "/raw" => Some(Collector::Raw),
            "" | "/event" => Some(Collector::Event),
            _ => None,
        }
    }
}

fn is_bulk(path: &str) -> bool {
    path.trim_end_matches('/').ends_with("/_bulk")
}

/// Path segments with more than 20 characters may be secrets, whatever the path. Slack's have 24.
fn is_long(segment: &str) -> bool {
    segment.chars().count() > 20
}

/// Whether it is a part of a token rather than of a host's name.
fn is_token(label: &str) -> bool {
    let has = |is: fn(char) -> bool| label.contains(is);
    is_long(label) || (has(char::is_lowercase) && has(char::is_uppercase))
}

/// Whether this segment of a path may be a secret: a long one, or, at no collector that is known to have none in its
/// path, one with digits or capitals among its letters, as `ZaVnC4dhaV2cMyJ`; `s3-audit` is none.
fn is_secret(segment: &str, path: &str) -> bool {
    let rest = segment.replace("s3", "");
    let has = |is: fn(char) -> bool| rest.contains(is);
    let is_mixed = (has(char::is_alphabetic) && has(char::is_numeric))
        || (has(char::is_lowercase) && rest.chars().skip(1).any(char::is_uppercase));
    let is_known = Collector::of(path).is_some() || is_bulk(path);
    is_long(segment) || (segment.chars().count() > 5 && is_mixed && !is_known)
}

/// A URL for a reader: without path segments that may be secrets, of which long ones have their first 4 characters, and
/// without user, password and query, since some services have their secret there.
pub fn shown(url: &str) -> String {
    let (path, rest) = match url.find(['?', '#']) {
        Some(end) => (&url[..end], "?…"),
        None => (url, ""),
    };
    let has_authority = path.split('/').nth(1) == Some("");
    let segments = path.split('/').enumerate().map(|(place, segment)| {
        if place == 2 && has_authority {
            let host = segment.rsplit_once('@').map_or(segment, |(_, host)| host);
            return host.to_owned();
        }
        if !is_secret(segment, path) {
            return segment.to_owned();
        }
        let kept = segment.chars().take(if is_long(segment) { 4 } else { 0 });
        kept.chain(['…']).collect()
    });
    segments.collect::<Vec<_>>().join("/") + rest
}

/// What of a wrong URL can be no secret, for an error: up to its path, and no password in the place of a port; nothing if
/// it has an `@` somewhere, or is a word that is hardly a host.
pub fn harmless(text: &str) -> Option<String> {
    let start = text.find("//").filter(|at| {
        text[..*at]
            .trim_end_matches(':')
            .chars()
            .all(char::is_alphanumeric)
    });
    let start = start.map_or(0, |at| at + 2);
    let rest = &text[start..];
    let end = rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len());
    let bracket = rest[..end].find(']').unwrap_or(0);
    let colon = rest[bracket..end].find(':').map_or(end, |at| bracket + at);
    let port = &rest[(colon + 1).min(end)..end];
    let is_port = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    let kept = if is_port { end } else { colon };
    let kept = &text[..text.len().min(start + kept + 1)];
    let host = &rest[..colon];
    let is_no_host =
        start == 0 && ((colon > 12 && !host.contains('.')) || host.split('.').any(is_token));
    let more = if kept.len() < text.len() { "…" } else { "" };
    (!is_no_host && !text.contains('@')).then(|| format!("{kept}{more}"))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.scheme_str().unwrap_or_default();
        let authority = self
            .0
            .authority()
            .map_or("", |authority| authority.as_str());
        write!(f, "{scheme}://{authority}")
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_shown_without_path_and_query() {
        let endpoint =
            Endpoint::parse(" https://hec:8088/services/collector/raw?token=s3cret ").unwrap();
        assert_eq!(endpoint.to_string(), "https://hec:8088");
        assert_eq!(format!("{endpoint:?}"), "Endpoint(https://hec:8088)");
    }

    #[test]
    fn several_are_separated_by_blanks_or_commas() {
        for (text, urls) in [
            ("https://a", &["https://a"][..]),
            (" https://a/x,y,z ", &["https://a/x,y,z"]),
            ("https://a,http://b", &["https://a", "http://b"]),
            (
                "https://a, https://b,\thttps://c",
                &["https://a", "https://b", "https://c"],
            ),
            ("https://a hec:8088", &["https://a", "hec:8088"]),
            (", https://a , hec:8088 ,", &["https://a", "hec:8088"]),
            (" ", &[" "]),
            ("", &[""]),
        ] {
            assert_eq!(list(text).collect::<Vec<_>>(), urls, "{text:?}");
        }
    }

    #[test]
    fn what_may_be_secret_in_a_url_is_not_shown() {
        let long = "T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX";
        for (url, expected) in [
            (
                "https://hec:8088/services/collector/raw",
                "https://hec:8088/services/collector/raw",
            ),
            ("https://hec/x?token=s3cret#s3cret", "https://hec/x?…"),
            ("https://hec/#s3cret", "https://hec/?…"),
            (
                &format!("https://a-host-with-a-very-long-name.example.com/{long}"),
                "https://a-host-with-a-very-long-name.example.com/…/…/XXXX…",
            ),
            // Sumo Logic's, Zapier's, and what is only a name.
            (
                "https://h/receiver/v1/http/ZaVnC4dhaV2cMyJ",
                "https://h/receiver/v1/http/…",
            ),
            (
                "https://h/hooks/catch/1234567/bd3qxyz/",
                "https://h/hooks/catch/1234567/…/",
            ),
            ("https://h/api/v2/logs", "https://h/api/v2/logs"),
            (
                "https://h/hooks/s3-audit/HTTP",
                "https://h/hooks/s3-audit/HTTP",
            ),
            ("https://h/index-01/_bulk", "https://h/index-01/_bulk"),
            (
                "https://h/Splunk01/services/collector/event/1.0",
                "https://h/Splunk01/services/collector/event/1.0",
            ),
            ("https://me:s3cret@hec/x", "https://hec/x"),
            ("//me:s3cret@hec/x", "//hec/x"),
            ("/en-US/account/login?x=s3cret", "/en-US/account/login?…"),
            ("", ""),
        ] {
            assert_eq!(shown(url), expected);
        }
    }

    #[test]
    fn what_is_no_webhook_is_refused() {
        for text in [
            "",
            "hec",
            "hec:8088",
            "//hec/x",
            "ftp://hec/",
            "https://",
            "https:///x",
            "https://hec:0/",
            "https://hec:/",
            "https://hec:99999/",
            "https://hec:80:80/",
            "https://[::1/",
            "https:/hec",
            "https://he c/",
            "https://user:s3cret@hec/",
            "https:/user:s3cret@hec/",
            "https://user:s3cret/x@hec/",
            "https://user:s3cret?x@hec/",
            "user:s3cret@hec",
            "ftp://user:s3cret@hec/?s3cret",
            "hec/?s3cret",
            "hec/#s3cret",
            // The host was forgotten.
            "http://user:s3cret",
            "https:/user:s3cret/",
            "htps://user:s3cret",
            "user:s3cret",
            "http://user:1234567:s3cret",
            "htps://hec/a-long-part-s3cret-of-a-path",
        ] {
            let error = Endpoint::parse(text).unwrap_err();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn of_what_is_wrong_only_what_is_no_secret_is_quoted() {
        for (text, quoted) in [
            ("http://hec:99999/x/s3cret", "'http://hec:99999/…' has"),
            ("http://hec:0/s3cret", "'http://hec:0/…' has"),
            ("htps://hec:8088/s3cret", "'htps://hec:8088/…' is neither"),
            ("hec:8088/s3cret", "'hec:8088/…' "),
            ("//hec/s3cret", "'//hec/…' "),
            ("https:/hec/s3cret", "'https:/…' "),
            ("https:\\\\hec\\s3cret", "'https:\\…' "),
            ("https:///s3cret", "'https:///…' "),
            ("https://he c/s3cret", "'https://he c/…' is no URL"),
            ("http://[::1]:0/s3cret", "'http://[::1]:0/…' has"),
            ("htps://[::1]:88/", "'htps://[::1]:88/' is neither"),
            ("http://[::1]:s3cret", "'http://[::1]:…' "),
            ("http://u:s3cret", "'http://u:…' has"),
            ("http://u:s3:cret", "'http://u:…' "),
            ("u:s3cret", "'u:…' "),
            ("x/s3cret://hec", "'x/…' is no URL"),
            ("s3cret-of-some-webhook", "lacks http"),
            (
                "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.s3cret",
                "lacks http",
            ),
            ("hec", "'hec' lacks http"),
            ("", "'' is no URL"),
        ] {
            let error = Endpoint::parse(text).unwrap_err();
            assert!(!error.contains("cret"), "{error}");
            assert!(error.starts_with(quoted), "{text}: {error}");
        }
    }

    #[test]
    fn a_token_in_the_clear_is_noticed() {
        let plain = |text| Endpoint::parse(text).unwrap().is_plain_and_remote();
        assert!(plain("http://hec.example.com/"));
        assert!(plain("http://192.0.2.1:80/"));
        assert!(!plain("https://hec.example.com/"));
        assert!(!plain("http://127.0.0.2:8088/"));
        assert!(!plain("http://[::1]:8088/"));
        assert!(!plain("http://localhost/"));
    }

    #[test]
    fn queries_go_beside_the_collector() {
        for (url, ack) in [
            (
                "https://h:1/services/collector/raw",
                Some("https://h:1/services/collector/ack"),
            ),
            (
                "https://h/x/services/collector?a=b",
                Some("https://h/x/services/collector/ack?a=b"),
            ),
            (
                "https://h/services/collector/event/1.0",
                Some("https://h/services/collector/ack"),
            ),
            ("https://h/", None),
        ] {
            let found = Endpoint::parse(url).unwrap().ack_uri();
            assert_eq!(found.map(|uri| uri.to_string()).as_deref(), ack);
        }
    }

    #[test]
    fn splunks_endpoints_are_known_by_their_paths() {
        for (path, collector) in [
            ("/services/collector/raw", Some(Collector::Raw)),
            ("/services/collector/raw/1.0", Some(Collector::Raw)),
            ("/splunk/services/collector/raw/", Some(Collector::Raw)),
            ("/services/collector", Some(Collector::Event)),
            ("/services/collector/event/1.0", Some(Collector::Event)),
            ("/services/collector/health", None),
            ("/my-services/collector/raws", None),
            ("/", None),
        ] {
            assert_eq!(Collector::of(path), collector, "{path}");
        }
    }
}
