//! Without a webhook, or with one that is disabled: what is posted, dropped or kept until it is enabled.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use crate::delivery::{feed, finish, lines_of, numbered, taken};
use crate::support::{Answer, Webhook, end_input, eventually, unchanged_for};

use super::{Place, TOKEN, disabled, webhook};

/// A file would keep its events and a socket's writer may be ready for their loss, but a pipe's would be lost for nothing.
#[test]
fn standard_input_without_a_webhook_is_an_error() {
    let place = Place::new();
    let mut agent = place.command(&[]).spawn();
    agent.close_stdin();
    let ended = agent.wait();
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    assert!(
        ended
            .log
            .contains("stdin: its events would be lost: webhook not enabled yet in"),
        "{}",
        ended.log
    );
}

#[test]
fn an_agent_that_starts_before_anyone_enabled_it_drops_a_sockets_events_until_someone_does() {
    for begins_with in [None, Some("# to be enabled later\n")] {
        let hook = Webhook::start();
        let place = Place::new();
        if let Some(text) = begins_with {
            place.write(text);
        }
        let socket = place.0.path().join("audit.sock");
        let source = format!("unix-listen:{}", socket.display());
        let agent = place.start(&["--source", &source]);
        agent.wait_for_log("webhook not enabled yet");
        let events = numbered(0..20);
        let write = |events: &[String]| {
            let mut writer = UnixStream::connect(&socket).unwrap();
            writer.write_all(events.join("\n").as_bytes()).unwrap();
        };
        write(&events[..10]);
        // Discarded is not delivered: nothing may be buffered either.
        place.write(&webhook(&hook.url(), TOKEN));
        agent.wait_for_log("enabled (");
        write(&events[10..]);
        hook.wait_for_events(10);

        agent.signal(libc::SIGTERM);
        let ended = agent.wait();
        let balance = ended.done();
        assert_eq!(taken(&hook), events[10..]);
        assert_eq!(balance.by_reason["disabled"], 10);
        assert_eq!((balance.delivered, balance.dropped), (10, 10));
        assert!(
            ended.log.contains("10 events dropped before"),
            "{}",
            ended.log
        );
        assert!(!ended.log.contains("B5A79AAD"), "{}", ended.log);
    }
}

/// What the sender discards of a file is read again.
#[test]
fn a_file_loses_nothing_while_forwarding_is_disabled_and_enabled_again() {
    let hook = Webhook::start();
    let place = Place::new();
    let enabled = webhook(&hook.url(), TOKEN);
    place.write(&enabled);
    let log = place.0.path().join("audit.log");
    let events = numbered(0..3000);
    fs::write(&log, events[..1000].join("\n")).unwrap();
    let source = format!("file:{}", log.display());
    let agent = place.start(&["--source", &source, "--batch-events", "50"]);
    hook.wait_for_events(1000);
    let append = |events: &[String]| {
        let mut file = fs::OpenOptions::new().append(true).open(&log).unwrap();
        file.write_all(format!("\n{}", events.join("\n")).as_bytes())
            .unwrap();
    };
    // Some are buffered when it is disabled.
    hook.always(Answer::status(503));
    append(&events[1000..2000]);
    agent.wait_for_log("delivery failed");
    place.write(&disabled(&enabled));
    agent.wait_for_log("webhook disabled by");
    append(&events[2000..]);
    // It has the time to read on, and to write a checkpoint, which it must not.
    thread::sleep(Duration::from_millis(1500));
    hook.always(Answer::ok());
    place.write(&enabled);
    agent.wait_for_log("enabled (");
    eventually("all of them arrive", || {
        let arrived: BTreeSet<_> = taken(&hook).into_iter().collect();
        (arrived.len() == events.len()).then_some(())
    });
    agent.signal(libc::SIGTERM);
    agent.wait();
}

#[test]
fn disabled_nothing_is_posted_what_is_held_is_counted_and_nobody_waits() {
    let hook = Webhook::start();
    let place = Place::new();
    let enabled = webhook(&hook.url(), TOKEN);
    place.write(&enabled);
    let mut agent = place.start(&["--buffer-events", "100", "--when-full", "wait"]);
    let events = numbered(0..2020);
    feed(&mut agent, &events[..10]);
    hook.wait_for_events(10);

    // Held, because the webhook is busy.
    hook.always(Answer::status(503));
    feed(&mut agent, &events[10..20]);
    agent.wait_for_log("delivery failed");
    place.write(&disabled(&enabled));
    agent.wait_for_log("webhook disabled by");
    let quiet = Duration::from_millis(100);
    let requests = unchanged_for(quiet, "the last request", || hook.request_count());
    // Far more than the buffer holds, from a writer that would wait for room.
    feed(&mut agent, &events[20..2010]);
    assert_eq!(hook.request_count(), requests);

    hook.always(Answer::ok());
    place.write(&enabled);
    agent.wait_for_log("enabled (");
    feed(&mut agent, &events[2010..]);
    hook.wait_for_events(20);
    let (balance, log) = end_input(agent);
    assert_eq!(
        taken(&hook),
        [&events[..10], &events[2010..]].concat(),
        "{log}"
    );
    assert_eq!(balance.by_reason["disabled"], 2000);
    assert_eq!(
        lines_of("WARN", &log).len(),
        2,
        "failing, and disabled:\n{log}"
    );
}

#[test]
fn an_agent_that_was_started_disabled_can_be_enabled() {
    let hook = Webhook::start();
    let place = Place::new();
    place.write(&disabled(&webhook(&hook.url(), TOKEN)));
    let mut agent = place.start(&[]);
    let line = format!("{}:3: S3_AUDIT_WEBHOOK_ENABLED", place.file().display());
    agent.wait_for_log(&format!("webhook disabled by {line}"));
    place.write(&webhook(&hook.url(), TOKEN));
    agent.wait_for_log("enabled (");
    let events = numbered(0..3);
    feed(&mut agent, &events);
    hook.wait_for_events(3);
    finish(agent, &hook, &events);
}

#[test]
fn disabled_what_waited_for_the_rate_is_not_posted() {
    let hook = Webhook::start();
    let place = Place::new();
    let enabled = webhook(&hook.url(), TOKEN);
    place.write(&enabled);
    // The second event waits for two seconds.
    let mut agent = place.start(&["--max-rate", "1KiB"]);
    let pad = "x".repeat(2048);
    let events = ["first", "second"].map(|name| format!("{{\"{name}\":\"{pad}\"}}"));
    feed(&mut agent, &events[..1]);
    hook.wait_for_events(1);
    feed(&mut agent, &events[1..]);
    place.write(&disabled(&enabled));
    agent.signal(libc::SIGHUP);
    agent.wait_for_log("webhook disabled by");
    let (balance, _) = end_input(agent);
    assert_eq!(taken(&hook), events[..1]);
    assert_eq!(balance.by_reason["disabled"], 1);
}
