//! Standard input: a pipe is never kept waiting, a file waits for room, and all of it has been dealt with at its end. And
//! how its events share requests.

use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::support::{Agent, Request, Webhook, eventually};

const TOKEN: &str = "Splunk B5A79AAD-D822-46CC-80D1-819F80D7BFB0";
/// For a wait that something else ends.
const NEVER: &str = "1h";
/// Tries again soon, and tells of it soon.
const IMPATIENT: [&str; 3] = [
    "--backoff-min=10ms",
    "--backoff-max=50ms",
    "--report-interval=50ms",
];
/// A megabyte of events: more than a pipe and the agent's own read buffers hold.
const MANY: usize = 100_000;

fn events(count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|number| format!("{{\"n\":{number}}}").into_bytes())
        .collect()
}

fn lines(events: &[Vec<u8>]) -> Vec<u8> {
    events
        .iter()
        .flat_map(|event| [event, &b"\n"[..]].concat())
        .collect()
}

fn counts(requests: &[Request]) -> Vec<usize> {
    requests.iter().map(Request::event_count).collect()
}

#[test]
fn at_its_end_everything_is_sent_before_the_agent_ends_well() {
    let hook = Webhook::start();
    hook.hold();
    let agent = Agent::command()
        .arg("run")
        .endpoint(&hook.url())
        .token(TOKEN);
    let agent = agent
        .args(["--batch-events", "1000"])
        .input(lines(&events(2500)));
    let agent = agent.spawn();
    hook.wait_for_requests(1);
    hook.release();

    let ended = agent.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(hook.delivered_events(), events(2500));
    let balance = ended.balance();
    assert_eq!(
        (
            balance.received,
            balance.delivered,
            balance.dropped,
            balance.left
        ),
        (2500, 2500, 0, 0)
    );
}

#[test]
fn an_empty_input_is_no_error_and_posts_nothing() {
    let hook = Webhook::start();
    let ended = Agent::command()
        .arg("run")
        .endpoint(&hook.url())
        .token(TOKEN)
        .run();
    assert_eq!(
        (ended.code, ended.balance().received),
        (Some(0), 0),
        "{}",
        ended.log
    );
    assert_eq!(hook.connections(), 0);
}

#[test]
fn an_event_that_the_end_cuts_off_is_malformed_and_the_others_arrive() {
    let hook = Webhook::start();
    let agent = Agent::command()
        .arg("run")
        .endpoint(&hook.url())
        .token(TOKEN);
    let ended = agent.input("{\"n\":0}\n{\"n\":1}\n{\"n\":\"cut o").run();
    assert_eq!(ended.code, Some(0));
    assert_eq!(hook.delivered_events(), events(2));
    let balance = ended.balance();
    assert_eq!((balance.received, balance.by_reason["malformed"]), (3, 1));
    balance.holds();
}

