//! Secrets at random places of random JSON.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Every secret of the property tests begins with this, and nothing else contains it.
pub(super) const SECRET: &str = "hush";
/// A secret number.
pub(super) const NUMBER: u64 = 4_815_162_342;

/// A text as JSON, with random bytes escaped; the bits of `how` say which.
fn quoted(text: &str, how: u64) -> String {
    let mut quoted = String::from("\"");
    // What has no known scheme is masked whole.
    let how = if text.contains("AWS") || text.contains("B") {
        0
    } else {
        how
    };
    for (place, c) in text.chars().enumerate() {
        let bits = how.rotate_right(3 * place as u32 % 64) & 7;
        match c {
            '"' | '\\' if bits < 6 => quoted.extend(['\\', c]),
            '/' if bits == 5 => quoted += "\\/",
            _ if bits >= 6 || c < ' ' || "\"\\".contains(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    quoted += &match bits {
                        7 => format!("\\u{unit:04X}"),
                        _ => format!("\\u{unit:04x}"),
                    };
                }
            }
            _ => quoted.push(c),
        }
    }
    quoted + "\""
}

fn written(value: &Value, how: u64) -> String {
    let next = |place: usize| {
        how.rotate_left(7 * (place as u32 + 1))
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
    };
    match value {
        Value::String(text) => quoted(text, how),
        Value::Array(values) => {
            let values = values.iter().enumerate();
            let values = values.map(|(place, value)| written(value, next(place)));
            format!("[{}]", values.collect::<Vec<_>>().join(", "))
        }
        Value::Object(members) => {
            let members = members.iter().enumerate().map(|(place, (name, value))| {
                let blank = if how >> place & 1 == 1 { " " } else { "" };
                let name = quoted(name, next(place));
                format!("{name}{blank}:{blank}{}", written(value, next(place + 1)))
            });
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

/// A name in upper or lower case, with `_` for `-` where that means the same.
pub(super) fn any_case(name: &str, how: u64, is_member: bool) -> String {
    let name =
        name.chars()
            .enumerate()
            .map(|(place, c)| match (how.rotate_right(place as u32) & 1, c) {
                (1, '-') if is_member => '_',
                (1, c) => c.to_ascii_uppercase(),
                (_, c) => c,
            });
    let name: String = name.collect();
    if is_member && how & 0x10 != 0 {
        format!("HTTP_{name}")
    } else {
        name
    }
}

pub(super) fn percent_encoded(name: &str, how: u64) -> String {
    let bytes = name.bytes().enumerate().map(|(place, byte)| {
        match how.rotate_right(2 * place as u32 % 64) & 7 {
            6 => format!("%{byte:02x}"),
            7 => format!("%25{byte:02X}"),
            _ => char::from(byte).into(),
        }
    });
    bytes.collect()
}

/// Pieces of JSON in any order.
const DAMAGED: &str = r#"(sig|n|cookie|Authorization|Bearer |AWS4-| Signature=a|my-field|%22|%22:|%5C|%3A|abcdefghi|1|=|%3D|"|"|\\|\\|:|u0022|u0026|&|\{|\[|\]|\}| |,){0,16}"#;

pub(super) fn secret() -> impl Strategy<Value = String> {
    "hush[a-zA-Z0-9]{4,20}"
}

fn filler() -> impl Strategy<Value = String> {
    r#"[a-cé☃/ "\\?&=%\n:{}\[\],]{0,12}"#
}

/// A text that contains a secret as a parameter.
fn with_parameter() -> impl Strategy<Value = String> {
    let names = prop_oneof![
        Just("x-amz-signature"),
        Just("x-amz-security-token"),
        Just("signature"),
        Just("sig"),
        Just("x-goog-signature"),
        Just("webidentitytoken"),
        Just("ldappassword"),
        Just("token"),
        Just("samlassertion"),
    ];
    let parts = (filler(), "[?& ,;\n\t]", names, any::<[u64; 2]>(), secret());
    (parts, any::<bool>(), "(&[a-c=&]{0,5}| HTTP|)").prop_map(
        |((before, separator, name, how, secret), is_nested, behind)| {
            let name = percent_encoded(&any_case(name, how[0], false), how[1]);
            if is_nested {
                let behind = behind.replace('&', "%26");
                format!("{before}{separator}{name}%3D{secret}{behind}")
            } else {
                format!("{before}{separator}{name}={secret}{behind}")
            }
        },
    )
}

fn with_member() -> impl Strategy<Value = (String, Value)> {
    let names = prop_oneof![
        Just("cookie"),
        Just("set-cookie"),
        Just("x-amz-security-token"),
        Just("x-amz-server-side-encryption-customer-key"),
        Just("x-amz-copy-source-server-side-encryption-customer-key"),
        Just("x-amz-signature"),
        Just("ldappassword"),
        Just("my-field"),
    ];
    let secret_value = prop_oneof![3 => secret().prop_map(Value::from), 1 => Just(NUMBER.into())];
    let plain = (names, any::<u64>(), secret_value)
        .prop_map(|(name, how, secret)| (any_case(name, how, true), secret));
    let schemes = prop_oneof![
        Just("Bearer "),
        Just("Basic "),
        Just("AWS AKIAEXAMPLE:"),
        Just("AWS4-HMAC-SHA256 Credential=AKIA/20260321, SignedHeaders=host, Signature="),
        Just(""),
    ];
    let authorization = (schemes, any::<u64>(), secret()).prop_map(|(scheme, how, secret)| {
        let name = any_case("authorization", how, true);
        (name, format!("{scheme}{secret}").into())
    });
    prop_oneof![plain, authorization]
}

/// JSON with secrets in it.
fn with_secrets() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i32>().prop_map(Into::into),
        any::<bool>().prop_map(Into::into),
        filler().prop_map(Into::into),
        with_parameter().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let member = prop_oneof![(filler(), inner.clone()), with_member()];
        let object =
            vec(member, 0..4).prop_map(|members| Value::Object(members.into_iter().collect()));
        prop_oneof![vec(inner, 0..4).prop_map(Into::into), object]
    })
}

