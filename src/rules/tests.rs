//! What rules do to events: in tables, on the captured streams, and at random.

mod cost;
mod lists;
mod random;
mod recipes;
mod texts;

use std::fs;
use std::ops::Range;
use std::path::Path;

use serde_json::Value;

use super::filter::{Action, Filter};
use super::redact::Redactor;
use super::secrets::S3;
use super::*;
use crate::framer::{Frame, Framer, walk};

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

/// The lines after masking.
fn redacted(lines: &str) -> String {
    redacted_by(&redacting(), lines)
}

fn redacted_by(rules: &Rules, lines: &str) -> String {
    let mut chunk = chunk(lines);
    rules.screen(&mut chunk, 0);
    String::from_utf8(chunk.bytes).unwrap()
}

/// Masks all that is secret in S3 events, and has all these names as fields, too.
fn redacting_fields() -> Rules {
    let fields = S3.iter().map(|(name, _)| *name);
    let fields = fields.chain(["my-field", "name", "key", "a-b"]);
    Rules::new(Filter::default(), Redactor::new(true, fields), Vec::new())
}

/// A text in which what must be masked is between « and », once it is masked.
fn expected(marked: &str) -> String {
    let mut parts = marked.split('«');
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |masked, part| {
        let (secret, rest) = part.split_once('»').unwrap();
        let mask = match secret {
            "true" | "false" => "null",
            number if number.parse::<f64>().is_ok() => "0",
            secret if secret.len() < 8 => &"*******"[..secret.len()],
            _ => "REDACTED",
        };
        masked + mask + rest
    })
}

