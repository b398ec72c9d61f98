//! The authentication token: it is sent as the `Authorization` header and shown nowhere.

use std::fmt;
use std::path::Path;

use crate::text::small_file;

/// The value of the `Authorization` header, scheme included, such as `Splunk B5A79AAD-…`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes a token as somebody wrote it: surrounding white space and one pair of quotes are removed,
    /// including quotes whose backslashes a shell has left (`\"…\"`, as the vendor's guide prints).
    ///
    /// # Errors
    /// Says what is wrong, without showing the value.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let bare = [("\\\"", "\\\""), ("\"", "\""), ("'", "'")]
            .into_iter()
            .find_map(|(open, close)| text.strip_prefix(open)?.strip_suffix(close))
            .unwrap_or(text)
            .trim();
        if bare.is_empty() {
            return Err(
                "is empty; fix: give the whole header value, such as 'Splunk <token>'".into(),
            );
        }
        if bare == "-" {
            return Err("is -, and only `enable` asks for one; fix: give --auth-token-file".into());
        }
        if !bare
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic())
        {
            return Err("contains a control character or one that is not ASCII, which no HTTP header can carry; \
                        fix: give one line such as 'Splunk <token>'"
                .into());
        }
        Ok(Token(bare.to_owned()))
    }

    /// Takes a token from a file.
    ///
    /// # Errors
    /// Says what is wrong, naming the file.
    pub fn from_file(path: &Path) -> Result<Self, String> {
        let text = small_file::read_secret(path)?;
        Token::parse(&text).map_err(|what| format!("{} {what}", path.display()))
    }

    /// The header's value. To be used only for the header, and for the settings file.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Why it is none that anybody would send.
    pub fn mistake(&self) -> Option<&'static str> {
        match &*self.0.to_ascii_lowercase() {
            "splunk" | "bearer" | "basic" => {
                Some("is a scheme alone; fix: give both: 'Splunk <token>'")
            }
            token if token.starts_with("authorization:") => {
                Some("begins with the header's name; fix: give its value alone: 'Splunk <token>'")
            }
            _ => None,
        }
    }

    /// Whether a scheme such as `Splunk` comes before the secret.
    pub fn has_scheme(&self) -> bool {
        self.0.contains(' ')
    }

    /// Whether the webhook wants no token: an explicit word says so, since a missing token would look like a mistake.
    pub fn is_none(&self) -> bool {
        self.0 == "none"
    }

    /// Enough of the token to tell it from another one: `Splunk B5A7…14D0`.
    pub fn masked(&self) -> String {
        const SHOWN: usize = 4;
        // What looks like a scheme may also be a secret with a space in it.
        let is_scheme = |word: &str| {
            word.len() <= 10 && word.bytes().all(|c| c.is_ascii_alphabetic() || c == b'-')
        };
        let (scheme, secret) = match self.0.split_once(' ') {
            Some((scheme, secret)) if is_scheme(scheme) => (format!("{scheme} "), secret.trim()),
            _ => (String::new(), &*self.0),
        };
        // With Basic, the end belongs to a password.
        if self.is_none() {
            return self.0.clone();
        }
        if secret.len() < 16 || scheme.eq_ignore_ascii_case("Basic ") {
            return format!("{scheme}…");
        }
        let end = secret.len() - SHOWN;
        format!("{scheme}{}…{}", &secret[..SHOWN], &secret[end..])
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_come_off_once() {
        for text in [
            "Splunk B5A79AAD",
            "\"Splunk B5A79AAD\"",
            "'Splunk B5A79AAD'",
            r#"\"Splunk B5A79AAD\""#,
            "  Splunk B5A79AAD\n",
            " \"Splunk B5A79AAD\"\n",
        ] {
            assert_eq!(
                Token::parse(text).unwrap().reveal(),
                "Splunk B5A79AAD",
                "{text:?}"
            );
        }
        assert_eq!(Token::parse("a\"b\"").unwrap().reveal(), "a\"b\"");
        assert_eq!(Token::parse("\"").unwrap().reveal(), "\"");
    }

    #[test]
    fn what_no_header_can_carry_is_refused_unseen() {
        for text in ["", "  ", "\"\"", r#"\"\""#, "a\nb", "a\u{0}b", "sécret"] {
            let error = Token::parse(text).unwrap_err();
            assert!(!error.contains("sécret"), "{error}");
        }
    }

    #[test]
    fn little_of_it_is_shown_under_a_mask() {
        for (token, masked) in [
            (
                "Splunk B5A79AAD-D822-46CC-80D1-819F80D714D0",
                "Splunk B5A7…14D0",
            ),
            ("B5A79AAD-D822-46CC-80D1-819F80D714D0", "B5A7…14D0"),
            ("Splunk 0123456789abcdef", "Splunk 0123…cdef"),
            ("Splunk 0123456789abcde", "Splunk …"),
            ("s3cret", "…"),
            ("Basic dXNlcjpzM2NyZXRzM2NyZXQ=", "Basic …"),
            ("Bearer  x", "Bearer …"),
            ("deadbeefdeadbeef x", "dead…ef x"),
            ("AWS4-HMAC-SHA256 0123456789", "AWS4…6789"),
        ] {
            assert_eq!(Token::parse(token).unwrap().masked(), masked);
        }
    }

    #[test]
    fn is_not_shown() {
        let token = Token::parse("Splunk B5A79AAD-D822").unwrap();
        assert_eq!(format!("{token:?}"), "Token(…)");
    }
}
