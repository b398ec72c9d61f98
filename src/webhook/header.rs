//! `--header`: a header of one's own, such as a service's API key.

use std::path::{Path, PathBuf};

use ureq::http::{HeaderName, HeaderValue, header};

use crate::text::small_file;

/// Separates several headers where only one text fits: in a variable, and in the settings file.
pub const SEPARATOR: char = '|';

/// What Splunk knows bodies that it must acknowledge by.
pub const CHANNEL: HeaderName = HeaderName::from_static("x-splunk-request-channel");

/// A header that is sent with each request. Its value may be a secret, and is shown nowhere.
pub type Header = (HeaderName, HeaderValue);

const WANTED: &str = "fix: use 'Name: value', or 'Name: @FILE' for a value in a file; several in one text are \
                      separated by |, and a value that contains one must be in a file";

/// Takes a header as the user wrote it, and reads the file that it names.
///
/// # Errors
/// Says what is wrong, without showing the value.
pub fn parse(text: &str) -> Result<Header, String> {
    let wrong = |what| format!("{what}; {WANTED}");
    let (name, value) = split(text).ok_or_else(|| wrong("lacks the colon behind the name"))?;
    let header: HeaderName = name.parse().map_err(|_| match name {
        "" => wrong("lacks a header's name"),
        _ => wrong("has a name with a space, or another character that no header's name has"),
    })?;
    if let Some(reason) = reserved(&header) {
        return Err(format!("{name} {reason}"));
    }
    let (content, place);
    let (name, value) = match file(text) {
        None => (name, value),
        Some(path) => {
            place = format!("{name}: {}", path.display());
            content = small_file::read_secret(&path).map_err(|what| format!("{name}: {what}"))?;
            (&*place, content.trim())
        }
    };
    let is_text = |byte: u8| byte == b' ' || byte == b'\t' || byte.is_ascii_graphic();
    match HeaderValue::from_str(value) {
        Ok(mut value) if !value.is_empty() && value.as_bytes().iter().copied().all(is_text) => {
            value.set_sensitive(true);
            Ok((header, value))
        }
        Ok(value) if value.is_empty() => Err(format!("{name}: the value is empty; {WANTED}")),
        _ => Err(format!(
            "{name}: the value contains a line break, or a character that is not ASCII, which no HTTP header can carry; fix: use printable ASCII"
        )),
    }
}

/// The file that its value is in, if it names one.
pub fn file(text: &str) -> Option<PathBuf> {
    let (_, value) = split(text)?;
    value.strip_prefix('@').map(|path| Path::new(path).into())
}

/// Name and value, without the blanks around them.
pub fn split(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once(':')?;
    Some((name.trim(), value.trim()))
}

/// Why it can't be set, if it is a header that every request has anyway.
fn reserved(name: &HeaderName) -> Option<&'static str> {
    match *name {
        header::AUTHORIZATION => Some("is what --auth-token sets; fix: use that"),
        header::CONTENT_ENCODING => Some("is what --compress sets; fix: use that"),
        header::HOST => Some("is what --endpoint sets; fix: leave it out"),
        header::CONTENT_LENGTH
        | header::TRANSFER_ENCODING
        | header::CONNECTION
        | header::EXPECT
        | header::TE
        | header::TRAILER
        | header::UPGRADE
        | header::ACCEPT_ENCODING => {
            Some("is for the agent to set, or nobody could read what it sends; fix: leave it out")
        }
        _ => matches!(name.as_str(), "x-audit-stream" | "x-audit-seq")
            .then_some("is what --trail sets; fix: leave it out"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_taken_as_it_is_written() {
        for (text, name, value) in [
            ("DD-API-KEY: s3cret", "dd-api-key", "s3cret"),
            ("x:y", "x", "y"),
            ("X-A:  b, c; d=\"e:f\" ", "x-a", "b, c; d=\"e:f\""),
            ("Content-Type: text/plain", "content-type", "text/plain"),
        ] {
            let (found_name, found_value) = parse(text).unwrap();
            assert_eq!(
                (found_name.as_str(), found_value.to_str().unwrap()),
                (name, value)
            );
            assert!(
                !format!("{found_value:?}").contains(value),
                "{found_value:?}"
            );
        }
    }

    #[test]
    fn what_no_request_can_carry_is_refused_unseen() {
        for (text, what) in [
            ("", "lacks the colon"),
            ("X-Y s3cret", "lacks the colon"),
            (": s3cret", "lacks a header's name"),
            ("X Y: s3cret", "has a name with a space"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(what) && !error.contains("s3cr"), "{error}");
        }
        for text in [
            "X-Y:",
            "X-Y: s3cret\r\nX-Evil: 1",
            "X-Y: s3crét",
            "X-Y: \u{1b}s3cret",
            "authorization: s3cret",
            "Content-Length: 5",
            "HOST: s3cret",
            "Transfer-Encoding: s3cret",
            "content-encoding: s3cret",
            "Connection: s3cret",
            "Expect: s3cret",
            "X-Audit-Seq: s3cret",
            "x-audit-stream: s3cret",
        ] {
            let error = parse(text).unwrap_err();
            assert!(!error.contains("s3cr"), "{error}");
        }
        assert!(
            parse("X: @/nowhere/at-all")
                .unwrap_err()
                .contains("X: /nowhere/at-all can't be read")
        );
    }
}
