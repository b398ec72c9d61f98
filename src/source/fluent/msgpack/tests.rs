use proptest::collection::vec;
use proptest::prelude::*;
use rmpv::{Utf8String, Value};

use super::*;
use crate::source::fluent::head::{Skipper, split_value};

fn json(bytes: &[u8]) -> Result<String, Fault> {
    let mut out = b"before".to_vec();
    let written = Transcoder::default().write(bytes, &mut out, 1 << 20);
    let out = String::from_utf8(out).unwrap();
    let text = out.strip_prefix("before").unwrap();
    match written {
        Ok(length) => assert_eq!(length, bytes.len()),
        Err(_) => assert_eq!(text, ""),
    }
    written.map(|_| text.to_owned())
}

fn encoded(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).unwrap();
    bytes
}

#[test]
fn every_kind_of_value_has_its_text() {
    for (bytes, text) in [
        (&b"\xc0"[..], "null"),
        (b"\xc2", "false"),
        (b"\xc3", "true"),
        (b"\x7f", "127"),
        (b"\xe0", "-32"),
        (b"\xff", "-1"),
        (b"\xcc\xff", "255"),
        (b"\xcd\xff\xff", "65535"),
        (b"\xce\xff\xff\xff\xff", "4294967295"),
        (
            b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
            "18446744073709551615",
        ),
        (b"\xd0\x80", "-128"),
        (b"\xd1\x80\x00", "-32768"),
        (b"\xd2\x80\x00\x00\x00", "-2147483648"),
        (
            b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00",
            "-9223372036854775808",
        ),
        (b"\xd3\x00\x00\x00\x00\x00\x00\x00\x05", "5"),
        (b"\xca\x3f\x8c\xcc\xcd", "1.1"),
        (b"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", "1.0"),
        (b"\xcb\x7e\x37\xe4\x3c\x88\x00\x75\x9c", "1e+300"),
        // NaN, +infinity, -infinity
        (b"\xca\x7f\xc0\x00\x00", "null"),
        (b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "null"),
        (b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00", "null"),
        (b"\xca\xff\x80\x00\x00", "null"),
        (b"\xa0", r#""""#),
        (b"\xa5a\"\\\n\x00", r#""a\"\\\n\u0000""#),
        (b"\xd9\x02\xc3\xa9", "\"é\""),
        (b"\xda\x00\x01a", "\"a\""),
        (b"\xdb\x00\x00\x00\x01a", "\"a\""),
        // Not UTF-8: a lone byte, a sequence that is cut off, a surrogate.
        (b"\xa3a\xe9b", "\"a\u{fffd}b\""),
        (b"\xc4\x02\xe2\x82", "\"\u{fffd}\""),
        (b"\xc5\x00\x03\xed\xa0\x80", "\"\u{fffd}\u{fffd}\u{fffd}\""),
        (b"\xc6\x00\x00\x00\x01a", "\"a\""),
        (b"\x90", "[]"),
        (b"\x80", "{}"),
        (b"\x93\x01\x90\x80", "[1,[],{}]"),
        (b"\xdc\x00\x02\x01\x02", "[1,2]"),
        (b"\xdd\x00\x00\x00\x01\x91\x02", "[[2]]"),
        (
            b"\x82\xa1a\x01\xa1b\x81\xa1c\xc0",
            r#"{"a":1,"b":{"c":null}}"#,
        ),
        (b"\xde\x00\x01\xa1a\x91\x01", r#"{"a":[1]}"#),
        (b"\xdf\x00\x00\x00\x01\xc4\x01a\x01", r#"{"a":1}"#),
        (b"\x82\xa1a\x01\xa1a\x02", r#"{"a":1,"a":2}"#),
    ] {
        assert_eq!(json(bytes).as_deref(), Ok(text), "{bytes:x?}");
    }
}

#[test]
fn keys_that_are_no_strings_are_their_text() {
    for (bytes, text) in [
        (&b"\x81\x01\x02"[..], r#"{"1":2}"#),
        (b"\x81\xff\xc0", r#"{"-1":null}"#),
        (b"\x81\xc0\x01", r#"{"null":1}"#),
        (b"\x81\xc3\x01", r#"{"true":1}"#),
        (b"\x81\xca\x7f\xc0\x00\x00\x01", r#"{"null":1}"#),
        (b"\x81\xca\x3f\x8c\xcc\xcd\x01", r#"{"1.1":1}"#),
        (b"\x81\x92\x01\xa1a\x02", r#"{"[1,\"a\"]":2}"#),
        (b"\x81\x90\x90", r#"{"[]":[]}"#),
        (b"\x81\x81\x01\x02\x03", r#"{"{\"1\":2}":3}"#),
        (b"\x81\xd4\x05\xff\x01", r#"{"/w==":1}"#),
        (
            b"\x81\xd7\x00\x00\x00\x00\x01\x00\x00\x00\x00\x01",
            r#"{"1":1}"#,
        ),
    ] {
        assert_eq!(json(bytes).as_deref(), Ok(text), "{bytes:x?}");
    }
}

#[test]
fn times_are_numbers_and_other_extensions_base64() {
    for (bytes, text) in [
        (
            &b"\xd7\x00\x6b\x02\x81\xef\x17\x6d\x95\x88"[..],
            "1795326447.393057672",
        ),
        (
            b"\xc7\x08\x00\x00\x00\x00\x01\x00\x00\x00\x01",
            "1.000000001",
        ),
        (b"\xd6\xff\x00\x00\x00\x02", "2"),
        (b"\xd7\xff\x00\x00\x00\x04\x00\x00\x00\x02", "2.000000001"),
        (
            b"\xc7\x0c\xff\x00\x00\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff",
            "-0.999999999",
        ),
        // A billion nanoseconds, other lengths, other types.
        (
            b"\xd7\x00\x00\x00\x00\x01\x3b\x9a\xca\x00",
            r#""AAAAATuaygA=""#,
        ),
        (b"\xd6\x00\x00\x00\x00\x02", r#""AAAAAg==""#),
        (b"\xd4\x05\xff", r#""/w==""#),
        (b"\xd5\x05\xff\xff", r#""//8=""#),
        (b"\xc8\x00\x01\x05a", r#""YQ==""#),
        (b"\xc9\x00\x00\x00\x00\x05", r#""""#),
    ] {
        assert_eq!(json(bytes).as_deref(), Ok(text), "{bytes:x?}");
    }
}

#[test]
fn what_is_cut_off_or_nested_too_deeply_is_malformed() {
    for bytes in [
        &b""[..],
        b"\xc1",
        b"\x91",
        b"\x91\xc1",
        b"\x81\xa1a",
        b"\xa2a",
        b"\xcd\x00",
        b"\xc4",
        b"\xd9\x01",
        b"\xc7\x01",
        b"\xd7\x00\x00",
        b"\xdd\xff\xff\xff\xff\x01",
        b"\xdb\xff\xff\xff\xffa",
    ] {
        assert_eq!(json(bytes), Err(Fault::Malformed), "{bytes:x?}");
        assert_eq!(split_value(bytes), None, "{bytes:x?}");
    }
    // A map as a key of a map that is a key: twenty of them would make a million backslashes of one quote.
    assert_eq!(
        json(b"\x81\x81\x81\xa1a\x01\x02\x03"),
        Err(Fault::Malformed)
    );
    let nested = |depth: usize| [vec![0x91; depth], vec![0xc0]].concat();
    assert!(json(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(json(&nested(MAX_DEPTH + 1)), Err(Fault::Malformed));
    // Its end is known all the same.
    let deep = nested(100_000);
    assert_eq!(split_value(&deep), Some((&deep[..], &[][..])));
}

/// What is produced counts, and writing is given up in time.
#[test]
fn bombs_cost_no_more_than_the_limit() {
    const MAX: usize = 64 << 10;
    let repeated = |head: &[u8], part: &[u8], count: usize| [head, &part.repeat(count)].concat();
    let key = [b"\x91\xdb\x00\x00\x80\x00".as_slice(), &[b'"'; 0x8000]].concat();
    let key_bomb = [b"\x81", &key[..], b"\xc0"].concat();
    for bytes in [
        repeated(b"\xdd\x00\x01\x00\x00", b"\xc0", 65_536),
        repeated(b"\xdb\x00\x01\x00\x00", b"\xff", 65_536),
        repeated(b"\xdb\x00\x00\xff\x00", b"\x00", 65_280),
        repeated(b"\xc9\x00\x00\xff\x00\x05", b"\x00", 65_280),
        repeated(b"\xdf\x00\x00\x80\x00", b"\xc0\xc0", 32_768),
        repeated(
            b"\xdd\x00\x00\x40\x00",
            b"\xcb\x7f\xef\xff\xff\xff\xff\xff\xff",
            16_384,
        ),
        key_bomb,
    ] {
        let mut out = Vec::new();
        let written = Transcoder::default().write(&bytes, &mut out, MAX);
        assert_eq!(written, Err(Fault::TooLarge), "{:x?}", &bytes[..5]);
        assert!(out.is_empty());
        assert!(out.capacity() <= 4 * MAX, "{}", out.capacity());
    }
}

/// Whether a map's key has a key that is an array or a map.
fn has_key_in_key(value: &Value, is_key: bool) -> bool {
    let is_nested = |key: &Value| is_key && (key.is_array() || key.is_map());
    match value {
        Value::Array(values) => values.iter().any(|value| has_key_in_key(value, is_key)),
        Value::Map(pairs) => pairs.iter().any(|(key, value)| {
            is_nested(key) || has_key_in_key(key, true) || has_key_in_key(value, is_key)
        }),
        _ => false,
    }
}

/// The same by a tree.
fn naive(value: &Value) -> String {
    let string = |text: &Utf8String| match text.as_str() {
        Some(text) => text.to_owned(),
        None => String::from_utf8_lossy(text.as_bytes()).into_owned(),
    };
    match value {
        Value::Nil => "null".into(),
        Value::Boolean(value) => value.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::F32(number) => serde_json::to_string(number).unwrap(),
        Value::F64(number) => serde_json::to_string(number).unwrap(),
        Value::String(text) => naive_string(&string(text)),
        Value::Binary(bytes) => naive_string(&String::from_utf8_lossy(bytes)),
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(naive).collect();
            format!("[{}]", values.join(","))
        }
        Value::Map(pairs) => {
            let pair = |(key, value): &(Value, Value)| {
                let key = match naive(key) {
                    text if text.starts_with('"') => text,
                    text => naive_string(&text),
                };
                format!("{key}:{}", naive(value))
            };
            let pairs: Vec<_> = pairs.iter().map(pair).collect();
            format!("{{{}}}", pairs.join(","))
        }
        Value::Ext(0, bytes) if bytes.len() == 8 => {
            let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
            match word(4) {
                0 => word(0).to_string(),
                nanoseconds if nanoseconds < 1_000_000_000 => {
                    format!("{}.{nanoseconds:09}", word(0))
                }
                _ => naive_string(&BASE64_STANDARD.encode(bytes)),
            }
        }
        Value::Ext(_, bytes) => naive_string(&BASE64_STANDARD.encode(bytes)),
    }
}

fn naive_string(text: &str) -> String {
    let escape = |character: char| match character {
        '"' => "\\\"".into(),
        '\\' => "\\\\".into(),
        '\n' => "\\n".into(),
        '\r' => "\\r".into(),
        '\t' => "\\t".into(),
        '\0'..' ' => format!("\\u{:04x}", u32::from(character)),
        _ => character.to_string(),
    };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}

fn any_value() -> impl Strategy<Value = Value> {
    let bytes = || {
        prop_oneof![
            vec(any::<u8>(), 0..20),
            vec(
                prop_oneof![Just(b'"'), Just(b'\\'), Just(b'a'), 0..32_u8, Just(0xc3)],
                0..30
            ),
        ]
    };
    let string = |bytes: Vec<u8>| match String::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(error) => Value::Binary(error.into_bytes()),
    };
    let scalar = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i8>().prop_map(Value::from),
        any::<f32>().prop_map(Value::F32),
        any::<f64>().prop_map(Value::F64),
        bytes().prop_map(string),
        bytes().prop_map(Value::Binary),
        (any::<u32>(), 0..2_000_000_000_u32).prop_map(|(seconds, nanoseconds)| {
            let bytes = [seconds.to_be_bytes(), nanoseconds.to_be_bytes()];
            Value::Ext(0, bytes.concat())
        }),
        (1..100_i8, vec(any::<u8>(), 0..20)).prop_map(|(kind, bytes)| Value::Ext(kind, bytes)),
    ];
    scalar.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::Array),
            vec((inner.clone(), inner), 0..6).prop_map(Value::Map),
        ]
    })
}

proptest! {
    #[test]
    fn a_value_reads_as_its_tree_does(value in any_value()) {
        let expected = match has_key_in_key(&value, false) {
            true => Err(Fault::Malformed),
            false => Ok(naive(&value)),
        };
        let text = json(&encoded(&value));
        prop_assert_eq!(&text, &expected);
        let is_json = |text: String| serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        prop_assert!(text.is_err() || text.is_ok_and(is_json));
    }

    #[test]
    fn a_value_ends_at_the_same_place_however_it_is_cut(
        value in any_value(), behind: Vec<u8>, pieces in vec(1..9_usize, 1..20),
    ) {
        let bytes = encoded(&value);
        let end = bytes.len();
        let all = [bytes, behind].concat();
        let mut skipper = Skipper::default();
        let (mut at, mut come) = (0, 0);
        for piece in pieces.iter().cycle() {
            come = all.len().min(come + piece);
            at += skipper.pass(&all[at..come]).unwrap();
            prop_assert!(come - at < 9 || skipper.is_done());
            if come == all.len() || skipper.is_done() {
                break;
            }
        }
        prop_assert!(skipper.is_done());
        prop_assert_eq!(at, end);
        prop_assert_eq!(split_value(&all), Some(all.split_at(end)));
    }

    #[test]
    fn less_than_the_whole_is_never_taken_for_it(value in any_value(), part: prop::sample::Index) {
        let bytes = encoded(&value);
        let part = &bytes[..part.index(bytes.len())];
        prop_assert_eq!(json(part), Err(Fault::Malformed));
        prop_assert_eq!(split_value(part), None);
    }

    #[test]
    fn the_limit_is_exact(value in any_value()) {
        prop_assume!(!has_key_in_key(&value, false));
        let bytes = encoded(&value);
        let length = naive(&value).len();
        let mut out = Vec::new();
        prop_assert_eq!(Transcoder::default().write(&bytes, &mut out, length), Ok(bytes.len()));
        let shorter = Transcoder::default().write(&bytes, &mut out, length - 1);
        prop_assert_eq!(shorter, Err(Fault::TooLarge));
    }

    #[test]
    fn whatever_the_bytes_no_two_parts_disagree(bytes: Vec<u8>) {
        let mut out = Vec::new();
        if let Ok(length) = Transcoder::default().write(&bytes, &mut out, 1 << 20) {
            prop_assert_eq!(split_value(&bytes).map(|(value, _)| value.len()), Some(length));
            let text = str::from_utf8(&out).unwrap();
            prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok());
        }
    }
}
