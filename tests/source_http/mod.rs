//! `http:ADDR:PORT`, a webhook of the agent's own for S3 servers that push. Whatever is sent to it: each body is taken
//! whole or not at all, the client is told at once which of the two, and it never waits for the webhook behind.

use std::fs;
use std::io::{self, BufRead, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use flate2::write::GzEncoder;
use flate2::{Compress, Compression, FlushCompress};
use tempfile::TempDir;

use crate::support::{
    Agent, Answer, Balance, Client, Webhook, arrived, end, event, eventually, wait_for_end, within,
};

pub(crate) const HEALTHY: &str = r#"{"text":"HEC is healthy","code":17}"#;
const BUSY: &str = r#"{"text":"Server is busy","code":9}"#;
const TOO_LARGE: &str = r#"{"text":"Content too large","code":6}"#;
pub(crate) const CLOSE: &str = "Connection: close\r\n";
pub(crate) const RETRY: &str = "Retry-After: 1\r\n";
const MIB: usize = 1 << 20;

/// An address that nothing else has: all of 127.0.0.0/8 is loopback.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let of_process = 100 + (std::process::id() % 100) as u8;
    free_port(Ipv4Addr::new(127, of_process, high, low))
}

/// A port that is free on all addresses, and is none that the system gives to connections.
pub(crate) fn free_port_everywhere() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Tests in another process may look for one, too.
    let of_process = 20_000 + (std::process::id() % 100) as u16 * 100;
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(next < 100, "no port is free");
        let port = of_process + next;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
}

/// A port that nothing listens on.
pub(crate) fn free_port(ip: Ipv4Addr) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    // Closing would not free the port while another test is between the fork and the exec of a child, which has a copy of
    // every descriptor for that long.
    let _ = TcpStream::from(OwnedFd::from(listener)).shutdown(Shutdown::Both);
    address
}

/// Starts an agent that sends soon and tries again soon, and waits until it listens.
pub(crate) fn start(hook: &Webhook, options: &[&str]) -> Agent {
    start_at(&hook.url(), options)
}

fn start_at(url: &str, options: &[&str]) -> Agent {
    let agent = Agent::command()
        .args(["run", "--endpoint", url])
        .args(["--auth-token", "Splunk test", "--batch-age", "5ms"])
        .args(["--backoff-min", "10ms", "--backoff-max", "50ms"])
        .args(options)
        .spawn();
    agent.wait_for_log("started: ");
    agent
}

/// Ends the agent; exactly these events must have come in and been delivered, in this order.
#[track_caller]
pub(crate) fn end_with(agent: Agent, hook: &Webhook, events: &[String]) {
    let balance = end(agent, hook);
    assert_eq!(arrived(hook), events);
    assert_eq!(balance.received, events.len() as u64, "{balance:?}");
}

pub(crate) fn events(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(event).collect()
}

/// A body of these events, a line each.
pub(crate) fn lines(numbers: impl IntoIterator<Item = usize>) -> String {
    numbers.into_iter().map(|n| event(n) + "\n").collect()
}

/// An agent with an `http:` source, and the webhook behind it.
pub(crate) struct Listener {
    pub(crate) hook: Webhook,
    pub(crate) agent: Agent,
    pub(crate) address: SocketAddr,
}

impl Listener {
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::start_as("http", options)
    }

    /// `https:` with what it needs, for example.
    pub(crate) fn start_as(kind: &str, options: &[&str]) -> Self {
        let hook = Webhook::start();
        Self::start_to(&hook.url(), hook, kind, options)
    }

    /// With the webhook's event endpoint, `…/services/collector/event`.
    pub(crate) fn start_to_events(options: &[&str]) -> Self {
        let hook = Webhook::start();
        let url = hook.url().replace("/raw", "/event");
        Self::start_to(&url, hook, "http", options)
    }

    fn start_to(url: &str, hook: Webhook, kind: &str, options: &[&str]) -> Self {
        let address = free_address();
        let source = format!("--source={kind}:{address}");
        let agent = start_at(url, &[&[source.as_str()], options].concat());
        Listener {
            hook,
            agent,
            address,
        }
    }

    pub(crate) fn client(&self) -> Client<TcpStream> {
        let client = Client::connect(self.address);
        client.stream.get_ref().set_nodelay(true).unwrap();
        client
    }

    /// Sends this over a connection of its own and gives all that comes until the agent closes it.
    #[track_caller]
    pub(crate) fn last_words(&self, bytes: &[u8]) -> String {
        let mut client = self.client();
        client.send(bytes).unwrap();
        client.read_to_end().unwrap()
    }

    #[track_caller]
    pub(crate) fn end(self) -> Balance {
        end(self.agent, &self.hook)
    }

    /// The same, where it was told to end already.
    #[track_caller]
    pub(crate) fn end_told(self) -> Balance {
        wait_for_end(self.agent, &self.hook)
    }

    #[track_caller]
    pub(crate) fn end_with(self, events: &[String]) {
        end_with(self.agent, &self.hook, events);
    }
}

