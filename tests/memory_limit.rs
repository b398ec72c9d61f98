//! Hostile inputs in the memory of `packaging/kubernetes/sidecar`: the agent is not killed for what they take, and what it
//! had accepted before them arrives.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use crate::source_http::{ask, free_address, post, post_gzip, success};
use crate::support::{Agent, Cgroup, Client, Webhook, event, eventually, raise_descriptor_limit};

const MIB: usize = 1 << 20;
/// Of events that the agent has accepted, which fill most of the buffer of 64 MiB.
const ACCEPTED: usize = 15_000;

/// The sidecar's memory, as a cgroup; or says why that can't be tested here.
fn sidecar() -> Option<Cgroup> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("packaging/kubernetes/sidecar/statefulset.yaml");
    let manifest = fs::read_to_string(path).unwrap();
    let limit = manifest
        .split("limits: {memory: ")
        .nth(1)
        .and_then(|rest| rest.split_once("Mi}"));
    let bytes = limit.unwrap().0.parse::<usize>().unwrap() * MIB;
    match Cgroup::with_memory(bytes) {
        Ok(cgroup) => Some(cgroup),
        Err(error) => {
            eprintln!("skipped: no memory cgroup can be made here: {error}");
            None
        }
    }
}

fn start(cgroup: &Cgroup, hook: &Webhook, sources: &[String]) -> Agent {
    let agent = Agent::command_in(cgroup)
        .args(["run", "--endpoint", &hook.url()])
        .args(["--auth-token", "Splunk test"])
        .args(sources.iter().map(|source| format!("--source={source}")))
        .spawn();
    agent.wait_for_log("started: ");
    agent
}

/// Some 4 KB.
fn large_event(number: usize) -> String {
    event(format!("{number},\"text\":\"{}\"", "x".repeat(4000)))
}

/// Ends the agent, which was not killed: all that it has accepted arrives, and no more.
fn all_arrive(agent: Agent, hook: &Webhook, cgroup: &Cgroup, events: usize) {
    hook.release();
    let arrived = || (hook.event_count() >= events).then_some(());
    eventually("all arrive", arrived);
    agent.signal(libc::SIGTERM);
    let ended = agent.wait();
    let balance = ended.balance();
    assert_eq!(balance.delivered, events as u64, "{balance:?}");
    // What was broken off was no accepted event.
    assert!(
        !balance.by_reason.contains_key("buffer full"),
        "{balance:?}"
    );
    println!("{} MiB at most", cgroup.peak().unwrap_or_default() / MIB);
}

#[test]
fn bodies_that_grow_do_not_get_the_sidecar_killed() {
    let Some(cgroup) = sidecar() else { return };
    let (hook, address) = (Webhook::start(), free_address());
    hook.hold();
    let agent = start(&cgroup, &hook, &[format!("http:{address}")]);
    for first in (0..ACCEPTED).step_by(100) {
        let body: String = (first..first + 100).map(large_event).collect();
        ask(&mut Client::connect(address), &post(&body), &success(""));
    }
    let large = [b"{\"a\":\"", &b"\xff".repeat(4 * MIB - 10)[..], b"\"}"].concat();
    // Clients, a body, and its events if it is taken.
    let bodies = [
        // Each byte that is no UTF-8 becomes three.
        (8, large.repeat(3), 3),
        // Each gets a line end; empty ones are only probes.
        (16, b"{}".repeat(MIB / 2), 0),
        (16, b"{\"\":1}".repeat(MIB / 8), MIB / 8),
        // Each level of nesting is remembered.
        (256, [&b"{\"a\":"[..], &b"[".repeat(65_400)[..]].concat(), 0),
        // Each opening bracket may begin an object, once it is clear that the first does not end.
        (16, b"{".repeat(MIB), 0),
        // Only begun.
        (256, b"{\"a\":\"".to_vec(), 0),
    ];
    let accepted = AtomicUsize::new(ACCEPTED);
    for (clients, body, events) in bodies {
        let request = post_gzip(&body);
        thread::scope(|scope| {
            for _ in 0..clients {
                scope.spawn(|| {
                    let Ok(mut stream) = TcpStream::connect(address) else {
                        return;
                    };
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(120)));
                    let mut answer = [0; 256];
                    if stream.write_all(&request).is_ok()
                        && stream.read(&mut answer).is_ok()
                        && answer.starts_with(b"HTTP/1.1 200")
                    {
                        accepted.fetch_add(events, Relaxed);
                    }
                });
            }
        });
    }
    agent.wait_for_log(" refused (");
    all_arrive(agent, &hook, &cgroup, accepted.into_inner());
}

