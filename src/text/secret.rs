//! Secrets that no text from elsewhere may give away, in whatever form it repeats them.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD as BASE64;
use memchr::memmem;

/// This many consecutive characters of a long secret give it away; of a short one, half of its length.
const MIN_LEAK_LEN: usize = 8;
/// A secret with fewer letters and digits than this is searched for only as it is written, and a shorter one only as a
/// separate word: parts of words would hide every other text.
const SHORTEST_LEAK: usize = 6;
/// How many nested encodings of a text are decoded.
const DECODINGS: usize = 3;

/// Texts that must not be shown, and the forms in which they may appear. Nothing shows them, not even `Debug`.
#[derive(Clone, Default)]
pub struct Secrets {
    /// Secrets that are searched for as they are written.
    whole: Vec<String>,
    /// Secrets that are too short for that.
    words: Vec<String>,
    /// Each of their forms, folded, with how many consecutive characters of it give it away.
    forms: Vec<(Vec<u8>, usize)>,
}

impl Secrets {
    /// Adds a secret, such as a token or a password.
    pub fn add(&mut self, secret: &str) {
        if secret.len() < SHORTEST_LEAK {
            return self
                .words
                .extend((!secret.is_empty()).then(|| secret.to_owned()));
        }
        self.whole.push(secret.to_owned());
        let is_long = folded(secret).len() >= SHORTEST_LEAK;
        let numbers = |shown: fn(u8) -> String| secret.bytes().map(shown).collect();
        // As dumps and programming languages show bytes: 4235, 0x42, 0x35 and 66 53.
        let numbers: [String; 3] = [
            numbers(|byte| format!("{byte:02x}")),
            numbers(|byte| format!("0x{byte:02x}")),
            numbers(|byte| byte.to_string()),
        ];
        // Wherever it begins in the encoded text, its first character has one of three positions.
        let base64 = (0..3).map(|before| base64(secret, before));
        let forms = numbers.into_iter().chain(base64).chain([secret.to_owned()]);
        for form in forms.filter(|_| is_long) {
            let folded = folded(&form);
            let length = (folded.len() / 2).clamp(SHORTEST_LEAK, MIN_LEAK_LEN);
            self.forms.push((folded, length));
        }
    }

    /// Adds the value of the `Authorization` header: the whole value, what follows a scheme such as `Splunk`, and the
    /// password in what follows `Basic`.
    pub fn add_credential(&mut self, value: &str) {
        let Some((scheme, secret)) = value.split_once(' ') else {
            return self.add(value);
        };
        self.whole.push(value.to_owned());
        self.add(secret.trim());
        if scheme.eq_ignore_ascii_case("basic")
            && let Ok(decoded) = BASE64.decode(secret.trim().trim_end_matches('='))
            && let Some((_, password)) = String::from_utf8_lossy(&decoded).split_once(':')
        {
            self.add(password);
        }
    }

    /// Adds what may be a secret, such as a short part of a URL. It is searched for as it is written only, since pieces
    /// of it may be ordinary words.
    pub fn add_as_written(&mut self, part: &str) {
        if part.len() >= SHORTEST_LEAK {
            self.whole.push(part.to_owned());
        }
    }

    /// Adds the value of another header. A short value is hardly a secret.
    pub fn add_header_value(&mut self, value: &str) {
        if value.len() >= SHORTEST_LEAK {
            self.add_credential(value);
        }
    }

    /// Whether the text gives a secret away: the whole or a good part of it, in upper or lower case, with other
    /// separators, in base64, hex, percent-encoded, or escaped as in JSON and HTML.
    pub fn appears_in(&self, text: &str) -> bool {
        let mut text = text.to_owned();
        for _ in 0..=DECODINGS {
            if self.appears_plainly_in(&text) {
                return true;
            }
            let decoded = decoded(&text);
            if decoded == text {
                return false;
            }
            text = decoded;
        }
        false
    }

