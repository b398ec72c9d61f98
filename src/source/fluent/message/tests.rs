use proptest::prelude::*;

use super::*;

fn record(record: &[u8], ack: Option<&str>) -> (Vec<u8>, Option<Vec<u8>>) {
    (record.to_vec(), ack.map(|ack| ack.as_bytes().to_vec()))
}

fn one(parsed: Parsed<'_>) -> (Vec<u8>, Option<Vec<u8>>) {
    match parsed {
        Parsed::Events(Events {
            entries: Entries::Record(record),
            ack,
        }) => (record.to_vec(), ack),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_in_json_holds_one_event() {
    let tagged = r#"["a.b",1795326382,{"k":"]},{\""},{}]"#;
    let parsed = one(parse_json(tagged.as_bytes()));
    assert_eq!(parsed, record(br#"{"k":"]},{\""}"#, None));
    let spaced = "[ \"a\\\"\\\\\" , 1.5 ,\n{ } , { \"chunk\" : \"p8n9==\" } ]";
    let parsed = one(parse_json(spaced.as_bytes()));
    assert_eq!(parsed, record(b"{ }", Some(r#"{"ack":"p8n9=="}"#)));
    for bare in [r#"["",0,{}]"#, r#"["",null,{}]"#, r#"["",0,{},null]"#] {
        assert_eq!(
            one(parse_json(bare.as_bytes())),
            record(b"{}", None),
            "{bare}"
        );
    }
}

#[test]
fn a_message_in_json_may_hold_many() {
    let many = br#"["t", [[1,{"a":1}], [2, {"b":[{}]}]] ,{"chunk":"c\n"}]"#;
    let Parsed::Events(Events {
        entries: Entries::Many(entries),
        ack,
    }) = parse_json(many)
    else {
        panic!()
    };
    assert_eq!(ack.unwrap(), br#"{"ack":"c\n"}"#);
    let records: Vec<_> = elements(entries).map(json_record_of).collect();
    assert_eq!(records, [Some(&br#"{"a":1}"#[..]), Some(br#"{"b":[{}]}"#)]);
    for entry in ["[1]", "[1,2]", "[1,{},3]", "{}", "1", "[]"] {
        assert_eq!(json_record_of(entry.as_bytes()), None, "{entry}");
    }
}

#[test]
fn what_is_no_message_may_want_an_acknowledgement() {
    let ack = json_ack_at_end(b"[1,{\"chunk\":\"p8n9==\"} ]");
    assert_eq!(ack.as_deref(), Some(&br#"{"ack":"p8n9=="}"#[..]));
    for other in ["[1,{}]", "[]", r#"{"chunk":"a"}"#] {
        assert_eq!(json_ack_at_end(other.as_bytes()), None, "{other}");
    }
    for (option, ack) in [
        (
            r#"{"chunk":"a","x":[{"chunk":"b"}],"chunk":"c"}"#,
            Some("c"),
        ),
        (r#"{"chunk":"a","chunk":1}"#, None),
        (r#"{"\u0063hunk":"\u00e9"}"#, Some("é")),
        (r#"{"chunk":"\ud800"}"#, None),
        // Whatever else there is.
        (r#"{"chunk":"c","x":"\ud800","y":1e999}"#, Some("c")),
        (r#"{"x":{"chunk":"c"}}"#, None),
    ] {
        let ack = ack.map(|ack| format!("{{\"ack\":\"{ack}\"}}").into_bytes());
        let other = format!("[1,{option}]");
        assert_eq!(json_ack_at_end(other.as_bytes()), ack, "{option}");
    }
    let ack = ack_at_end(b"\x92\x01\x81\xa5chunk\xa1a");
    assert_eq!(ack.as_deref(), Some(&b"\x81\xa3ack\xa1a"[..]));
    for other in [&b"\x92\x01\x80"[..], b"\x90", b"\x81\xa5chunk\xa1a"] {
        assert_eq!(ack_at_end(other), None, "{other:x?}");
    }
}

#[test]
fn a_message_is_known_by_its_beginning() {
    let opening = |bytes| opening(bytes).map(|found| (found.length, found.body, found.has_option));
    for (beginning, expected) in [
        (
            &b"\x92\xa1t\xc6\0\0\0\x09xx"[..],
            Some((8, Body::Packed(9), false)),
        ),
        (b"\x93\xa1t\xa5x", Some((4, Body::Packed(5), true))),
        (
            b"\x93\xa1t\xdd\0\0\0\x01\x92",
            Some((8, Body::Entries(1), true)),
        ),
        (
            b"\x94\xa1t\xd7\0\0\0\0\x01\0\0\0\x02\x81",
            Some((13, Body::Record, true)),
        ),
        (b"\x93\xa1t\x01\x81", Some((4, Body::Record, false))),
        (b"\x92\xa1t\x01", None),
        (b"\x94\xa1t\x90", None),
        (b"\x93\xa1t\xd7\0", None),
        (b"\x93\x01\x90", None),
        (b"\x93\xa1t", None),
        (b"\x83\xa1t\x90", None),
        (b"\xdd\xff\xff\xff\xff", None),
    ] {
        assert_eq!(opening(beginning), expected, "{beginning:x?}");
    }
}

#[test]
fn what_is_no_message_is_known() {
    for other in [
        "[]",
        "[1,2]",
        r#"["t",1]"#,
        r#"["t",1,2]"#,
        r#"["t",1,{},{},{}]"#,
        r#"["t",[],{},{}]"#,
        r#"["t","k9MB",{"size":1}]"#,
        r#"[{"a":1}]"#,
    ] {
        assert_eq!(parse_json(other.as_bytes()), Parsed::Other, "{other}");
    }
    for other in [
        &b"\x01"[..],
        b"\x90",
        b"\x80",
        b"\x92\xa1t\x01",
        b"\x93\xa1t\x01\x02",
        b"\x93\xa1t\xc2\x80",
        b"\x93\x01\x01\x80",
        b"\x94\xa1t\x01\x80\x01",
        b"\x95\xa1t\x01\x80\x80\x80",
        b"\x94\xa1t\x90\x80\x80",
        b"\x93\xa1t\xa0\x01",
    ] {
        assert_eq!(parse_msgpack(other), Parsed::Other, "{other:x?}");
    }
}

#[test]
fn a_client_that_wants_a_handshake_is_known() {
    let ping = b"\x96\xa4PING\xa1h\xa1s\xa1d\xa0\xa0";
    assert_eq!(parse_msgpack(ping), Parsed::Handshake);
    let ping = br#"["PING","h","s","d","",""]"#;
    assert_eq!(parse_json(ping), Parsed::Handshake);
    assert_eq!(parse_msgpack(b"\xc0"), Parsed::Heartbeat);
}

#[test]
fn a_message_in_messagepack_holds_one_event() {
    let chunk = b"\x81\xa5chunk\xa3abc".as_slice();
    for time in [
        &b"\x01"[..],
        b"\xc0",
        b"\xce\x6b\x02\x81\xef",
        b"\xd7\x00\0\0\0\x01\0\0\0\x02",
    ] {
        let start = [b"\xa1t", time, b"\x81\xa1a\x01"].concat();
        let message = [b"\x93", &start[..]].concat();
        assert_eq!(one(parse_msgpack(&message)), record(b"\x81\xa1a\x01", None));
        for option in [&b"\xc0"[..], b"\x80", b"\x81\xa5chunk\x01"] {
            let message = [b"\x94", &start[..], option].concat();
            assert_eq!(one(parse_msgpack(&message)), record(b"\x81\xa1a\x01", None));
        }
        let message = [b"\x94", &start[..], chunk].concat();
        let (_, ack) = one(parse_msgpack(&message));
        assert_eq!(ack.as_deref(), Some(&b"\x81\xa3ack\xa3abc"[..]));
    }
}

#[test]
fn the_modes_with_many_events_are_told_apart() {
    let entries_of = |message: &'static [u8]| match parse_msgpack(message) {
        Parsed::Events(events) => events.entries,
        other => panic!("{other:?}"),
    };
    let entry = b"\x92\x01\x80";
    for (message, entries) in [
        (&b"\x92\xa1t\x91\x92\x01\x80"[..], Entries::Many(entry)),
        (b"\x92\xa1t\x90", Entries::Many(b"")),
        (b"\x93\xa1t\xc4\x03\x92\x01\x80\x80", Entries::Many(entry)),
        (b"\x92\xa1t\xa3\x92\x01\x80", Entries::Many(entry)),
        (
            b"\x93\xa1t\xa1x\x81\xaacompressed\xa4text",
            Entries::Many(b"x"),
        ),
        (
            b"\x93\xa1t\xa1x\x81\xaacompressed\xa4gzip",
            Entries::Gzip(b"x"),
        ),
        (
            b"\x93\xa1t\xa1x\x81\xaacompressed\xa4zstd",
            Entries::Unknown,
        ),
    ] {
        assert_eq!(entries_of(message), entries, "{message:x?}");
    }
    assert_eq!(record_at(b"\x92\x01\x80\xc0"), Some(&b"\x80\xc0"[..]));
    // A client's metadata comes with the time.
    assert_eq!(record_at(b"\x92\x92\x01\x80\x80"), Some(&b"\x80"[..]));
    for entry in [
        &b"\x80"[..],
        b"\x91\x80",
        b"\x92\x01\x02",
        b"\x93\x01\x80\x80",
        b"",
    ] {
        assert_eq!(record_at(entry), None, "{entry:x?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        parse_json(&bytes);
        json_ack_at_end(&bytes);
        parse_msgpack(&bytes);
        ack_of(&bytes);
        ack_at_end(&bytes);
        opening(&bytes);
        record_at(&bytes);
    }
}
