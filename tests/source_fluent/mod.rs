//! `fluent:ADDR:PORT` and `fluent:PATH`, which SeaweedFS logs to. It waits for each acknowledgement that it asks for,
//! for ever; and it loses the message in flight when the connection is closed, so that the agent never closes one.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use serde::de::IgnoredAny;
use tempfile::TempDir;

use crate::source_http::{end_with, events, free_address, free_port_everywhere, start};
use crate::support::{
    Agent, Webhook, arrived, end, event, eventually, unchanged_for, wait_for_end,
};

const JSON: &[u8] = include_bytes!("../data/seaweedfs-fluent.json.bin");
const JSON_ACK: &[u8] = include_bytes!("../data/seaweedfs-fluent-ack.json.bin");
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the agent listens.
pub(crate) enum Place {
    Tcp(SocketAddr),
    Unix(TempDir),
}

impl Place {
    pub(crate) fn tcp() -> Self {
        Place::Tcp(free_address())
    }

    pub(crate) fn unix() -> Self {
        Place::Unix(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Place::Unix(directory) => directory.path().join("fluent.sock"),
            Place::Tcp(_) => unreachable!(),
        }
    }

    pub(crate) fn source(&self) -> String {
        match self {
            Place::Tcp(address) => format!("fluent:{address}"),
            Place::Unix(_) => format!("fluent:{}", self.path().display()),
        }
    }

    pub(crate) fn option(&self) -> String {
        format!("--source={}", self.source())
    }

    pub(crate) fn connect(&self) -> Weed {
        // Its other side is to read and to answer: what takes long is an error.
        match self {
            Place::Tcp(address) => {
                let socket = TcpStream::connect(address).unwrap();
                socket.set_nodelay(true).unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                socket.set_write_timeout(Some(PATIENCE)).unwrap();
                Weed(Box::new(socket))
            }
            Place::Unix(_) => {
                let socket = UnixStream::connect(self.path()).unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                socket.set_write_timeout(Some(PATIENCE)).unwrap();
                Weed(Box::new(socket))
            }
        }
    }
}

pub(crate) trait Socket: Read + Write + AsFd + Send {}

impl Socket for TcpStream {}
impl Socket for UnixStream {}

/// An S3 server's connection.
pub(crate) struct Weed(pub(crate) Box<dyn Socket>);