    fn appears_plainly_in(&self, text: &str) -> bool {
        let folded = folded(text);
        self.whole.iter().any(|secret| text.contains(secret))
            || self.words.iter().any(|word| is_word(word, text))
            || self.forms.iter().any(|(form, length)| {
                let mut pieces = folded.windows(*length);
                pieces.any(|piece| memmem::find(form, piece).is_some())
            })
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.whole.len())
    }
}

/// Whether the text contains the word with no letter or digit next to it.
fn is_word(word: &str, text: &str) -> bool {
    let mut places = text.match_indices(word);
    places.any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let after = text[start + word.len()..].chars().next();
        !before.into_iter().chain(after).any(char::is_alphanumeric)
    })
}

/// Only letters and digits, all in lower case and of ordinary width.
fn folded(text: &str) -> Vec<u8> {
    let narrow = |c: char| match c {
        '\u{ff01}'..='\u{ff5e}' => c as u32 - 0xff01 + 0x21,
        _ => c as u32,
    };
    let bytes = text.chars().filter_map(|c| u8::try_from(narrow(c)).ok());
    let bytes = bytes.filter(u8::is_ascii_alphanumeric);
    bytes.map(|byte| byte.to_ascii_lowercase()).collect()
}

/// The characters of a base64 encoding that depend only on the secret, if `before` bytes precede it.
fn base64(secret: &str, before: usize) -> String {
    let encoded = BASE64.encode([&[0; 2][..before], secret.as_bytes()].concat());
    let (start, end) = ((before * 8).div_ceil(6), (before + secret.len()) * 8 / 6);
    encoded[start..end].to_owned()
}

/// With each `%2D`, `\u002d`, `\u{2d}`, `\x2d`, `\055`, `&#45;` and `&#x2d;` replaced by its character, and without
/// other backslashes.
fn decoded(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(place) = rest.find(['%', '\\', '&']) {
        decoded += &rest[..place];
        rest = &rest[place..];
        let (c, length) = escape(rest).unwrap_or_else(|| {
            let c = rest.chars().next().filter(|c| *c != '\\');
            (c, 1)
        });
        decoded.extend(c);
        rest = &rest[length..];
    }
    decoded + rest
}

