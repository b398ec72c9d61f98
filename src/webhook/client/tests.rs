use std::io::{Read, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Mutex};
use std::thread;

use ureq::Error;
use ureq::unversioned::transport::NextTimeout;

use crate::delivery::outcome::Cause;
use crate::delivery::target::Target as _;
use crate::webhook::encode::{Compressed, Encoder, Format};
use crate::webhook::resolve;
use crate::webhook::tls::Trust;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

/// A name server whose answer can change.
#[derive(Debug, Clone)]
pub(super) struct Names(Arc<Mutex<Vec<SocketAddr>>>);

impl Names {
    pub(super) fn set(&self, addresses: &[SocketAddr]) {
        *self.0.lock().unwrap() = addresses.to_vec();
    }
}

impl resolve::Names for Names {
    fn find(&self, _: &str, _: u16, _: NextTimeout) -> Result<Vec<SocketAddr>, Error> {
        Ok(self.0.lock().unwrap().clone())
    }
}

pub(super) fn webhook_at(url: &str, addresses: &[SocketAddr]) -> Webhook {
    connecting(url, addresses).0
}

pub(super) fn webhook(addresses: &[SocketAddr]) -> (Webhook, Names) {
    connecting("http://hec.example.com/", addresses)
}

fn connecting(url: &str, addresses: &[SocketAddr]) -> (Webhook, Names) {
    let names = Names(Arc::default());
    names.set(addresses);
    let timeouts = Timeouts {
        connect: Duration::from_secs(3),
        request: Duration::from_secs(9),
    };
    let endpoint = Endpoint::parse(url).unwrap();
    let template = RequestTemplate {
        encoder: Encoder::new(Format::Ndjson, Compressed::No, "", &[]),
        uri: endpoint.uri().clone(),
        headers: Vec::new(),
        ack_uri: None,
        signer: None,
        is_splunk: false,
    };
    let webhook = Webhook::new(
        endpoint,
        Some(Token::parse("Splunk T").unwrap()),
        template,
        Arc::new(TlsSettings {
            trust: Trust::Anyone,
            authorities: Vec::new(),
            identity: None,
            name: None,
        }),
        None,
        timeouts,
        AddressFamily::Any,
    )
    .unwrap();
    let webhook = webhook.connecting_with(Arc::new(Nobody), names.clone());
    (webhook, names)
}

pub(super) fn post(webhook: &mut Webhook) -> Outcome {
    webhook.prepare(&Batch::of(b"{}\n"), usize::MAX);
    webhook.post(&Batch::of(b"{}\n"), None)
}

/// A webhook that does this with each connection, given how many there were before. Returns how many it had.
pub(super) fn raw_server(
    serve: impl Fn(usize, &mut TcpStream) + Send + 'static,
) -> (SocketAddr, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::<Mutex<usize>>::default();
    let count = Arc::clone(&connections);
    thread::spawn(move || {
        while let Ok((mut socket, _)) = listener.accept() {
            let place = *count.lock().unwrap();
            *count.lock().unwrap() += 1;
            serve(place, &mut socket);
        }
    });
    (address, connections)
}

/// Reads one request, whose body is `{}` and a newline.
pub(super) fn read_request(socket: &mut impl Read) -> bool {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n{}\n") {
        if socket.read(&mut byte).unwrap_or(0) == 0 {
            return false;
        }
        seen.push(byte[0]);
    }
    true
}

pub(super) const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

pub(super) fn failure(outcome: Outcome) -> DeliveryError {
    match outcome {
        Outcome::Failed(error) => error,
        outcome => panic!("{outcome:?}"),
    }
}

/// Waits until the client's host has all that was written.
pub(super) fn wait_until_arrived(socket: &TcpStream) {
    let (end, mut left) = (Instant::now() + Duration::from_secs(30), 1);
    while left > 0 {
        assert!(Instant::now() < end, "{left} bytes did not arrive");
        thread::sleep(Duration::from_millis(1));
        // SAFETY: the descriptor is open for as long as `socket` is borrowed, and TIOCOUTQ writes one int.
        let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut left) };
        assert_eq!(done, 0);
    }
}