/// A socket that is reset, and a descriptor that can only be written.
#[test]
fn what_can_not_be_read_to_its_end_is_sent_but_is_no_success() {
    let hook = Webhook::start();
    let start = |input: OwnedFd| {
        let agent = Agent::command().arg("run").endpoint(&hook.url());
        agent.token(TOKEN).stdin(Stdio::from(input)).spawn()
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut writer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let agent = start(listener.accept().unwrap().0.into());
    writer.write_all(b"{\"n\":0}\n{\"n\":1}\n{\"n\":").unwrap();
    hook.wait_for_events(2);
    let writer = Socket::from(writer);
    writer.set_linger(Some(Duration::ZERO)).unwrap();
    drop(writer);
    let ended = agent.wait();
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    let balance = ended.balance();
    assert_eq!((balance.delivered, balance.by_reason["malformed"]), (2, 1));

    let dir = tempfile::tempdir().unwrap();
    let ended = start(File::create(dir.path().join("file")).unwrap().into()).wait();
    assert_eq!(ended.code, Some(1), "{}", ended.log);
}

#[test]
fn an_event_goes_on_while_the_input_stays_open() {
    let hook = Webhook::start();
    let agent = Agent::command()
        .arg("run")
        .endpoint(&hook.url())
        .token(TOKEN);
    let mut agent = agent.args(["--batch-age", "0"]).spawn();
    // Also one without a line end: the bracket ends it.
    for (number, event) in ["{\"n\":0}\n", "{\"n\":1}", ",{\"n\":2}"]
        .iter()
        .enumerate()
    {
        agent.stdin().write_all(event.as_bytes()).unwrap();
        assert_eq!(hook.wait_for_events(number + 1), events(number + 1));
    }
}

#[test]
fn a_file_waits_for_room_while_the_webhook_is_away_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    fs::write(&path, lines(&events(5000))).unwrap();

    let hook = Webhook::start();
    hook.stop();
    let agent = Agent::command()
        .arg("run")
        .endpoint(&hook.url())
        .token(TOKEN);
    let agent = agent.args(["--buffer-events", "100"]).args(IMPATIENT);
    let agent = agent.stdin(File::open(&path).unwrap()).spawn();
    // Any drop would have been told by then.
    agent.wait_for_log("delivery failing for");
    hook.restart();

    let ended = agent.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert!(
        hook.delivered_events() == events(5000),
        "all of them, in order"
    );
    let balance = ended.balance();
    assert_eq!(
        (balance.received, balance.dropped),
        (5000, 0),
        "{}",
        ended.log
    );
}

#[test]
fn a_pipe_never_waits_and_what_finds_no_room_is_dropped_and_counted() {
    let hook = Webhook::start();
    hook.stop();
    let agent = Agent::command()
        .arg("run")
        .endpoint(&hook.url())
        .token(TOKEN);
    let mut agent = agent
        .args(["--buffer-events", "100"])
        .args(IMPATIENT)
        .spawn();
    let mut pipe = File::from(agent.stdin().as_fd().try_clone_to_owned().unwrap());
    let writer = thread::spawn(move || pipe.write_all(&lines(&events(MANY))));
    eventually("all is written", || writer.is_finished().then_some(()));
    agent.wait_for_log(&format!("(buffer full); {} since start", MANY - 100));
    hook.restart();
    hook.wait_for_events(100);

    // There is room again.
    agent.stdin().write_all(b"{\"n\":100}\n").unwrap();
    agent.close_stdin();
    let ended = agent.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    // In any order: after failures, a request may try an event behind the first one.
    let (mut expected, mut delivered) = (events(101), hook.delivered_events());
    expected.sort();
    delivered.sort();
    assert_eq!(
        delivered, expected,
        "the oldest, and the one after the outage"
    );
    let balance = ended.balance();
    assert_eq!(balance.by_reason["buffer full"], MANY as u64 - 100);
    assert_eq!(balance.received, MANY as u64 + 1);
    balance.holds();
}

#[test]
fn a_pipe_that_is_told_to_wait_loses_nothing() {
    let hook = Webhook::start();
    hook.stop();
    let agent = Agent::command()
        .arg("run")
        .endpoint(&hook.url())
        .token(TOKEN);
    let agent = agent.args(["--buffer-events", "10000", "--when-full", "wait"]);
    let agent = agent.args(IMPATIENT).input(lines(&events(MANY))).spawn();
    agent.wait_for_log("delivery failing for");
    hook.restart();

    let ended = agent.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert!(
        hook.delivered_events() == events(MANY),
        "all of them, in order"
    );
    assert_eq!(ended.balance().dropped, 0);
}

#[test]
fn a_file_that_is_told_to_drop_does_not_wait() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    fs::write(&path, lines(&events(5000))).unwrap();

    let hook = Webhook::start();
    hook.stop();
    let agent = Agent::command()
        .arg("run")
        .endpoint(&hook.url())
        .token(TOKEN);
    let agent = agent.args(["--buffer-events", "100", "--when-full", "drop"]);
    let agent = agent
        .args(IMPATIENT)
        .stdin(File::open(&path).unwrap())
        .spawn();
    agent.wait_for_log("(buffer full); 4900 since start");
    hook.restart();

    assert_eq!(agent.wait().code, Some(0));
    assert_eq!(hook.delivered_events(), events(100), "the oldest");
}