/// A request, of which `head` is all but `Host` and the empty line.
pub(crate) fn request(head: &str, body: &[u8]) -> Vec<u8> {
    let (line, headers) = head.split_once('\n').unwrap_or((head, ""));
    let mut bytes = format!("{line} HTTP/1.1\r\nHost: a\r\n");
    for header in headers.lines() {
        bytes += &format!("{header}\r\n");
    }
    [bytes.as_bytes(), b"\r\n", body].concat()
}

pub(crate) fn post(body: &str) -> Vec<u8> {
    let head = format!("POST /\nContent-Length: {}", body.len());
    request(&head, body.as_bytes())
}

/// An answer to the byte, with these headers beside the two that each has.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

pub(crate) fn success(headers: &str) -> String {
    answer("200 OK", headers, r#"{"text":"Success","code":0}"#)
}

/// To a body whose event with this number is none.
fn bad_event(number: usize) -> String {
    let body =
        format!(r#"{{"text":"Invalid data format","code":6,"invalid-event-number":{number}}}"#);
    answer("400 Bad Request", "", &body)
}

pub(crate) fn busy(headers: &str) -> String {
    answer("503 Service Unavailable", headers, BUSY)
}

fn too_large(headers: &str) -> String {
    answer("413 Content Too Large", headers, TOO_LARGE)
}

/// Reads this, or as much as is not this.
#[track_caller]
pub(crate) fn expect(client: &mut Client<TcpStream>, expected: &str) {
    let mut got = vec![0; expected.len()];
    let mut filled = 0;
    while filled < got.len() && expected.as_bytes().starts_with(&got[..filled]) {
        match client.stream.read(&mut got[filled..]) {
            Ok(0) | Err(_) => break,
            Ok(count) => filled += count,
        }
    }
    let got = String::from_utf8_lossy(&got[..filled]);
    assert_eq!(got, expected);
}

/// Sends a request and expects this answer to it.
#[track_caller]
pub(crate) fn ask(client: &mut Client<TcpStream>, request: &[u8], expected: &str) {
    client.send(request).unwrap();
    expect(client, expected);
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A POST of this body, compressed.
pub(crate) fn post_gzip(body: &[u8]) -> Vec<u8> {
    let body = gzip(body);
    let length = body.len();
    let head = format!("POST /\nContent-Encoding: gzip\nContent-Length: {length}");
    request(&head, &body)
}

/// Chunks of 1, 2, 3 … bytes, with all that the coding allows.
fn chunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut coded = Vec::new();
    for length in 1.. {
        let (chunk, rest) = bytes.split_at(bytes.len().min(length));
        bytes = rest;
        if chunk.is_empty() {
            break;
        }
        let extension = if length % 2 == 0 { ";a=\"b\"" } else { "" };
        coded.extend(format!("{:02X}{extension}\r\n", chunk.len()).bytes());
        coded.extend_from_slice(chunk);
        coded.extend(b"\r\n");
    }
    coded.extend(b"0\r\nTrailer: x\r\n\r\n");
    coded
}

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

/// Each server with the requests that it makes.
#[test]
fn servers_that_push_are_served() {
    fn texts(file: &str) -> Vec<String> {
        file.lines().map(str::to_owned).collect()
    }
    let minio = texts(include_str!("../data/minio.ndjson"));
    let rustfs = texts(include_str!("../data/rustfs.ndjson"));
    let versity = texts(include_str!("../data/versitygw.ndjson"));
    let weka = texts(include_str!("../data/weka.ndjson"));
    let listener = Listener::start(&[]);

    // MinIO: an event and its newline each, or a batch of them without a type.
    let mut client = listener.client();
    let (single, batch) = minio.split_at(10);
    for event in single {
        let body = format!("{event}\n");
        let length = body.len();
        let head = format!("POST /\nContent-Type: application/json\nContent-Length: {length}");
        ask(&mut client, &request(&head, body.as_bytes()), &success(""));
    }
    let batch: String = batch.iter().map(|event| format!("{event}\n")).collect();
    ask(&mut client, &post(&batch), &success(""));

    // RustFS looks first whether somebody is there.
    let mut client = listener.client();
    let probed = answer("200 OK", "", HEALTHY).replace(HEALTHY, "");
    ask(&mut client, &request("HEAD /", b""), &probed);
    for event in &rustfs {
        ask(&mut client, &post(event), &success(""));
    }

    // Versity posts nothing first, and then over a connection each.
    ask(&mut listener.client(), &post(""), &success(""));
    for event in &versity {
        ask(&mut listener.client(), &post(event), &success(""));
    }

    ask(
        &mut listener.client(),
        &post(&weka.join("\n")),
        &success(""),
    );

    let all = [minio, rustfs, versity, weka].concat();
    listener.hook.wait_for_events(all.len());
    listener.end_with(&all);
}

#[test]
fn another_agent_can_be_the_client() {
    let token = TokenFile::new("Splunk test");
    let (hook, address) = (Webhook::start(), free_address());
    let second = start(
        &hook,
        &[
            &format!("--source=http:{address}"),
            "--buffer-events=100",
            &token.option(),
        ],
    );
    // The buffer of the second is full again and again: the first one holds what is not taken.
    hook.always(Answer::ok().after(Duration::from_millis(20)));
    let corpus = include_str!("../data/minio.ndjson");
    let input = corpus.repeat(50);
    let first = Agent::command()
        .args([
            "run",
            "--endpoint",
            &format!("http://{address}/services/collector/raw"),
        ])
        .args(["--auth-token", "Splunk test", "--batch-events", "30"])
        .args(["--backoff-min", "10ms", "--backoff-max", "50ms"])
        .input(input.clone())
        .spawn();

    let ended = first.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let (passed_on, events) = (ended.balance(), input.lines().count() as u64);
    assert_eq!((passed_on.delivered, passed_on.dropped), (events, 0));
    let balance = end(second, &hook);
    // What was not taken at first came again, and was counted once.
    assert_eq!((balance.received, balance.delivered), (events, events));
    // While the second one refuses, the first may try another event than the oldest.
    let (mut arrived, mut sent) = (arrived(&hook), input.lines().collect::<Vec<_>>());
    arrived.sort_unstable();
    sent.sort_unstable();
    assert!(arrived == sent);
}

#[test]
fn probes_are_answered() {
    let listener = Listener::start(&[]);
    let mut client = listener.client();
    let healthy = answer("200 OK", "", HEALTHY);
    let head = healthy.replace(HEALTHY, "");
    ask(&mut client, &request("GET /", b""), &healthy);
    ask(&mut client, &request("HEAD /", b""), &head);
    ask(
        &mut client,
        &request("GET /services/collector/health", b""),
        &healthy,
    );
    ask(&mut client, &post(""), &success(""));
    ask(&mut client, &post(" \r\n"), &success(""));
    let chunked = request("PUT /\nTransfer-Encoding: chunked", b"0\r\n\r\n");
    ask(&mut client, &chunked, &success(""));
    // A probe's body is read and means nothing; least of all is it a request.
    let inside = post(&event(1));
    let outside = format!("GET /\nContent-Length: {}", inside.len());
    ask(&mut client, &request(&outside, &inside), &healthy);
    ask(&mut client, &request("HEAD /", b""), &head);
    listener.end_with(&[]);
}

#[test]
fn a_client_that_waits_for_a_word_before_it_sends_the_body_gets_it() {
    const GO_ON: &str = "HTTP/1.1 100 Continue\r\n\r\n";
    let listener = Listener::start(&["--max-body-bytes", "1000"]);
    let mut client = listener.client();
    let known = request("POST /\nExpect: 100-continue\nContent-Length: 7", b"");
    ask(&mut client, &known, GO_ON);
    ask(&mut client, event(1).as_bytes(), &success(""));
    let chunks = request(
        "POST /\nTransfer-Encoding: chunked\nExpect: 100-Continue",
        b"",
    );
    ask(&mut client, &chunks, GO_ON);
    ask(&mut client, &chunked(event(2).as_bytes()), &success(""));
    // One that does not wait for it is not told what it does not want to know any more.
    let at_once = [known.as_slice(), event(3).as_bytes()].concat();
    ask(&mut client, &at_once, &success(""));
    // Nobody is told to send what will not be taken.
    let large = request("POST /\nExpect: 100-continue\nContent-Length: 1001", b"");
    assert_eq!(listener.last_words(&large), too_large(CLOSE));

    listener.hook.wait_for_events(3);
    let balance = listener.end();
    assert_eq!((balance.received, balance.delivered), (3, 3));
}

#[test]
fn requests_that_come_in_one_go_or_byte_by_byte_are_answered_in_order() {
    let listener = Listener::start(&[]);
    let exchanges = [
        (post(&event(1)), success("")),
        (request("GET /", b""), answer("200 OK", "", HEALTHY)),
        (
            request(
                "PUT /\nTransfer-Encoding: chunked",
                &chunked(event(2).as_bytes()),
            ),
            success(""),
        ),
        (post("{\"n\":3}\nnonsense\n"), bad_event(1)),
        (
            request("HEAD /", b""),
            answer("200 OK", "", HEALTHY).replace(HEALTHY, ""),
        ),
        (post(""), success("")),
        (
            request(
                "POST /\nConnection: close\nContent-Length: 7",
                event(4).as_bytes(),
            ),
            success(CLOSE),
        ),
    ];
    let requests: Vec<u8> = exchanges.iter().flat_map(|(ask, _)| ask.clone()).collect();
    let answers: String = exchanges
        .iter()
        .map(|(_, answer)| answer.as_str())
        .collect();

    assert_eq!(listener.last_words(&requests), answers);
    let mut client = listener.client();
    for byte in &requests {
        client.send(&[*byte]).unwrap();
    }
    assert_eq!(client.read_to_end().unwrap(), answers);
    // More than the agent reads at once; each answer tells which request it is to.
    let numbers = (0..500).map(|number| number % 7);
    let many = numbers
        .clone()
        .flat_map(|number| post(&(lines(0..number) + "x\n")));
    let mut client = listener.client();
    client.send(&many.collect::<Vec<_>>()).unwrap();
    expect(&mut client, &numbers.map(bad_event).collect::<String>());

    listener.hook.wait_for_events(6);
    assert_eq!(arrived(&listener.hook), events([1, 2, 4, 1, 2, 4]));
    assert_eq!(listener.end().received, 6);
}

#[test]
fn a_client_that_wants_the_connection_closed_is_obeyed() {
    let listener = Listener::start(&[]);
    for (number, headers) in [
        "Connection: close",
        "Connection: keep-alive, Close",
        "connection: close\nConnection: TE",
    ]
    .into_iter()
    .enumerate()
    {
        let head = format!("POST /\n{headers}\nContent-Length: 7");
        let words = listener.last_words(&request(&head, event(number).as_bytes()));
        assert_eq!(words, success(CLOSE), "{headers}");
    }
    let old = b"POST / HTTP/1.0\r\nContent-Length: 7\r\n\r\n{\"n\":3}";
    assert_eq!(listener.last_words(old), success(CLOSE));
    listener.hook.wait_for_events(4);
    listener.end_with(&events(0..4));
}

#[test]
fn a_client_may_close_its_half_before_it_reads_the_answer() {
    let listener = Listener::start(&[]);
    let mut client = listener.client();
    client
        .send(&[post(&event(1)), post(&event(2))].concat())
        .unwrap();
    client.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read_to_end().unwrap(), success("").repeat(2));
    let mut client = listener.client();
    client.send(b"GARBAGE\n\n").unwrap();
    client.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    assert!(client.read_to_end().unwrap().starts_with("HTTP/1.1 400 "));
    listener.hook.wait_for_events(2);
    listener.end_with(&events(1..3));
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

/// MinIO has up to 16 connections, posts an event at a time, and tries again for ever.
#[test]
fn a_client_with_a_queue_of_its_own_loses_nothing_over_an_outage_of_the_webhook() {
    const CLIENTS: usize = 16;
    const EVENTS: usize = 60;
    let listener = Listener::start(&["--buffer-events", "100"]);
    let refused = AtomicUsize::new(0);
    let wait_until_refused = |more: usize| {
        let wanted = refused.load(Ordering::Relaxed) + more;
        within(Duration::from_secs(60), "clients are told to wait", || {
            refused.load(Ordering::Relaxed) >= wanted
        });
    };
    listener.hook.stop();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (listener, refused) = (&listener, &refused);
            scope.spawn(move || {
                let mut connection = listener.client();
                for number in client * EVENTS..(client + 1) * EVENTS {
                    loop {
                        connection.send(&post(&(event(number) + "\n"))).unwrap();
                        let (status, _) = connection.read_answer().unwrap();
                        if status == 200 {
                            break;
                        }
                        assert_eq!(status, 503);
                        refused.fetch_add(1, Ordering::Relaxed);
                        // As a client that backs off.
                        thread::sleep(Duration::from_millis(20));
                    }
                }
            });
        }
        wait_until_refused(50);
        listener.hook.restart();
        listener.hook.wait_for_events(300);
        listener.hook.always(Answer::status(503));
        wait_until_refused(50);
        listener.hook.always(Answer::ok());
    });
    listener.hook.wait_for_events(CLIENTS * EVENTS);

    let mut arrived = arrived(&listener.hook);
    let mut expected = events(0..CLIENTS * EVENTS);
    arrived.sort();
    expected.sort();
    assert_eq!(arrived, expected);
    let balance = listener.end();
    assert_eq!(balance.received, (CLIENTS * EVENTS) as u64);
    assert_eq!(balance.dropped, 0);
}

