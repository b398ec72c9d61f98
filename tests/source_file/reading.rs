//! What is read of a log: all of it, from its beginning, as soon as it is there and may be read.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use crate::support::{
    Agent, Metrics, Webhook, arrived, assert_arrive, end, end_without_loss, event, eventually,
};

use super::{Log, SOON, append_to, start, wait_until_read};
use crate::source_http::free_address;

#[test]
fn a_file_is_read_from_its_beginning_and_followed_as_it_grows() {
    let hook = Webhook::start();
    let mut log = Log::new();
    log.write_events([1, 2]);

    let agent = start(&hook, &[&log.source()], &[]);
    assert_arrive(&hook, 1..=2);

    log.write_events([3]);
    assert_arrive(&hook, 1..=3);

    // No newline yet, and none is needed.
    log.write(&event(4));
    assert_arrive(&hook, 1..=4);

    // Another one on the same line, as Ceph RGW writes two records that it flushes together.
    log.write(&(event(5) + "\n"));
    assert_arrive(&hook, 1..=5);

    // An event in two halves, the first of which the agent has read before the second is there.
    log.write("{\"n\"");
    wait_until_read(&agent, &log);
    log.write(":6}\n");
    assert_arrive(&hook, 1..=6);
    end_without_loss(agent, &hook);
}

#[test]
fn a_path_may_be_relative() {
    for path in ["audit.log", "./audit.log"] {
        let hook = Webhook::start();
        let mut log = Log::new();
        log.write_events([1]);
        let agent = Agent::command()
            .in_dir(log.dir.path())
            .args(["run", "--endpoint", &hook.url(), "--auth-token=x"])
            .args(["--source", &format!("file:{path}")])
            .spawn();
        assert_arrive(&hook, [1]);
        log.rename();
        log.reopen();
        log.write_events([2]);
        assert_arrive(&hook, 1..=2);
        end_without_loss(agent, &hook);
    }
}

#[test]
fn the_ops_log_file_of_a_ceph_gateway_arrives_whole() {
    let records = include_bytes!("../data/rgw-file.log");
    let hook = Webhook::start();
    let mut log = Log::new();
    let agent = start(&hook, &[&log.source()], &[]);

    for piece in records.chunks(records.len() / 7) {
        let before = hook.event_count();
        log.file.write_all(piece).unwrap();
        // Each piece ends in the middle of a record, and has been read before the next one is written.
        hook.wait_for_events(before + 1);
    }

    let delivered = hook.wait_for_events(226).concat();
    let expected = String::from_utf8_lossy(records).replace('\n', "");
    assert!(
        String::from_utf8_lossy(&delivered) == expected,
        "the records arrived changed"
    );
    end_without_loss(agent, &hook);
}

#[test]
fn a_file_that_is_not_there_yet_is_waited_for() {
    let hook = Webhook::start();
    let mut log = Log::new();
    fs::remove_file(log.path()).unwrap();

    let agent = start(&hook, &[&log.source()], &[]);
    let line = agent.wait_for_log("no such file yet; waiting for it");
    assert!(
        line.contains("WARN") && line.contains("audit.log"),
        "{line}"
    );
    log.reopen();
    log.write_events([1]);

    assert_arrive(&hook, [1]);
    end_without_loss(agent, &hook);
}

/// The next start reads it when it is whole.
#[test]
fn an_event_that_is_only_half_written_at_the_end_does_not_count_yet() {
    let hook = Webhook::start();
    let mut log = Log::new();
    let agent = start(&hook, &[&log.source()], &[]);
    log.write_events([1]);
    log.write("{\"n\":");
    wait_until_read(&agent, &log);
    assert_arrive(&hook, [1]);

    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.dropped), (1, 0));
}

