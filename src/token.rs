//! The authentication token: goes out as the `Authorization` header and is shown nowhere.

use std::fmt;
use std::fs;
use std::path::Path;

/// The value of the `Authorization` header, scheme included, such as `Splunk B5A79AAD-…`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes a token as somebody wrote it: white space around it and one pair of quotes come off,
    /// also quotes that a shell has left their backslashes (`\"…\"`, as the vendor's guide prints).
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
                "is empty; expected the whole header value, such as 'Splunk <token>'".into(),
            );
        }
        if !bare
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic())
        {
            return Err(
                "holds a control character or one that is not ASCII, which no HTTP header \
                        can carry; expected one line such as 'Splunk <token>'"
                    .into(),
            );
        }
        Ok(Token(bare.to_owned()))
    }

    /// Takes a token from a file.
    ///
    /// # Errors
    /// Says what is wrong, naming the file.
    pub fn from_file(path: &Path) -> Result<Self, String> {
        fs::read_to_string(path)
            .map_err(|error| format!("can't be read: {error}"))
            .and_then(|text| Token::parse(&text))
            .map_err(|what| format!("{} {what}", path.display()))
    }

    /// The header's value. Only for the header, and for the settings file.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether a word such as `Splunk` stands before the secret.
    pub fn has_scheme(&self) -> bool {
        self.0.contains(' ')
    }

    /// Whether `text` gives away the token or its secret part.
    pub fn is_told_by(&self, text: &str) -> bool {
        self.0
            .split(' ')
            .filter(|part| part.len() >= 8)
            .any(|part| text.contains(part))
            || text.contains(&self.0)
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
    fn is_not_shown() {
        let token = Token::parse("Splunk B5A79AAD-D822").unwrap();
        assert_eq!(format!("{token:?}"), "Token(…)");
        assert!(token.is_told_by("bad token B5A79AAD-D822!"));
        assert!(!token.is_told_by("the Splunk server is busy"));
    }
}