/// Versity's gateway waits for a second at most, tries nothing again, and has a new connection nearly each time.
#[test]
fn a_new_connection_for_each_event_is_no_trouble() {
    const CLIENTS: usize = 4;
    const EVENTS: usize = 250;
    let listener = Listener::start(&[]);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let listener = &listener;
            scope.spawn(move || {
                for number in client * EVENTS..(client + 1) * EVENTS {
                    ask(&mut listener.client(), &post(&event(number)), &success(""));
                }
            });
        }
    });
    listener.hook.wait_for_events(CLIENTS * EVENTS);
    let balance = listener.end();
    assert_eq!((balance.received, balance.dropped), (1000, 0));
}

/// As Versity does: it never looks at the answer's body, so that its connections stay open until its timeout ends them.
#[test]
fn clients_that_leave_their_connections_open_leave_room_for_others() {
    const CLIENTS: usize = 40;
    let listener = Listener::start(&["--listen-connections", "8"]);
    let mut left_open = Vec::new();
    for number in 0..CLIENTS {
        let mut client = listener.client();
        client.send(&post(&event(number))).unwrap();
        assert_eq!(client.read_answer().unwrap().0, 200, "client {number}");
        left_open.push(client);
    }
    // Three quarters of the connections are kept for those that use theirs again.
    let (kept, closed) = left_open.split_at_mut(6);
    for client in closed {
        assert_eq!(client.read_to_end().unwrap(), "");
    }
    for (client, number) in kept.iter_mut().zip(CLIENTS..) {
        ask(client, &post(&event(number)), &success(""));
    }
    // One that has sent its next requests already gets its answers to all of them.
    let requests: Vec<_> = (100..103).flat_map(|number| post(&event(number))).collect();
    let words = listener.last_words(&requests);
    let last = [success(""), success(""), success(CLOSE)].concat();
    assert_eq!(words, last);

    listener.hook.wait_for_events(CLIENTS + 6 + 3);
    assert!(!listener.agent.log().contains("connections"));
    listener.end();
}