#[test]
fn an_answer_that_nobody_asked_for_is_taken_for_no_other() {
    let no_content = b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok";
    for (at_once, later) in [
        ([OK, OK].concat(), b"".as_slice()),
        (OK.to_vec(), OK),
        ([no_content, OK].concat(), b""),
        (OK.to_vec(), b"HTTP/1.1 100 Continue\r\n\r\n"),
    ] {
        let (idle, is_idle) = crossbeam_channel::bounded(1);
        let (tell, arrived) = crossbeam_channel::bounded(1);
        let (address, connections) = raw_server(move |_, socket| {
            let _ = read_request(socket) && {
                socket.write_all(&at_once).unwrap();
                is_idle.recv().unwrap();
                socket.write_all(later).unwrap();
                wait_until_arrived(socket);
                tell.send(socket.try_clone().unwrap()).is_ok()
            };
        });
        let ((mut webhook, _), mut open) = (webhook(&[address]), Vec::new());
        for count in 1..4 {
            assert_eq!(post(&mut webhook), Outcome::Delivered);
            assert_eq!(*connections.lock().unwrap(), count);
            idle.send(()).unwrap();
            // Nobody reads from it: another request over this connection would get what was sent as its answer.
            open.push(arrived.recv().unwrap());
        }
    }
}

/// As some proxies have it, though the agent asks for `identity`.
#[test]
fn an_answer_that_is_compressed_is_read_all_the_same() {
    let text = br#"{"text":"Success","code":0,"ackId":7}"#;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(text).unwrap();
    let packed = gzip.finish().unwrap();
    for (body, expected) in [
        (packed.clone(), text.as_slice()),
        (packed[..packed.len() / 2].to_vec(), b""),
        (text.to_vec(), text),
    ] {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let sent = [head.as_bytes(), &body].concat();
        let (address, _) = raw_server(move |_, socket| {
            let _ = read_request(socket) && socket.write_all(&sent).is_ok();
        });
        let (mut webhook, _) = webhook(&[address]);
        let events = Batch::of(b"{}\n");
        webhook.prepare(&events, usize::MAX);
        let answer = webhook.try_post(&events, Some(1)).unwrap();
        match expected {
            b"" => assert!(answer.cut_off && !answer.text.starts_with(gzip::MAGIC)),
            text => assert_eq!(answer.text, text),
        }
    }
}

#[test]
fn a_page_that_breaks_off_before_its_text_is_no_success() {
    let (address, _) = raw_server(|_, socket| {
        let head =
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n";
        let _ = read_request(socket) && socket.write_all(head).is_ok();
    });
    let error = failure(post(&mut webhook(&[address]).0));
    assert!(
        error.cause == Cause::Settings && error.may_have_arrived,
        "{error:?}"
    );
}

#[test]
fn an_answer_that_never_ends_is_named_once() {
    let (address, _) = raw_server(|_, socket| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok";
        // Keeps the connection open until the client has given up.
        let _ = read_request(socket) && socket.write_all(head).is_ok() && read_request(socket);
    });
    let (mut webhook, _) = webhook(&[address]);
    assert_eq!(
        (post(&mut webhook), webhook.advice()),
        (Outcome::Delivered, Some(advice::LATE))
    );
    assert_eq!(webhook.advice(), None);
}

#[test]
fn an_answer_with_a_line_without_end_is_cut_off_at_once() {
    let text = "2\r\nok\r\n";
    for (begin, expected) in [("", ""), (text, "ok"), (&format!("{text}0\r\n"), "ok")] {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = format!("{head}{begin}{}", "x".repeat(1 << 20));
        let (address, _) = raw_server(move |_, socket| {
            let _ = read_request(socket) && socket.write_all(answer.as_bytes()).is_ok();
            // Keeps the connection open until the client has given up.
            read_request(socket);
        });
        let (mut webhook, _) = webhook(&[address]);
        let events = Batch::of(b"{}\n");
        webhook.prepare(&events, usize::MAX);
        let answer = webhook.try_post(&events, None).unwrap();
        assert_eq!(answer.text, expected.as_bytes());
        assert!(answer.cut_off && !answer.late, "{answer:?}");
        assert_eq!(post(&mut webhook), Outcome::Delivered);
    }
}