#[test]
fn secrets_are_masked_and_nothing_else() {
    for marked in [
        // Parameters, in all kinds of URLs.
        r#"{"u":"/b/k?X-Amz-Signature=«0123456789ab»&x=1"}"#,
        r#"{"u":"GET /b?a=1&Signature=«abcdefgh%2Bi=»?a=1&signature=«abcdefgh%2Bi=» HTTP/1.1"}"#,
        r#"{"u":"?a=1\u0026X-Amz-Security-Token=«abcdefghij»\u0026X-Amz-Credential=AKIA"}"#,
        r#"{"u":"?sig\u003d«abcdefgh\/ij»"}"#,
        r#"{"u":"?X%2DAmz%2dSIGNATURE=«abcdefghij»"}"#,
        r#"{"u":"\\%74oken=«abcdefgh»"}"#,
        r#"{"u":"?to=http%3A%2F%2Fh%3FX-Goog-Signature%3D«abcdefghij»%26b%3D1"}"#,
        r#"{"u":"?to=http%253A%2Fh%253FX-Amz-Signature%253D«abcdefghij»"}"#,
        // In them, what separates parameters is escaped once more than the equals sign.
        r#"{"u":"?to=http%3A%2F%2Fh%3FLDAPPassword%3D«pa%2526abc%2520d%2522efgh»%26y%3D1","b":"?a=b%26token%3D%22«pa%2522abcdefgh»%22"}"#,
        r#"{"u":"?to=%253FToken%253D«pa%252526abcdefgh»%2526y%253D1","b":"?sig%253D«abcd%25253Fefgh»%26a&b","c":"?sig%3D«a%252Cb»%3F"}"#,
        r#"{"u":"?Token\u003d«pa%26abcdefgh»\u0026y\u003d1","b":"{\"u\":\"?sig\\u003d«pa%3Fabcdefgh»\\u0026\"}"}"#,
        r#"{"u":"?LDAPPassword=«a,b;c?d(e)f» g&Token=«x.y~z-aaa»"}"#,
        r#"{"u":"Sig=«short»"}"#,
        r#"{"u":"?WebIdentityToken=&SAMLAssertion=«abcdefgh»"}"#,
        // Members.
        r#"{"h":{"Authorization":"AWS4-HMAC-SHA256 Credential=AKIA/x, SignedHeaders=host;x-amz-security-token, Signature=«abcdefgh»"}}"#,
        r#"{"authorization":"AWS4-HMAC-SHA256 Credential=AKIA\/x\/s3, Signature=«abcdefgh»"}"#,
        r#"{"authorization":"AWS4-HMAC-SHA256 Credential=AKIA\u0041, Signature=«abcdefgh»"}"#,
        // As Gson escapes it.
        r#"{"authorization":"AWS4\u002DHMAC-SHA256 Credential\u003dAKIA/x, SignedHeaders\u003dhost;x-amz-date, Signature\u003d«abcdefgh»"}"#,
        r#"{"log":"{\"authorization\":\"AWS4-HMAC-SHA256 Credential\\u003dAKIA/x,Signature\\u003d«abcdefgh»\"}"}"#,
        r#"{"authorization":"AWS4-HMAC-SHA256 «Credential=AKIA\u003a, Signature=abcdefgh»"}"#,
        r#"{"authorization":"AWS4-HMAC-SHA256 «token\u003dAKIA, Signature=abcdefgh»"}"#,
        r#"{"authorization":"AWS AKIA:«abcdefghijk=»"}"#,
        r#"{"HTTP_AUTHORIZATION":"Bearer «abcdefghijk»"}"#,
        r#"{"Authorization":"«?sig=abc Bearer x»"}"#,
        r#"{"Authorization":"«abcdefghijk»"}"#,
        r#"{"Authorization":["Basic «abcdefghijk»","AWS AKIA:«abcdefgh»"]}"#,
        r#"{"x":[{"HTTP_X_AMZ_SERVER_SIDE_ENCRYPTION_CUSTOMER_KEY":"«abcdefghijk»"},{"a":1}]}"#,
        r#"{"Set\u002dCookie" : "«a=b; c»" , "cookie":"«\"abcdefg\\»"}"#,
        r#"{"My_Field":{"a":[«12»,"«abcdefgh»",«true»,null],"b":{"c":"«x»"}},"d":1}"#,
        r#"{"Authorization":["AWS4-HMAC-SHA256 Credential=AKIA/x, Signature=«abcdefgh»","Bearer «abcdefgh»"]}"#,
        r#"{"a":"my-field%22:\"«abcdefgh»\\","b":"my-field%22:\"«abc\\\"d»\",c"}"#,
        r#"{"my-field":{"?sig=«abcdefgh»":[«1»,{"cookie":["«a»",«2»]}],"b":«true»}}"#,
        r#"{"my-field":{"Authorization":"«AWS4-HMAC-SHA256 Credential=AKIA/x, Signature=abcdefgh»","a":«1»}}"#,
        r#"{"cookie":[{"Authorization":"«Bearer abcdefgh»"},{"token":"«abcdefgh»"},"«abcdefgh»"]}"#,
        r#"{"sig":"«abcdefgh»"}"#,
        // Headers in JSON within JSON.
        r#"{"m":"{\"h\":[\"Cookie: «abcdefgh»\"],\"k\":1}"}"#,
        // In quotes.
        r#"{"m":"token=\"«abcdefgh»\nkeyId=\"x\""}"#,
        r#"{"m":"Signature=\"«abcdefgh»\",keyId=\"x\" token=\u0022«ab cdefgh»\" z","u":"?sig="}"#,
        // Credentials for RGW's admin API, Swift and S3 Express.
        r#"{"uri":"PUT /admin/user?uid=x&access-key=AKIA&secret-key=«a%2Fbcdefgh»&caps=b HTTP/1.1"}"#,
        r#"{"h":[{"HTTP_X_AUTH_TOKEN":"«abcdefgh»"},{"HTTP_X_AUTH_KEY":"«abcdefgh»"}],"uri":"/c/o?temp_url_sig=«abcdefgh»&temp_url_expires=1"}"#,
        r#"{"x-amz-s3session-token":"«abcdefgh»","c":{"secretKey":"«abcdefgh»","sessionToken":"«abcdefgh»","accessKeyId":"AKIA"}}"#,
        // With an unknown scheme, everything is secret.
        r#"{"Authorization":"«abcdefghijk »","Proxy-Authorization":"Basic «abcdefghijk»"}"#,
        r#"{"Authorization":["AWS4-HMAC-SHA256 «Signature=»"]}"#,
        r#"{"Authorization":["AWS4-HMAC-SHA256 «abcdefgh»","AWS4-HMAC-SHA256 «Signature= abcdefgh»"]}"#,
        // Another name in it would take the signature's name away.
        r#"{"Authorization":"AWS4-HMAC-SHA256 Credential=AKIA/x,SignedHeaders=host;range,Signature=«abcdefgh»"}"#,
        r#"{"Authorization":"AWS4-HMAC-SHA256 «?sig=a.c, Signature=abcdefgh»"}"#,
        r#"{"Authorization":"AWS4-HMAC-SHA256 «token%3Dabc, Signature=abcdefgh»"}"#,
        r#"{"Authorization":"AWS4-HMAC-SHA256 «Credential=AKIA/x, riSignature=abcdefgh»"}"#,
        r#"{"Authorization":"AWS4-HMAC-SHA256 «X-Amz-Signature: abcdefgh, Signature=abcdefgh»"}"#,
        r#"{"Authorization":"«AWS4-a=b&token=\u0022abcdefgh, Signature=abcdefgh\u0022»"}"#,
        r#"{"Authorization":"GOOG4-RSA-SHA256 Credential=a@b/x, SignedHeaders=host, Signature=«abcdefgh»"}"#,
        // Headers as lists of names and values, and as texts.
        r#"{"h":[{"name":"Authorization","value":"Bearer «abcdefgh»"},{"Key":"Cookie" , "Value" : "«abcdefgh»"},{"name":"Host","value":"h"}]}"#,
        r#"{"log":"[{\"name\":\"cookie\",\"value\":\"«abcdefgh»\"}]"}"#,
        r#"{"h":[{"name":"Cookie","values":["«a»","«abcdefgh»"]},{"name":"Authorization","Type":"header/x","id": "7" , "Values":["Bearer «abcdefgh»"],"a":1}]}"#,
        r#"{"log":"[{\"name\":\"cookie\",\"type\":\"x\",\"value\":\"«abcdefgh»\"}]","u":"?h={%22name%22:%22Cookie%22,%22a%22:%22b%22,%22values%22:«[%22abcdefgh%22]»&b"}"#,
        r#"{"h":[{"name":"Cookie","token":"«abcdefgh»","value":"«a»"},{"name":"cookie","u":"?sig=«abcdefgh»","value":"a"}]}"#,
        r#"{"m":"GET / HTTP/1.1\r\nAuthorization: Bearer «abcdefgh»\r\ncookie:«a=b; c=d, \u0022e»\r\nHost: h"}"#,
        r#"{"m":"x-amz-security-token:«abcdefgh»\nx-amz-date:1"}"#,
        // JSON within JSON.
        r#"{"log":"{\"Authorization\" : \"Bearer «a\\\"bcdefghi»\",\"u\":\"?sig=«abcdefgh»\\u0026a\"}"}"#,
        r#"{"log":"{\"cookie\":«[\"abcdefgh\"]}»","b":1}"#,
        r#"{"log":"{\\u0022cookie\\u0022:«\\u0022abcdefgh\\u0022}»","b":1}"#,
        r#"{"log":"{\u0022cookie\u0022:«\u0022abcdefgh\u0022}»","b":1}"#,
        r#"{"log":"{\"cookie\":\"«abcdefgh»","b":1}"#,
        r#"{"log":"{\"token\":«12»,\"secretKey\" : «true»,\"cookie\":\"«abcdefgh»\"}","b":1}"#,
        r#"{"log":"{\n\t\"token\"\n:«12»\n, \"a\":{\"sig\": «7»}}","b":"{\"token\":«-1.5e3»"}"#,
        r#"{"log":"{\"a\":\"{\\\"token\\\":«98»,\\\"sig\\\":«false»}\"}"}"#,
        r#"{"m":"{\"h\":\"Host: a\\r\\nAuthorization: Basic «abcdefgh\\r\\n»\"}","b":"{\"c\":\"{\\\"h\\\":\\\"a\\\\tHTTP_COOKIE:«abcdefgh»\\\"}\"}"}"#,
        r#"{"m":"{\"h\":\"GET /?a\\nsig=«abcdefgh»\",\"b\":\"a\\rtoken=«abcdefgh»\"}"}"#,
        r#"{"m":"{\"h\":\"Authorization: AWS4-HMAC-SHA256 Credential=AKIA/x, Signature=«abcdefgh»\\r\\nX-Amz-Security-Token: «abcd\/efgh\\r\\n»\"}"}"#,
        // A header, and JSON behind it: no name of a secret is swallowed without the secret.
        r#"{"m":"10.0.0.1\tAuthorization: Bearer «abcdefgh\tbody={\"sessionToken\":\"abcdefgh\"}»","b":1}"#,
        r#"{"m":"Cookie: «x\tmeta={\"Authorization\" : \"Bearer abcdefgh\"}»","b":"Cookie: «x {\u0022token\u0022:\u0022abcdefgh\u0022}»"}"#,
        r#"{"m":"x-amz-security-token: «abcdefgh {\"token\":[\"abcdefgh\",\"abcdefgh\"]}»\nHost: h","Cookie: «abcdefgh»" : 1}"#,
        r#"{"m":"Cookie: «p={\"a\":\"b\",\"c\":1}; d=abcdefgh»\\","b":"Cookie: «abcdefgh»\\"}"#,
        r#"{"log":"{\"m\":\"Cookie: «abcdefgh»\",\"token\":\"«abcdefgh»\"}"}"#,
        // Quotes in a header's value don't end it, in JSON within JSON either.
        r#"{"m":"Authorization: «Digest username=\"u\", realm=\"r\", response=\"abcdefgh\"»\r\nHost: h","b":1}"#,
        r#"{"m":"If-Match: \"a\"\nCookie: «a=[\"x\",\"abcdefgh\"],\"b\":1»\n\"c\"","b":"Set-Cookie: «a={\"x\"} abcdefgh»"}"#,
        r#"{"log":"{\"m\":\"Authorization: «OAuth a=\\\"k\\\", oauth_token=\\\"abcdefgh\\\"»\",\"b\":1}"}"#,
        r#"{"log":"{\"m\" : [\"Host: \\\"\\\\\\\\\", \"GET /\\r\\n\\\"b\\\" Cookie: «a=\\\"x\\\", abcdefgh»\"],\"b\":1}"}"#,
        r#"{"log":"{\"log\":\"{\\\"m\\\":\\\"Cookie: «a=\\\\\\\"x\\\\\\\", abcdefgh»\\\",\\\"u\\\":1}\"}"}"#,
        r#"{"log":"{\"m\":\"Cookie: «a»\",\"n\":\"?sig=«b»\\r\\nCookie: «c=\\\"x\\\"; abcdefgh»\"} \"x\" Cookie: «a=\"x\", abcdefgh»","b":1}"#,
        r#"{"log":"{\"m\":\"?sig=«b»\"} Cookie: «a=\"x\", abcdefgh»","b":"\"x\\\\\" Cookie: «a=\"x\", abcdefgh»"}"#,
        // What only looks like JSON.
        r#"{"m":"\"a\":\"b Cookie: «a=\"x\" abcdefgh, \"y\"»","b":"[\" Cookie: «\"abcdefgh\"»","c":1}"#,
        r#"{"log":"{\"m\":\"\\\"token\\\":x\\tCookie: «abcdefgh»\",\"n\":\"\\n%53ignature=«abcdefgh»&\"}"}"#,
        r#"{"m":"?Token=«a,Cookie: a=\"x\"; abcdefgh»\r\nb","n":"%22sig%22:«1,Cookie: abcdefgh»","c":"?sig=«a:»&b c","d":"?token=«a,cookie:\"abcdefgh\"»"}"#,
        // An escaped colon.
        r#"{"m":"Cookie\u003a «a=abcdefgh»\nb","u":"GET /?h=Cookie%3A«%20a%3D%22x%22%3Babcdefgh&b=1 HTTP/1.1»","b":"?X-Auth-Token%253A«abcdefgh b»"}"#,
        r#"{"m":"Cookie%3A «a=\"x\"; b=abcdefgh&c»","b":1}"#,
        // Blanks before a header's value, and in it.
        r#"{"m":"Authorization:\tBearer «abcdefgh»\r\ncookie:\u0020 «a\tbcdefgh»\nHost: h"}"#,
        // JSON in a URL.
        r#"{"u":"?q={%22cookie%22:%22«ab%20cdefgh»%22,%22token%22:%20%22«abcdefgh»%22}&sig%3D%22«abcdefgh»%22","b":1}"#,
        r#"{"u":"/c?q={%22Cookie%22:%22«a=%5C%22abcdefgh%5C%22;%20b=c»%22,%22a%22:%22b%5C%5C%22}","b":1}"#,
        r#"{"u":"/c?q={%22token%22:%22«%2522abcdefgh%2522»%22,%22a%22:1}","b":1}"#,
        r#"{"u":"/c?q={%22token%22:%22«abcdefgh%5C%5C»%22,%22a%22:1}","b":"%22token%22:%22«abcdefgh%5C»","c":"%2522sig%2522:%2522«abcdefgh%255C%2522abc»%2522"}"#,
        r#"{"u":"/c?q={%22token%22:%22«a%5Cn%5C%5C%5C%22bcdefgh\\%22\/\u005c%22»%22,%22a%22:1}","b":"%22token%22:%22«abcdefgh%5C»\"}"}"#,
        r#"{"u":"/c?q=%7B%22token%22%3A%22«abcdefgh»%22%2C%22sig%22%20%3A+%22«abcdefgh»%22%2C%22a%22%3A1%7D&token=«a»","b":1}"#,
        r#"{"u":"/c?q=%7b%22name%22%3a+%22Cookie%22%2c+%22value%22%3a+%22«abcdefgh»%22%7d","b":"%2522sig%2522%253A%2522«abcdefgh»%2522"}"#,
        r#"{"u":"/c?q=%7B%22sig%22%3A«12345%7D»&b","c":"{\"a\":\"%22token%22%3A%22«abcdefgh»\"}"}"#,
        r#"{"u":"?q={%22token%22:«[%22abcdefgh%22]}»&b","c":"%22cookie%22:«abcdefgh»","d":1}"#,
    ] {
        let (event, expected) = (marked.replace(['«', '»'], ""), expected(marked));
        assert_eq!(redacted(&event), expected);
        serde_json::from_str::<Value>(&expected).unwrap();
    }
    for unchanged in [
        r#"{"error_code":"SignatureDoesNotMatch","a":"b"}"#,
        r#"{"SignatureVersion":"SigV4","x-amz-server-side-encryption-customer-key-md5":"abcdefgh"}"#,
        r#"{"u":"?continuation-token=abcdefghij&X-Amz-SignedHeaders=host&X-Amz-Credential=AKIA"}"#,
        r#"{"authorization":"***redacted***","cookie":"*REDACTED*","token":""}"#,
        r#"{"accessKey":"AKIA","access_key_id":"AKIA","key":"signature"}"#,
        r#"{"ua":"\"token\": [x","tokens":["abcdefgh"],"cookie":null}"#,
        r#"{"log":"{\"u\":\"?sig=\",\"b\":\"abcdefgh\",\"t\":\"?token=\"}"}"#,
        r#"{"m":"invalid token: expired, signature: bad, my-field: x","t":["cookie","token"],"time":"cookie:"}"#,
        r#"{"h":[{"name":"Cookie","valid":"abcdefgh"},{"name":"Cookie","a":"b"},{"value":"a"}],"cookie\\":["abcdefgh"]}"#,
        r#"{"u":"a\\u0041=b%3Db%=\\\\=%2541"}"#,
        r#"{"m":"ncookie: abcdefgh, rsig=a tsig=b, \\xsig=c, x\\nasig=d"}"#,
        r#"{"u":"sig%22:","b":"x%22sig%22:\\\\","c":1}"#,
        r#"{"a":"cookie","value%22:{":1,"b":"cookie","a\":[":1,"c":"cookie","d":{"value":"a"}}"#,
        r#"{"log":"{\"token\":null,\"sig\":0,\"cookie\":none}","m":"authorization:\n"}"#,
    ] {
        if !unchanged.contains("[x") {
            assert_eq!(redacted(unchanged), unchanged);
        }
    }
}

