//! Limits of memory, time and connections, whatever clients send.

use std::io::{self, BufRead};
use std::thread;
use std::time::Duration;

use flate2::{Compress, Compression, FlushCompress};

use crate::support::{arrived, event, eventually};

use super::{
    BUSY, CLOSE, HEALTHY, Listener, MIB, RETRY, TokenFile, answer, ask, bad_event, busy, events,
    expect, post, request, success, too_large,
};

/// A gzip stream of `start`, and then this block `times` over. It has no end, which nobody should come to.
fn bomb(start: &[u8], block: &[u8], times: usize) -> Vec<u8> {
    let mut compress = Compress::new(Compression::fast(), false);
    let mut pieces = [start, block].map(|bytes| {
        let mut piece = Vec::with_capacity(bytes.len() + 100);
        // A full flush: what follows does not refer to what went before, so that it can be repeated.
        let flush = FlushCompress::Full;
        compress.compress_vec(bytes, &mut piece, flush).unwrap();
        piece
    });
    pieces[1] = pieces[1].repeat(times);
    [b"\x1f\x8b\x08\0\0\0\0\0\0\xff", &pieces.concat()[..]].concat()
}

#[test]
fn a_small_body_that_inflates_to_a_huge_one_costs_no_memory() {
    let listener = Listener::start(&["--max-body-bytes", "2MiB"]);
    let line = format!("{{\"n\":\"{}\"}}\n", "0".repeat(1000));
    let huge = bomb(b"{\"n\":\"", &b"0".repeat(MIB), 100);
    let many = bomb(b"", line.repeat(1000).as_bytes(), 100);
    thread::scope(|scope| {
        for bomb in [&huge, &many, &huge, &many] {
            let length = bomb.len();
            assert!(length < 2 * MIB, "{length} bytes would be refused unread");
            let head = format!("POST /\nContent-Encoding: gzip\nContent-Length: {length}");
            let listener = &listener;
            scope.spawn(move || {
                assert_eq!(listener.last_words(&request(&head, bomb)), too_large(CLOSE));
            });
        }
    });
    let peak = listener.agent.peak_kib();
    assert!(peak < 64 << 10, "{peak} KiB");
    listener.end();
}

#[test]
fn many_large_bodies_at_once_share_what_memory_there_is_for_them() {
    const CLIENTS: usize = 12;
    const ROUNDS: usize = 2;
    let listener = Listener::start(&["--max-body-bytes", "2MiB", "--buffer-bytes", "8MiB"]);
    let padding = "x".repeat(2000);
    let body = |client: usize| {
        let line =
            |number| format!("{{\"client\":{client},\"n\":{number},\"padding\":\"{padding}\"}}\n");
        (0..900).map(line).collect::<String>()
    };
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (listener, body) = (&listener, &body);
            scope.spawn(move || {
                let mut connection = listener.client();
                for _ in 0..ROUNDS {
                    eventually("there is memory", || {
                        connection.send(&post(&body(client))).unwrap();
                        let (status, text) = connection.read_answer().unwrap();
                        assert!(status == 200 || text == BUSY, "{status} {text}");
                        if status != 200 {
                            connection = listener.client();
                        }
                        (status == 200).then_some(())
                    });
                }
            });
        }
    });
    listener.hook.wait_for_events(ROUNDS * CLIENTS * 900);
    let peak = listener.agent.peak_kib();
    assert!(peak < 64 << 10, "{peak} KiB");
    let balance = listener.end();
    assert_eq!(balance.delivered, (ROUNDS * CLIENTS * 900) as u64);
    assert_eq!(balance.dropped, 0);
}

#[test]
fn clients_that_keep_their_connection_keep_no_memory() {
    const CLIENTS: usize = 30;
    let listener = Listener::start(&["--max-body-bytes", "512KiB"]);
    let whole = format!("{{\"n\":\"{}\"}}", "x".repeat(300_000));
    let bad = whole.replace('}', "");
    let mut idle = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = listener.client();
        ask(&mut client, &post(&whole), &success(""));
        ask(&mut client, &post(&bad), &bad_event(0));
        idle.push(client);
        listener.hook.wait_for_events(idle.len());
    }
    let peak = listener.agent.peak_kib();
    assert!(peak < 48 << 10, "{peak} KiB");
    for client in &mut idle {
        ask(client, &post(""), &success(""));
    }
    assert_eq!(listener.end().delivered, CLIENTS as u64);
}

