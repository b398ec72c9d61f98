//! Requests and answers over a connection: their order, their framing, and what is answered to the byte.

use std::net::Shutdown;

use crate::support::{arrived, event};

use super::{
    CLOSE, HEALTHY, Listener, TOO_LARGE, answer, ask, bad_event, chunked, events, expect, lines,
    post, request, success, too_large,
};

#[test]
fn probes_are_answered() {
    let listener = Listener::start(&[]);
    let mut client = listener.client();
    let healthy = answer("200 OK", "", HEALTHY);
    let head = healthy.replace(HEALTHY, "");
    ask(&mut client, &request("GET /", b""), &healthy);
    ask(&mut client, &request("HEAD /", b""), &head);
    ask(
        &mut client,
        &request("GET /services/collector/health", b""),
        &healthy,
    );
    ask(&mut client, &post(""), &success(""));
    ask(&mut client, &post(" \r\n"), &success(""));
    let chunked = request("PUT /\nTransfer-Encoding: chunked", b"0\r\n\r\n");
    ask(&mut client, &chunked, &success(""));
    // A probe's body is read and means nothing; least of all is it a request.
    let inside = post(&event(1));
    let outside = format!("GET /\nContent-Length: {}", inside.len());
    ask(&mut client, &request(&outside, &inside), &healthy);
    ask(&mut client, &request("HEAD /", b""), &head);
    listener.end_with(&[]);
}

#[test]
fn a_client_that_waits_for_a_word_before_it_sends_the_body_gets_it() {
    const GO_ON: &str = "HTTP/1.1 100 Continue\r\n\r\n";
    let listener = Listener::start(&["--max-body-bytes", "1000"]);
    let mut client = listener.client();
    let known = request("POST /\nExpect: 100-continue\nContent-Length: 7", b"");
    ask(&mut client, &known, GO_ON);
    ask(&mut client, event(1).as_bytes(), &success(""));
    let chunks = request(
        "POST /\nTransfer-Encoding: chunked\nExpect: 100-Continue",
        b"",
    );
    ask(&mut client, &chunks, GO_ON);
    ask(&mut client, &chunked(event(2).as_bytes()), &success(""));
    // One that does not wait for it is not told what it does not want to know any more.
    let at_once = [known.as_slice(), event(3).as_bytes()].concat();
    ask(&mut client, &at_once, &success(""));
    // Nobody is told to send what will not be taken.
    let large = request("POST /\nExpect: 100-continue\nContent-Length: 1001", b"");
    assert_eq!(listener.last_words(&large), too_large(CLOSE));

    listener.hook.wait_for_events(3);
    let balance = listener.end();
    assert_eq!((balance.received, balance.delivered), (3, 3));
}

#[test]
fn requests_that_come_in_one_go_or_byte_by_byte_are_answered_in_order() {
    let listener = Listener::start(&[]);
    let exchanges = [
        (post(&event(1)), success("")),
        (request("GET /", b""), answer("200 OK", "", HEALTHY)),
        (
            request(
                "PUT /\nTransfer-Encoding: chunked",
                &chunked(event(2).as_bytes()),
            ),
            success(""),
        ),
        (post("{\"n\":3}\nnonsense\n"), bad_event(1)),
        (
            request("HEAD /", b""),
            answer("200 OK", "", HEALTHY).replace(HEALTHY, ""),
        ),
        (post(""), success("")),
        (
            request(
                "POST /\nConnection: close\nContent-Length: 7",
                event(4).as_bytes(),
            ),
            success(CLOSE),
        ),
    ];
    let requests: Vec<u8> = exchanges.iter().flat_map(|(ask, _)| ask.clone()).collect();
    let answers: String = exchanges
        .iter()
        .map(|(_, answer)| answer.as_str())
        .collect();

    assert_eq!(listener.last_words(&requests), answers);
    let mut client = listener.client();
    for byte in &requests {
        client.send(&[*byte]).unwrap();
    }
    assert_eq!(client.read_to_end().unwrap(), answers);
    // More than the agent reads at once; each answer tells which request it is to.
    let numbers = (0..500).map(|number| number % 7);
    let many = numbers
        .clone()
        .flat_map(|number| post(&(lines(0..number) + "x\n")));
    let mut client = listener.client();
    client.send(&many.collect::<Vec<_>>()).unwrap();
    expect(&mut client, &numbers.map(bad_event).collect::<String>());

    listener.hook.wait_for_events(6);
    assert_eq!(arrived(&listener.hook), events([1, 2, 4, 1, 2, 4]));
    assert_eq!(listener.end().received, 6);
}

