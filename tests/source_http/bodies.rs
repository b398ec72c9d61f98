//! What bodies hold: events in every form and coding, taken whole or not at all, and the client knows which.

use crate::support::{arrived, event, eventually};

use super::{
    BUSY, CLOSE, Listener, MIB, RETRY, TokenFile, answer, ask, bad_event, busy, chunked, events,
    gzip, lines, post, request, success, too_large,
};

#[test]
fn events_come_in_every_form_and_coding_and_on_every_path() {
    let forms = [
        "{\"n\":1}\n{\"n\":2}\n",
        "{\"n\":1}\n{\"n\":2}",
        "\r\n{\"n\":1}\r\n\r\n{\"n\":2}\r\n",
        "{\"n\":1}{\"n\":2}",
        "{\"n\":1},{\"n\":2}",
        "[{\"n\":1},\n{\"n\":2}]",
        "[{\"n\":1},\n{\"n\":2},\n",
        "{\n  \"n\": 1\n}\n{\n  \"n\": 2\n}\n",
        "\u{feff}{\"n\":1}\n{\"n\":2}\n",
    ];
    let targets = [
        "POST /",
        "PUT /services/collector/raw?channel=7f&index=audit",
        "POST /a/%7B//b",
    ];
    let types = [
        "",
        "\nContent-Type: application/json",
        "\nContent-Type: text/plain; charset=x",
    ];
    let listener = Listener::start(&[]);
    let mut client = listener.client();
    let mut bodies = 0;
    for form in forms {
        for (coding, body) in [
            ("", form.as_bytes().to_vec()),
            ("\nTransfer-Encoding: chunked", chunked(form.as_bytes())),
            ("\nContent-Encoding: gzip", gzip(form.as_bytes())),
            (
                "\nTransfer-Encoding: Chunked\nContent-Encoding: GZIP",
                chunked(&gzip(form.as_bytes())),
            ),
        ] {
            let (target, kind) = (targets[bodies % 3], types[bodies / 3 % 3]);
            let length = if coding.contains("Transfer") {
                String::new()
            } else {
                format!("\nContent-Length: {}", body.len())
            };
            let head = format!("{target}{kind}{coding}{length}");
            ask(&mut client, &request(&head, &body), &success(""));
            bodies += 1;
        }
    }
    let arrived = listener.hook.wait_for_events(bodies * 2);
    for pair in arrived.chunks(2) {
        let pair = String::from_utf8(pair.join(&b'\n')).unwrap();
        assert_eq!(pair.replace(' ', ""), "{\"n\":1}\n{\"n\":2}");
    }
    let balance = listener.end();
    assert_eq!((balance.received, balance.dropped), (72, 0));
}

#[test]
fn a_body_that_does_not_fit_the_buffer_is_refused_whole_and_at_once() {
    for when_full in ["drop", "wait"] {
        let listener = Listener::start(&["--buffer-events", "10", "--when-full", when_full]);
        let mut client = listener.client();
        // From here on nothing leaves the buffer.
        listener.hook.hold();
        ask(&mut client, &post(&lines(0..4)), &success(""));
        listener.hook.wait_for_requests(1);
        ask(&mut client, &post(&lines(4..8)), &success(""));
        ask(&mut client, &post(&lines(100..103)), &busy(RETRY));
        ask(&mut client, &post(&lines(8..10)), &success(""));
        ask(&mut client, &post(&event(100)), &busy(RETRY));
        ask(&mut client, &post(""), &success(""));
        // No patience helps this one.
        ask(&mut client, &post(&lines(0..11)), &too_large(""));

        listener.hook.release();
        eventually("there is room again", || {
            client.send(&post(&lines(10..20))).unwrap();
            let (status, body) = client.read_answer().unwrap();
            assert!(status == 200 || body == BUSY, "{status} {body}");
            (status == 200).then_some(())
        });
        listener.hook.wait_for_events(20);
        // What was refused with an answer is no loss: its client has it still.
        listener.end_with(&events(0..20));
    }
}

#[test]
fn a_body_with_bad_json_is_refused_whole_and_the_client_told_where_it_is_bad() {
    let listener = Listener::start(&[]);
    let mut client = listener.client();
    for (body, number) in [
        ("geheim", 0),
        (
            "{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n{\"n\":geheim}\n{\"n\":4}\n",
            3,
        ),
        ("[1,2,3]", 0),
        ("{\"n\":0}\n{\"geheim", 1),
        ("{\"n\":0}{\"n\":1}}", 2),
        ("{\"n\":01}", 0),
        ("[{\"n\":0},\n{\"n\":1},\n\"n\"\n]", 2),
    ] {
        ask(&mut client, &post(body), &bad_event(number));
        let head = "POST /\nTransfer-Encoding: chunked\nContent-Encoding: gzip";
        let body = chunked(&gzip(body.as_bytes()));
        ask(&mut client, &request(head, &body), &bad_event(number));
    }
    ask(&mut client, &post(&event(1)), &success(""));
    listener.hook.wait_for_events(1);
    assert_eq!(arrived(&listener.hook), [event(1)]);
    assert!(!listener.agent.log().contains("geheim"));
    // The body is refused, not its events.
    listener.end_with(&[event(1)]);
}

