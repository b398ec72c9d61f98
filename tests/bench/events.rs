//! Numbered audit events in the shape of MinIO's and Weka's, about 1.05 KB each.
//!
//! An event depends on its number alone, so whoever has an event can make it again and compare.

use std::io::{self, Write};
use std::ops::Range;

/// The name of the field with an event's number; no other key or value contains this text.
const NUMBER: &[u8] = b"requestID";

/// Object keys as users write them: plain, deep, with escapes, and with other than ASCII characters.
const KEYS: [&str; 6] = [
    "2026/03/21/part-00017-c000.snappy.parquet",
    "backups/db-1/base/16384/2619.lz4",
    r#"Müller & Söhne/Angebot \"final\" (2).pdf"#,
    r"ключ/日本語 ☃ \\ back.txt",
    r"logs/a\tb\u0007c\n.log",
    "}{,][/braces},{.json",
];

/// Method, status and text of an answer.
const CALLS: [(&str, u16, &str); 6] = [
    ("GetObject", 200, "OK"),
    ("PutObject", 200, "OK"),
    ("HeadObject", 404, "Not Found"),
    ("DeleteObject", 204, "No Content"),
    ("ListObjectsV2", 200, "OK"),
    ("GetObject", 403, "Forbidden"),
];

/// Writes the events of these numbers, one per line.
pub(crate) fn write(numbers: Range<u64>, out: &mut impl Write) -> io::Result<()> {
    let mut line = Vec::new();
    for number in numbers {
        line.clear();
        append(number, &mut line);
        out.write_all(&line)?;
    }
    Ok(())
}

/// Appends the event of this number and a newline.
pub(crate) fn append(number: u64, line: &mut Vec<u8>) {
    let mut random = Random(number);
    let key = random.one_of(&KEYS);
    let (name, code, status) = random.one_of(&CALLS);
    let bucket = random.one_of(&["photos", "finance-2026", "ml"]);
    let host = random.next() % 8;
    let (sent, nanoseconds) = (random.next() % (1 << 24), random.next() % 1_000_000_000);
    let clock = format!("{:02}:{:02}", number / 60 % 24, number % 60);
    let signature = [(); 4].map(|()| random.next());
    let [a, b, c, d] = signature;

    write!(
        line,
        concat!(
            r#"{{"version":"1","deploymentid":"5f0e7c1a-3b52-4c9d-8f1e-0a1b2c3d4e5f","#,
            r#""time":"2026-03-21T{clock}:27.{nanoseconds:09}Z","trigger":"incoming","#,
            r#""api":{{"name":"{name}","bucket":"{bucket}","object":"{key}","status":"{status}","statusCode":{code},"#,
            r#""rx":0,"tx":{sent},"timeToResponse":"{nanoseconds}ns"}},"remotehost":"192.0.2.{host}","#,
            r#""requestID":"{number:016X}","userAgent":"aws-cli/2.15.0 Python/3.11.6 Linux/6.1.0","#,
            r#""requestPath":"/{bucket}/{key}","requestHost":"s3.example.com:9000","#,
            r#""requestHeader":{{"Accept-Encoding":"identity","X-Amz-Date":"20260321T063740Z","#,
            r#""Authorization":"AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE0000TEST{host}/20260321/us-east-1/s3/aws4_request, "#,
            r#"SignedHeaders=host;x-amz-date, Signature={a:016x}{b:016x}{c:016x}{d:016x}"}},"#,
            r#""responseHeader":{{"Accept-Ranges":"bytes","Content-Length":"{sent}","Server":"MinIO","#,
            r#""X-Amz-Request-Id":"{number:016X}","X-Content-Type-Options":"nosniff"}},"#,
            r#""tags":{{"retention":null,"size":[{host},-1.5e3,true]}},"accessKey":"AKIAEXAMPLE0000TEST{host}"}}"#,
            "\n"
        ),
        clock = clock, nanoseconds = nanoseconds, name = name, bucket = bucket, key = key, status = status,
        code = code, sent = sent, host = host, number = number, a = a, b = b, c = c, d = d,
    )
    .expect("a Vec takes every write");
}

/// The number of the event on this line, even if the event is a string within another object.
pub(crate) fn number_of(line: &[u8]) -> Option<u64> {
    numbers(line).next()
}

/// The numbers of all events in these bytes.
pub(crate) fn numbers(bytes: &[u8]) -> impl Iterator<Item = u64> {
    memchr::memmem::find_iter(bytes, NUMBER).filter_map(|at| {
        let rest = &bytes[at + NUMBER.len()..];
        let start = rest.iter().position(u8::is_ascii_hexdigit)?;
        let digits = std::str::from_utf8(rest.get(start..start + 16)?).ok()?;
        u64::from_str_radix(digits, 16).ok()
    })
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[(self.next() % choices.len() as u64) as usize]
    }
}
