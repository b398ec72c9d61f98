//! Secrets at random places of random JSON, and those of the captured streams.

use std::fs;
use std::ops::Range;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use super::filter::{Action, Filter};
use super::redact::Redactor;
use super::*;
use crate::framer::{Frame, Framer, walk};

/// Every secret of the property tests begins so, and nothing else has it.
const SECRET: &str = "hush";

fn redacting() -> Rules {
    Rules::new(
        Filter::default(),
        Redactor::new(true, ["my-field"]),
        Vec::new(),
    )
}

fn chunk(lines: &str) -> Chunk {
    Chunk {
        bytes: lines.into(),
        events: lines.lines().count(),
    }
}

/// What becomes of lines.
fn redacted(lines: &str) -> String {
    let mut chunk = chunk(lines);
    redacting().screen(&mut chunk, 0);
    String::from_utf8(chunk.bytes).unwrap()
}

#[test]
fn secrets_are_masked_and_nothing_else() {
    for (event, expected) in [
        // Parameters, in URLs of all kinds.
        (
            r#"{"u":"/b/k?X-Amz-Signature=0123456789ab&x=1"}"#,
            r#"{"u":"/b/k?X-Amz-Signature=REDACTED&x=1"}"#,
        ),
        (
            r#"{"u":"GET /b?a=1&Signature=abcdefgh%2Bi=?a=1&signature=abcdefgh%2Bi= HTTP/1.1"}"#,
            r#"{"u":"GET /b?a=1&Signature=REDACTED?a=1&signature=REDACTED HTTP/1.1"}"#,
        ),
        (
            r#"{"u":"?a=1\u0026X-Amz-Security-Token=abcdefghij\u0026X-Amz-Credential=AKIA"}"#,
            r#"{"u":"?a=1\u0026X-Amz-Security-Token=REDACTED\u0026X-Amz-Credential=AKIA"}"#,
        ),
        (
            r#"{"u":"?sig\u003dabcdefgh\/ij"}"#,
            r#"{"u":"?sig\u003dREDACTED"}"#,
        ),
        (
            r#"{"u":"?X%2DAmz%2dSIGNATURE=abcdefghij"}"#,
            r#"{"u":"?X%2DAmz%2dSIGNATURE=REDACTED"}"#,
        ),
        (
            r#"{"u":"?to=http%3A%2F%2Fh%3FX-Goog-Signature%3Dabcdefghij%26b%3D1"}"#,
            r#"{"u":"?to=http%3A%2F%2Fh%3FX-Goog-Signature%3DREDACTED%26b%3D1"}"#,
        ),
        (
            r#"{"u":"?to=http%253A%2Fh%253FX-Amz-Signature%253Dabcdefghij"}"#,
            r#"{"u":"?to=http%253A%2Fh%253FX-Amz-Signature%253DREDACTED"}"#,
        ),
        (
            r#"{"u":"?LDAPPassword=a,b;c?d(e)f g&Token=x.y~z-aaa"}"#,
            r#"{"u":"?LDAPPassword=REDACTED g&Token=REDACTED"}"#,
        ),
        (r#"{"u":"Sig=short"}"#, r#"{"u":"Sig=*****"}"#),
        (
            r#"{"u":"?WebIdentityToken=&SAMLAssertion=abcdefgh"}"#,
            r#"{"u":"?WebIdentityToken=&SAMLAssertion=REDACTED"}"#,
        ),
        // Members.
        (
            r#"{"h":{"Authorization":"AWS4-HMAC-SHA256 Credential=AKIA/x, SignedHeaders=host;x-amz-security-token, Signature=abcdefgh"}}"#,
            r#"{"h":{"Authorization":"AWS4-HMAC-SHA256 Credential=AKIA/x, SignedHeaders=host;x-amz-security-token, Signature=REDACTED"}}"#,
        ),
        (
            r#"{"authorization":"AWS AKIA:abcdefghijk="}"#,
            r#"{"authorization":"AWS AKIA:REDACTED"}"#,
        ),
        (
            r#"{"HTTP_AUTHORIZATION":"Bearer abcdefghijk"}"#,
            r#"{"HTTP_AUTHORIZATION":"Bearer REDACTED"}"#,
        ),
        (
            r#"{"Authorization":"?sig=abc Bearer x"}"#,
            r#"{"Authorization":"REDACTED"}"#,
        ),
        (
            r#"{"Authorization":"abcdefghijk"}"#,
            r#"{"Authorization":"REDACTED"}"#,
        ),
        (
            r#"{"Authorization":["Basic abcdefghijk","AWS AKIA:abcdefgh"]}"#,
            r#"{"Authorization":["Basic REDACTED","AWS AKIA:REDACTED"]}"#,
        ),
        (
            r#"{"x":[{"HTTP_X_AMZ_SERVER_SIDE_ENCRYPTION_CUSTOMER_KEY":"abcdefghijk"},{"a":1}]}"#,
            r#"{"x":[{"HTTP_X_AMZ_SERVER_SIDE_ENCRYPTION_CUSTOMER_KEY":"REDACTED"},{"a":1}]}"#,
        ),
        (
            r#"{"Set\u002dCookie" : "a=b; c" , "cookie":"\"abcdefg\\"}"#,
            r#"{"Set\u002dCookie" : "******" , "cookie":"REDACTED"}"#,
        ),
        (
            r#"{"My_Field":{"a":[12,"abcdefgh",true,null],"b":{"c":"x"}},"d":1}"#,
            r#"{"My_Field":{"a":[0,"REDACTED",null,null],"b":{"c":"*"}},"d":1}"#,
        ),
        (
            r#"{"Authorization":["AWS4-HMAC-SHA256 Credential=AKIA/x, Signature=abcdefgh","Bearer abcdefgh"]}"#,
            r#"{"Authorization":["AWS4-HMAC-SHA256 Credential=AKIA/x, Signature=REDACTED","Bearer REDACTED"]}"#,
        ),
        (
            r#"{"my-field":{"?sig=abcdefgh":[1,{"cookie":["a",2]}],"b":true}}"#,
            r#"{"my-field":{"?sig=REDACTED":[0,{"cookie":["*",0]}],"b":null}}"#,
        ),
        (r#"{"sig":"abcdefgh"}"#, r#"{"sig":"REDACTED"}"#),
        // JSON within JSON.
        (
            r#"{"log":"{\"Authorization\" : \"Bearer a\\\"bcdefghi\",\"u\":\"?sig=abcdefgh\\u0026a\"}"}"#,
            r#"{"log":"{\"Authorization\" : \"Bearer REDACTED\",\"u\":\"?sig=REDACTED\\u0026a\"}"}"#,
        ),
        (
            r#"{"log":"{\"cookie\":[\"abcdefgh\"]}","b":1}"#,
            r#"{"log":"{\"cookie\":REDACTED","b":1}"#,
        ),
        (
            r#"{"log":"{\u0022cookie\u0022:\u0022abcdefgh\u0022}","b":1}"#,
            r#"{"log":"{\u0022cookie\u0022:REDACTED","b":1}"#,
        ),
        (
            r#"{"log":"{\"cookie\":\"abcdefgh","b":1}"#,
            r#"{"log":"{\"cookie\":\"REDACTED","b":1}"#,
        ),
    ] {
        assert_eq!(redacted(event), expected);
        serde_json::from_str::<Value>(expected).unwrap();
    }
    for unchanged in [
        r#"{"error_code":"SignatureDoesNotMatch","a":"b"}"#,
        r#"{"SignatureVersion":"SigV4","x-amz-server-side-encryption-customer-key-md5":"abcdefgh"}"#,
        r#"{"u":"?continuation-token=abcdefghij&X-Amz-SignedHeaders=host&X-Amz-Credential=AKIA"}"#,
        r#"{"authorization":"***redacted***","cookie":"*REDACTED*","token":""}"#,
        r#"{"accessKey":"AKIA","access_key_id":"AKIA","key":"signature"}"#,
        r#"{"ua":"\"token\": [x","tokens":["abcdefgh"],"cookie":null}"#,
        r#"{"u":"a\\u0041=b%3Db%=\\\\=%2541"}"#,
    ] {
        if !unchanged.contains("[x") {
            assert_eq!(redacted(unchanged), unchanged);
        }
    }
}

#[test]
fn an_event_whose_secret_has_no_end_is_not_sent() {
    let lines = "{\"a\":1}\n{\"sig\":\"abcdefgh\",\"cookie\":\"abc\n{\"cookie\":\n{\"b\":2}\n";
    let mut chunk = chunk(lines);
    let screened = redacting().screen(&mut chunk, 0);
    assert_eq!(chunk.bytes, b"{\"a\":1}\n{\"b\":2}\n");
    assert_eq!((screened.unredactable, chunk.events), (2, 2));
    assert_eq!(screened.events(), 2);
}

#[test]
fn what_was_screened_before_stays_as_it_is() {
    let mut chunk = chunk("{\"sig\":\"abcdefgh\"}\n{\"sig\":\"abcdefgh\"}\n");
    let screened = redacting().screen(&mut chunk, 19);
    assert_eq!(screened.redacted, 1);
    assert_eq!(
        chunk.bytes,
        b"{\"sig\":\"abcdefgh\"}\n{\"sig\":\"REDACTED\"}\n"
    );
}

/// The events of a captured stream, a line each; those of MessagePack as they stand in the other capture.
fn captured(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name);
    let bytes = fs::read(path).unwrap();
    let mut framer = if name.starts_with("seaweedfs") {
        Framer::for_arrays(1 << 20)
    } else {
        Framer::new(1 << 20)
    };
    let mut lines = Vec::new();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        framer.copy_in(&mut rest);
        while let Some(frame) = framer.next() {
            if let Frame::Event(event) = frame {
                event.append_line(&mut lines);
            }
        }
    }
    String::from_utf8(lines).unwrap()
}