#[test]
fn an_event_whose_secret_has_no_end_is_not_sent() {
    // The last one follows events that are sent.
    let lines = "{\"a\":1}\n{\"sig\":\"abcdefgh\",\"cookie\":\"abc\n{\"cookie\":\n{\"b\":2}\n\
                 {\"c\":3}\n{\"cookie\":\n{\"d\":4}\n";
    let mut chunk = chunk(lines);
    let screened = redacting().screen(&mut chunk, 0);
    assert_eq!(chunk.bytes, b"{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n{\"d\":4}\n");
    assert_eq!((screened.unredactable, chunk.events), (3, 4));
    assert_eq!(screened.events(), 3);
}

#[test]
fn rules_are_described_and_replaced() {
    let rule = |action, text: &str| (action, text.parse().unwrap());
    let lines = "{\"a\":1}\n{\"a\":1}\n{\"a\":2}\n{\"a\":1}\n";
    let live = LiveRules::default();
    let mut events = chunk(lines);
    assert_eq!(live.screen(&mut events, 0), Screened::default());
    assert_eq!(live.describe(), "");
    assert!(live.excluding().is_empty());
    let filter = Filter::new([rule(Action::Include, "b=1"), rule(Action::Exclude, "a=1")]);
    live.replace(Rules::new(filter.unwrap(), None, Vec::new()));
    assert_eq!(live.describe(), "include b=1, exclude a=1");
    assert_eq!(live.excluding(), ["a=1".into()]);
    let screened = live.screen(&mut events, 8);
    assert_eq!(screened.filtered, [("a=1".into(), 2)]);
    assert_eq!(screened.events(), 2);
    assert_eq!(events.bytes, b"{\"a\":1}\n{\"a\":2}\n");
    assert_eq!(events.events, 2);
    let masked = vec!["my-field".into(), "s3".into()];
    let redactor = Redactor::new(false, ["my-field"]);
    live.replace(Rules::new(Filter::default(), redactor, masked));
    assert_eq!(live.describe(), "redact my-field, redact s3");
    let mut events = chunk("{\"my-field\":\"abcdefgh\",\"sig\":\"abcdefgh\"}\n");
    assert_eq!(live.screen(&mut events, 0).redacted, 1);
    assert_eq!(
        events.bytes,
        b"{\"my-field\":\"REDACTED\",\"sig\":\"abcdefgh\"}\n"
    );
}

