//! Each refusal shows in the log and in the figures, without what was sent.

use std::net::Shutdown;
use std::time::Duration;

use crate::source_http::{Listener, TokenFile, ask, free_address, post, request, success};
use crate::support::{Metrics, event, poll};

use super::{HALF_A_HEAD, refused};

#[test]
fn every_refusal_is_counted_by_source_and_reason_and_logged_without_what_was_sent() {
    let (token, status) = (TokenFile::new("Splunk test"), free_address());
    let page = format!("--status-listen={status}");
    let options = [
        &token.option(),
        &page,
        "--listen-timeout=500ms",
        "--max-body-bytes=1000",
        "--buffer-events=10",
    ];
    let listener = Listener::start(&options);
    let source = format!("http:{}", listener.address);
    let with_token = |headers: &str, body: &[u8]| {
        let head = format!("POST /geheim\nAuthorization: Splunk test\nX-Geheim: geheim\n{headers}");
        request(&head, body)
    };
    let chunked = "Transfer-Encoding: chunked";
    let known = |body: &[u8]| with_token(&format!("Content-Length: {}", body.len()), body);
    let gzipped = with_token("Content-Encoding: gzip\nContent-Length: 6", b"geheim");
    let requests = [
        ("unauthorized", post("{}")),
        (
            "forbidden",
            request(
                "POST /\nAuthorization: Splunk geheim\nContent-Length: 2",
                b"{}",
            ),
        ),
        (
            "method",
            with_token("Content-Length: 0", b"")
                .strip_prefix(b"POST")
                .map(|rest| [b"KILL", rest].concat())
                .unwrap(),
        ),
        ("timeout", with_token("Content-Length: 100", b"geheim")),
        ("length_required", with_token("X: y", b"geheim")),
        ("too_large", with_token("Content-Length: 1001", b"")),
        (
            "too_large",
            with_token(chunked, &[b"7d0\r\n", &b" ".repeat(2000)[..]].concat()),
        ),
        (
            "encoding",
            with_token("Content-Encoding: deflate\nContent-Length: 6", b"geheim"),
        ),
        (
            "encoding",
            with_token("Content-Encoding: zstd\nContent-Length: 6", b"geheim"),
        ),
        (
            "head_too_large",
            with_token(&format!("Y: {}", "geheim".repeat(4000)), b""),
        ),
        (
            "not_implemented",
            with_token("Transfer-Encoding: geheim", b""),
        ),
        ("malformed_head", b"geheim\r\n\r\n".to_vec()),
        (
            "tls_hello",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        ),
        (
            "http2_preface",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        ),
        (
            "proxy_header",
            [&b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"[..], &post("{}")].concat(),
        ),
        (
            "proxy_header",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec(),
        ),
        ("bad_chunking", with_token(chunked, b"geheim\r\n")),
        ("bad_encoding", gzipped),
        ("malformed_events", known(b"{\"geheim")),
        ("malformed_events", known(b"[1,2]")),
        ("too_large", known(&b"{\"n\":1}".repeat(11))),
    ];
    for (_, request) in &requests {
        let mut client = listener.client();
        // It may be refused before all of it was sent.
        let _ = client.send(request);
        if request.ends_with(b"]") || request.ends_with(b"{\"geheim") || request.ends_with(b"}") {
            let _ = client.stream.get_ref().shutdown(Shutdown::Write);
        }
        client.read_to_end().unwrap();
    }
    // Gone in mid-body, and in the middle of a head; a client that only connects has lost nothing.
    for beginning in [
        &with_token("Content-Length: 100", b"geheim")[..],
        HALF_A_HEAD,
        b"",
    ] {
        let mut client = listener.client();
        client.send(beginning).unwrap();
    }
    listener.hook.hold();
    let mut client = listener.client();
    ask(&mut client, &known(&b"{\"n\":1}".repeat(10)), &success(""));
    listener.hook.wait_for_requests(1);
    client.send(&known(b"{\"n\":2}")).unwrap();
    assert_eq!(client.read_answer().unwrap().0, 503);

    let mut expected = std::collections::BTreeMap::new();
    for reason in requests.iter().map(|(reason, _)| *reason).chain([
        "disconnected",
        "disconnected",
        "buffer_full",
    ]) {
        *expected.entry(reason.to_owned()).or_insert(0) += 1;
    }
    let expected: Vec<_> = expected.into_iter().collect();
    let mut found = Vec::new();
    let mut counted = || {
        found = refused(&Metrics::at(status), &source);
        found.sort();
        found == expected
    };
    let patience = Duration::from_secs(60);
    if poll(patience, || counted().then_some(())).is_none() {
        panic!("{found:?}, and not {expected:?}");
    }
    let total: u64 = expected.iter().map(|(_, requests)| requests).sum();
    listener.hook.release();
    listener.agent.signal(libc::SIGTERM);
    let ended = listener.agent.wait();
    for status in [
        "401", "403", "405", "408", "411", "413", "415", "431", "501", "503", "400",
    ] {
        let line = ended
            .log
            .lines()
            .find(|line| line.contains(&format!("refused ({status} ")));
        let line = line.unwrap_or_else(|| panic!("no {status} in {}", ended.log));
        assert!(
            line.contains(&format!("WARN  {source}: ")) && line.ends_with(", last from 127.0.0.1"),
            "{line}"
        );
    }
    assert!(!ended.log.contains("geheim"), "{}", ended.log);
    assert!(
        ended.log.contains(&format!("requests refused {total}")),
        "{}",
        ended.log
    );
    let balance = ended.balance();
    assert_eq!(
        (balance.received, balance.delivered, balance.dropped),
        (10, 10, 0)
    );
}

/// One that was told so keeps its connection for a while, which another one may need.
#[test]
fn a_refused_client_is_counted_once() {
    const CLIENTS: usize = 30;
    let (token, status) = (TokenFile::new("Splunk test"), free_address());
    let page = format!("--status-listen={status}");
    let listener = Listener::start(&[&token.option(), &page, "--listen-connections=5"]);
    let mut refused_clients = Vec::new();
    for number in 0..CLIENTS {
        let mut client = listener.client();
        client.send(&post(&event(number))).unwrap();
        assert_eq!(client.read_answer().unwrap().0, 401);
        refused_clients.push(client);
    }
    let source = format!("http:{}", listener.address);
    let refused = refused(&Metrics::at(status), &source);
    assert_eq!(refused, [("unauthorized".to_owned(), CLIENTS as u64)]);
    listener.end();
}
