//! Clients that mean harm, or look like it: nobody else is kept waiting, memory stays within its bound, and each refusal
//! shows in the log and in the figures.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::source_http::{
    Listener, TokenFile, ask, events, free_address, lines, post, post_gzip, request, success,
};
use crate::support::{
    Client, Metrics, PATIENCE, arrived, event, eventually, poll, unchanged_for, within,
};

const HALF_A_HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nX: ";

/// The figures at the status page's address.
fn metrics(address: SocketAddr) -> Metrics {
    let mut client = Client::connect(address);
    client.send(&request("GET /metrics", b"")).unwrap();
    Metrics::parse(&client.read_answer().unwrap().1)
}

/// Requests of a source that were refused, by reason.
fn refused(metrics: &Metrics, source: &str) -> Vec<(String, u64)> {
    let Some(family) = metrics.0.get("s3_audit_webhook_requests_refused_total") else {
        return Vec::new();
    };
    let of_source = family.samples.iter().filter_map(|(labels, requests)| {
        let get = |name: &str| {
            labels
                .iter()
                .find(|(label, _)| label == name)
                .unwrap()
                .1
                .clone()
        };
        (get("source") == source).then(|| (get("reason"), *requests))
    });
    of_source.filter(|(_, requests)| *requests > 0).collect()
}

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
        found = refused(&metrics(status), &source);
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

/// Opens connections that send this and then nothing, and opens others in place of those that the agent ends, until told
/// to stop. Gives how many there were.
fn flood(address: SocketAddr, connections: usize, beginning: &[u8], stop: &AtomicBool) -> usize {
    let open = || {
        let mut socket = TcpStream::connect(address).ok()?;
        socket.set_nonblocking(true).ok()?;
        socket.write_all(beginning).ok()?;
        Some(socket)
    };
    let mut sockets: Vec<Option<TcpStream>> = (0..connections).map(|_| open()).collect();
    let mut opened = connections;
    while !stop.load(Ordering::Relaxed) {
        for socket in &mut sockets {
            let has_ended = |socket: &TcpStream| {
                let read = (&mut &*socket).read(&mut [0; 256]);
                !read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
            };
            if socket.as_ref().is_none_or(has_ended) {
                *socket = open();
                opened += 1;
            }
        }
        // All are looked at a hundred times a second.
        thread::sleep(Duration::from_millis(10));
    }
    opened
}

/// Honest clients that post one event over a connection each are all served beside 400 others that begin so, and stay.
fn honest_clients_are_served_beside(beginning: &[u8]) {
    const CLIENTS: usize = 4;
    const POSTS: usize = 5;
    let listener = Listener::start(&["--report-interval=500ms"]);
    let (stop, posted) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| flood(listener.address, 400, beginning, &stop));
        let displaced = "closed in an unfinished request, to make room";
        listener.agent.wait_for_log(displaced);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..POSTS {
                        let number = posted.fetch_add(1, Ordering::Relaxed);
                        let request = post(&event(number));
                        let answer = || {
                            let mut client = listener.client();
                            client.send(&request).ok()?;
                            client.read_answer().ok()
                        };
                        // On a busy machine one may not get to send its request before others need its place, or its place
                        // may be needed when the request has just come: then it comes twice.
                        let answer = (0..3).find_map(|_| answer());
                        let status = answer.map(|(status, _)| status);
                        assert_eq!(status, Some(200), "client {number}");
                    }
                })
            })
            .collect();
        let served: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(served.iter().all(Result::is_ok));
        // Not only the first, but a summary of those that followed.
        eventually("a summary", || {
            (listener.agent.log().matches(displaced).count() > 1).then_some(())
        });
    });
    let posted = events(0..posted.into_inner());
    eventually("all are delivered", || {
        let arrived: BTreeSet<_> = arrived(&listener.hook).into_iter().collect();
        (arrived == posted.iter().cloned().collect()).then_some(())
    });
    assert!(listener.end().delivered >= posted.len() as u64);
}

#[test]
fn half_heads_do_not_turn_honest_clients_away() {
    honest_clients_are_served_beside(HALF_A_HEAD);
}

#[test]
fn half_bodies_do_not_turn_honest_clients_away() {
    // Of events, and of a request that needs no token and takes none.
    for head in ["POST / HTTP/1.1", "OPTIONS * HTTP/1.1"] {
        let beginning = format!("{head}\r\nHost: a\r\nContent-Length: 100000\r\n\r\n{{");
        honest_clients_are_served_beside(beginning.as_bytes());
    }
}

