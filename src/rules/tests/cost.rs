//! What masking costs, in bytes that it looks at: no client may send an event that takes a source for long.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::work::taken;
use super::*;

/// For each byte of an event, masking may look at so many.
const MAX_COST: usize = 10;

/// How many bytes are looked at for each byte of an event.
fn cost(event: &str) -> usize {
    let mut chunk = chunk(event);
    taken();
    redacting().screen(&mut chunk, 0);
    taken() / event.len()
}

const LENGTH: usize = 10_000;

fn repeated(piece: &str) -> String {
    piece.repeat(LENGTH / piece.len().max(1))
}

#[test]
fn the_cost_of_an_event_grows_no_faster_than_its_length() {
    for (start, piece, end) in [
        (r#"{"u":""#, "%73x%22:", r#""}"#),
        (r#"{"u":""#, "sig%22:", r#""}"#),
        (r#"{"u":""#, "%73ig%3A", r#""}"#),
        (r#"{"u":""#, "%22sig%22:%22%5C", r#""}"#),
        (r#"{"u":"%22sig%22:%22"#, "%5C%2525252522", r#""}"#),
        (r#"{"u":"%22sig%22:%22"#, "%5C%5C%5C%", r#""}"#),
        (r#"{"u":""#, "sig%22%3A", r#""}"#),
        (r#"{"u":"sig%22"#, "%20", r#""}"#),
        (r#"{"u":""#, "sig%22%20%2C%22value%22%20+", r#""}"#),
        (r#"{"u":""#, "sig%22%2525252C%2522VALUE%2522", r#""}"#),
        (r#"{"u":"%"#, "25", r#""}"#),
        (r#"{"u":"%"#, r"\u0032\u0035", r#""}"#),
        (r#"{"u":"?"#, "sig=*&", r#""}"#),
        (r#"{"u":"?"#, "xsig=", r#""}"#),
        (r#"{"u":""#, r"\\", r#""}"#),
        (r#"{"u":""#, r#"sig\""#, r#""}"#),
        (r#"{"u":""#, r#"\"token\":"#, r#""}"#),
        (r#"{"u":""#, r#"\"token\":\"\","#, r#""}"#),
        (
            r#"{"u":""#,
            r#"\"authorization\":\"AWS4-,Signature=a"#,
            r#""}"#,
        ),
        (r#"{"u":""#, r"cookie:\n", r#""}"#),
        (r#"{"u":""#, r#"cookie:\":\","#, r#""}"#),
        (r#"{"u":"cookie:"#, r#"\\\\\\\" "#, r#""}"#),
        (r#"{"u":""#, r"\\ncookie:\n", r#""}"#),
        (r#"{"u":""#, "cookie%3A&", r#""}"#),
        (r#"{"u":""#, r"cookie\u003a\n", r#""}"#),
        (r#"{"u":""#, r#"cookie:\n\":\""#, r#""}"#),
        (r#"{"u":""#, r#"cookie:\n\\\\\\\""#, r#""}"#),
        (
            r#"{"u":"\":\""#,
            r#"authorization:AWS4- Signature=a "#,
            r#""}"#,
        ),
        (r#"{"u":""#, r"\\nxsig=", r#""}"#),
        (r#"{"u":""#, r"authorization:AWS4-\n", r#""}"#),
        (r#"{"u":""#, "authorization: AWS4- Signature=*", r#""}"#),
        (r#"{"u":""#, "authorization:AWS4- Credential=a,", r#""}"#),
        (r#"{"u":""#, "authorization:AWS ", r#""}"#),
        (r#"{"u":"cookie\""#, " ", r#""}"#),
        (r#"{"token":["#, "1,", "1]}"),
        (r#"{"token":["#, "{},", "1]}"),
        (r#"{"a":["#, r#"{"token":["AWS4-"]},"#, "1]}"),
        (r#"{"authorization":["#, r#""AWS4- Signature=a","#, "1]}"),
        (r#"{"a":"#, r#"{"authorization":"#, "1}"),
        (r#"{"a":["#, r#"{"name":"cookie","value":""},"#, "1]}"),
        (r#"{"#, r#""a":"cookie","#, r#""a":1}"#),
        (r#"{"a":"cookie""#, r#","sig":"""#, "}"),
        (r#"{"a":"cookie""#, r#","sig":"token""#, "}"),
        (r#"{"a":"#, r#""cookie","value":"#, "1}"),
        (r#"{"sig":"x"#, r"cookie", r#""}"#),
        (r#"{"#, r#""":"sig","#, r#""a":1}"#),
    ] {
        let cost = cost(&format!("{start}{}{end}", repeated(piece)));
        assert!(cost <= MAX_COST, "{cost}: {piece}");
    }
    let far_apart = format!("authorization:AWS4-{} Signature=a ", "x".repeat(9000));
    let far_apart = format!("{{\"u\":\"{}\"}}", far_apart.repeat(50));
    assert!(cost(&far_apart) <= MAX_COST);
    let nested = format!("{}1{}\n", r#"{"token":"#.repeat(4000), "}".repeat(4000));
    assert!(cost(&nested) <= MAX_COST);
}

fn pieces() -> impl Strategy<Value = String> {
    let piece = proptest::sample::select(vec![
        "%22",
        ":",
        "%73",
        "ig",
        "sig",
        "=",
        "%3D",
        "%25",
        "%3A",
        "%2C",
        "+",
        "%5C",
        "25",
        "%",
        r"\u0025",
        r"\u0067",
        r"\u0022",
        r"\\",
        r#"\""#,
        r#"\\\""#,
        r#"""#,
        "cookie",
        "cookie:",
        "authorization",
        "AWS4-",
        "AWS ",
        "Basic ",
        " Signature=x",
        ",Credential=",
        "{",
        "[",
        "]",
        "}",
        ",",
        " ",
        r"\n",
        r"\t",
        r"\\n",
        "*",
        "1",
        "true",
        "value",
        r#"\"token\":"#,
        r#""token":"#,
        "&",
        "x",
    ]);
    vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(crate::cases(300))]

    #[test]
    fn whatever_is_repeated(start in pieces(), often in pieces(), end in pieces(), quoted: bool) {
        let quote = if quoted { "\"" } else { "" };
        let event = format!("{{\"a\":{quote}{start}{}{end}{quote}}}", repeated(&often));
        let cost = cost(&event);
        prop_assert!(cost <= MAX_COST, "{}", cost);
    }
}