#[test]
fn the_agent_goes_on_after_its_end_while_another_source_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("audit.sock");
    let hook = Webhook::start();
    let agent = Agent::command()
        .arg("run")
        .endpoint(&hook.url())
        .token(TOKEN);
    let agent = agent
        .source("stdin")
        .source(&format!("unix-listen:{}", socket.display()));
    let agent = agent.args(["--batch-age", "0"]).input("{\"n\":0}").spawn();
    hook.wait_for_events(1);

    UnixStream::connect(&socket)
        .unwrap()
        .write_all(b"{\"n\":1}")
        .unwrap();
    assert_eq!(hook.wait_for_events(2), events(2));
    agent.signal(libc::SIGTERM);
    assert_eq!(agent.wait().code, Some(0));
}

#[test]
fn a_directory_is_refused() {
    let input = File::open(env!("CARGO_MANIFEST_DIR")).unwrap();
    let ended = Agent::command()
        .args(["run", "--dry-run"])
        .stdin(input)
        .run();
    assert_eq!(ended.code, Some(2), "{}", ended.log);
    assert!(
        ended
            .log
            .contains("--source: stdin: standard input is a directory"),
        "{}",
        ended.log
    );
}

#[test]
fn a_request_holds_as_many_events_as_it_may() {
    let hook = Webhook::start();
    let agent = Agent::command()
        .arg("run")
        .endpoint(&hook.url())
        .token(TOKEN);
    let agent = agent.args(["--batch-events", "10", "--batch-age", NEVER]);
    assert_eq!(agent.input(lines(&events(25))).run().code, Some(0));
    assert_eq!(counts(&hook.requests()), [10, 10, 5]);
    assert_eq!(hook.delivered_events(), events(25));
    assert_eq!(hook.connections(), 1, "kept alive");
}

#[test]
fn a_request_holds_as_many_bytes_as_it_may_but_a_longer_event_goes_alone() {
    let event = |length: usize| format!("{{\"k\":\"{}\"}}\n", "k".repeat(length - 9));
    let input = [event(100).repeat(15), event(1500), event(100).repeat(5)].concat();
    let hook = Webhook::start();
    let agent = Agent::command()
        .arg("run")
        .endpoint(&hook.url())
        .token(TOKEN);
    let agent = agent.args(["--batch-bytes", "1000", "--batch-age", NEVER]);
    assert_eq!(agent.input(input.clone()).run().code, Some(0));

    let bodies: Vec<_> = hook
        .requests()
        .into_iter()
        .map(|request| request.body)
        .collect();
    let lengths: Vec<_> = bodies.iter().map(Vec::len).collect();
    assert_eq!(lengths, [1000, 500, 1500, 500]);
    assert!(
        bodies.concat() == input.as_bytes(),
        "nothing but the events, a line each"
    );
}

#[test]
fn events_that_come_one_by_one_share_a_request() {
    let hook = Webhook::start();
    let agent = Agent::command()
        .arg("run")
        .endpoint(&hook.url())
        .token(TOKEN);
    let mut agent = agent
        .args(["--batch-events", "3", "--batch-age", NEVER])
        .spawn();
    for event in events(6) {
        agent.stdin().write_all(&lines(&[event])).unwrap();
    }
    assert_eq!(counts(&hook.wait_for_requests(2)), [3, 3]);
}

#[test]
fn an_event_waits_for_others_as_long_as_it_was_said_and_then_goes_alone() {
    const AGE: Duration = Duration::from_millis(400);
    let hook = Webhook::start();
    let agent = Agent::command()
        .arg("run")
        .endpoint(&hook.url())
        .token(TOKEN);
    let mut agent = agent.args(["--batch-age", "400ms"]).spawn();
    let written = Instant::now();
    agent.stdin().write_all(b"{}\n").unwrap();
    let requests = hook.wait_for_requests(1);
    assert_eq!(counts(&requests), [1]);
    assert!(
        requests[0].at - written >= AGE,
        "{:?}",
        requests[0].at - written
    );
}