#[test]
fn a_client_that_wants_the_connection_closed_is_obeyed() {
    let listener = Listener::start(&[]);
    for (number, headers) in [
        "Connection: close",
        "Connection: keep-alive, Close",
        "connection: close\nConnection: TE",
    ]
    .into_iter()
    .enumerate()
    {
        let head = format!("POST /\n{headers}\nContent-Length: 7");
        let words = listener.last_words(&request(&head, event(number).as_bytes()));
        assert_eq!(words, success(CLOSE), "{headers}");
    }
    let old = b"POST / HTTP/1.0\r\nContent-Length: 7\r\n\r\n{\"n\":3}";
    assert_eq!(listener.last_words(old), success(CLOSE));
    listener.hook.wait_for_events(4);
    listener.end_with(&events(0..4));
}

#[test]
fn a_client_may_close_its_half_before_it_reads_the_answer() {
    let listener = Listener::start(&[]);
    let mut client = listener.client();
    client
        .send(&[post(&event(1)), post(&event(2))].concat())
        .unwrap();
    client.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read_to_end().unwrap(), success("").repeat(2));
    let mut client = listener.client();
    client.send(b"GARBAGE\n\n").unwrap();
    client.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    assert!(client.read_to_end().unwrap().starts_with("HTTP/1.1 400 "));
    listener.hook.wait_for_events(2);
    listener.end_with(&events(1..3));
}