impl Weed {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Waits for this acknowledgement, and no more than it.
    #[track_caller]
    pub(crate) fn expect_ack(&mut self, chunk: &str) {
        let expected = format!(r#"{{"ack":"{chunk}"}}"#);
        let mut got = vec![0; expected.len()];
        self.0.read_exact(&mut got).unwrap();
        assert_eq!(String::from_utf8(got).unwrap(), expected);
    }

    /// Sends a message that asks for an acknowledgement, and gets it: all before it was read, in order, and the
    /// connection is as open as ever.
    #[track_caller]
    pub(crate) fn ask(&mut self, record: &str) {
        self.send(message(record, r#"{"chunk":"p8n9gmxTQVC8/nh2wlKKeQ=="}"#).as_bytes());
        self.expect_ack("p8n9gmxTQVC8/nh2wlKKeQ==");
    }

    /// Waits until the agent has read all that was sent (over a unix socket).
    pub(crate) fn wait_until_read(&self) {
        eventually("the agent reads", || {
            let mut unread = 0;
            let socket = self.0.as_fd().as_raw_fd();
            // SAFETY: the descriptor is borrowed from an open socket, and TIOCOUTQ writes one int.
            let done = unsafe { libc::ioctl(socket, libc::TIOCOUTQ, &raw mut unread) };
            assert_eq!(done, 0);
            (unread == 0).then_some(())
        });
    }
}

pub(crate) fn message(record: &str, option: &str) -> String {
    format!(r#"["s3.access",1795326382,{record},{option}]"#)
}

/// What stands in a capture end to end.
fn messages(capture: &[u8]) -> Vec<&str> {
    let mut ends = serde_json::Deserializer::from_slice(capture).into_iter::<IgnoredAny>();
    let mut messages = Vec::new();
    let mut start = 0;
    while let Some(message) = ends.next() {
        message.unwrap();
        messages.push(std::str::from_utf8(&capture[start..ends.byte_offset()]).unwrap());
        start = ends.byte_offset();
    }
    messages
}

/// A captured message's record, as it stands there, and its option. Neither tag, time nor option hold what would
/// make a comma ambiguous.
fn parts(message: &str) -> (&str, &str) {
    let record = message.splitn(3, ',').nth(2).unwrap();
    let (record, option) = record.rsplit_once(",{").unwrap();
    (record, option.strip_suffix("}]").unwrap())
}

fn records(capture: &[u8]) -> Vec<String> {
    let messages = messages(capture);
    messages
        .iter()
        .map(|message| parts(message).0.to_owned())
        .collect()
}

#[test]
fn every_record_of_seaweedfs_arrives_byte_for_byte() {
    for place in [Place::tcp(), Place::unix()] {
        for (capture, count) in [(JSON, 136), (JSON_ACK, 21)] {
            let hook = Webhook::start();
            let agent = start(&hook, &[&place.option()]);
            let mut weed = place.connect();
            weed.send(capture);
            hook.wait_for_events(count);
            let expected = records(capture);
            assert_eq!(expected.len(), count);
            end_with(agent, &hook, &expected);
        }
    }
}

#[test]
fn each_message_is_acknowledged_once_it_is_in_the_buffer() {
    for place in [Place::tcp(), Place::unix()] {
        let (hook, status) = (Webhook::start(), free_address());
        // What is acknowledged is so before the webhook has it.
        hook.hold();
        let agent = start(
            &hook,
            &[&place.option(), &format!("--status-listen={status}")],
        );
        let mut weed = place.connect();
        for (number, message) in messages(JSON_ACK).into_iter().enumerate() {
            let chunk = parts(message).1.strip_prefix(r#""chunk":""#).unwrap();
            weed.send(message.as_bytes());
            weed.expect_ack(chunk.strip_suffix('"').unwrap());
            let received = format!(
                "s3_audit_webhook_events_received_total{{source=\"{}\"}} {}\n",
                place.source(),
                number + 1
            );
            let page = crate::status::get(status, "/metrics").1;
            assert!(page.contains(&received), "{received} in\n{page}");
        }
        hook.release();
        hook.wait_for_events(21);
        end_with(agent, &hook, &records(JSON_ACK));
        // Nothing but the acknowledgements ever came.
        assert_eq!(weed.0.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn messages_may_ask_for_an_acknowledgement_each_as_they_like() {
    let (hook, place) = (Webhook::start(), Place::tcp());
    let agent = start(&hook, &[&place.option()]);
    let mut weed = place.connect();
    let long = "x".repeat(1000);
    let all = [
        message(&event(1), r#"{"chunk":"a"}"#),
        message(&event(2), "{}"),
        message(&event(3), r#"{ "size" : 1 , "chunk" : "\u00e9\"\n" }"#),
        message(&event(4), r#"{"chunk":7}"#),
        format!(r#"["t",1.5,{}]"#, event(5)),
        message(&event(6), &format!(r#"{{"chunk":"{long}"}}"#)),
    ];
    weed.send(all.concat().as_bytes());
    for chunk in ["a", "é\\\"\\n", &long] {
        weed.expect_ack(chunk);
    }
    hook.wait_for_events(6);
    end_with(agent, &hook, &events(1..=6));
    assert_eq!(weed.0.read(&mut [0]).unwrap(), 0);
}

/// S3 never waits: its server keeps what is not acknowledged.
#[test]
fn what_there_is_no_room_for_is_acknowledged_when_there_is_some() {
    let (hook, place) = (Webhook::start(), Place::unix());
    hook.hold();
    let agent = start(&hook, &[&place.option(), "--buffer-events", "10"]);
    let mut weed = place.connect();
    for number in 0..10 {
        weed.ask(&event(number));
    }
    let mut other = place.connect();
    for weed in [&mut weed, &mut other] {
        weed.send(message(&event(10), r#"{"chunk":"late"}"#).as_bytes());
        weed.send(message(&event(11), r#"{"chunk":"later"}"#).as_bytes());
    }
    agent.wait_for_log("request refused (503 buffer full)");
    hook.wait_for_requests(1);
    let descriptors = agent.descriptors().len();
    // One gives up: it will send its message again.
    drop(other);
    eventually("that is noticed", || {
        (agent.descriptors().len() < descriptors).then_some(())
    });
    hook.release();
    weed.expect_ack("late");
    weed.expect_ack("later");
    hook.wait_for_events(12);
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.dropped), (12, 0));
    assert_eq!(arrived(&hook), events(0..12));
}

/// The agent turns to others while it reads one of many reads, and must not take that for the client's end.
#[test]
fn long_messages_wait_for_room_too() {
    let (hook, place) = (Webhook::start(), Place::tcp());
    hook.hold();
    let agent = start(&hook, &[&place.option(), "--buffer-bytes=4MiB"]);
    let long = |number: usize| event(format!("{number},\"text\":\"{}\"", "x".repeat(2 << 20)));
    let mut weed = place.connect();
    for number in 0..6 {
        weed.send(message(&long(number), r#"{"chunk":"c"}"#).as_bytes());
        if number == 1 {
            agent.wait_for_log("request refused (503 buffer full)");
            hook.release();
        }
        if number > 1 {
            weed.expect_ack("c");
        }
    }
    weed.expect_ack("c");
    weed.expect_ack("c");
    hook.wait_for_events(6);
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.dropped), (6, 0));
}

#[test]
fn messages_may_be_split_anywhere() {
    let record = r#"{"key":"a\"]},[\n{é","list":[{},[1]],"n":-1.5e3}"#;
    let (hook, place) = (Webhook::start(), Place::unix());
    let agent = start(&hook, &[&place.option()]);

    let mut weed = place.connect();
    let two = message(record, r#"{"chunk":"]"}"#) + &message(record, "{}");
    for byte in two.bytes() {
        weed.send(&[byte]);
        weed.wait_until_read();
    }
    weed.expect_ack("]");
    // Pieces of many lengths, so that some cut where it matters.
    let mut rest = JSON;
    for length in (1..).map(|number| number * 7919 % 1024 + 1) {
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        weed.send(piece);
        weed.wait_until_read();
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
    hook.wait_for_events(2 + 136);
    let expected = [vec![record.to_owned(); 2], records(JSON)].concat();
    end_with(agent, &hook, &expected);
}

/// It comes again, over the next connection.
#[test]
fn a_message_that_is_cut_off_by_the_connections_end_is_forgotten() {
    for place in [Place::tcp(), Place::unix()] {
        let hook = Webhook::start();
        let agent = start(&hook, &[&place.option()]);
        let whole = message(&event(2), r#"{"chunk":"c"}"#);
        for end in [1, 5, 20, whole.len() - 14, whole.len() - 1] {
            let mut weed = place.connect();
            weed.ask(&event(1));
            weed.send(&whole.as_bytes()[..end]);
        }
        let mut weed = place.connect();
        weed.send(whole.as_bytes());
        weed.expect_ack("c");
        hook.wait_for_events(6);
        end_with(agent, &hook, &events([1, 1, 1, 1, 1, 2]));
    }
}

#[test]
fn what_is_no_message_costs_itself_alone_and_never_the_connection() {
    for place in [Place::tcp(), Place::unix()] {
        let hook = Webhook::start();
        let agent = start(&hook, &[&place.option(), "--report-interval", "1h"]);
        let mut idle = place.connect();
        let mut weed = place.connect();
        let mut lost = 0;
        for garbage in [
            "geheim",
            "[]",
            r#"["s3.access",1795326382]"#,
            r#"["s3.access",1795326382,"geheim",{}]"#,
            r#"["s3.access",1795326382,{"n":geheim},{}]"#,
            r#"[{"n":1}]"#,
            r#"{"n":1}"#,
            "GET / HTTP/1.1\r\n\r\n",
        ] {
            // There is no line's end anywhere in such a stream.
            weed.send(garbage.as_bytes());
            weed.ask(&event(lost));
            lost += 1;
            weed.ask(&event(lost));
        }
        idle.ask(&event(1000));
        hook.wait_for_events(2 * lost + 1);
        let expected: Vec<_> = (0..lost).flat_map(|number| [number, number + 1]).collect();
        assert_eq!(arrived(&hook), events(expected.into_iter().chain([1000])));
        let line = " sends something that is no fluent message";
        let logged = agent.wait_for_log(line);
        let is_named = logged.contains("a client at 127.");
        assert_eq!(is_named, matches!(place, Place::Tcp(_)), "{logged}");
        let log = agent.log();
        assert_eq!(log.matches(line).count(), 1, "{log}");
        assert!(!log.contains("geheim"), "{log}");
        let balance = end(agent, &hook);
        assert_eq!(balance.dropped, balance.by_reason["malformed"]);
        assert_eq!(balance.dropped, lost as u64, "{balance:?}");
        // Only now are they closed.
        for weed in [&mut weed, &mut idle] {
            assert_eq!(weed.0.read(&mut [0]).unwrap(), 0);
        }
    }
}

#[test]
fn a_message_in_json_may_carry_many_events() {
    let (hook, place) = (Webhook::start(), Place::tcp());
    let agent = start(&hook, &[&place.option()]);
    let mut weed = place.connect();
    weed.send(br#"["t",[[1,{"n":1}],[2,{"n":2}]],{"chunk":"a","size":2}]"#);
    weed.expect_ack("a");
    weed.send(br#"["t",[[3,{"n":3}]]]["t",[[4],[5,{"n":5}]]]"#);
    hook.wait_for_events(4);
    assert_eq!(arrived(&hook), events([1, 2, 3, 5]));
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.by_reason["malformed"]), (5, 1));
}

#[test]
fn many_servers_may_log_at_once_and_each_ones_order_is_kept() {
    const SERVERS: usize = 50;
    const EVENTS: usize = 40;
    for place in [Place::tcp(), Place::unix()] {
        let hook = Webhook::start();
        let agent = start(&hook, &[&place.option()]);
        let record =
            |server: usize, number: usize| format!(r#"{{"server":{server},"n":{number}}}"#);
        thread::scope(|scope| {
            for server in 0..SERVERS {
                let (place, record) = (&place, &record);
                scope.spawn(move || {
                    let mut weed = place.connect();
                    for number in 0..EVENTS {
                        let record = record(server, number);
                        if server % 2 == 0 {
                            weed.ask(&record);
                        } else {
                            let message = message(&record, "{}");
                            let cut = (server + number) % message.len();
                            weed.send(&message.as_bytes()[..cut]);
                            thread::yield_now();
                            weed.send(&message.as_bytes()[cut..]);
                        }
                    }
                });
            }
        });
        hook.wait_for_events(SERVERS * EVENTS);
        let arrived = arrived(&hook);
        for server in 0..SERVERS {
            let prefix = format!(r#"{{"server":{server},"#);
            let of_server = arrived.iter().filter(|record| record.starts_with(&prefix));
            let expected: Vec<_> = (0..EVENTS).map(|number| record(server, number)).collect();
            assert!(of_server.eq(&expected), "of server {server}");
        }
        let balance = end(agent, &hook);
        assert_eq!(
            (balance.received, balance.dropped),
            ((SERVERS * EVENTS) as u64, 0)
        );
    }
}

#[test]
fn a_record_that_is_too_large_is_counted_and_acknowledged_all_the_same() {
    let (hook, place) = (Webhook::start(), Place::tcp());
    let agent = start(&hook, &[&place.option(), "--max-event-bytes", "1000"]);
    let of_length = |bytes: usize| format!(r#"{{"n":"{}"}}"#, "x".repeat(bytes - 8));
    let mut weed = place.connect();
    let fits = of_length(1000);
    weed.ask(&fits);
    // A server that gets no word for a message never sends another.
    for bytes in [1001, 4000, 6000, 100_000, 1_000_000] {
        weed.ask(&of_length(bytes));
    }
    weed.ask(&fits);
    hook.wait_for_events(2);
    assert_eq!(arrived(&hook), [fits.clone(), fits]);
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.by_reason["too large"]), (7, 5));
}

#[test]
fn a_client_may_ask_for_many_acknowledgements_before_it_reads_one() {
    const MESSAGES: usize = 1000;
    for place in [Place::tcp(), Place::unix()] {
        let hook = Webhook::start();
        let agent = start(&hook, &[&place.option()]);
        let mut weed = place.connect();
        let asking = |number: usize| message(&event(number), &format!(r#"{{"chunk":"{number}"}}"#));
        weed.send((0..MESSAGES).map(asking).collect::<String>().as_bytes());
        for number in 0..MESSAGES {
            weed.expect_ack(&number.to_string());
        }
        hook.wait_for_events(MESSAGES);
        end_with(agent, &hook, &events(0..MESSAGES));
    }
}

/// Nothing can be done for it: an acknowledgement that there is no room for can't be left out.
#[test]
fn a_client_that_asks_for_ever_and_never_reads_is_let_go_and_costs_others_nothing() {
    for place in [Place::tcp(), Place::unix()] {
        let hook = Webhook::start();
        let agent = start(&hook, &[&place.option()]);
        let mut other = place.connect();
        let mut deaf = place.connect();
        let many = message("{}", r#"{"chunk":"p8n9gmxTQVC8/nh2wlKKeQ=="}"#).repeat(1000);
        eventually("it is let go", || deaf.0.write_all(many.as_bytes()).err());
        other.ask("{}");
        agent.wait_for_log("1 request refused (the client does not read its answers)");
        let log = agent.log();
        assert_eq!(log.matches(" refused (").count(), 1, "{log}");
        let balance = end(agent, &hook);
        assert!(balance.received > 1000, "{balance:?}");
        assert_eq!(balance.dropped, 0, "{balance:?}");
    }
}

/// With a shared key, a client waits for the server to begin.
#[test]
fn a_client_that_waits_and_leaves_is_logged_and_one_that_only_looks_is_not() {
    let (hook, place) = (Webhook::start(), Place::tcp());
    let agent = start(&hook, &[&place.option()]);
    let silent = place.connect();
    drop(place.connect());
    let hint = "connected, waited and left without a message";
    let log = unchanged_for(Duration::from_secs(3), "it waits", || agent.log());
    assert!(!log.contains(hint), "{log}");
    drop(silent);
    agent.wait_for_log(hint);
    end_with(agent, &hook, &[]);
}

#[test]
fn a_stale_socket_file_is_replaced_and_the_own_one_removed_at_the_end() {
    let (hook, place) = (Webhook::start(), Place::unix());
    drop(UnixListener::bind(place.path()).unwrap());
    assert!(place.path().exists());
    let agent = start(&hook, &[&place.option()]);
    place.connect().ask(&event(1));
    hook.wait_for_events(1);
    end_with(agent, &hook, &events([1]));
    assert!(!place.path().exists());
}

#[test]
fn a_place_that_something_else_has_is_left_alone() {
    let refused = |source: &str, code: i32, text: &str| {
        let ended = Agent::command()
            .args(["run", "--dry-run", "--source", source])
            .run();
        assert_eq!(ended.code, Some(code), "{}", ended.log);
        let line = format!("--source: {source}: {text}");
        assert!(ended.log.contains(&line), "{}", ended.log);
    };
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("fluent:{}", port.local_addr().unwrap());
    refused(&taken, 1, "another process listens there");

    let place = Place::unix();
    fs::write(place.path(), "precious").unwrap();
    refused(&place.source(), 2, "there is a file that is no socket");
    assert_eq!(fs::read(place.path()).unwrap(), b"precious");
    fs::remove_file(place.path()).unwrap();
    let _listener = UnixListener::bind(place.path()).unwrap();
    refused(&place.source(), 1, "another process listens on this socket");
}

#[test]
fn listening_for_all_the_network_is_warned_of() {
    let hook = Webhook::start();
    let port = free_port_everywhere();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let source = format!("fluent:0.0.0.0:{port}");
    let agent = start(&hook, &["--source", &source]);
    agent.wait_for_log("anyone who can reach this address can send forged events");
    Place::Tcp(address).connect().ask(&event(1));
    hook.wait_for_events(1);
    end_with(agent, &hook, &events([1]));
}

#[test]
fn what_was_sent_before_the_end_is_still_delivered() {
    let (hook, place) = (Webhook::start(), Place::unix());
    let agent = start(&hook, &[&place.option()]);
    let mut known = place.connect();
    known.ask(&event(1));
    hook.wait_for_events(1);
    // The agent finds all of this at once when it goes on: messages, a new connection, and SIGTERM.
    agent.signal(libc::SIGSTOP);
    let mut new = place.connect();
    for number in 2..=50 {
        known.send(message(&event(number), "{}").as_bytes());
        new.send(message(&event(number), r#"{"chunk":"c"}"#).as_bytes());
    }
    new.send(&message(&event(51), "{}").as_bytes()[..30]);
    agent.signal(libc::SIGTERM);
    agent.signal(libc::SIGCONT);
    for _ in 2..=50 {
        new.expect_ack("c");
    }
    // A message that was not whole comes again.
    let balance = wait_for_end(agent, &hook);
    assert_eq!((balance.received, balance.dropped), (1 + 49 + 49, 0));
    let closed = known.0.read(&mut [0]);
    assert!(matches!(closed, Ok(0)) || is_reset(&closed), "{closed:?}");
}

fn is_reset(result: &io::Result<usize>) -> bool {
    result
        .as_ref()
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
}