#[test]
fn silent_connections_do_not_turn_honest_clients_away() {
    honest_clients_are_served_beside(b"");
}

/// They share the memory for bodies with everybody else.
#[test]
fn half_bodies_do_not_keep_the_memory_of_others() {
    let listener = Listener::start(&["--max-body-bytes=1MiB", "--listen-timeout=1h"]);
    let head = "POST /\nContent-Length: 1000000";
    let half = request(
        head,
        format!("{{\"a\":\"{}", "x".repeat(900_000)).as_bytes(),
    );
    let mut halves = Vec::new();
    // Those that come too soon after the others are refused.
    let goes = (0..50).any(|_| {
        let mut client = listener.client();
        let _ = client.send(&half);
        halves.push(client);
        thread::sleep(Duration::from_millis(100));
        listener.agent.log().contains("to make room")
    });
    assert!(goes, "{}", listener.agent.log());
    let body = lines(0..50_000);
    assert!(body.len() > 500_000);
    eventually("an honest client is served", || {
        let mut client = listener.client();
        // It may be refused before it has sent all.
        let sent = client.send(&post(&body)).is_ok();
        let answer = client.read_answer();
        (sent && answer.is_ok_and(|answer| answer.0 == 200)).then_some(())
    });
    drop(halves);
    listener.end_with(&events(0..50_000));
}

#[test]
fn clients_that_have_shown_a_token_are_never_closed_for_others() {
    let token = TokenFile::new("Splunk test");
    let listener = Listener::start(&["--listen-connections=8", &token.option()]);
    let head = "POST /\nAuthorization: Splunk test\nContent-Length: 7";
    let post = |number: usize| request(head, event(number).as_bytes());
    let (mut idle, mut slow) = (listener.client(), listener.client());
    ask(&mut idle, &post(1), &success(""));
    ask(&mut slow, &post(2), &success(""));
    slow.send(&post(3)[..20]).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| flood(listener.address, 50, HALF_A_HEAD, &stop));
        let log = || listener.agent.log();
        within(Duration::from_secs(60), "others are displaced", || {
            log().contains("to make room")
        });
        // Others go on to come in the meantime.
        thread::sleep(Duration::from_millis(500));
        slow.send(&post(3)[20..]).unwrap();
        let answers = [
            slow.read_answer(),
            idle.send(&post(4)).and_then(|()| idle.read_answer()),
        ];
        stop.store(true, Ordering::Relaxed);
        for answer in answers {
            assert_eq!(answer.unwrap().0, 200);
        }
    });
    listener.hook.wait_for_events(4);
    listener.end_with(&[1, 2, 3, 4].map(event));
}

fn connect_from(ip: Ipv4Addr, address: SocketAddr) -> Client<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((ip, 0)).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    Client::over(socket.into())
}

#[test]
fn one_address_has_no_more_connections_than_it_may_have() {
    let listener = Listener::start(&["--listen-connections-per-peer=3"]);
    let from = |last: u8| connect_from(Ipv4Addr::new(127, 99, 0, last), listener.address);
    let mut three: Vec<_> = (0..3).map(|_| from(1)).collect();
    for client in &mut three {
        ask(client, &post("{}"), &success(""));
    }
    let mut fourth = from(1);
    let _ = fourth.send(&post(&event(0)));
    assert_eq!(fourth.read_answer().unwrap().0, 503);
    listener
        .agent
        .wait_for_log("(503 too many connections of one client), last from 127.99.0.1");
    ask(&mut from(2), &post(&event(1)), &success(""));
    drop(three.pop());
    eventually("there is room", || {
        let mut again = from(1);
        let _ = again.send(&post(&event(2)));
        (again.read_answer().ok()?.0 == 200).then_some(())
    });
    listener.hook.wait_for_events(2);
    listener.end_with(&[1, 2].map(event));
}