/// How many secrets each stream has, counted with grep.
const CAPTURED: [(&str, usize); 9] = [
    ("minio.ndjson", 24),
    ("weka.ndjson", 24),
    ("rustfs.ndjson", 0),
    ("versitygw.ndjson", 2),
    ("seaweedfs-fluent.json.bin", 0),
    ("seaweedfs-fluent-ack.json.bin", 0),
    ("rgw-file.log", 16),
    ("rgw-socket.bin", 16),
    ("rgw-socket-headers.bin", 117),
];

/// All that is secret in a stream, found with no code of the agent's: what is behind these words, up to what can't be in it.
fn secrets(text: &str) -> Vec<Range<usize>> {
    let mut secrets = Vec::new();
    for word in [
        "Signature=",
        "Security-Token=",
        "HTTP_X_AMZ_SECURITY_TOKEN\":\"",
        "X-Amz-Security-Token\":\"",
        "ENCRYPTION_CUSTOMER_KEY\":\"",
        "Encryption-Customer-Key\":\"",
        "Cookie\":\"",
        "X-Amz-Signature\":\"",
        "AUTHORIZATION\":\"AWS AKIAEXAMPLE0000TEST1:",
    ] {
        for (at, _) in text.match_indices(word) {
            let start = at + word.len();
            let length = text[start..].find(['"', '&', '?', ' ', '\\', ',']).unwrap();
            secrets.push(start..start + length);
        }
    }
    secrets.sort_by_key(|secret| secret.start);
    secrets
}

