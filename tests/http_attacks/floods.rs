//! Many connections that send little or nothing turn no honest client away.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::source_http::{Listener, TokenFile, ask, events, post, request, success};
use crate::support::{Client, arrived, event, eventually, within};

use super::{HALF_A_HEAD, connect_from};

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

/// They wait without a thread, and all begin their next request at the same time.
#[test]
fn kept_connections_that_all_send_half_a_head_take_few_threads() {
    const CLIENTS: usize = 1500;
    // Those that are read, and those that wait for a place; and those of the agent itself.
    const THREADS: usize = 256 + 64 + 30;
    let listener = Listener::start(&[]);
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = listener.client();
            ask(&mut client, &post("{}"), &success(""));
            client
        })
        .collect();
    for client in &mut clients {
        client.send(HALF_A_HEAD).unwrap();
        client.stream.get_ref().set_nonblocking(true).unwrap();
    }
    let threads = format!("/proc/{}/task", listener.agent.id());
    let has_ended = |client: &mut Client<TcpStream>| {
        let read = client.stream.get_mut().read(&mut [0; 256]);
        !read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    eventually("all but those that are read have ended", || {
        let threads = std::fs::read_dir(&threads).unwrap().count();
        assert!(threads <= THREADS, "{threads} threads");
        clients.retain_mut(|client| !has_ended(client));
        (clients.len() <= 256).then_some(())
    });
    listener.end();
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