/// Beyond a few, a client that waits with its next request has no thread. It is served like any other, also if all come at
/// the same time, and at the end.
#[test]
fn many_clients_keep_their_connections_and_take_few_threads() {
    const CLIENTS: usize = 400;
    let listener = Listener::start(&["--buffer-events", "10000"]);
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let mut client = listener.client();
        ask(&mut client, &post(&event(number)), &success(""));
        clients.push(client);
    }
    let threads = format!("/proc/{}/task", listener.agent.id());
    // 64 that have one of their own, and 64 that wait for all others.
    eventually("threads end", || {
        (std::fs::read_dir(&threads).unwrap().count() < 150).then_some(())
    });
    for round in 1..4 {
        for (number, client) in (round * CLIENTS..).zip(&mut clients) {
            client.send(&post(&event(number))).unwrap();
        }
        for client in &mut clients {
            assert_eq!(client.read_answer().unwrap().0, 200);
        }
    }
    listener.hook.wait_for_events(4 * CLIENTS);
    for (number, client) in (4 * CLIENTS..).zip(&mut clients) {
        client.send(&post(&event(number))).unwrap();
    }
    listener.agent.signal(libc::SIGTERM);
    let answers = clients.iter_mut().map(Client::read_answer);
    let taken = answers
        .filter(|answer| answer.as_ref().is_ok_and(|(status, _)| *status == 200))
        .count();
    let balance = listener.end_told();
    assert!(taken > 0);
    assert_eq!(balance.received, (4 * CLIENTS + taken) as u64);
    assert_eq!(balance.dropped, 0);
}

