//! `http:ADDR:PORT`, a webhook of the agent's own for S3 servers that push. Whatever is sent to it: each body is taken
//! whole or not at all, the client is told at once which of the two, and it never waits for the webhook behind.

mod access;
mod bodies;
mod clients;
mod limits;
mod requests;
mod shutdown;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use crate::support::{Agent, Balance, Client, Webhook, arrived, end, event, wait_for_end};

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
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)) {
            shut_down(listener);
            return port;
        }
    }
}

/// A port that nothing listens on.
pub(crate) fn free_port(ip: Ipv4Addr) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    shut_down(listener);
    address
}

/// Closing would not free the port while another test is between the fork and the exec of a child, which has a copy of
/// every descriptor for that long.
fn shut_down(listener: TcpListener) {
    let _ = TcpStream::from(OwnedFd::from(listener)).shutdown(Shutdown::Both);
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