/// What two servers in a row could understand differently, so that one of them sees a request where the other sees a
/// body. Behind each, such a request: it must not be seen.
#[test]
fn framing_that_could_be_understood_differently_is_refused_and_the_connection_closed() {
    let listener = Listener::start(&[]);
    let smuggled = post(r#"{"smuggled":true}"#);
    let heads = [
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 5",
        "Content-Length: 5,",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length: 5.0",
        "Content-Length: 5\u{b}",
        "Content-Length:",
        "Content-Length: 18446744073709551621",
        "Content-Length: 00000000000000000000000000005",
        "Content-Length : 5",
        " Content-Length: 5",
        "X: y\r\n Content-Length: 5",
        "X: y\nContent-Length: 5",
        "X: y\rContent-Length: 5",
        "X\0: y\r\nContent-Length: 5",
        "X: y\0\r\nContent-Length: 5",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nTransfer-Encoding: identity",
        "Content-Length: 5\r\ntransfer-encoding: x",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked;a=b",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: \u{b}chunked",
        "Transfer-Encoding:",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\r\n: chunked",
        "Host: b\r\nContent-Length: 5",
        "Content-Length: 5\r\nAuthorization: a\r\nAuthorization: b",
        ": y",
        "no header at all",
    ];
    for head in heads {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n0\r\n\r\n");
        assert_refused(&listener, &[head.as_bytes(), &smuggled].concat());
    }
    for line in [
        "POST / HTTP/1.1\r\nContent-Length: 0",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked",
        "POST / HTTP/2.0\r\nHost: a\r\nContent-Length: 0",
        "POST / HTTP/1.1 \r\nHost: a\r\nContent-Length: 0",
        "POST /\r\nHost: a\r\nContent-Length: 0",
        "POST / / HTTP/1.1\r\nHost: a\r\nContent-Length: 0",
        "POST / HTTP/1.1\nHost: a\nContent-Length: 0",
        " POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0",
        "\n\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0",
        "PO\0ST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0",
        "PRI * HTTP/2.0",
        "{\"n\":1}\n{\"n\":2}",
        "\u{16}\u{3}\u{1}\u{2}",
    ] {
        let head = format!("{line}\r\n\r\n");
        assert_refused(&listener, &[head.as_bytes(), &smuggled].concat());
    }
    for body in [
        "\r\n",
        "g\r\n",
        "-1\r\n",
        "+1\r\n{\r\n",
        "0x1\r\n{\r\n",
        " 1\r\n{\r\n",
        "1 \r\n{\r\n",
        "1\n{\n",
        "1\r\n{}\r\n",
        "1\r\n{\n0\r\n\r\n",
        "1\r\n{0\r\n\r\n",
        "100000000\r\n{}",
        "0000000000000000001\r\n{",
        "ffffffffffffffff\r\n{}",
        "1;\0\r\n{\r\n",
        "1;a\n{\r\n",
        "0\r\n\n",
        "0\r\na: b\n\r\n",
        "0\n\n",
    ] {
        let head = request("POST /\nTransfer-Encoding: chunked", body.as_bytes());
        assert_refused(&listener, &[head, smuggled.clone()].concat());
    }
    // Its own line and extensions do not end either.
    let endless = "1;".to_owned() + &"x".repeat(2000);
    assert_refused(
        &listener,
        &request("POST /\nTransfer-Encoding: chunked", endless.as_bytes()),
    );

    ask(&mut listener.client(), &post(&event(1)), &success(""));
    listener.hook.wait_for_events(1);
    listener.end_with(&events([1]));
}

/// Exactly one answer, which refuses, and then the end.
#[track_caller]
fn assert_refused(listener: &Listener, bytes: &[u8]) {
    let words = listener.last_words(bytes);
    let shown = String::from_utf8_lossy(bytes);
    let is_refusal = words.starts_with("HTTP/1.1 400 ") || words.starts_with("HTTP/1.1 501 ");
    assert!(is_refusal, "{words:?} to {shown:?}");
    assert!(
        words.contains("\r\nConnection: close\r\n"),
        "{words:?} to {shown:?}"
    );
    assert_eq!(
        words.matches("HTTP/1.1").count(),
        1,
        "{words:?} to {shown:?}"
    );
}

#[test]
fn refusals_are_what_splunk_says_to_the_byte() {
    let listener = Listener::start(&[]);
    let not_http = r#"{"text":"not HTTP","code":6}"#;
    for (bytes, status, headers, body) in [
        (b"x\r\n\r\n".to_vec(), "400 Bad Request", "", not_http),
        (
            request("DELETE /", b""),
            "405 Method Not Allowed",
            "Allow: POST, PUT, GET, HEAD, OPTIONS\r\n",
            r#"{"text":"Method not allowed","code":6}"#,
        ),
        (
            request("POST /\nContent-Encoding: br\nContent-Length: 2", b"{}"),
            "415 Unsupported Media Type",
            "",
            r#"{"text":"Unknown Content-Encoding","code":6}"#,
        ),
        (
            request("POST /", b"{\"n\":1}"),
            "411 Length Required",
            "",
            r#"{"text":"Content-Length is required","code":6}"#,
        ),
        (
            request("POST /\nTransfer-Encoding: gzip", b""),
            "501 Not Implemented",
            "",
            r#"{"text":"Unknown Transfer-Encoding","code":6}"#,
        ),
        (
            request(&format!("POST /\nX: {}", "x".repeat(16 << 10)), b""),
            "431 Request Header Fields Too Large",
            "",
            r#"{"text":"Headers too large","code":6}"#,
        ),
        (
            request("POST /\nContent-Length: 16777217", b""),
            "413 Content Too Large",
            "",
            TOO_LARGE,
        ),
    ] {
        let expected = answer(status, &format!("{headers}{CLOSE}"), body);
        assert_eq!(listener.last_words(&bytes), expected);
    }
    listener.end();
}