/// While the agent has no turn, clients come; each must get through at once, since a second's wait is too long for some,
/// and none may be turned away only because they all came at the same time.
#[test]
fn a_burst_of_clients_finds_the_door_open() {
    const CLIENTS: usize = 500;
    let listener = Listener::start(&["--listen-connections", "8"]);
    listener.agent.signal(libc::SIGSTOP);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let patience = Duration::from_millis(900);
            let socket = TcpStream::connect_timeout(&listener.address, patience)
                .unwrap_or_else(|error| panic!("client {number}: {error}"));
            let mut client = Client::over(socket);
            client.send(&post(&event(number))).unwrap();
            client
        })
        .collect();
    listener.agent.signal(libc::SIGCONT);
    for mut client in clients {
        assert_eq!(client.read_answer().unwrap().0, 200);
    }
    listener.hook.wait_for_events(CLIENTS);
    listener.end();
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

/// What two servers in a row could understand differently, so that one of them sees a request where the other sees a
/// body. Behind each, such a request: it must not be seen.
#[test]
fn framing_that_could_be_understood_differently_is_refused_and_the_connection_closed() {
    let listener = Listener::start(&[]);
    let smuggled = post(r#"{"smuggled":true}"#);
    let heads = [
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 5",
        "Content-Length: 5,",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length: 5.0",
        "Content-Length: 5\u{b}",
        "Content-Length:",
        "Content-Length: 18446744073709551621",
        "Content-Length: 00000000000000000000000000005",
        "Content-Length : 5",
        " Content-Length: 5",
        "X: y\r\n Content-Length: 5",
        "X: y\nContent-Length: 5",
        "X: y\rContent-Length: 5",
        "X\0: y\r\nContent-Length: 5",
        "X: y\0\r\nContent-Length: 5",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nTransfer-Encoding: identity",
        "Content-Length: 5\r\ntransfer-encoding: x",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked;a=b",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: \u{b}chunked",
        "Transfer-Encoding:",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\r\n: chunked",
        "Host: b\r\nContent-Length: 5",
        "Content-Length: 5\r\nAuthorization: a\r\nAuthorization: b",
        ": y",
        "no header at all",
    ];
    for head in heads {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n0\r\n\r\n");
        assert_refused(&listener, &[head.as_bytes(), &smuggled].concat());
    }
    for line in [
        "POST / HTTP/1.1\r\nContent-Length: 0",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked",
        "POST / HTTP/2.0\r\nHost: a\r\nContent-Length: 0",
        "POST / HTTP/1.1 \r\nHost: a\r\nContent-Length: 0",
        "POST /\r\nHost: a\r\nContent-Length: 0",
        "POST / / HTTP/1.1\r\nHost: a\r\nContent-Length: 0",
        "POST / HTTP/1.1\nHost: a\nContent-Length: 0",
        " POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0",
        "\n\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0",
        "PO\0ST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0",
        "PRI * HTTP/2.0",
        "{\"n\":1}\n{\"n\":2}",
        "\u{16}\u{3}\u{1}\u{2}",
    ] {
        let head = format!("{line}\r\n\r\n");
        assert_refused(&listener, &[head.as_bytes(), &smuggled].concat());
    }
    for body in [
        "\r\n",
        "g\r\n",
        "-1\r\n",
        "+1\r\n{\r\n",
        "0x1\r\n{\r\n",
        " 1\r\n{\r\n",
        "1 \r\n{\r\n",
        "1\n{\n",
        "1\r\n{}\r\n",
        "1\r\n{\n0\r\n\r\n",
        "1\r\n{0\r\n\r\n",
        "100000000\r\n{}",
        "0000000000000000001\r\n{",
        "ffffffffffffffff\r\n{}",
        "1;\0\r\n{\r\n",
        "1;a\n{\r\n",
        "0\r\n\n",
        "0\r\na: b\n\r\n",
        "0\n\n",
    ] {
        let head = request("POST /\nTransfer-Encoding: chunked", body.as_bytes());
        assert_refused(&listener, &[head, smuggled.clone()].concat());
    }
    // Its own line and extensions do not end either.
    let endless = "1;".to_owned() + &"x".repeat(2000);
    assert_refused(
        &listener,
        &request("POST /\nTransfer-Encoding: chunked", endless.as_bytes()),
    );

    ask(&mut listener.client(), &post(&event(1)), &success(""));
    listener.hook.wait_for_events(1);
    listener.end_with(&events([1]));
}

/// Exactly one answer, which refuses, and then the end.
#[track_caller]
fn assert_refused(listener: &Listener, bytes: &[u8]) {
    let words = listener.last_words(bytes);
    let shown = String::from_utf8_lossy(bytes);
    let is_refusal = words.starts_with("HTTP/1.1 400 ") || words.starts_with("HTTP/1.1 501 ");
    assert!(is_refusal, "{words:?} to {shown:?}");
    assert!(
        words.contains("\r\nConnection: close\r\n"),
        "{words:?} to {shown:?}"
    );
    assert_eq!(
        words.matches("HTTP/1.1").count(),
        1,
        "{words:?} to {shown:?}"
    );
}

#[test]
fn refusals_are_what_splunk_says_to_the_byte() {
    let listener = Listener::start(&[]);
    let not_http = r#"{"text":"not HTTP","code":6}"#;
    for (bytes, status, headers, body) in [
        (b"x\r\n\r\n".to_vec(), "400 Bad Request", "", not_http),
        (
            request("DELETE /", b""),
            "405 Method Not Allowed",
            "Allow: POST, PUT, GET, HEAD, OPTIONS\r\n",
            r#"{"text":"Method not allowed","code":6}"#,
        ),
        (
            request("POST /\nContent-Encoding: br\nContent-Length: 2", b"{}"),
            "415 Unsupported Media Type",
            "",
            r#"{"text":"Unknown Content-Encoding","code":6}"#,
        ),
        (
            request("POST /", b"{\"n\":1}"),
            "411 Length Required",
            "",
            r#"{"text":"Content-Length is required","code":6}"#,
        ),
        (
            request("POST /\nTransfer-Encoding: gzip", b""),
            "501 Not Implemented",
            "",
            r#"{"text":"Unknown Transfer-Encoding","code":6}"#,
        ),
        (
            request(&format!("POST /\nX: {}", "x".repeat(16 << 10)), b""),
            "431 Request Header Fields Too Large",
            "",
            r#"{"text":"Headers too large","code":6}"#,
        ),
        (
            request("POST /\nContent-Length: 16777217", b""),
            "413 Content Too Large",
            "",
            TOO_LARGE,
        ),
    ] {
        let expected = answer(status, &format!("{headers}{CLOSE}"), body);
        assert_eq!(listener.last_words(&bytes), expected);
    }
    listener.end();
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
    let (head, body) = (request(head, b""), event(1));
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
        let _ = third.send(&head);
        // What comes at once is a refusal.
        let socket = third.stream.get_ref().try_clone().unwrap();
        let patience = socket.read_timeout().unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let is_in = third.read_answer().is_err();
        socket.set_read_timeout(patience).unwrap();
        is_in.then_some(third)
    });
    expect(&mut listener.client(), &told);
    ask(&mut second, body.as_bytes(), &success(CLOSE));
    ask(&mut third, body.as_bytes(), &success(CLOSE));
    listener.hook.wait_for_events(3);
    listener.end_with(&[event(1), event(1), event(1)]);
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