/// The character that an escape at the beginning of the text stands for, and the escape's length.
fn escape(text: &str) -> Option<(Option<char>, usize)> {
    let digits = |from: usize, to: usize, radix: u32| {
        let value = u32::from_str_radix(text.get(from..to)?, radix).ok()?;
        Some((char::from_u32(value), to))
    };
    let digits_before = |end: char, from: usize, radix: u32| {
        let end = text.find(end).filter(|end| *end <= 9)?;
        digits(from, end, radix).map(|(c, end)| (c, end + 1))
    };
    match text.as_bytes() {
        [b'%', ..] => digits(1, 3, 16),
        [b'\\', b'u', b'{', ..] => digits_before('}', 3, 16),
        [b'\\', b'u', ..] => digits(2, 6, 16),
        [b'\\', b'x', ..] => digits(2, 4, 16),
        [b'\\', b'n' | b'r' | b't', ..] => Some((None, 2)),
        [b'\\', b'0'..=b'7', ..] => digits(1, 4, 8),
        [b'&', b'#', b'x' | b'X', ..] => digits_before(';', 3, 16),
        [b'&', b'#', ..] => digits_before(';', 2, 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOKEN: &str = "Splunk B5A79AAD-D822-46CC-80D1-819F80D714D0";

    fn secrets() -> Secrets {
        let mut secrets = Secrets::default();
        secrets.add_credential(TOKEN);
        secrets
    }

    #[test]
    fn every_form_is_found() {
        for text in [
            "no token B5A79AAD-D822-46CC-80D1-819F80D714D0!",
            "no token b5a79aad-d822-46cc-80d1-819f80d714d0",
            "B5A79AADD82246CC80D1819F80D714D0",
            "{b5a79aad d822 46cc 80d1 819f80d714d0}",
            "B5A79AAD-D822-46CC-…",
            "…-819F80D714D0",
            // Base64 of the header's value, of the secret and of user:secret, and the URL-safe form.
            "U3BsdW5rIEI1QTc5QUFELUQ4MjItNDZDQy04MEQxLTgxOUY4MEQ3MTREMA==",
            "QjVBNzlBQUQtRDgyMi00NkNDLTgwRDEtODE5RjgwRDcxNEQw",
            "dTpCNUE3OUFBRC1EODIyLTQ2Q0MtODBEMS04MTlGODBENzE0RDA",
            "eDpCNUE3OUFBRC1EODIyLTQ2Q0MtODBEMS04MTlGODBENzE0RDA_",
            "42354137394141442d443832322d343643432d383044312d383139463830443731344430",
            "42:35:41:37:39:41:41:44:2D",
            "B5A79AAD%2DD822%2D46CC%2D80D1%2D819F80D714D0",
            "%42%35%41%37%39%41%41%44%2D",
            "%2542%2535%2541%2537%2539%2541%2541%2544",
            r"\u0042\u0035\u0041\u0037\u0039\u0041\u0041\u0044\u002d",
            r"\u{42}\u{35}\u{41}\u{37}\u{39}\u{41}\u{41}\u{44}",
            r"\102\065\101\067\071\101\101\104",
            "[66 53 65 55 57 65]",
            "0x42, 0x35, 0x41, 0x37",
            "Ｂ５Ａ７９ＡＡＤ－Ｄ８２２",
            r"B5A79AAD\-D822\-46CC",
            "&#66;&#x35;&#65;&#55;&#57;&#65;&#65;&#68;-",
            "B\u{200b}5\u{200b}A\u{200b}7\u{200b}9\u{200b}A\u{200b}A\u{200b}D\u{200b}",
        ] {
            assert!(secrets().appears_in(text), "{text}");
        }
    }

    #[test]
    fn other_texts_are_shown() {
        for text in [
            "the Splunk server is busy",
            "Invalid token",
            "B5A7…14D0",
            "",
            "100% of \\ and & and %zz and \\u12 and &#;",
            "no object 7c9e6679-7425-40de-944b-e07fc1f90ae7",
        ] {
            assert!(!secrets().appears_in(text), "{text}");
        }
        let mut short = Secrets::default();
        short.add_credential("Splunk T");
        short.add("");
        short.add_header_value("true");
        assert!(!short.appears_in("Technical trouble in Splunk, true or not: T5, aT, Té"));
        assert!(short.appears_in("no Splunk T here"));
        for text in ["T", "token 'T'", "%54", "no 'x':T."] {
            assert!(short.appears_in(text), "{text}");
        }
        assert_eq!(format!("{short:?}"), "Secrets(1)");
        let mut basic = Secrets::default();
        basic.add_credential("Basic dTpwYXNzd29yZA==");
        assert!(basic.appears_in("no PASSWORD for u") && !basic.appears_in("user u"));
    }

    fn encode_base64(bytes: &[u8]) -> String {
        base64(&String::from_utf8_lossy(bytes), 0)
    }

    proptest! {
        #[test]
        fn wherever_it_stands_it_is_found(
            before in "[a-z:]{0,7}", after in "[a-z:]{0,7}", secret in "[A-Za-z0-9_-]{16,40}",
        ) {
            prop_assume!(folded(&secret).len() >= SHORTEST_LEAK);
            let mut secrets = Secrets::default();
            secrets.add(&secret);
            let text = format!("{before}{secret}{after}");
            prop_assert!(secrets.appears_in(&text));
            prop_assert!(secrets.appears_in(&encode_base64(text.as_bytes())));
        }

        #[test]
        fn no_text_panics(text in "[%\\\\u&#x;0-9a-fé]{0,40}") {
            let _ = secrets().appears_in(&text);
        }
    }
}