#[test]
fn unfinished_messages_do_not_get_the_sidecar_killed() {
    let Some(cgroup) = sidecar() else { return };
    let (hook, address) = (Webhook::start(), free_address());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("plain.sock");
    hook.hold();
    let sources = [
        format!("fluent:{address}"),
        format!("unix-listen:{}", path.display()),
    ];
    let agent = start(&cgroup, &hook, &sources);
    let mut client = fluent(address);
    for first in (0..ACCEPTED).step_by(100) {
        let entries: Vec<_> = (first..first + 100)
            .map(|number| format!("[1,{}]", large_event(number)))
            .collect();
        let message = format!("[\"t\",[{}],{{\"chunk\":\"c\"}}]", entries.join(","));
        acknowledged(&mut client, message.as_bytes());
    }
    let begun: [Vec<u8>; 4] = [
        // Half of a message, in both forms.
        [
            &b"\x93\xa1t\xc6\x01\x00\x00\x00\x92\x01\x81\xa1a\xdb\x00\x02\x00\x00"[..],
            &[b'x'; 130_000],
        ]
        .concat(),
        [b"[\"t\",1,{\"a\":\"", &[b'x'; 130_000][..]].concat(),
        // One that says it is long, and one nested deeply.
        b"\x93\xa1t\xdd\xff\xff\xff\xff".to_vec(),
        [b"[\"t\",1,{\"a\":", &[b'['; 600][..]].concat(),
    ];
    let mut open = Vec::new();
    // As many as the descriptors of this process allow for, beside the writers and other tests.
    for number in 0..raise_descriptor_limit().saturating_sub(1500).min(5_500) {
        let Ok(mut stream) = TcpStream::connect(address) else {
            break;
        };
        let _ = stream.set_write_timeout(Some(Duration::from_secs(1)));
        // Most have a large message in the making, as 900 writers had.
        let message = &begun[if number < 3000 {
            number % 2
        } else {
            2 + number % 2
        }];
        let _ = stream.write_all(message);
        open.push(stream);
    }
    let mut writers = Vec::new();
    for _ in 0..900 {
        let Ok(mut writer) = std::os::unix::net::UnixStream::connect(&path) else {
            break;
        };
        let _ = writer.set_write_timeout(Some(Duration::from_secs(1)));
        let _ = writer.write_all(&[b"{\"a\":\"", &[b'x'; 130_000][..]].concat());
        writers.push(writer);
    }
    println!("{} connections, {} writers", open.len(), writers.len());
    assert!(open.len() >= 1000 && writers.len() == 900);
    agent.wait_for_log("too much memory for unfinished messages");
    // Whoever sends whole messages is served still, also over a new connection.
    let message = format!("[\"t\",1,{},{{\"chunk\":\"c\"}}]", event(0));
    acknowledged(&mut client, message.as_bytes());
    acknowledged(&mut fluent(address), message.as_bytes());
    drop((open, writers));
    all_arrive(agent, &hook, &cgroup, ACCEPTED + 2);
}

/// They are few bytes each, and as a tree they would be a hundred times as much.
#[test]
fn a_message_of_many_tiny_parts_does_not_get_the_sidecar_killed() {
    let Some(cgroup) = sidecar() else { return };
    let (hook, address) = (Webhook::start(), free_address());
    hook.hold();
    let agent = start(&cgroup, &hook, &[format!("fluent:{address}")]);
    let mut client = fluent(address);
    let many = r#"{"":0},"#.repeat(1_100_000);
    let option = format!("{{\"chunk\":\"c\",\"x\":[{many}{{}}]}}");
    for number in 0..4 {
        let message = format!("[\"t\",1,{},{option}]", event(number));
        acknowledged(&mut client, message.as_bytes());
    }
    // It is no message, and asks for an acknowledgement all the same.
    acknowledged(&mut client, format!("[1,{option}]").as_bytes());
    all_arrive(agent, &hook, &cgroup, 4);
}

fn fluent(address: SocketAddr) -> TcpStream {
    let client = eventually("a connection", || TcpStream::connect(address).ok());
    client
        .set_read_timeout(Some(Duration::from_secs(240)))
        .unwrap();
    client
}

fn acknowledged(client: &mut TcpStream, message: &[u8]) {
    client.write_all(message).unwrap();
    let mut answer = [0; 11];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"{\"ack\":\"c\"}");
}

#[test]
fn the_memory_of_an_outage_is_given_back() {
    const EVENTS: usize = 36_000;
    let (hook, directory) = (Webhook::start(), tempfile::tempdir().unwrap());
    let socket = directory.path().join("audit.sock");
    hook.hold();
    let agent = Agent::command()
        .args(["run", "--endpoint", &hook.url()])
        .args(["--auth-token", "Splunk test"])
        .arg(format!("--source=unix-listen:{}", socket.display()))
        .spawn();
    agent.wait_for_log("started: ");
    let before = agent.resident_kib();
    let mut writer = UnixStream::connect(socket).unwrap();
    // Of any length and little by little, as a server writes them: so each of them is in memory of its own.
    for number in 0..EVENTS {
        let text = "x".repeat(500 + number * 37 % 2000);
        let event = event(format!("{number},\"text\":\"{text}\""));
        writer.write_all(event.as_bytes()).unwrap();
        if number % 32 == 0 {
            // The pace of a busy server.
            thread::sleep(Duration::from_millis(1));
        }
    }
    let is_buffered = || (agent.resident_kib() > before + 50 * 1024).then_some(());
    eventually("it is buffered", is_buffered);
    hook.release();
    let is_small = || (agent.resident_kib() < before + 8 * 1024).then_some(());
    let found = crate::support::poll(Duration::from_secs(60), is_small);
    assert!(found.is_some(), "{} KiB", agent.resident_kib());
    agent.signal(libc::SIGTERM);
    let ended = agent.wait();
    assert_eq!(ended.balance().delivered, EVENTS as u64);
}