#[test]
fn a_head_has_a_limit() {
    const LIMIT: usize = 16 << 10;
    const TOO_LARGE: &str = "HTTP/1.1 431 Request Header Fields Too Large\r\n";
    let listener = Listener::start(&[]);
    let bare = request("POST /\nContent-Length: 7\nX: ", b"").len();
    let of_length = |bytes: usize| {
        let padding = "x".repeat(bytes - bare);
        request(
            &format!("POST /\nContent-Length: 7\nX: {padding}"),
            event(1).as_bytes(),
        )
    };
    let mut client = listener.client();
    ask(&mut client, &of_length(LIMIT), &success(""));
    ask(
        &mut client,
        &[of_length(LIMIT), of_length(LIMIT)].concat(),
        &success("").repeat(2),
    );
    let many = "\nX: y".repeat(50);
    ask(
        &mut client,
        &request(&format!("GET /{many}"), b""),
        &answer("200 OK", "", HEALTHY),
    );

    let too_many = "\nX: y".repeat(1000);
    for request in [
        of_length(LIMIT + 1),
        of_length(MIB),
        request(&format!("GET /{too_many}"), b""),
        format!("POST /{}", "x".repeat(LIMIT)).into_bytes(),
        format!("POST / HTTP/1.1\r\nX: {}", "x".repeat(LIMIT)).into_bytes(),
        b"\r\n".repeat(LIMIT),
    ] {
        let words = listener.last_words(&request);
        assert!(words.starts_with(TOO_LARGE), "{words}");
    }
    listener.hook.wait_for_events(3);
    listener.end_with(&events([1, 1, 1]));
}

#[test]
fn a_request_that_only_drips_is_ended_and_keeps_nobody_waiting() {
    let too_slow = answer(
        "408 Request Timeout",
        CLOSE,
        r#"{"text":"Request not complete in time","code":6}"#,
    );
    let listener = Listener::start(&["--listen-timeout", "500ms"]);
    let mut idle = listener.client();
    ask(&mut idle, &post(&event(1)), &success(""));
    // Who has never asked for anything is not waited for as long as who has.
    let mut silent = listener.client();
    assert_eq!(silent.read_to_end().unwrap(), "");
    let drip = |start: &[u8], drop: u8| {
        let mut client = listener.client();
        client.send(start).unwrap();
        let socket = client.stream.get_ref().try_clone().unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        // For 10 s: a timeout for each read alone would not be reached in that time.
        let is_told = (0..500).any(|_| {
            client.send(&[drop]).unwrap();
            match client.stream.fill_buf() {
                Err(error) => error.kind() != io::ErrorKind::WouldBlock,
                Ok(_) => true,
            }
        });
        assert!(is_told, "it may drip on and on");
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        client.read_to_end().unwrap()
    };
    thread::scope(|scope| {
        let head = request("POST /\nContent-Length: 1000", b"{\"n\":2}\n");
        let chunk = request("POST /\nTransfer-Encoding: chunked", b"1000\r\n{\"n\":3}\n");
        let drips = [
            scope.spawn(|| drip(b"POST / HTTP/1.1\r\nX: ", b'x')),
            scope.spawn(move || drip(&head, b' ')),
            scope.spawn(move || drip(&chunk, b' ')),
            scope.spawn(|| drip(b"", b'P')),
        ];
        let mut busy = listener.client();
        let mut posted = 0;
        while posted < 10 || !drips.iter().all(|drip| drip.is_finished()) {
            ask(&mut busy, &post(&event(4)), &success(""));
            posted += 1;
            // Busy, but not all the time.
            thread::sleep(Duration::from_millis(5));
        }
        for drip in drips {
            assert_eq!(drip.join().unwrap(), too_slow);
        }
        // A connection may be idle for longer than a request may take.
        ask(&mut idle, &post(&event(5)), &success(""));
        listener.hook.wait_for_events(1 + posted + 1);
    });
    let mut arrived = arrived(&listener.hook);
    arrived.dedup();
    assert_eq!(arrived, events([1, 4, 5]));
    assert_eq!(listener.end().dropped, 0);
}

#[test]
fn one_connection_too_many_is_told_so_at_once() {
    let token = TokenFile::new("Splunk test");
    let listener = Listener::start(&["--listen-connections=2", &token.option()]);
    let head = "POST /\nAuthorization: Splunk test\nContent-Length: 7";
    let waiting = request(&format!("{head}\nExpect: 100-continue"), b"");
    let body = event(1);
    // Such as have shown a token are kept.
    let begin = || {
        let mut client = listener.client();
        ask(&mut client, &waiting, "HTTP/1.1 100 Continue\r\n\r\n");
        client
    };
    let (mut first, mut second) = (begin(), begin());

    let told = busy(&format!("{RETRY}{CLOSE}"));
    for _ in 0..20 {
        // Whether it has asked for something or not.
        let mut silent = listener.client();
        expect(&mut silent, &told);
        assert_eq!(silent.read_to_end().unwrap(), "");
        let mut asking = listener.client();
        let _ = asking.send(&post(&event(0)));
        expect(&mut asking, &told);
    }
    let why = "(503 too many connections";
    listener.agent.wait_for_log(why);
    assert_eq!(listener.agent.log().matches(why).count(), 1);

    // Whoever comes first finds the room that one leaves.
    ask(&mut first, body.as_bytes(), &success(CLOSE));
    let mut third = eventually("there is room", || {
        let mut third = listener.client();
        let _ = third.send(&waiting);
        // Anything else is a refusal.
        let (status, _) = third.read_answer().ok()?;
        (status == 100).then_some(third)
    });
    expect(&mut listener.client(), &told);
    ask(&mut second, body.as_bytes(), &success(CLOSE));
    ask(&mut third, body.as_bytes(), &success(CLOSE));
    listener.hook.wait_for_events(3);
    listener.end_with(&[event(1), event(1), event(1)]);
}