#[test]
fn no_secret_of_the_captured_streams_is_left_and_all_else_is() {
    let mut counts = Vec::new();
    for (name, _) in CAPTURED {
        let lines = captured(name);
        let secrets = secrets(&lines);
        let mut expected = lines.clone();
        for secret in secrets.iter().rev() {
            let mask = match secret.len() {
                length @ ..8 => "*".repeat(length),
                _ => "REDACTED".into(),
            };
            expected.replace_range(secret.clone(), &mask);
        }
        let mut chunk = chunk(&lines);
        let screened = redacting().screen(&mut chunk, 0);
        let found = String::from_utf8(chunk.bytes).unwrap();
        for (found, expected) in found.lines().zip(expected.lines()) {
            assert_eq!(found, expected, "{name}");
        }
        assert_eq!(found, expected);
        let mut secrets_of_note = secrets.iter().filter(|secret| secret.len() >= 8);
        assert!(secrets_of_note.all(|secret| !found.contains(&lines[secret.clone()])));
        assert_eq!(screened.redacted, secrets.len(), "{name}");
        counts.push((name, screened.redacted));
    }
    assert_eq!(counts, CAPTURED);
}

/// A text with random bytes escaped, as JSON: which is told by the bits of `how`.
fn quoted(text: &str, how: u64) -> String {
    let mut quoted = String::from("\"");
    // What is no scheme that is known is masked whole.
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

/// A name in any case, with `_` for `-` where that is the same.
fn any_case(name: &str, how: u64, is_member: bool) -> String {
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

fn percent_encoded(name: &str, how: u64) -> String {
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
const DAMAGED: &str = r#"(sig|cookie|Authorization|Bearer |my-field|abcdefghi|1|=|%3D|"|"|\\|\\|:|u0022|u0026|&|\{|\[|\]|\}| |,){0,16}"#;

fn secret() -> impl Strategy<Value = String> {
    "hush[a-zA-Z0-9]{4,20}"
}

fn filler() -> impl Strategy<Value = String> {
    r#"[a-cé☃/ "\\?&=%\n:{}\[\],]{0,12}"#
}

/// A text with a secret in it, as a parameter.
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
    let parts = (filler(), "[?& ,;]", names, any::<[u64; 2]>(), secret());
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
    let plain = (names, any::<u64>(), secret())
        .prop_map(|(name, how, secret)| (any_case(name, how, true), secret.into()));
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

/// The same with every secret masked.
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
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

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

    /// Of JSON in a string of JSON nothing secret is left, and the outer JSON stays whole.
    #[test]
    fn secrets_are_found_in_json_within_json(value in with_secrets(), how: u64, deep: bool) {
        let mut inner = written(&value, how);
        if deep {
            inner = serde_json::json!({ "log": inner }).to_string();
        }
        // Programs that write JSON within JSON escape what they must.
        let event = serde_json::json!({ "log": inner, "b": [1] }).to_string();
        let found = redacted(&event);
        let after: Value = serde_json::from_str(&found).unwrap();
        prop_assert!(!found.contains(SECRET), "{}\n{}", event, found);
        prop_assert_eq!(&after["b"], &serde_json::json!([1]));
    }

    /// Whatever is in its strings, also JSON that is cut off or damaged: an event stays one, and is masked once.
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

/// The rules that a server's page recommends, in its order.
fn recipes(page: &str) -> Vec<(Action, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/servers");
    let page = fs::read_to_string(path.join(page)).unwrap();
    let (_, section) = page.split_once("\n## Rules\n").unwrap();
    let (_, block) = section.split_once("\n--redact s3\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let rule = |line: &str| {
        let (option, rest) = line.split_once(" '").unwrap();
        let action = match option {
            "--include" => Action::Include,
            "--exclude" => Action::Exclude,
            other => panic!("{other}"),
        };
        (action, rest.split_once('\'').unwrap().0.to_owned())
    };
    let rules = block.lines().filter(|line| !line.starts_with('#'));
    rules.map(rule).collect()
}

/// How many of these events rules leave out, each with its action.
fn left_out(rules: &[&(Action, String)], lines: &str) -> usize {
    let rules = rules.iter().flat_map(|(action, rules)| {
        rules
            .split('|')
            .map(|rule| (*action, rule.parse().unwrap()))
    });
    let rules = Rules::new(Filter::new(rules).unwrap(), None, Vec::new());
    rules.screen(&mut chunk(lines), 0).events()
}

/// Of each page a stream, a user in it, a request for health as that server writes it, and how many of all these events
/// are left out: health checks, HEAD and List, the user, reads, reads that did not fail. Counted by other means.
#[test]
fn the_recipes_of_the_pages_leave_out_what_they_say() {
    for (page, stream, user, probe, expected) in [
        (
            "ceph-rgw.md",
            "rgw-socket.bin",
            "audit",
            r#"{"user":"anonymous","operation":"list_buckets","uri":"HEAD / HTTP/1.1","http_status":"200"}"#,
            [1, 7, 200, 44, 33],
        ),
        (
            "minio.md",
            "minio.ndjson",
            "AKIAEXAMPLE0000TEST1",
            r#"{"api":{"name":"ListBuckets","statusCode":200},"userAgent":"kube-probe/1.30"}"#,
            [1, 6, 21, 11, 8],
        ),
        (
            "rustfs.md",
            "rustfs.ndjson",
            "AKIAEXAMPLE0000TEST1",
            r#"{"Records":[{"api":{"name":"s3:ListBuckets","status_code":200},"userAgent":"kube-probe/1.30"}]}"#,
            [1, 3, 19, 8, 5],
        ),
        (
            "versity.md",
            "versitygw.ndjson",
            "AKIAEXAMPLE0000TEST1",
            r#"{"Operation":"s3_ListAllMyBuckets","HttpStatus":200,"UserAgent":"kube-probe/1.30"}"#,
            [1, 6, 21, 11, 8],
        ),
        (
            "seaweedfs.md",
            "seaweedfs-fluent.json.bin",
            "audit",
            r#"{"operation":"REST.HEAD.OBJECT","status":200,"user_agent":"kube-probe/1.30"}"#,
            [1, 4, 116, 50, 32],
        ),
        (
            "nginx.md",
            "proxy.ndjson",
            "AKIAEXAMPLE0000TEST1",
            r#"{"method":"HEAD","status":200,"user_agent":"kube-probe/1.30"}"#,
            [1, 1, 4, 5, 5],
        ),
        (
            "haproxy.md",
            "proxy.ndjson",
            "AKIAEXAMPLE0000TEST1",
            r#"{"method":"HEAD","status":200,"user_agent":"kube-probe/1.30"}"#,
            [1, 1, 4, 5, 5],
        ),
    ] {
        let mut lines = captured(stream);
        if stream.starts_with("seaweedfs") {
            // Tag, time, record, options.
            let record = |line: &str| {
                let record = walk::elements(line.as_bytes()).nth(2).unwrap();
                format!("{}\n", str::from_utf8(record).unwrap())
            };
            lines = lines.lines().map(record).collect();
        }
        lines += &format!("{probe}\n");
        let recipes = recipes(page);
        let [failures, health, lists, someone, reads] = recipes.as_slice() else {
            panic!("{page}: {recipes:?}");
        };
        let someone = (someone.0, someone.1.replace("backup", user));
        let found = [
            &[health][..],
            &[lists],
            &[&someone],
            &[reads],
            &[failures, reads],
        ];
        let found = found.map(|rules| left_out(rules, &lines));
        assert_eq!(found, expected, "{page}");
    }
}
