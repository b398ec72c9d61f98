//! What can only be known from the words of other programs and libraries. All such words are here, each with a test,
//! since the next version may use others.

use memchr::memmem;
use rustls::CertificateError;

/// The status with which a proxy answered CONNECT, from ureq's `proxy server responded 407/407`.
pub fn proxy_status(reason: &str) -> Option<u16> {
    reason.rsplit(['/', ' ']).next()?.parse().ok()
}

/// Whether a certificate is a CA's own, as `openssl req -x509` makes by default. rustls has no variant for this.
pub fn is_of_a_ca(error: &CertificateError) -> bool {
    format!("{error:?}").contains("CaUsedAsEndEntity")
}

/// Whether a certificate is of a version of X.509 before 3. rustls has no variant for this either.
pub fn is_of_version_1(error: &CertificateError) -> bool {
    format!("{error:?}").contains("UnsupportedCertVersion")
}

/// A library's text in plain words: the last name in its `Other(OtherError(UnsupportedCriticalExtension))`, as separate
/// words in lower case; of structures only their name.
pub fn plain(text: &str) -> String {
    let text = text
        .split([' ', ':'])
        .next()
        .filter(|_| text.contains('{'))
        .unwrap_or(text);
    let words = text.split(' ').map(|word| {
        let name = word
            .trim_end_matches(')')
            .rsplit('(')
            .next()
            .unwrap_or(word);
        let mut spaced = String::new();
        for c in name.chars() {
            let is_start = c.is_uppercase() && spaced.ends_with(char::is_lowercase);
            spaced.extend(is_start.then_some(' '));
            spaced.push(c);
        }
        if !spaced.contains(' ') {
            return word.to_owned();
        }
        let parts = spaced.split(' ');
        let parts = parts.map(|part| match part.chars().any(char::is_lowercase) {
            true => part.to_lowercase(),
            false => part.to_owned(),
        });
        parts.collect::<Vec<_>>().join(" ")
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A name in a certificate, from rustls' `DnsName("hec.example.com")` or `IpAddress(192.0.2.1)`.
pub fn certificate_name(presented: &str) -> &str {
    let (_, name) = presented.split_once('(').unwrap_or(("", presented));
    name.trim_matches(['"', ')'])
}

/// Whether a 400 says that TLS, or a client certificate, was wanted, in the words of nginx, Go and Apache. Whole
/// phrases, since many a 400 names a page on https://.
pub fn speaks_of_tls(text: &[u8]) -> bool {
    contains_any(
        text,
        &[
            "https port",
            "https server",
            "ssl-enabled",
            "ssl certificate",
        ],
    )
}

/// Whether a 400 says that another type of content was wanted, in the words of Fluent Bit's `http` input.
pub fn wants_other_type(text: &[u8]) -> bool {
    contains_any(text, &["invalid 'content-type'"])
}

/// Whether it is Fluent Bit that answers, by its `Server` header.
pub fn is_fluent_bit(server: &str) -> bool {
    contains_any(server.as_bytes(), &["fluent bit", "fluent-bit"])
}

fn contains_any(text: &[u8], phrases: &[&str]) -> bool {
    let text = text.to_ascii_lowercase();
    phrases
        .iter()
        .any(|phrase| memmem::find(&text, phrase.as_bytes()).is_some())
}

/// The title of a page, if the text is one.
pub fn title(page: &str) -> Option<&str> {
    // As long as the page, so that offsets are the same in both.
    let lower = page.to_ascii_lowercase();
    let tag = lower.find("<title")?;
    let start = tag + lower[tag..].find('>')? + 1;
    let end = start + lower[start..].find("</title>")?;
    Some(&page[start..end])
}

/// The words of a text that may begin with its status, as `404 Not Found`, `HTTP Status 404 – Not Found` and
/// `Error 404: Not Found` do.
pub fn without_status<'a>(text: &'a str, status: &str) -> &'a str {
    const BEFORE: [&str; 6] = ["", "http", "1.1", "status", "error", "code"];
    let is_usual = |before: &str| {
        let before = before.to_ascii_lowercase();
        before
            .split([' ', ':', '/'])
            .all(|word| BEFORE.contains(&word))
    };
    match text.split_once(status) {
        Some((before, rest)) if is_usual(before) && !rest.starts_with(char::is_alphanumeric) => {
            rest.trim_start_matches([' ', ':', '-', '–', '|', '.'])
        }
        _ => text,
    }
}

/// Whether a text begins as pages and XML do, behind blanks and a byte order mark.
pub fn is_page(text: &[u8]) -> bool {
    let is_blank =
        |byte: &u8| byte.is_ascii_whitespace() || b"\x0b\x00\xef\xbb\xbf\xfe\xff".contains(byte);
    text.iter().find(|byte| !is_blank(byte)) == Some(&b'<')
}

/// Whether a text says that it is HTML, and no other markup.
pub fn is_html(text: &[u8]) -> bool {
    contains_any(text, &["<html", "<!doctype html"])
}

/// Whether a text has no markup, whatever its label says. A compressed one, in whatever way, may have some.
pub fn is_plain(text: &[u8]) -> bool {
    let is_binary = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    !text.iter().any(|byte| *byte == b'<' || is_binary(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_words_are_understood() {
        assert_eq!(proxy_status("proxy server responded 407/407"), Some(407));
        assert_eq!(proxy_status("proxy server did not respond"), None);
        assert_eq!(
            certificate_name("DnsName(\"*.example.com\")"),
            "*.example.com"
        );
        assert_eq!(certificate_name("IpAddress(192.0.2.1)"), "192.0.2.1");
        assert_eq!(certificate_name("x"), "x");
        assert!(!is_of_a_ca(&CertificateError::Expired));
        for (text, shown) in [
            (
                "Other(OtherError(UnsupportedCriticalExtension))",
                "unsupported critical extension",
            ),
            ("UnsupportedThing { key: [1, 2] }", "unsupported thing"),
            (
                "received fatal alert: InternalError",
                "received fatal alert: internal error",
            ),
            ("UnknownCA", "unknown CA"),
            (
                "cannot decrypt peer's message (UNIX)",
                "cannot decrypt peer's message (UNIX)",
            ),
            ("", ""),
        ] {
            assert_eq!(plain(text), shown);
        }
    }

    #[test]
    fn web_servers_words_about_tls_are_understood() {
        for text in [
            "<center>The plain HTTP request was sent to HTTPS port</center>",
            "Client sent an HTTP request to an HTTPS server.\n",
            "You're speaking plain HTTP to an SSL-enabled server port.",
            "<center>No required SSL certificate was sent</center>",
        ] {
            assert!(speaks_of_tls(text.as_bytes()), "{text}");
        }
        assert!(!speaks_of_tls(
            b"bad field, see https://docs.example.com/ssl"
        ));
    }

    #[test]
    fn fluent_bits_words_are_understood() {
        assert!(wants_other_type(b"error: invalid 'Content-Type'\n"));
        assert!(!wants_other_type(b"invalid content"));
        assert!(is_fluent_bit("Fluent Bit v3.1.0") && is_fluent_bit("Fluent-Bit v2"));
        assert!(!is_fluent_bit("Splunkd"));
    }

    #[test]
    fn pages_are_known() {
        for text in [
            "<html>",
            " \r\n\t<!doctype html>",
            "\u{feff}<x/>",
            "\u{feff}\n <p>",
        ] {
            assert!(is_page(text.as_bytes()), "{text}");
        }
        assert!(is_page(b"\xff\xfe<\x00h\x00"));
        for text in ["", " ", "ok", "{\"a\":\"<html>\"}", "a<b"] {
            assert!(!is_page(text.as_bytes()), "{text}");
            assert_eq!(is_plain(text.as_bytes()), !text.contains('<'), "{text}");
        }
        assert!(!is_plain(b"\x1f\x8b\x08\0"), "a compressed page");
        assert_eq!(title("\u{130}<title>\u{130}</title>"), Some("\u{130}"));
        assert_eq!(title("<TITLE>a</title>"), Some("a"));
        assert_eq!(title("<title lang=\"en\">a</title>"), Some("a"));
        assert_eq!(title("<title>no end"), None);
    }
}
