//! The proxy on the way to the webhook: the one that was asked for, else the environment's, as curl reads it
//! (<https://curl.se/docs/manpage.html#ENVIRONMENT>).

use std::fmt;

use ureq::http::Uri;

use crate::config::error::UsageError;
use crate::config::opt::Opt;
use crate::config::options::WebhookOptions;
use crate::config::provenance::{Origin, Provenance};
use crate::webhook::endpoint::Endpoint;
use crate::webhook::no_proxy;

/// The port of a proxy that names none, as curl has it.
const PORT: u16 = 1080;

/// An HTTP proxy, which is asked to CONNECT. Shown without user and password.
#[derive(Clone)]
pub struct Proxy {
    client: ureq::Proxy,
    /// `HOST:PORT`
    address: String,
    /// The option, the line or the variable that it is from.
    place: String,
}

impl Proxy {
    /// Checks a proxy's URL as somebody wrote it at this place, with or without `http://`.
    ///
    /// # Errors
    /// Says what is wrong and what would be right, without any password in the URL.
    pub fn parse(text: &str, place: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong = |what: &str| {
            let shown = match text.contains('@') {
                true => "in user and password write %2F for / and so on".into(),
                false => format!("not '{text}'"),
            };
            format!("{what}; expected a URL such as http://proxy:3128, {shown}")
        };
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return Err(wrong("can't be used, only HTTP proxies can")),
            None => text,
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let uri: Uri = match format!("http://{authority}").parse() {
            Ok(uri) if !path.contains('@') => uri,
            _ => return Err(wrong("is no URL")),
        };
        let host = uri.host().unwrap_or_default();
        let (user, bare) = authority.rsplit_once('@').unwrap_or(("", authority));
        let port = bare.rsplit_once(':');
        let port = match port.filter(|(_, port)| !port.ends_with(']')) {
            Some((_, port)) => port.parse().ok().filter(|port| *port > 0),
            None => Some(PORT),
        };
        let (Some(port), false) = (port, host.is_empty()) else {
            return Err(wrong("lacks a host, or has a port that is none"));
        };
        let at = if user.is_empty() { "" } else { "@" };
        let address = format!("{host}:{port}");
        let client = ureq::Proxy::new(&format!("http://{user}{at}{address}"));
        Ok(Proxy {
            client: client.map_err(|_| wrong("is no proxy"))?,
            address,
            place: place.to_owned(),
        })
    }

