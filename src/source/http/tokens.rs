//! The tokens of `--listen-token-file`: which `Authorization` headers are accepted.
//!
//! One token per line, so that a new one can be added before the old one goes. A line is
//!
//! - a header's value, such as `Splunk TOKEN`, `Bearer TOKEN` or `Basic BASE64`; or
//! - `USER:PASSWORD`, for clients that take both from a URL and send them as Basic.
//!
//! As with Splunk, the token of a `Splunk` line is also accepted as the password of Basic, with any user.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use subtle::{Choice, ConstantTimeEq};

use crate::text::token::Token;

/// What clients may send.
#[derive(Default)]
pub struct Tokens {
    /// Values of the header, the scheme in lower case.
    values: Vec<Vec<u8>>,
    /// `USER:PASSWORD` of Basic.
    credentials: Vec<Vec<u8>>,
    /// Passwords of Basic, with any user.
    passwords: Vec<Vec<u8>>,
}

impl Tokens {
    /// Reads the file's content: blank lines, and lines that begin with `#`, mean nothing.
    ///
    /// # Errors
    /// There is no token in it, or a line can't be one or is one that nobody would send. The error does not show the line.
    pub fn parse(content: &[u8]) -> Result<Self, String> {
        let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
        let mut tokens = Tokens::default();
        for (number, line) in (1..).zip(content.split(|byte| *byte == b'\n')) {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let token = Token::parse(&String::from_utf8_lossy(line));
            let token = token.and_then(|token| match token.mistake() {
                Some(what) => Err(what.into()),
                None => Ok(token),
            });
            let token = token.map_err(|what| format!("line {number} {what}"))?;
            tokens.add(token.reveal());
        }
        if tokens.values.is_empty() {
            return Err("is empty; fix: write a token per line, such as 'Splunk <token>'".into());
        }
        Ok(tokens)
    }

    fn add(&mut self, token: &str) {
        self.values.push(normalized(token.as_bytes()));
        match token.split_once(' ') {
            Some((scheme, secret)) if scheme.eq_ignore_ascii_case("splunk") => {
                self.passwords.push(secret.trim().into());
            }
            None if token.contains(':') => self.credentials.push(token.into()),
            _ => {}
        }
    }

    /// Whether a header with this value is accepted. Takes the same time whichever token it resembles.
    pub fn accept(&self, value: &[u8]) -> bool {
        let value = normalized(value);
        let mut is_known = among(&self.values, &value);
        if let Some(encoded) = value.strip_prefix(b"basic ")
            && let Ok(given) = BASE64_STANDARD.decode(encoded)
        {
            is_known |= among(&self.credentials, &given);
            if let Some(colon) = memchr::memchr(b':', &given) {
                is_known |= among(&self.passwords, &given[colon + 1..]);
            }
        }
        is_known.into()
    }
}

fn among(secrets: &[Vec<u8>], given: &[u8]) -> Choice {
    let compare = |found: Choice, secret: &Vec<u8>| found | secret.as_slice().ct_eq(given);
    secrets.iter().fold(Choice::from(0), compare)
}

/// The scheme is case-insensitive, and any number of blanks may follow it.
fn normalized(value: &[u8]) -> Vec<u8> {
    let value = value.trim_ascii();
    match memchr::memchr(b' ', value) {
        Some(blank) => [
            &value[..blank].to_ascii_lowercase(),
            &b" "[..],
            value[blank..].trim_ascii_start(),
        ]
        .concat(),
        None => value.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(credentials: &str) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(credentials))
    }

    #[test]
    fn which_headers_a_line_accepts() {
        let token = "Splunk 0D3C8A1E";
        for (line, value, is_accepted) in [
            (token, token.to_owned(), true),
            (token, "splunk  0D3C8A1E".into(), true),
            (token, " SPLUNK 0D3C8A1E ".into(), true),
            (token, "Splunk 0d3c8a1e".into(), false),
            (token, "Bearer 0D3C8A1E".into(), false),
            (token, "0D3C8A1E".into(), false),
            (token, "Splunk 0D3C8A1".into(), false),
            (token, "Splunk 0D3C8A1E0".into(), false),
            (token, String::new(), false),
            (token, "Splunk".into(), false),
            (token, basic("x:0D3C8A1E"), true),
            (token, basic(":0D3C8A1E"), true),
            (token, basic("x:y:0D3C8A1E"), false),
            (token, basic("0D3C8A1E"), false),
            (token, basic("0D3C8A1E:"), false),
            ("Bearer abc", "bearer abc".into(), true),
            ("Bearer abc", basic("x:abc"), false),
            ("s3cret", "s3cret".into(), true),
            ("s3cret", "S3CRET".into(), false),
            ("user:pass", "user:pass".into(), true),
            ("user:pass", basic("user:pass"), true),
            (
                "user:pass",
                basic("user:pass").replace("Basic", "BASIC"),
                true,
            ),
            ("user:pass", basic("other:pass"), false),
            ("user:pass", basic("user:pass2"), false),
            ("user:pa:ss", basic("user:pa:ss"), true),
            ("Basic dXNlcjpwYXNz", basic("user:pass"), true),
            ("Basic dXNlcjpwYXNz", "basic dxnlcjpwyxnz".into(), false),
            ("user:pass", "Basic ???".into(), false),
        ] {
            let tokens = Tokens::parse(line.as_bytes()).unwrap();
            assert_eq!(
                tokens.accept(value.as_bytes()),
                is_accepted,
                "{line}: {value}"
            );
        }
    }

    #[test]
    fn a_file_has_a_token_a_line() {
        let content = "\u{feff}# old\r\nSplunk aaa\r\n\n  # new\n\"Splunk bbb\"\nuser:ccc";
        let tokens = Tokens::parse(content.as_bytes()).unwrap();
        for value in ["Splunk aaa", "Splunk bbb", "user:ccc", &basic("user:ccc")] {
            assert!(tokens.accept(value.as_bytes()), "{value}");
        }
        assert!(!tokens.accept(b"# old"));
        for (content, what) in [
            (&b""[..], "is empty"),
            (b"\n# x\n", "is empty"),
            (
                b"Splunk a\n\xfegeheim\n",
                "line 2 contains a control character",
            ),
            (b"a\0b", "line 1 contains a control character"),
            (b"''", "line 1 is empty"),
            (
                b"Splunk a\nsplunk\n",
                "line 2 is a scheme alone; fix: give both",
            ),
            (
                b"Authorization: Bearer geheim",
                "line 1 begins with the header's name; fix: give its value",
            ),
        ] {
            let error = Tokens::parse(content).err().unwrap();
            assert!(
                error.starts_with(what) && !error.contains("geheim"),
                "{error}"
            );
        }
    }
}