#[test]
fn what_takes_the_place_of_a_file_and_is_none_is_logged_and_the_next_file_found() {
    let hook = Webhook::start();
    let mut log = Log::new();
    let agent = start(&hook, &[&log.source()], &[]);
    log.write_events([1]);
    assert_arrive(&hook, [1]);

    log.rename();
    fs::create_dir(log.path()).unwrap();
    agent.wait_for_log(": unavailable: it is no regular file");
    // The renamed file is still the one that the server writes.
    log.write_events([2]);
    assert_arrive(&hook, 1..=2);

    fs::remove_dir(log.path()).unwrap();
    log.reopen();
    log.write_events([3]);
    assert_arrive(&hook, 1..=3);
    agent.wait_for_log("available again after");
    end_without_loss(agent, &hook);
}

#[test]
fn a_new_file_that_may_not_be_read_is_logged_and_read_as_soon_as_it_may() {
    let hook = Webhook::start();
    let mut log = Log::new();
    fs::set_permissions(log.dir.path(), Permissions::from_mode(0o755)).unwrap();
    let Some(agent) = Agent::command()
        .args(["run", "--no-proxy", "--endpoint", &hook.url()])
        .args(SOON)
        .source(&log.source())
        .spawn_as_nobody()
    else {
        return;
    };
    log.write_events([1]);
    assert_arrive(&hook, [1]);

    // What logrotate does with `create 0600 root root`.
    log.rename();
    log.file = append_to(&log.path(), 0);
    log.write_events([2]);
    agent.wait_for_log(": unavailable: Permission denied");
    agent.wait_for_log("still unavailable after");
    fs::set_permissions(log.path(), Permissions::from_mode(0o644)).unwrap();

    assert_arrive(&hook, 1..=2);
    agent.wait_for_log("available again after");
    let log = agent.log();
    assert_eq!(log.matches(": unavailable: ").count(), 1, "{log}");
    assert_eq!(log.matches("was replaced").count(), 1, "{log}");
}

/// With a pattern, the source itself is there all the time.
#[test]
fn of_a_pattern_a_file_that_may_not_be_read_counts_as_lag_and_is_named() {
    let hook = Webhook::start();
    let mut log = Log::new();
    fs::set_permissions(log.dir.path(), Permissions::from_mode(0o755)).unwrap();
    let address = free_address();
    let Some(agent) = Agent::command()
        .args(["run", "--no-proxy", "--endpoint", &hook.url()])
        .args(SOON)
        .source(&format!("{}*", log.source()))
        .args(["--status-listen", &address.to_string()])
        .spawn_as_nobody()
    else {
        return;
    };
    log.write_events([1]);
    assert_arrive(&hook, [1]);
    let lag = || {
        let metrics = Metrics::at(address);
        let samples = &metrics.0.get("s3_audit_webhook_source_lag_bytes")?.samples;
        samples.values().next().copied()
    };
    eventually("all was read", || lag().filter(|bytes| *bytes == 0));

    log.rename();
    log.file = append_to(&log.path(), 0);
    log.write_events(2..50);
    let size = log.path().metadata().unwrap().len();
    agent.wait_for_log("can't be read: Permission denied");
    eventually("lag", || lag().filter(|bytes| *bytes == size));

    fs::set_permissions(log.path(), Permissions::from_mode(0o644)).unwrap();
    assert_arrive(&hook, 1..50);
    eventually("all was read", || lag().filter(|bytes| *bytes == 0));
    end_without_loss(agent, &hook);
}

#[test]
fn two_files_are_followed_at_once_each_in_its_order() {
    let hook = Webhook::start();
    let (mut one, mut other) = (Log::new(), Log::new());
    let agent = start(&hook, &[&one.source(), &other.source()], &[]);

    for number in 0..100 {
        one.write_events([number]);
        other.write_events([1000 + number]);
        if number == 50 {
            hook.wait_for_events(50);
            one.rename();
            one.reopen();
        }
    }

    hook.wait_for_events(200);
    let expected: Vec<_> = (0..100).map(event).collect();
    let other_expected: Vec<_> = (1000..1100).map(event).collect();
    let (events, other_events): (Vec<_>, Vec<_>) = arrived(&hook)
        .into_iter()
        .partition(|event| expected.contains(event));
    assert_eq!(events, expected);
    assert_eq!(other_events, other_expected);
    end_without_loss(agent, &hook);
}
