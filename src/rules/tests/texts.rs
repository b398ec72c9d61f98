//! Secrets in texts: headers, parameters and JSON in them, with all that may be around them.

use proptest::collection::vec;
use proptest::prelude::*;

use super::random::{NUMBER, SECRET, any_case, percent_encoded, secret};
use super::*;

fn percent_encoding(text: &str) -> String {
    let bytes = text.bytes().map(|byte| match byte {
        _ if byte.is_ascii_alphanumeric() || byte == b'-' => char::from(byte).into(),
        _ => format!("%{byte:02X}"),
    });
    bytes.collect()
}

/// A text, and the name of a header behind it. No quote in the text begins a string of JSON that does not end there.
fn before_header() -> impl Strategy<Value = String> {
    let pieces = proptest::sample::select(vec![
        "\"",
        "\"x\"",
        "a",
        "5\" ",
        " ",
        "\n",
        "\r\n",
        "\\",
        "=",
        "(",
        "{",
        "é",
        "{\"k\": \"v\"}",
        "[\"a\",\"b\"]",
        "?sig=y&",
        "Host: h\r\n",
        "Cookie: y\n",
        "Authorization: AWS4-x Signature=z\n",
    ]);
    let names = proptest::sample::select(vec![
        "Cookie",
        "set-cookie",
        "Authorization",
        "PROXY-AUTHORIZATION",
        "X-Auth-Token",
        "HTTP_COOKIE",
        "x-amz-security-token",
        "x-amz-server-side-encryption-customer-key",
    ]);
    let text = vec(pieces, 0..6).prop_map(|pieces| pieces.concat());
    (text, "[ ,;\t\n(]", names).prop_map(|(text, separator, name)| text + &separator + name)
}

/// What may be in a header's value: all of it is secret, but for the names of schemes.
fn header_value() -> impl Strategy<Value = String> {
    let pieces = proptest::sample::select(vec![
        "\"",
        "\"x\"",
        "=\"",
        "\",",
        "\"]",
        "\"}",
        "\": ",
        "a=",
        "; ",
        ", ",
        "{\"k\":\"",
        "[\"",
        "\\",
        "'",
        "é",
        "\t",
        "sig=a&",
        "Token=\"b\"",
        "Cookie: c",
        "Authorization: Basic d",
        "AWS4-HMAC-SHA256 ",
        "%22",
        "%0A",
        "&",
        "?",
        "Digest ",
        "Bearer ",
        "hush",
    ]);
    vec(pieces, 0..8).prop_map(|pieces| pieces.concat() + "hush")
}