/// Asks for ever what needs no token, and reads no answer; connects again when its connection ends. Counts what it sends.
fn ask_and_never_read(address: SocketAddr, sent: &AtomicUsize, stop: &AtomicBool) {
    let requests = request("OPTIONS /", b"").repeat(200);
    while !stop.load(Ordering::Relaxed) {
        let deaf = connect_from(Ipv4Addr::new(127, 99, 0, 9), address);
        let mut deaf = deaf.stream.into_inner();
        deaf.set_write_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let mut at = 0;
        while !stop.load(Ordering::Relaxed) {
            match deaf.write(&requests[at..]) {
                Ok(count) => {
                    at = (at + count) % requests.len();
                    sent.fetch_add(count, Ordering::Relaxed);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
    }
}

/// How the log names it.
const DEAF: &str = "refused (the client does not read its answers), last from 127.99.0.9";

#[test]
fn clients_that_do_not_read_their_answers_keep_nobody_out() {
    const PLACES: usize = 8;
    let token = TokenFile::new("Splunk test");
    let places = format!("--listen-connections={PLACES}");
    // Longer than the test waits: that they go is not due to this.
    let listener = Listener::start(&[&places, &token.option(), "--listen-timeout=10m"]);
    let (sent, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let head = "POST /\nAuthorization: Splunk test\nContent-Length: 7";
    let post = request(head, event(1).as_bytes());
    thread::scope(|scope| {
        for _ in 0..PLACES {
            scope.spawn(|| ask_and_never_read(listener.address, &sent, &stop));
        }
        let count = || sent.load(Ordering::Relaxed);
        unchanged_for(Duration::from_secs(2), "none can send more", count);
        let mut client = listener.client();
        let answer = client.send(&post).and_then(|()| client.read_answer());
        stop.store(true, Ordering::Relaxed);
        assert_eq!(answer.unwrap().0, 200);
    });
    listener.agent.wait_for_log(DEAF);
    listener.end_with(&[event(1)]);
}

#[test]
fn a_client_that_does_not_read_its_answers_in_time_is_logged_and_counted() {
    let status = free_address();
    let page = format!("--status-listen={status}");
    let listener = Listener::start(&["--listen-timeout=1s", &page]);
    let source = format!("http:{}", listener.address);
    let (sent, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let refused = thread::scope(|scope| {
        scope.spawn(|| ask_and_never_read(listener.address, &sent, &stop));
        let refused = poll(PATIENCE, || {
            let refused = refused(&metrics(status), &source);
            (!refused.is_empty()).then_some(refused)
        });
        stop.store(true, Ordering::Relaxed);
        refused
    });
    assert_eq!(refused, Some(vec![("unread".to_owned(), 1)]));
    listener.agent.wait_for_log(DEAF);
    listener.end();
}

/// What is sent is small, what would be made of it is not.
#[test]
fn bodies_that_grow_stay_within_the_memory_that_is_stated() {
    const MIB: usize = 1 << 20;
    let options = [
        "--max-body-bytes=4MiB",
        "--max-event-bytes=4MiB",
        "--buffer-bytes=16MiB",
        "--listen-connections=128",
    ];
    let listener = Listener::start(&options);
    let bodies = [
        // Each byte that is no UTF-8 becomes three.
        (
            16,
            [b"{\"a\":\"", &b"\xff".repeat(4 * MIB - 10)[..], b"\"}"].concat(),
        ),
        (
            16,
            [&b"{\"a\":\""[..], &b"\xff".repeat(1000)[..], b"\"}"]
                .concat()
                .repeat(4000),
        ),
        // Each gets a line end.
        (16, b"{}".repeat(2 * MIB)),
        (16, b"{\"\":1}".repeat(MIB / 2)),
        // Each level of nesting is remembered.
        (128, [&b"{\"a\":"[..], &b"[".repeat(65_400)[..]].concat()),
        (128, b"{\"a\":".repeat(13_000)),
        (128, b"[".repeat(65_400)),
        // Each opening bracket may begin an object, once it is clear that the first does not end.
        (64, b"{".repeat(4 * MIB - 10)),
    ];
    for (clients, body) in bodies {
        let request = post_gzip(&body);
        thread::scope(|scope| {
            for _ in 0..clients {
                let (listener, request) = (&listener, &request);
                scope.spawn(move || {
                    let mut client = listener.client();
                    client
                        .stream
                        .get_ref()
                        .set_read_timeout(Some(Duration::from_secs(120)))
                        .unwrap();
                    client.send(request).unwrap();
                    let (status, text) = client.read_answer().unwrap();
                    assert!([200, 400, 413, 503].contains(&status), "{status} {text}");
                });
            }
        });
    }
    // The buffer, four bodies, what each connection has of its own, and the rest of the agent.
    let bound = 16 * 1024 + 4 * (4 * 1024 + 256) + 128 * 96 + 12 * 1024;
    let peak = listener.agent.peak_kib();
    println!("{peak} of {bound} KiB");
    assert!(peak < bound, "{peak} KiB are over {bound}");
    ask(&mut listener.client(), &post(&event(1)), &success(""));
    listener.end();
}
