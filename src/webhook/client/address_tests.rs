//! Which of a name's addresses a connection goes to.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;
use std::thread;

use super::tests::{OK, failure, post, raw_server, read_request, webhook};
use super::*;
use crate::delivery::outcome::Cause;

/// A webhook that takes everything, and how many connections it has had.
fn server(ip: &str) -> (SocketAddr, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind((ip, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::<Mutex<usize>>::default();
    let count = Arc::clone(&connections);
    thread::spawn(move || {
        while let Ok((socket, _)) = listener.accept() {
            *count.lock().unwrap() += 1;
            thread::spawn(move || {
                let mut reader = BufReader::new(&socket);
                let mut line = String::new();
                while reader.read_line(&mut line).unwrap_or(0) > 0 {
                    if line == "{}\n" {
                        let _ = (&socket).write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
                    }
                    line.clear();
                }
            });
        }
    });
    (address, connections)
}

#[test]
fn a_name_that_moves_is_followed_when_the_connection_is_old() {
    let ((old, on_old), (new, on_new)) = (server("127.0.0.1"), server("127.0.0.1"));
    let (mut webhook, names) = webhook(&[old]);
    for _ in 0..3 {
        assert_eq!(post(&mut webhook), Outcome::Delivered);
    }
    names.set(&[new]);
    assert_eq!(post(&mut webhook), Outcome::Delivered);
    assert_eq!((*on_old.lock().unwrap(), *on_new.lock().unwrap()), (1, 0));

    // The old connection's last request; then those of the new one, the second of which is its last.
    webhook.connection_age = Duration::ZERO;
    assert_eq!(post(&mut webhook), Outcome::Delivered);
    assert_eq!((*on_old.lock().unwrap(), *on_new.lock().unwrap()), (1, 0));
    for _ in 0..2 {
        assert_eq!(post(&mut webhook), Outcome::Delivered);
    }
    assert_eq!((*on_old.lock().unwrap(), *on_new.lock().unwrap()), (1, 1));
    assert_eq!(post(&mut webhook), Outcome::Delivered);
    assert_eq!((*on_old.lock().unwrap(), *on_new.lock().unwrap()), (1, 2));
}

#[test]
fn a_name_is_looked_up_again_when_what_it_stood_for_has_gone() {
    let closed = TcpListener::bind("127.78.0.3:0").unwrap();
    let gone = closed.local_addr().unwrap();
    drop(closed);
    let (new, on_new) = server("127.0.0.1");
    let (mut webhook, names) = webhook(&[gone]);
    assert!(matches!(post(&mut webhook), Outcome::Failed(_)));
    // As if there had been a connection that the client has since given up because it was idle for long.
    webhook.kept_since = Some(Instant::now());
    names.set(&[new]);
    assert_eq!(post(&mut webhook), Outcome::Delivered);
    assert_eq!(*on_new.lock().unwrap(), 1);
}

#[test]
fn all_addresses_of_a_name_are_tried_in_turn() {
    let (good, _) = server("127.0.0.1");
    // On another address, since ports of this one are given to other tests.
    let closed = TcpListener::bind("127.78.0.3:0").unwrap();
    let refusing = closed.local_addr().unwrap();
    drop(closed);
    // TEST-NET-1, and IPv6's: without a route, or without an answer.
    let unreachable = "[2001:db8::1]:8088".parse().unwrap();
    let silent = "192.0.2.1:8088".parse().unwrap();
    let (mut webhook, names) = webhook(&[refusing, unreachable, silent, good]);
    assert_eq!(post(&mut webhook), Outcome::Delivered);

    names.set(&[refusing]);
    webhook.connection_age = Duration::ZERO;
    assert_eq!(post(&mut webhook), Outcome::Delivered);
    let refused = post(&mut webhook);
    assert!(
        matches!(&refused, Outcome::Failed(error) if error.message == "connection refused" && error.cause == Cause::Unreachable),
        "{refused:?}"
    );
}

/// A webhook that gives this answer, and how many connections it has had.
fn answering(answer: &[u8]) -> (SocketAddr, Arc<Mutex<usize>>) {
    let answer = answer.to_vec();
    raw_server(move |_, socket| while read_request(socket) && socket.write_all(&answer).is_ok() {})
}

#[test]
fn another_address_is_used_while_the_first_ones_answer_with_failures() {
    for bad in ["503 Busy", "403 x", "302 x"] {
        let bad = format!("HTTP/1.1 {bad}\r\nContent-Length: 0\r\n\r\n");
        let [first, second] = [0; 2].map(|_| answering(bad.as_bytes()).0);
        let (good, connections) = answering(OK);
        let (mut webhook, _) = webhook(&[first, second, good]);
        for _ in 0..2 {
            failure(post(&mut webhook));
        }
        for _ in 0..3 {
            assert_eq!(post(&mut webhook), Outcome::Delivered);
        }
        assert_eq!(*connections.lock().unwrap(), 1);
    }
}
