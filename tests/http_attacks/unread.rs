//! Clients that do not read their answers are closed.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::source_http::{Listener, TokenFile, free_address, request};
use crate::support::{Metrics, PATIENCE, event, poll, unchanged_for};

use super::{connect_from, refused};

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
            let refused = refused(&Metrics::ask(status).ok()?, &source);
            (!refused.is_empty()).then_some(refused)
        });
        stop.store(true, Ordering::Relaxed);
        refused
    });
    assert_eq!(refused, Some(vec![("unread".to_owned(), 1)]));
    listener.agent.wait_for_log(DEAF);
    listener.end();
}
