//! The webhook: it answers as it is told, well, badly, late or not at all.

use std::io::{self, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{Answer, BlackHole, Client, Request, Webhook};

const SUCCESS: &str = r#"{"text":"Success","code":0}"#;

fn statuses(requests: &[Request]) -> Vec<Option<u16>> {
    requests.iter().map(|request| request.answered).collect()
}

#[test]
fn webhook_takes_requests_over_one_connection() {
    let hook = Webhook::start();
    let mut client = Client::connect(hook.address());

    assert_eq!(client.post("a\nb\n").unwrap(), (200, SUCCESS.to_owned()));
    assert_eq!(client.post("").unwrap(), (200, SUCCESS.to_owned()));
    client
        .send(b"PUT /x?y=1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nc\n\r\n1\r\nd\r\n0\r\n\r\n")
        .unwrap();
    assert_eq!(client.read_answer().unwrap().0, 200);

    let requests = hook.requests();
    assert_eq!(hook.connections(), 1);
    assert_eq!(requests.len(), 3);
    assert_eq!(
        (requests[0].method.as_str(), requests[0].path.as_str()),
        ("POST", "/raw")
    );
    assert_eq!(requests[0].header("content-length"), Some("4"));
    assert_eq!(requests[0].body, b"a\nb\n");
    assert!(requests[0].at <= requests[2].at);
    assert_eq!(
        (requests[2].method.as_str(), requests[2].path.as_str()),
        ("PUT", "/x?y=1")
    );
    assert_eq!(requests[2].body, b"c\nd");
    assert_eq!(requests[2].connection, 1);
    assert_eq!(hook.delivered_events(), [b"a", b"b", b"c", b"d"]);
}

#[test]
fn webhook_follows_its_script_and_then_its_rule() {
    let hook = Webhook::start();
    hook.answer_by(|request| {
        if request.contains("poison") {
            Answer::status(400)
        } else {
            Answer::status(204)
        }
    });
    hook.script([
        Answer::status(503).header("Retry-After", "1"),
        Answer::hec(400, "Incorrect index", 7),
    ]);
    let mut client = Client::connect(hook.address());

    assert_eq!(
        client.post("a").unwrap(),
        (503, r#"{"text":"Server is busy","code":9}"#.to_owned())
    );
    assert_eq!(
        client.post("b").unwrap(),
        (400, r#"{"text":"Incorrect index","code":7}"#.to_owned())
    );
    assert_eq!(client.post("poison").unwrap().0, 400);
    assert_eq!(client.post("c").unwrap(), (204, String::new()));
    hook.always(Answer::ok().body("fine"));
    assert_eq!(client.post("d").unwrap(), (200, "fine".to_owned()));

    assert_eq!(hook.delivered_events(), [b"c", b"d"]);
    assert_eq!(
        statuses(&hook.requests()),
        [503, 400, 400, 204, 200].map(Some)
    );
}

#[test]
fn webhook_holds_answers_until_released() {
    let hook = Webhook::start();
    hook.hold();
    let mut client = Client::connect(hook.address());
    client.send_post("a").unwrap();

    assert_eq!(hook.wait_for_requests(1)[0].answered, None);
    assert!(hook.delivered_events().is_empty());
    hook.release();
    assert_eq!(hook.wait_for_events(1), [b"a"]);
    assert_eq!(client.read_answer().unwrap().0, 200);
}

#[test]
fn webhook_finishes_between_two_answers() {
    let hook = Webhook::builder().forgetful().start();
    let (seen, body) = std::sync::mpsc::channel();
    hook.reuse([vec![1; 1000]]);
    hook.answer_by(move |request| {
        seen.send(std::mem::take(&mut request.body)).unwrap();
        Answer::ok().after(Duration::from_millis(100))
    });
    let mut client = Client::connect(hook.address());
    client.send_post("a").unwrap();
    let body = body.recv().unwrap();
    assert_eq!((body.as_slice(), body.capacity()), (&b"a"[..], 1000));
    hook.finish();
    assert_eq!(client.read_answer().unwrap().0, 200);
    assert!(client.post("b").is_err());
    hook.restart();
    assert_eq!(Client::connect(hook.address()).post("c").unwrap().0, 200);
}

#[test]
fn webhook_resets_connections() {
    let hook = Webhook::start();
    hook.script([Answer::reset(), Answer::reset_mid_body(3)]);

    let mut client = Client::connect(hook.address());
    let error = client.post("a").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

    // The reset comes without the rest of the body, which this client never sends.
    let mut client = Client::connect(hook.address());
    client
        .send(b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n0123")
        .unwrap();
    let error = client.read_answer().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

    assert_eq!(hook.requests()[1].body, b"012");
    assert_eq!(hook.requests()[1].answered, None);
    assert!(hook.delivered_events().is_empty());
}

#[test]
fn webhook_closes_connections() {
    let hook = Webhook::start();
    hook.script([
        Answer::ok().close(),
        Answer::ok().close_silently(),
        Answer::hang_up(),
    ]);
    let closed = || {
        let mut client = Client::connect(hook.address());
        client.send_post("a").unwrap();
        client.read_to_end().unwrap()
    };
    let (announced, silent, nothing) = (closed(), closed(), closed());

    assert!(
        announced.contains("\r\nConnection: close\r\n") && announced.ends_with(SUCCESS),
        "{announced}"
    );
    assert!(
        !silent.contains("Connection") && silent.ends_with(SUCCESS),
        "{silent}"
    );
    assert_eq!(nothing, "");
    assert_eq!(hook.event_count(), 2);
}

#[test]
fn webhook_sends_broken_answers() {
    let hook = Webhook::start();
    hook.script([
        Answer::ok().half_a_head(),
        Answer::ok().half_a_body(),
        Answer::garbage(),
    ]);
    let broken = || {
        let mut client = Client::connect(hook.address());
        client.send_post("a").unwrap();
        client.read_to_end().unwrap()
    };
    let (half_a_head, half_a_body, garbage) = (broken(), broken(), broken());

    assert!(
        half_a_head.starts_with("HTTP/1.1 200") && !half_a_head.contains("\r\n\r\n"),
        "{half_a_head}"
    );
    assert!(
        half_a_body.ends_with("\r\n\r\n{\"text\":\"Succ"),
        "{half_a_body}"
    );
    assert!(!garbage.contains("HTTP/"), "{garbage}");
    assert_eq!(statuses(&hook.requests()), [None, Some(200), None]);
}

#[test]
fn webhook_answers_late_slowly_without_end_and_not_at_all() {
    let hook = Webhook::start();
    let millisecond = Duration::from_millis(1);
    hook.script([
        Answer::ok().after(50 * millisecond),
        Answer::ok().slowly(10, millisecond),
        Answer::ok().endless(),
        Answer::hang(),
    ]);

    let mut client = Client::connect(hook.address());
    let asked = Instant::now();
    assert_eq!(client.post("late").unwrap().0, 200);
    assert!(asked.elapsed() >= 50 * millisecond);
    let asked = Instant::now();
    assert_eq!(client.post("slow").unwrap(), (200, SUCCESS.to_owned()));
    assert!(
        asked.elapsed() >= 10 * millisecond,
        "an answer of more than 100 bytes has 10 pauses"
    );

    client.send_post("endless").unwrap();
    let mut megabyte = vec![0; 1 << 20];
    client.stream.read_exact(&mut megabyte).unwrap();
    drop(client);

    let mut client = Client::connect(hook.address());
    client.send_post("hang").unwrap();
    let hanging = hook.wait_for_requests(4);
    assert_eq!(hanging[3].answered, None);
    client
        .stream
        .get_ref()
        .set_read_timeout(Some(20 * millisecond))
        .unwrap();
    assert_eq!(
        client.stream.read(&mut [0]).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    // When the webhook stops, nobody is left hanging.
    hook.stop();
    assert_eq!(client.read_to_end().unwrap(), "");
    assert_eq!(hook.delivered_events(), [&b"late"[..], b"slow", b"endless"]);
}

#[test]
fn webhook_answers_without_reading_the_body() {
    let hook = Webhook::start();
    hook.script([Answer::status(413).without_reading()]);
    let mut client = Client::connect(hook.address());
    client
        .send(b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n")
        .unwrap();

    assert_eq!(client.read_answer().unwrap().0, 413);
    assert_eq!(client.read_to_end().unwrap(), "");
    assert_eq!(hook.requests()[0].body, b"");
}

#[test]
fn webhook_stops_and_comes_back() {
    let hook = Webhook::start();
    let mut client = Client::connect(hook.address());
    client.post("before").unwrap();

    hook.stop();
    assert!(client.post("lost").is_err());
    assert_eq!(
        TcpStream::connect(hook.address()).unwrap_err().kind(),
        io::ErrorKind::ConnectionRefused
    );

    hook.restart();
    Client::connect(hook.address()).post("after").unwrap();
    assert_eq!(hook.delivered_events(), [&b"before"[..], b"after"]);
    assert_eq!(hook.connections(), 2);

    let (address, url) = (hook.address(), hook.url());
    drop(hook);
    let hook = Webhook::builder().address(address).forgetful().start();
    assert_eq!(hook.url(), url);
    Client::connect(hook.address()).post("again").unwrap();
    assert!(hook.requests().is_empty(), "it was told to forget");
}

#[test]
fn black_hole_lets_nobody_connect() {
    let hole = BlackHole::start();
    assert!(hole.url().starts_with("http://127.0.0.1:"));
    let attempt = TcpStream::connect_timeout(&hole.address(), Duration::from_millis(100));
    assert_eq!(attempt.unwrap_err().kind(), io::ErrorKind::TimedOut);
}