#[test]
fn a_body_that_is_not_what_its_coding_says_is_refused() {
    let bad_coding = answer(
        "400 Bad Request",
        CLOSE,
        r#"{"text":"Invalid content coding","code":6}"#,
    );
    let listener = Listener::start(&[]);
    let whole = gzip(lines(0..3).as_bytes());
    let mut damaged = whole.clone();
    // In the checksum, so that all of it could be decoded.
    *damaged.iter_mut().nth_back(6).unwrap() ^= 1;
    let bodies = [
        lines(0..3).into_bytes(),
        whole[..whole.len() - 1].to_vec(),
        whole[..12].to_vec(),
        whole[..3].to_vec(),
        damaged,
        [whole.clone(), b"x".to_vec()].concat(),
        [whole.clone(), whole[..9].to_vec()].concat(),
        [whole, vec![0; 8]].concat(),
    ];
    for body in bodies {
        let length = body.len();
        let head =
            format!("POST /\nConnection: close\nContent-Encoding: gzip\nContent-Length: {length}");
        let words = listener.last_words(&request(&head, &body));
        assert_eq!(words, bad_coding, "{body:?}");
    }
    assert_eq!(listener.end().received, 0);
}

#[test]
fn a_body_over_the_limit_is_refused_however_it_comes() {
    let listener = Listener::start(&["--max-body-bytes", "100KiB", "--max-event-bytes", "1KiB"]);
    let line = format!("{{\"n\":\"{}\"}}\n", "x".repeat(1000));
    let fits = line.repeat((100 << 10) / line.len());
    let over = line.repeat((100 << 10) / line.len() + 1);
    let gzipped = gzip(over.as_bytes());
    let announced = format!(
        "POST /\nContent-Encoding: gzip\nContent-Length: {}",
        gzipped.len()
    );
    let coded = "POST /\nTransfer-Encoding: chunked";
    let endless = format!("400\r\n{}", line.repeat(2).split_at(1024).0);

    let mut client = listener.client();
    ask(&mut client, &post(&fits), &success(""));
    ask(
        &mut client,
        &request(coded, &chunked(fits.as_bytes())),
        &success(""),
    );
    // With nothing but the announcement of a body; 2^64 is one that might wrap around.
    for length in ["102401", "999999999999999999"] {
        let head = request(&format!("POST /\nContent-Length: {length}"), b"");
        assert_eq!(listener.last_words(&head), too_large(CLOSE));
    }
    for request in [
        request(coded, &chunked(over.as_bytes())),
        request(coded, format!("{endless}\r\n").repeat(200).as_bytes()),
        request(&announced, &gzipped),
    ] {
        assert_eq!(listener.last_words(&request), too_large(CLOSE));
    }
    // An event over its own limit.
    let long = format!("{{\"n\":\"{}\"}}\n", "x".repeat(1100));
    ask(&mut client, &post(&(event(0) + &long)), &too_large(""));
    ask(&mut client, &post(&event(1)), &success(""));

    let count = 2 * fits.lines().count() as u64 + 1;
    listener.hook.wait_for_events(count as usize);
    let balance = listener.end();
    assert_eq!((balance.received, balance.delivered), (count, count));
}

/// As most HTTP clients are: an error on the way up is all that they would tell of.
#[test]
fn a_client_that_sends_all_before_it_reads_still_sees_why_it_was_refused() {
    let token = TokenFile::new("Splunk test");
    let listener = Listener::start(&["--max-body-bytes", "1MiB", &token.option()]);
    let body = vec![b' '; 24 * MIB];
    let length = body.len();
    for (headers, refusal) in [
        ("Authorization: Splunk test", "413 Content Too Large"),
        ("X: y", "401 Unauthorized"),
        ("Authorization: Splunk other", "403 Forbidden"),
    ] {
        for framing in [
            format!("Content-Length: {length}"),
            "Transfer-Encoding: chunked".into(),
        ] {
            let start = if framing.starts_with('T') {
                format!("{length:x}\r\n")
            } else {
                String::new()
            };
            let head = request(&format!("POST /\n{headers}\n{framing}"), start.as_bytes());
            let mut client = listener.client();
            client.send(&[head, body.clone()].concat()).unwrap();
            let words = client.read_to_end().unwrap();
            assert!(
                words.starts_with(&format!("HTTP/1.1 {refusal}\r\n")),
                "{words}"
            );
        }
    }
    assert_eq!(listener.end().delivered, 0);
}

#[test]
fn a_client_that_goes_away_in_the_middle_of_a_body_costs_nothing() {
    // With room for one, so that the next request is served when the last client was done with.
    let listener = Listener::start(&["--listen-connections", "1"]);
    let zipped = gzip(lines(0..100).as_bytes());
    let half = &zipped[..zipped.len() / 2];
    let next = |number: usize| {
        eventually("the next client is served", || {
            let mut next = listener.client();
            let _ = next.send(&post(&event(number)));
            (next.read_answer().ok()?.0 == 200).then_some(())
        });
    };
    for (number, unfinished) in [
        request("POST /\nContent-Length: 100", lines(10..13).as_bytes()),
        request("POST /\nContent-Length: 100\nExpect: 100-continue", b""),
        request(
            "POST /\nTransfer-Encoding: chunked",
            b"8\r\n{\"n\":1}\n\r\n",
        ),
        request(
            "POST /\nTransfer-Encoding: chunked",
            b"8\r\n{\"n\":1}\n\r\n0\r\n",
        ),
        request(
            &format!(
                "POST /\nContent-Encoding: gzip\nContent-Length: {}",
                zipped.len()
            ),
            half,
        ),
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Le".to_vec(),
        Vec::new(),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = listener.client();
        client.send(&unfinished).unwrap();
        drop(client);
        next(1000 + number);

        // An answer that was not read makes it a reset.
        let mut client = listener.client();
        client
            .send(&[request("GET /", b""), unfinished].concat())
            .unwrap();
        client.stream.get_ref().peek(&mut [0]).unwrap();
        drop(client);
        next(2000 + number);
    }
    listener.hook.wait_for_events(14);
    let expected: Vec<_> = (0..7)
        .flat_map(|number| [1000 + number, 2000 + number])
        .collect();
    listener.end_with(&events(expected));
}