/// The same, with every secret masked.
fn masked(value: &Value) -> Value {
    match value {
        Value::String(text) => {
            let mut parts = text.split(SECRET);
            let first = parts.next().unwrap_or_default().to_owned();
            let text = parts.fold(first, |text, part| {
                let rest = part.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
                format!("{text}REDACTED{rest}")
            });
            text.into()
        }
        Value::Array(values) => values.iter().map(masked).collect(),
        Value::Object(members) => {
            let members = members.iter();
            Value::Object(
                members
                    .map(|(name, value)| (name.clone(), masked(value)))
                    .collect(),
            )
        }
        Value::Number(number) if number.as_u64() == Some(NUMBER) => 0.into(),
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(crate::cases(2000))]

    #[test]
    fn secrets_are_found_wherever_they_are(value in with_secrets(), how: u64) {
        let event = written(&serde_json::json!({ "a": value, "cookie": "hush1234" }), how);
        let found = redacted(&format!("{event}\n{{\"b\":1}}\n{event}\n"));
        let lines: Vec<_> = found.lines().collect();
        prop_assert_eq!((lines.len(), lines[1], lines[0]), (3, "{\"b\":1}", lines[2]));
        prop_assert!(found.len() <= 2 * event.len() + 10);
        let before: Value = serde_json::from_str(&event).unwrap();
        let after: Value = serde_json::from_str(lines[0]).unwrap();
        prop_assert_eq!(after, masked(&before), "{}", event);
    }

    /// In JSON within a JSON string, nothing secret is left, and the outer JSON stays valid.
    #[test]
    fn secrets_are_found_in_json_within_json(value in with_secrets(), how: u64, deep: bool) {
        let mut inner = written(&value, how);
        if deep {
            inner = serde_json::json!({ "log": inner }).to_string();
        }
        // Programs that write JSON within JSON escape only what they must.
        let event = serde_json::json!({ "log": inner, "b": [1] }).to_string();
        for rules in [redacting(), redacting_fields()] {
            let found = redacted_by(&rules, &event);
            let after: Value = serde_json::from_str(&found).unwrap();
            let is_left = found.contains(SECRET) || found.contains(&NUMBER.to_string());
            prop_assert!(!is_left, "{}\n{}", event, found);
            prop_assert_eq!(&after["b"], &serde_json::json!([1]));
        }
    }

    /// Whatever its strings contain, even JSON that is cut off or damaged, an event stays one event and is masked once.
    #[test]
    fn no_well_formed_event_is_dropped(texts in vec(DAMAGED, 1..4), depth in 0..3, as_names: bool) {
        let nest = |text: String| (0..depth).fold(text, |text, _| serde_json::json!({ "log": text }).to_string());
        let texts = texts.into_iter().map(nest).enumerate();
        let members = texts.map(|(place, text)| match as_names {
            true => (text, serde_json::json!([1, "x"])),
            false => (format!("a{place}"), text.into()),
        });
        let event = Value::Object(members.collect()).to_string();
        let mut chunk = chunk(&event);
        prop_assert_eq!(redacting().screen(&mut chunk, 0).unredactable, 0, "{}", event);
        let after = String::from_utf8(chunk.bytes).unwrap();
        let value: Result<Value, _> = serde_json::from_str(&after);
        prop_assert!(value.is_ok_and(|value| value.is_object()), "{}\n{}", event, after);
        prop_assert_eq!(redacted(&after), after, "masked twice");
    }

    #[test]
    fn no_bytes_panic_and_none_are_added(bytes in r#"[\x00-\xff]{0,80}"#, text in r#"(sig|cookie|=|%3D|"|\\|:|\\u0041|\n|&|\{|\[|1| ){0,40}"#) {
        for bytes in [bytes.as_bytes(), text.as_bytes()] {
            let mut chunk = Chunk { bytes: bytes.into(), events: 99 };
            redacting().screen(&mut chunk, 0);
            prop_assert!(chunk.bytes.len() <= bytes.len());
        }
    }
}