#[test]
fn a_path_that_no_event_has_is_named_once_enough_have_come() {
    let paths = ["a=x", "b.c=x"].map(|rule| (Action::Exclude, rule.parse().unwrap()));
    let rules = Rules::new(Filter::new(paths).unwrap(), None, Vec::new());
    let named = [1, FIRST_EVENTS - 2, 1, 1, FIRST_EVENTS].map(|events| {
        let mut events = chunk(&"{\"a\":1}\n".repeat(events));
        rules.screen(&mut events, 0).unseen
    });
    let expected = [&[][..], &[], &["b.c".to_owned()], &[], &[]];
    assert_eq!(named.each_ref().map(Vec::as_slice), expected);
}

#[test]
fn the_name_of_a_member_that_is_masked_is_checked() {
    assert!(Redactor::new(false, []).is_none());
    for (name, is_name) in [
        ("My-field_9", true),
        (&*"x".repeat(64), true),
        (&*"x".repeat(65), false),
        ("", false),
        ("a.b", false),
        ("\u{e9}", false),
    ] {
        assert_eq!(Redactor::check(name).is_ok(), is_name, "{name}");
    }
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

/// The events of a captured stream, one per line; those of MessagePack as they are in the other capture.
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

/// All secrets in a stream, found without the agent's code: what follows these words, up to what can't be in a secret.
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

/// Whoever gives a name that is masked already wants more to be masked, never less.
#[test]
fn a_field_masks_no_less_than_without_it() {
    let event = |name: &str| {
        format!(
            r#"{{"u":"/b?a=1&{name}=«abcdefgh»&b","h":{{"{name}":"«abcdefgh»"}},"t":"{name}: abcdefgh"}}"#
        )
    };
    for (name, kind) in S3 {
        // In other letters, as the one or as the other.
        let field = format!("Http_{}", name.to_uppercase().replace('-', "_"));
        let alone = Redactor::new(true, []);
        let both = Redactor::new(true, [&*field, "my-field"]);
        let [alone, both] = [alone, both]
            .map(|redactor| Rules::new(Filter::default(), redactor, Vec::new()))
            .map(|rules| redacted_by(&rules, &event(name).replace(['«', '»'], "")));
        assert_eq!(both, alone, "{field}");
        if matches!(kind, super::secrets::Kind::Parameter(_)) {
            assert!(
                alone.starts_with(
                    &expected(r#"{"u":"/b?a=1&NAME=«abcdefgh»&b","h":{"NAME":"«abcdefgh»"}"#)
                        .replace("NAME", name)
                ),
                "{alone}"
            );
        }
    }
    // Of `Authorization`, a field masks what `s3` leaves.
    for marked in [
        r#"{"Authorization":"«AWS AKIA:abcdefgh»","m":"a\nauthorization: «Bearer abcdefgh»"}"#,
        r#"{"HTTP_AUTHORIZATION":"«AWS4-HMAC-SHA256 Credential=AKIA/x, Signature=abcdefgh»"}"#,
        r#"{"m":"Proxy-Authorization: «AWS4-HMAC-SHA256 Credential=AKIA/x, Signature=abcdefgh»"}"#,
        r#"{"u":"?Authorization=AWS4-HMAC-SHA256 Signature=«abcdefgh»"}"#,
    ] {
        let event = marked.replace(['«', '»'], "");
        assert_eq!(redacted_by(&redacting_fields(), &event), expected(marked));
    }
}

#[test]
fn what_is_not_masked_any_more_is_said() {
    let masking = |fields: &[&str]| {
        let masked = fields.iter().map(ToString::to_string).collect();
        let names = fields.iter().copied().filter(|name| *name != "s3");
        let redactor = Redactor::new(fields.contains(&"s3"), names);
        Rules::new(Filter::default(), redactor, masked)
    };
    let live = LiveRules::new(masking(&["s3", "a"]));
    assert_eq!(live.replace(masking(&["b", "s3", "a"])), [""; 0]);
    assert_eq!(live.replace(masking(&["a"])), ["b", "s3"]);
    assert_eq!(live.replace(masking(&["HTTP_A", "cookie"])), [""; 0]);
    assert_eq!(live.replace(masking(&["s3"])), ["HTTP_A"]);
    assert_eq!(live.replace(masking(&[])), ["s3"]);
    // Of this value, `s3` leaves a part.
    live.replace(masking(&["HTTP_Authorization", "cookie"]));
    assert_eq!(live.replace(masking(&["s3"])), ["HTTP_Authorization"]);
    live.replace(masking(&["authorization"]));
    let both = masking(&["s3", "http-authorization"]);
    assert_eq!(live.replace(both), [""; 0]);
}