#[test]
fn only_what_nobody_can_have_read_is_repeated_silently() {
    // It reads the second request, and closes instead of answering: nobody knows whether it took it.
    let (address, connections) = raw_server(|_, socket| {
        let _ = read_request(socket) && socket.write_all(OK).is_ok() && read_request(socket);
    });
    let (mut reading, _) = webhook(&[address]);
    assert_eq!(post(&mut reading), Outcome::Delivered);
    let error = failure(post(&mut reading));
    assert_eq!(error.cause, Cause::Disconnected);
    assert!(error.may_have_arrived, "{error:?}");
    assert_eq!(*connections.lock().unwrap(), 1);

    // It closes while idle: the next connection is made silently.
    let (close, closed) = crossbeam_channel::unbounded();
    let (address, connections) = raw_server(move |_, socket| {
        let _ = read_request(socket) && socket.write_all(OK).is_ok();
        close.send(socket.shutdown(Shutdown::Both).is_ok()).unwrap();
    });
    let (mut idle, _) = webhook(&[address]);
    for count in 1..4 {
        assert_eq!(post(&mut idle), Outcome::Delivered);
        assert_eq!(*connections.lock().unwrap(), count);
        assert!(closed.recv().unwrap());
    }
}

#[test]
fn what_fails_over_one_connection_is_tried_over_another() {
    for bad in ["503 Busy", "403 x", "421 Misdirected Request", "302 x"] {
        let bad = format!("HTTP/1.1 {bad}\r\nContent-Length: 0\r\n\r\n");
        // A balancer that gives each connection to another server, the first of which is broken.
        let (address, connections) = raw_server(move |place, socket| {
            let answer = if place == 0 { bad.as_bytes() } else { OK };
            while read_request(socket) && socket.write_all(answer).is_ok() {}
        });
        let (mut webhook, _) = webhook(&[address]);
        failure(post(&mut webhook));
        for _ in 0..3 {
            assert_eq!(post(&mut webhook), Outcome::Delivered);
        }
        assert_eq!(*connections.lock().unwrap(), 2);
    }
}

#[test]
fn the_agents_own_end_is_not_the_webhooks_fault() {
    let (asked, is_asked) = crossbeam_channel::bounded(1);
    let (end, has_ended) = crossbeam_channel::bounded::<()>(1);
    let (address, _) = raw_server(move |_, socket| {
        read_request(socket);
        asked.send(()).unwrap();
        // It never answers.
        let _ = has_ended.recv();
    });
    let (mut webhook, _) = webhook(&[address]);
    let abort = webhook.cut();
    thread::spawn(move || {
        is_asked.recv().unwrap();
        abort();
    });
    let error = failure(post(&mut webhook));
    assert_eq!(
        (error.cause, error.may_have_arrived),
        (Cause::Aborted, true)
    );
    assert!(!error.message.contains("webhook"), "{error:?}");
    assert_eq!(failure(post(&mut webhook)).cause, Cause::Aborted);
    drop(end);
}

#[test]
fn odd_heads_do_not_hide_the_status() {
    for head in [
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n".to_owned(),
        format!(
            "HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 0\r\n\r\n",
            "x".repeat(300_000)
        ),
        format!(
            "HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n",
            "X: y\r\n".repeat(5000)
        ),
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
            .to_owned(),
    ] {
        let (address, connections) =
            raw_server(
                move |_, socket| {
                    while read_request(socket) && socket.write_all(head.as_bytes()).is_ok() {}
                },
            );
        let (mut webhook, _) = webhook(&[address]);
        for _ in 0..3 {
            assert_eq!(post(&mut webhook), Outcome::Delivered);
        }
        assert_eq!(*connections.lock().unwrap(), 1);
    }
    // Without headers, the answer ends with the connection.
    for head in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 200\n\n",
    ] {
        let (address, _) = raw_server(move |_, socket| {
            let _ = read_request(socket) && socket.write_all(head.as_bytes()).is_ok();
        });
        assert_eq!(
            post(&mut webhook(&[address]).0),
            Outcome::Delivered,
            "{head:?}"
        );
    }
}
