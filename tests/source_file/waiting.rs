//! A file waits while the webhook is away, and holds up neither the end nor a socket beside it.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::support::{Agent, Webhook, assert_arrive, end, end_without_loss};

use super::{Log, assert_all_arrive, start};

#[test]
fn a_file_waits_while_the_webhook_is_away_and_loses_nothing() {
    let hook = Webhook::start();
    hook.stop();
    let mut log = Log::new();
    log.write_events(1..=20_000);
    let size = log.path().metadata().unwrap().len();

    let agent = start(&hook, &[&log.source()], &["--buffer-events", "100"]);
    agent.wait_for_nth_log(2, "delivery failing for");
    assert!(agent.offset(&log.path()).unwrap() < size);
    // The server does not notice.
    log.write_events(20_001..=20_100);

    hook.restart();
    assert_all_arrive(&hook, 20_100);
    end_without_loss(agent, &hook);
}

#[test]
fn a_file_can_be_told_to_drop_instead() {
    let hook = Webhook::start();
    hook.stop();
    let mut log = Log::new();
    log.write_events(1..=1000);

    let options = ["--buffer-events", "10", "--when-full", "drop"];
    let agent = start(&hook, &[&log.source()], &options);
    agent.wait_for_log("(buffer full); 990 since start");

    hook.restart();
    assert_arrive(&hook, 1..=10);
    let balance = end(agent, &hook);
    assert_eq!(
        (balance.received, balance.by_reason["buffer full"]),
        (1000, 990)
    );
}

#[test]
fn a_file_that_waits_does_not_hold_up_the_end() {
    let hook = Webhook::start();
    hook.stop();
    let mut log = Log::new();
    log.write_events(1..=1000);
    let options = ["--buffer-events", "10", "--shutdown-timeout", "100ms"];
    let agent = start(&hook, &[&log.source()], &options);
    agent.wait_for_log("delivery failing for");

    agent.signal(libc::SIGTERM);
    let balance = agent.wait().balance();
    balance.holds();
    assert!(balance.received >= 10, "{balance:?}");
    assert_eq!(balance.received, balance.left);
}

/// A file of a thousand events and a socket share a buffer, and the webhook is away.
fn beside_a_file(hook: &Webhook, options: &[&str]) -> (Agent, UnixStream, Log) {
    hook.stop();
    let mut log = Log::new();
    log.write_events(1..=1000);
    let socket = log.dir.path().join("audit.sock");
    let listen = format!("unix-listen:{}", socket.display());
    let agent = start(hook, &[&log.source(), &listen], options);
    agent.wait_for_log("delivery failed");
    let writer = UnixStream::connect(&socket).unwrap();
    writer
        .set_write_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    (agent, writer, log)
}

const FROM_THE_SOCKET: &str = "{\"from\":\"the socket\"}\n";

/// The file could wait, so it leaves room for the socket's events.
#[test]
fn a_file_that_waits_leaves_room_for_a_socket() {
    let hook = Webhook::start();
    let options = ["--buffer-events", "500", "--batch-events", "10"];
    let (agent, mut writer, _log) = beside_a_file(&hook, &options);
    writer
        .write_all(FROM_THE_SOCKET.repeat(400).as_bytes())
        .unwrap();
    drop(writer);

    hook.restart();
    hook.wait_for_events(1400);
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.dropped), (1400, 0));
}

/// The file has filled the buffer, the socket's events are dropped, and its writer never waits.
#[test]
fn a_file_that_waits_does_not_make_a_socket_wait() {
    let hook = Webhook::start();
    let (agent, mut writer, _log) = beside_a_file(&hook, &["--buffer-events", "10"]);
    writer
        .write_all(FROM_THE_SOCKET.repeat(10_000).as_bytes())
        .unwrap();
    drop(writer);
    agent.wait_for_log("(buffer full); 10000 since start");

    hook.restart();
    assert_all_arrive(&hook, 1000);
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.dropped), (11_000, 10_000));
}