    /// Where it is set.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// For the client.
    pub fn for_client(&self) -> ureq::Proxy {
        self.client.clone()
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// A proxy's URL for a reader: without user and password.
pub fn shown(text: &str) -> String {
    Proxy::parse(text, "").map_or_else(|_| "…".into(), |proxy| format!("http://{proxy}"))
}

/// Decides which proxy there is on the way to `endpoint`.
///
/// # Errors
/// Names the option or variable that is wrong.
pub fn choose(
    options: &WebhookOptions,
    provenance: &Provenance,
    endpoint: &Endpoint,
) -> Result<Option<Proxy>, UsageError> {
    // Two lines of the file are one place.
    let rank = |id| match provenance.origin(id) {
        Origin::File(path, _) => Origin::File(path, 0),
        origin => origin,
    };
    if let Some(text) = &options.proxy {
        let (wanted, unwanted) = (rank(Opt::Proxy), rank(Opt::NoProxy));
        if options.no_proxy && wanted == unwanted {
            return Err(UsageError(format!(
                "{} and {}: give one of them",
                provenance.name(Opt::Proxy),
                provenance.name(Opt::NoProxy)
            )));
        }
        if !options.no_proxy || wanted > unwanted {
            return Proxy::parse(text, &provenance.location(Opt::Proxy))
                .map(Some)
                .map_err(|what| provenance.error(Opt::Proxy, what));
        }
    }
    if options.no_proxy {
        return Ok(None);
    }
    of_environment(endpoint.uri(), |name| provenance.variable(name))
}

fn of_environment(
    endpoint: &Uri,
    variable: impl Fn(&'static str) -> Option<String>,
) -> Result<Option<Proxy>, UsageError> {
    // HTTP_PROXY is read by nobody, since a client of a CGI program can set it, with a header called Proxy.
    let of_scheme: &[_] = match endpoint.scheme_str() {
        Some("http") => &["http_proxy"],
        _ => &["https_proxy", "HTTPS_PROXY"],
    };
    let first = |names: &[&'static str]| {
        let mut names = names.iter();
        names.find_map(|name| Some((*name, variable(name).filter(|text| !text.is_empty())?)))
    };
    let found = first(of_scheme).or_else(|| first(&["all_proxy", "ALL_PROXY"]));
    let Some((name, text)) = found else {
        return Ok(None);
    };
    let exceptions = first(&["no_proxy", "NO_PROXY"]);
    let host = endpoint.host().unwrap_or_default();
    if exceptions.is_some_and(|(_, list)| no_proxy::covers(&list, host)) {
        return Ok(None);
    }
    Proxy::parse(&text, name)
        .map(Some)
        .map_err(|what| UsageError(format!("{name}: {what}; --no-proxy goes without it")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_shown_without_user_and_password() {
        for (text, address) in [
            ("http://proxy:3128", "proxy:3128"),
            (" HTTP://me:s3cret@proxy:3128/ ", "proxy:3128"),
            ("me:s3%40cret@192.0.2.1:8080", "192.0.2.1:8080"),
            ("http://me@proxy", "proxy:1080"),
            ("http://me:s3@cret@proxy:3128", "proxy:3128"),
            ("http://[2001:db8::1]:3128", "[2001:db8::1]:3128"),
            ("[::1]", "[::1]:1080"),
        ] {
            let proxy = Proxy::parse(text, "").unwrap();
            assert_eq!(proxy.to_string(), address);
            assert!(!format!("{proxy:?} {}", shown(text)).contains("s3"));
        }
        let proxy = Proxy::parse("me:s3%40cret@proxy", "").unwrap().for_client();
        assert_eq!(
            (proxy.username(), proxy.password()),
            (Some("me"), Some("s3@cret"))
        );
    }

    #[test]
    fn what_is_no_http_proxy_is_refused_unseen() {
        for text in [
            "",
            "http://",
            "https://s3cret@proxy:3128",
            "socks5h://s3cret@proxy",
            "socks5://proxy",
            "http://me:s3cret@",
            "http://me:s3cret@proxy:0",
            "http://me:s3cret@proxy:",
            "http://me:s3cret@proxy:99999",
            "http://me:s3/cret@proxy:3128",
            "http://me:77/cret@proxy:3128",
            "http://me:s3%zzcret@pro xy:3128",
        ] {
            let error = Proxy::parse(text, "").unwrap_err();
            let is_told = ["s3", "cret", "77"].iter().any(|part| error.contains(part));
            assert!(!is_told || !text.contains('@'), "{error}");
            assert_eq!(shown(text), "…");
        }
    }

    #[test]
    fn the_environment_is_read_as_curl_reads_it() {
        for (endpoint, variables, expected) in [
            ("https://hec/", &[][..], None),
            (
                "https://hec/",
                &[("HTTPS_PROXY", "a")],
                Some("a:1080 HTTPS_PROXY"),
            ),
            (
                "https://hec/",
                &[
                    ("HTTPS_PROXY", "a"),
                    ("https_proxy", "b"),
                    ("ALL_PROXY", "c"),
                ],
                Some("b:1080 https_proxy"),
            ),
            (
                "https://hec/",
                &[("https_proxy", ""), ("HTTPS_PROXY", ""), ("ALL_PROXY", "c")],
                Some("c:1080 ALL_PROXY"),
            ),
            (
                "https://hec/",
                &[("http_proxy", "a"), ("HTTP_PROXY", "b")],
                None,
            ),
            (
                "http://hec/",
                &[("HTTP_PROXY", "a"), ("https_proxy", "b")],
                None,
            ),
            (
                "http://hec/",
                &[("http_proxy", "a")],
                Some("a:1080 http_proxy"),
            ),
            (
                "https://127.0.0.1/",
                &[("https_proxy", "a")],
                Some("a:1080 https_proxy"),
            ),
            (
                "https://hec.example.com/",
                &[("https_proxy", "a"), ("NO_PROXY", "example.com")],
                None,
            ),
            (
                "https://hec.example.com/",
                &[("https_proxy", "a"), ("NO_PROXY", "*"), ("no_proxy", "x")],
                Some("a:1080 https_proxy"),
            ),
            (
                "https://[::1]:8088/",
                &[("https_proxy", "a"), ("NO_PROXY", "::1")],
                None,
            ),
            // Whoever needs no proxy is not told what is wrong with it.
            (
                "https://hec/",
                &[("https_proxy", "socks5://a"), ("NO_PROXY", "hec")],
                None,
            ),
        ] {
            let variable = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let found = of_environment(&endpoint.parse().unwrap(), variable).unwrap();
            let found = found.map(|proxy| format!("{proxy} {}", proxy.place()));
            assert_eq!(found.as_deref(), expected, "{endpoint} {variables:?}");
        }
    }
}