/// The file of `--listen-token-file`.
pub(crate) struct TokenFile(TempDir);

impl TokenFile {
    pub(crate) fn new(content: &str) -> Self {
        let file = TokenFile(tempfile::tempdir().unwrap());
        fs::write(file.path(), content).unwrap();
        file
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("token")
    }

    pub(crate) fn option(&self) -> String {
        format!("--listen-token-file={}", self.path().display())
    }
}

#[test]
fn only_clients_with_the_token_are_heard_where_one_is_set() {
    const TOKEN: &str = "Splunk 0D3C8A1E-77B4-4B69-8D3F-27C1A4D6E5F0";
    const OTHER: &str = "Splunk 9F1B2C3D-0000-4B69-8D3F-27C1A4D6E5F0";
    let missing = answer(
        "401 Unauthorized",
        CLOSE,
        r#"{"text":"Token is required","code":2}"#,
    );
    let wrong = answer(
        "403 Forbidden",
        CLOSE,
        r#"{"text":"Invalid token","code":4}"#,
    );
    let file = TokenFile::new(&format!("{TOKEN}\n"));
    let (hook, address) = (Webhook::start(), free_address());
    let agent = Agent::command()
        .args([
            "run",
            "--endpoint",
            &hook.url(),
            "--auth-token",
            "Splunk test",
        ])
        .args([&format!("--source=http:{address}"), &file.option()])
        .env("S3_AUDIT_WEBHOOK_LOG", "debug")
        .spawn();
    agent.wait_for_log("started: ");
    let listener = Listener {
        hook,
        agent,
        address,
    };

    let ask_with = |target: &str, header: &str| {
        let head = format!("{target}\n{header}\nContent-Length: 7");
        listener.last_words(&request(&head, event(0).as_bytes()))
    };
    for target in ["POST /", "PUT /", "GET /", "DELETE /"] {
        assert_eq!(ask_with(target, "X-Authorization: x"), missing, "{target}");
    }
    let (missing_head, _) = missing.split_once("{").unwrap();
    assert_eq!(ask_with("HEAD /", "X-Authorization: x"), missing_head);
    for given in [
        OTHER,
        "",
        "Splunk",
        &TOKEN[..TOKEN.len() - 1],
        &format!("{TOKEN}0"),
        &TOKEN.to_lowercase(),
        &TOKEN.replace("Splunk ", ""),
        &TOKEN.replace("Splunk", "Bearer"),
        &format!("{TOKEN}, {TOKEN}"),
    ] {
        let words = ask_with("POST /", &format!("Authorization: {given}"));
        assert_eq!(words, wrong, "{given:?}");
    }
    let head = format!("POST /\nauthorization: {TOKEN}\nContent-Length: 7");
    let mut client = listener.client();
    for number in 1..=2 {
        ask(
            &mut client,
            &request(&head, event(number).as_bytes()),
            &success(""),
        );
    }
    // Who has shown it once must show it again.
    ask(&mut client, &post(&event(3)), &missing);

    listener.hook.wait_for_events(2);
    assert_eq!(arrived(&listener.hook), events(1..=2));
    listener.agent.signal(libc::SIGTERM);
    let ended = listener.agent.wait();
    for secret in ["0D3C8A1E", "9F1B2C3D"] {
        assert!(!ended.log.contains(secret), "{}", ended.log);
    }
    assert_eq!(ended.balance().received, 2);
}

