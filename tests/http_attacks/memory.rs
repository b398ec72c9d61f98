//! Half bodies and bodies that grow stay within the memory that is stated.

use std::io::{ErrorKind, Read as _};
use std::thread;
use std::time::Duration;

use crate::source_http::{Listener, ask, events, lines, post, post_gzip, request, success};
use crate::support::{event, eventually};

/// They share the memory for bodies with everybody else.
#[test]
fn half_bodies_do_not_keep_the_memory_of_others() {
    let listener = Listener::start(&["--max-body-bytes=1MiB", "--listen-timeout=1h"]);
    let head = "POST /\nContent-Length: 1000000";
    let half = request(
        head,
        format!("{{\"a\":\"{}", "x".repeat(900_000)).as_bytes(),
    );
    let half_body = || {
        let mut client = listener.client();
        let _ = client.send(&half);
        client.stream.get_ref().set_nonblocking(true).unwrap();
        client
    };
    let mut first = half_body();
    let mut halves = Vec::new();
    // Those that come too soon after the others are refused.
    eventually("the first is closed for others", || {
        halves.push(half_body());
        thread::sleep(Duration::from_millis(100));
        let read = first.stream.get_mut().read(&mut [0; 256]);
        let is_open = read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        (!is_open).then_some(())
    });
    let why = "too much memory for unfinished messages";
    listener.agent.wait_for_log(why);
    let log = listener.agent.log();
    assert!(!log.contains("to make room"), "{log}");
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