/// A part of a text with a secret in a place that the page about rules names.
fn fragment() -> impl Strategy<Value = String> {
    let select = |texts: &[&'static str]| proptest::sample::select(texts.to_vec());
    let members = [
        "cookie",
        "Set-Cookie",
        "authorization",
        "secretKey",
        "my-field",
        "x-auth-token",
        "token",
        "sig",
    ];
    let parameters = [
        "Signature",
        "X-Amz-Security-Token",
        "token",
        "LDAPPassword",
        "secret-key",
        "temp_url_sig",
        "sig",
    ];
    let value_text = || {
        (
            select(&["", "Bearer ", "a=\"", "\"x\", ", "\\", "{\"a\":\"", "%22"]),
            secret(),
        )
    };
    let value = prop_oneof![
        4 => value_text().prop_map(|(before, secret)| Value::from(before.to_owned() + &secret)),
        1 => Just(NUMBER.into()),
        1 => secret().prop_map(|secret| serde_json::json!([secret, { "a": secret }])),
    ];
    let parameter = (
        select(&["?", "&", " ", ";", "\n"]),
        select(&parameters),
        any::<[u64; 2]>(),
        select(&["=", "%3D", "%253d", "\\u003d"]),
        select(&["26", "20", "22", "3F"]),
    )
        .prop_map(|(before, name, how, equals, separator)| {
            let name = percent_encoded(&any_case(name, how[0], false), how[1]);
            // A separator in the value is escaped once more than the equals sign.
            let escape = match equals {
                "%3D" => "%25",
                "%253d" => "%2525",
                _ => "%",
            };
            format!("{before}{name}{equals}a{escape}{separator}")
        });
    let parameter = (parameter, secret()).prop_map(|(before, secret)| before + &secret + "&");
    let header = (before_header(), header_value())
        .prop_map(|(before, value)| format!(" {before}: {value}\n"));
    let json =
        (select(&members), any::<u64>(), value, 0..5).prop_map(|(name, how, value, form)| {
            let name = any_case(name, how, true);
            match form {
                0 => serde_json::json!({ "name": name, "value": value }).to_string(),
                1 => format!("{{\"Key\": \"{name}\", \"a-b\": \"c\", \"Values\": [{value}]}}"),
                _ => serde_json::json!({ "a": "b", name: value, "c": "d" }).to_string(),
            }
        });
    let json = (json, 0..4).prop_map(|(json, form)| match form {
        0 => format!(" j={}&", percent_encoding(&json)),
        1 => format!(" j={}&", percent_encoding(&percent_encoding(&json))),
        2 => format!(
            " j={}&",
            json.replace('%', "%25")
                .replace('\\', "%5C")
                .replace('"', "%22")
                .replace(' ', "%20")
        ),
        _ => json,
    });
    prop_oneof![parameter, header, json]
}

/// Texts that are nearly secrets, and what may be between them. No quote in them begins a string of JSON.
fn nearly() -> impl Strategy<Value = String> {
    let pieces = proptest::sample::select(vec![
        "\"",
        "\\",
        "%",
        "=",
        "x:",
        "{",
        "x[",
        "x,",
        "é",
        " ",
        "\n",
        "Cookie",
        "token",
        "AWS4-",
        "Signature",
        "%22",
        "%3A",
        "\"name\":\"Cookie\"",
        "\"value\":1",
        "\"cookie\"",
        "\"token\":x",
        "\"sig\":[",
        "?",
        "&",
        "x",
        "Authorization: AWS4-HMAC-SHA256 Credential=a/b, ",
        "?sig=&",
    ]);
    vec(pieces, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(crate::cases(2000))]

    /// All of a header's value is masked, up to its line's end, and no other member is lost.
    #[test]
    fn no_quote_ends_a_header(
        before in before_header(),
        blanks in "[ \t]{0,2}",
        value in header_value(),
        depth in 0..4,
        colon in proptest::sample::select(vec![":", "%3A", "%253a"]),
    ) {
        // In a URL, the value is escaped, too.
        let (blanks, value) = match colon {
            ":" => (blanks, value),
            _ => (String::new(), percent_encoding(&value)),
        };
        let text = format!("{before}{colon}{blanks}{value}");
        let nest = |text: String| serde_json::json!({ "a": text, "b": 1 }).to_string();
        let event = (0..depth).fold(nest(text.clone()), |event, _| nest(event));
        prop_assert!(!redacted_by(&redacting_fields(), &event).contains(SECRET), "{}", event);
        let found = redacted(&event);
        prop_assert!(!found.contains(SECRET), "{}\n{}", event, found);
        let mut inner: Value = serde_json::from_str(&found).unwrap();
        for _ in 0..depth {
            prop_assert_eq!(&inner["b"], 1, "{}\n{}", &event, &found);
            inner = serde_json::from_str(inner["a"].as_str().unwrap()).unwrap();
        }
        prop_assert_eq!(&inner["b"], 1, "{}\n{}", &event, &found);
    }

    #[test]
    fn no_secret_is_left_in_a_text(parts in vec((nearly(), fragment()), 1..4), depth in 0..3) {
        let text: String = parts.into_iter().map(|(before, fragment)| before + &fragment).collect();
        let event = (0..depth).fold(serde_json::json!({ "a": text, "b": 1 }).to_string(), |event, _| {
            serde_json::json!({ "a": event, "b": 1 }).to_string()
        });
        for rules in [redacting(), redacting_fields()] {
            let found = redacted_by(&rules, &event);
            let is_left = found.contains(SECRET) || found.contains(&NUMBER.to_string());
            prop_assert!(!is_left, "{}\n{}", event, found);
            prop_assert!(serde_json::from_str::<Value>(&found).is_ok());
        }
    }
}
