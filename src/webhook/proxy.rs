//! The proxy on the way to the webhook.

use std::fmt;

use ureq::http::Uri;

use crate::webhook::endpoint;

/// The port if a proxy's URL names none, as in curl.
const PORT: u16 = 1080;

/// An HTTP proxy that is used with CONNECT. Shown without user and password.
#[derive(Clone)]
pub struct Proxy {
    client: ureq::Proxy,
    /// `HOST:PORT`
    address: String,
    /// The option, the line or the variable that it comes from.
    place: String,
}

impl Proxy {
    /// Checks a proxy's URL as somebody wrote it at this place, with or without `http://`.
    ///
    /// # Errors
    /// Says what is wrong and what would be right, without any password in the URL.
    pub fn parse(text: &str, place: &str) -> Result<Self, String> {
        let text = text.trim();
        const FIX: &str = "fix: use a URL such as http://proxy:3128";
        let wrong = |what: &str| match endpoint::harmless(text) {
            Some(shown) => format!("'{shown}' {what}; {FIX}"),
            None => format!("{what}; {FIX}, and in user and password %2F for / and so on"),
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
            return Err(wrong("lacks a host, or has an invalid port"));
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

    /// Its name or address.
    pub fn host(&self) -> &str {
        self.client.host()
    }

    /// What nobody may see.
    pub fn password(&self) -> Option<String> {
        self.client.password().map(str::to_owned)
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
            // The host was forgotten.
            "http://me:s3cret",
            "me:s3cret",
        ] {
            let error = Proxy::parse(text, "").unwrap_err();
            let is_told = ["s3", "cret", "77"].iter().any(|part| error.contains(part));
            assert!(!is_told, "{error}");
            assert_eq!(shown(text), "…");
        }
    }
}