#[test]
fn listening_for_all_the_network_without_a_token_is_refused() {
    let run = |options: &[&str]| {
        Agent::command()
            .args(["run", "--dry-run"])
            .args(options)
            .run()
    };
    for source in ["http:0.0.0.0:0", "http:[::]:0", "http:192.0.2.7:8088"] {
        let ended = run(&["--source", source]);
        assert_eq!(ended.code, Some(2), "{}", ended.log);
        let line = format!("--source: {source}: others on the network could post forged events");
        assert!(ended.log.contains(&line), "{}", ended.log);
        assert!(ended.log.contains("--listen-token-file"), "{}", ended.log);
    }
    // A token that cannot be had is none.
    for content in ["", "\n", "\u{fe}geheim"] {
        let file = TokenFile::new(content);
        let ended = run(&["--source=http:0.0.0.0:0", &file.option()]);
        assert_eq!(ended.code, Some(1), "{}", ended.log);
        assert!(ended.log.contains("--listen-token-file: "), "{}", ended.log);
        assert!(!ended.log.contains("geheim"), "{}", ended.log);
    }

    let (hook, file) = (Webhook::start(), TokenFile::new("Splunk test"));
    let port = free_port_everywhere();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let source = format!("--source=http:0.0.0.0:{port}");
    let agent = start(&hook, &[&source, &file.option()]);
    let head = "POST /\nAuthorization: Splunk test\nContent-Length: 7";
    let mut client = Client::connect(address);
    ask(
        &mut client,
        &request(head, event(1).as_bytes()),
        &success(""),
    );
    hook.wait_for_events(1);
    end_with(agent, &hook, &events([1]));
}

#[test]
fn an_address_that_another_process_has_is_an_error_at_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let source = format!("http:{}", taken.local_addr().unwrap());
    let ended = Agent::command()
        .args(["run", "--dry-run", "--source", &source])
        .run();
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    let line = format!("--source: {source}: another process listens there");
    assert!(ended.log.contains(&line), "{}", ended.log);

    // The host may get an address later.
    let token = TokenFile::new("Splunk test");
    let agent = Agent::command()
        .args(["run", "--dry-run", "--source", "http:192.0.2.7:0"])
        .arg(token.option())
        .spawn();
    agent.wait_for_log("http:192.0.2.7:0: unavailable: can't listen");
    agent.signal(libc::SIGTERM);
    assert_eq!(agent.wait().code, Some(0));
}

#[test]
fn at_the_end_requests_are_taken_and_answered_or_neither() {
    for round in 0..5 {
        // Whoever keeps a connection must not keep the agent from ending.
        let listener = Listener::start(&["--shutdown-timeout", "1h"]);
        let connect = |number: usize| {
            let mut client = listener.client();
            ask(&mut client, &post(&event(number)), &success(""));
            client
        };
        let mut complete: Vec<_> = (0..4).map(connect).collect();
        let (mut half, mut begun, mut idle) = (connect(4), connect(5), connect(6));
        listener.hook.wait_for_events(7);
        let body = lines(10..13);
        begun.send(&post(&body)[..60]).unwrap();

        // The agent finds all of this at once when it goes on: SIGTERM, and what has arrived before it.
        listener.agent.signal(libc::SIGSTOP);
        for client in &mut complete {
            client.send(&post(&body)).unwrap();
        }
        half.send(&post(&body)[..70]).unwrap();
        listener.agent.signal(libc::SIGTERM);
        listener.agent.signal(libc::SIGCONT);

        for mut client in complete {
            let words = client.read_to_end().unwrap();
            assert!(words == success(CLOSE) || words == success(""), "{words}");
        }
        for client in [&mut half, &mut begun, &mut idle] {
            assert_eq!(client.read_to_end().unwrap(), "", "round {round}");
        }
        let address = listener.address;
        let balance = listener.end_told();
        assert_eq!((balance.received, balance.dropped), (7 + 4 * 3, 0));
        assert!(TcpStream::connect(address).is_err());
    }
}

/// Clients that never pause: to each, an event is taken if it has been told so, and else not.
#[test]
fn what_clients_were_told_at_the_end_is_true() {
    const CLIENTS: usize = 8;
    let listener = Listener::start(&[]);
    let confirmed: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let listener = &listener;
                scope.spawn(move || {
                    let mut connection = listener.client();
                    let mut confirmed = Vec::new();
                    for number in (client * 1_000_000).. {
                        let sent = connection.send(&post(&event(number)));
                        let answer = sent.and_then(|()| connection.read_answer());
                        match answer {
                            Ok((status, _)) => assert_eq!(status, 200),
                            Err(_) => return (confirmed, event(number)),
                        }
                        confirmed.push(event(number));
                    }
                    unreachable!()
                })
            })
            .collect();
        listener.hook.wait_for_events(500);
        listener.agent.signal(libc::SIGTERM);
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect()
    });
    let hook = &listener.hook;
    eventually("all that was confirmed arrives", || {
        let arrived = arrived(hook);
        let sum: usize = confirmed.iter().map(|(confirmed, _)| confirmed.len()).sum();
        (arrived.len() >= sum).then_some(())
    });
    let mut arrived = arrived(hook);
    let mut expected: Vec<_> = confirmed
        .iter()
        .flat_map(|(confirmed, _)| confirmed.clone())
        .collect();
    // The one in flight may have been too late by its answer alone.
    for (_, unsure) in &confirmed {
        if arrived.contains(unsure) {
            println!("taken without the client's knowing: {unsure}");
            expected.push(unsure.clone());
        }
    }
    arrived.sort();
    expected.sort();
    assert_eq!(arrived, expected);
    listener.end_told();
}
