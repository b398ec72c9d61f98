//! What the archive, `show` and the figures tell of losses, kills, starts and clocks.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::Value;

use crate::source_http::free_address;
use crate::support::{Agent, Answer, BlackHole, Metrics, Webhook, arrived, end, poll, within};

use super::{PATIENCE, SELDOM, agent, agent_of, feed, trail_file, verify};

/// Ends the agent, and gives how many events it dropped.
fn stop(agent: Agent) -> u64 {
    agent.signal(libc::SIGTERM);
    agent.wait().done().dropped
}

/// The records of this kind that have arrived.
fn records(hook: &Webhook, kind: &str) -> Vec<Value> {
    let events = arrived(hook).into_iter();
    let events = events.map(|line| serde_json::from_str::<Value>(&line).unwrap());
    let events = events.map(|line| line.get("event").cloned().unwrap_or(line));
    events
        .filter(|event| event["s3_audit_webhook"] == kind)
        .collect()
}

fn wait_for(hook: &Webhook, kind: &str, is_right: impl Fn(&Value) -> bool) -> Value {
    let found = poll(PATIENCE, || {
        records(hook, kind)
            .into_iter()
            .find(|record| is_right(record))
    });
    found.unwrap_or_else(|| panic!("no such {kind}: {:#?}", arrived(hook)))
}

#[test]
fn an_archive_explains_overload_kill_and_restart_and_a_removed_event_is_named() {
    let (hook, dir) = (Webhook::start(), tempfile::tempdir().unwrap());
    let options = ["--buffer-events=20", "--batch-events=5"];
    let mut first = agent(&hook, dir.path(), &options).spawn();
    wait_for(&hook, "start", |start| start["after"] == "new");
    // Overload: the webhook takes nothing while more comes than the buffer holds.
    hook.hold();
    feed(&mut first, 0..200);
    first.wait_for_log("dropped ");
    hook.release();
    let gap = wait_for(&hook, "gap", |gap| gap["reason"] == "buffer_full");
    assert_eq!(
        (&gap["source"], gap["events"].as_u64() > Some(0)),
        (&"stdin".into(), true)
    );
    let lost = gap["numbers"].as_str().unwrap().rsplit(['-', ',']).next();
    let lost = lost.and_then(|last| last.parse::<u64>().ok());
    let point = wait_for(&hook, "checkpoint", |point| point["final"].as_u64() > lost);
    within(PATIENCE, "that is kept", || {
        let kept = fs::read_to_string(trail_file(&dir)).unwrap_or_default();
        let kept: Value = serde_json::from_str(&kept).unwrap_or_default();
        kept["final"].as_u64() > point["final"].as_u64()
    });
    // A kill, with events in memory.
    hook.hold();
    feed(&mut first, 200..210);
    first.signal(libc::SIGKILL);
    first.wait();
    hook.release();
    hook.always(Answer::ok());
    let mut second = agent(&hook, dir.path(), &options).spawn();
    let start = wait_for(&hook, "start", |start| start["after"] == "killed");
    assert!(
        start["lost_from"].as_u64() < start["first"].as_u64(),
        "{start}"
    );
    // Half of what the buffer holds: records take room in it, too.
    feed(&mut second, 300..310);
    let last = start["first"].as_u64().unwrap() + 9;
    wait_for(&hook, "checkpoint", |point| {
        point["final"].as_u64() > Some(last)
    });
    assert_eq!(stop(second), 0);
    let archive = arrived(&hook);
    let (code, found, text) = verify(&archive);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("(buffer_full), which the trail says: "),
        "{text}"
    );
    assert_eq!(found["streams"].as_array().unwrap().len(), 1);
    let stream = &found["streams"][0];
    assert_eq!(
        (&stream["unexplained"], &stream["doubled"]),
        (&"".into(), &0.into())
    );
    // Somebody takes an event out of the archive.
    let removed = archive
        .iter()
        .position(|line| line.contains("\"n\":305}"))
        .unwrap();
    let number = serde_json::from_str::<Value>(&archive[removed]).unwrap()["fields"]["audit_seq"]
        .to_string();
    let mut archive = archive;
    archive.remove(removed);
    let (code, found, text) = verify(&archive);
    assert_eq!(
        (code, &found["streams"][0]["unexplained"]),
        (1, &number.clone().into())
    );
    let line = format!("  MISSING     1 event, which nobody explains: {number}\n");
    assert!(
        text.contains(&line) && text.ends_with("NOT all is explained\n"),
        "{text}"
    );
}

#[test]
fn a_record_of_losses_outlives_a_kill() {
    let (hook, dir) = (Webhook::start(), tempfile::tempdir().unwrap());
    hook.always(Answer::status(503));
    let options = ["--buffer-events=20"];
    let mut killed = agent(&hook, dir.path(), &options).spawn();
    killed.wait_for_log("delivery failed");
    feed(&mut killed, 0..100);
    within(PATIENCE, "the losses are kept", || {
        fs::read_to_string(trail_file(&dir)).is_ok_and(|text| text.contains("buffer_full"))
    });
    killed.signal(libc::SIGKILL);
    killed.wait();
    hook.always(Answer::ok());
    let agent = agent(&hook, dir.path(), &options).spawn();
    wait_for(&hook, "start", |start| start["after"] == "new");
    wait_for(&hook, "start", |start| start["after"] == "killed");
    wait_for(&hook, "gap", |gap| gap["reason"] == "buffer_full");
    stop(agent);
    let (code, _, text) = verify(&arrived(&hook));
    assert_eq!(code, 0, "{text}");
}

/// Nothing ends its connecting in time: what was lost then is counted and named as if it had ended.
#[test]
fn what_is_lost_while_a_sender_does_not_end_is_accounted_for() {
    let (hole, status) = (BlackHole::start(), free_address());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    fs::write(&path, "{\"n\":30}\n{\"n\":31}\n").unwrap();
    let source = format!("--source=stdin,file:{}", path.display());
    let page = format!("--status-listen={status}");
    let options = [SELDOM, &source, &page];
    let stuck = ["--connect-timeout=1h", "--shutdown-timeout=300ms"];
    // Not all of the stream has room.
    let full = ["--buffer-events=10", "--when-full=wait"];
    let all = [&options[..], &stuck, &full].concat();
    let mut first = agent_of(hole.address(), dir.path(), &all).spawn();
    first.wait_for_log("started: ");
    let wait_until_received = |events| {
        within(PATIENCE, "all are read", || {
            Metrics::at(status).sum("events_received_total") == events
        });
    };
    // With the record of the start.
    wait_until_received(3);
    feed(&mut first, 0..30);
    wait_until_received(33);
    first.signal(libc::SIGTERM);
    let ended = first.wait();
    let balance = ended.balance();
    balance.holds();
    // The next start sends the records of the start, a gap and the stop, too.
    assert_eq!((balance.dropped, balance.left), (30, 5), "{}", ended.log);

    let hook = Webhook::start();
    let second = agent(&hook, dir.path(), &options).spawn();
    let gaps = || {
        let mut events = BTreeMap::new();
        for gap in records(&hook, "gap") {
            let reason = gap["reason"].as_str().unwrap().to_owned();
            *events.entry(reason).or_default() += gap["events"].as_u64().unwrap();
        }
        events
    };
    // What is lost is what was counted.
    let all = [("read_again", 2), ("resent", 3), ("shutdown", 30)];
    let all = all.map(|(reason, events)| (reason.to_owned(), events));
    within(PATIENCE, "the losses are recorded", || {
        gaps() == all.clone().into()
    });
    hook.wait_for_events(2 + 3 + 2);
    second.signal(libc::SIGTERM);
    let ended = second.wait();
    ended.done();
    let (code, found, text) = verify(&arrived(&hook));
    assert_eq!((code, &found["streams"][0]["events"]), (0, &2.into()));
    let stops = records(&hook, "stop");
    assert_eq!(stops.last().unwrap()["dropped"], 30, "{text}");
}

#[test]
fn each_start_goes_on_where_the_last_one_ended() {
    let (hook, dir) = (Webhook::start(), tempfile::tempdir().unwrap());
    for (round, after) in ["new", "clean", "clean"].into_iter().enumerate() {
        let ended = agent(&hook, dir.path(), &[SELDOM])
            .input(format!("{{\"n\":{round}}}\nbad\n"))
            .run();
        let balance = ended.done();
        // Start, gap and stop are events too.
        assert_eq!((balance.received, balance.dropped), (5, 1), "{}", ended.log);
        let starts = records(&hook, "start");
        assert_eq!(
            (starts.len(), &starts[round]["after"]),
            (round + 1, &after.into())
        );
        assert!(ended.log.contains("trail: stream "), "{}", ended.log);
        assert!(!ended.log.contains("WARN  trail"), "{}", ended.log);
    }
    let stops = records(&hook, "stop");
    assert_eq!(
        stops
            .iter()
            .map(|stop| &stop["dropped"])
            .collect::<Vec<_>>(),
        [1, 2, 3]
    );
    let (code, found, text) = verify(&arrived(&hook));
    assert_eq!(code, 0, "{text}");
    let stream = &found["streams"][0];
    assert_eq!(stream["events"], 3, "{text}");
    // The last ones may not be final yet, for all that the archive knows.
    let owned = stream["owned"]["malformed"].as_str().unwrap();
    assert!(owned.split(',').count() >= 2, "{text}");
    assert_eq!(records(&hook, "gap").len(), 3);
}

#[test]
fn plain_lines_stay_as_they_are_and_the_request_says_which_they_are() {
    let (hook, dir) = (Webhook::start(), tempfile::tempdir().unwrap());
    let options = ["--format=ndjson", "--exclude=op=get", SELDOM];
    agent(&hook, dir.path(), &options)
        .input("{\"op\":\"get\"}\n{\"op\":\"put\"}\n")
        .run()
        .done();
    let requests = hook.requests();
    let mut numbers = BTreeMap::new();
    for request in &requests {
        let stream = request.header("X-Audit-Stream").unwrap().to_owned();
        let count: &mut usize = numbers.entry(stream).or_default();
        *count += request.event_count();
        let seq = request.header("X-Audit-Seq").unwrap();
        assert!(seq.ends_with(&count.to_string()), "{seq}");
    }
    assert_eq!(numbers.values().collect::<Vec<_>>(), [&3]);
    assert!(arrived(&hook).contains(&"{\"op\":\"put\"}".to_owned()));
    let start = &records(&hook, "start")[0];
    assert_eq!(start["rules"], "exclude op=get");
    assert_eq!(start["settings"].as_str().map(str::len), Some(64));
    assert_eq!(records(&hook, "stop")[0]["filtered"], 1);
    // Without numbers in the export, the records themselves can be checked.
    let archive = arrived(&hook);
    let (code, _, text) = verify(&archive);
    assert!(
        text.contains("only the trail's own records were checked"),
        "{text}"
    );
    let end = "no event of the export has a number: nothing is known about them\n";
    assert!(code == 1 && text.ends_with(end), "{text}");
    let is_record = |line: &String| line.contains("s3_audit_webhook");
    let records: Vec<_> = archive.into_iter().filter(is_record).collect();
    assert_eq!(verify(&records).0, 0);
}

#[test]
fn without_a_state_directory_the_trail_works_for_this_start() {
    let hook = Webhook::start();
    let ended = agent(&hook, Path::new("/proc/none"), &[])
        .input("{\"n\":1}\n")
        .run();
    assert!(
        ended
            .log
            .contains("WARN  trail: can't be kept in the state directory: "),
        "{}",
        ended.log
    );
    assert_eq!(verify(&arrived(&hook)).0, 0);
}

/// Nobody sends its records again.
#[test]
fn without_a_state_directory_records_that_are_not_delivered_are_lost() {
    let hook = Webhook::start();
    hook.always(Answer::status(503));
    let mut agent = agent(
        &hook,
        Path::new("/proc/none"),
        &["--shutdown-timeout=100ms"],
    )
    .spawn();
    agent.wait_for_log("delivery failed");
    feed(&mut agent, 0..10);
    agent.signal(libc::SIGTERM);
    let ended = agent.wait();
    let balance = ended.balance();
    balance.holds();
    assert_eq!(
        (balance.dropped, balance.left),
        (balance.received, 0),
        "{}",
        ended.log
    );
}

/// They are in the file, of which the next start reads them again, with other numbers.
#[test]
fn what_is_only_late_is_not_said_to_be_lost() {
    let (hook, dir) = (Webhook::start(), tempfile::tempdir().unwrap());
    hook.always(Answer::status(503));
    let path = dir.path().join("audit.log");
    fs::write(&path, "{\"n\":1}\n{\"n\":2}\n").unwrap();
    let source = format!("--source=file:{}", path.display());
    let options = [SELDOM, &source, "--shutdown-timeout=100ms"];
    let status = free_address();
    let page = format!("--status-listen={status}");
    let first = agent(&hook, dir.path(), &[&options[..], &[&page]].concat()).spawn();
    first.wait_for_log("started: ");
    within(PATIENCE, "all are read", || {
        Metrics::at(status).sum("events_received_total") == 3
    });
    first.signal(libc::SIGTERM);
    let balance = first.wait().balance();
    // With the records of the start and the stop.
    assert_eq!((balance.dropped, balance.left), (0, 4));
    let hook = Webhook::start();
    let second = agent(&hook, dir.path(), &[SELDOM, &source]).spawn();
    // With the records of both starts, of the stop, and two gaps.
    hook.wait_for_events(2 + 3 + 2);
    wait_for(&hook, "gap", |gap| gap["reason"] == "read_again");
    assert_eq!(stop(second), 0);
    let (code, found, text) = verify(&arrived(&hook));
    assert_eq!(
        (code, &found["streams"][0]["events"]),
        (0, &2.into()),
        "{text}"
    );
    assert!(
        text.contains("2 events read again, with other numbers: ") && !text.contains("lost"),
        "{text}"
    );
}

#[test]
fn show_and_metrics_know_the_trail_and_without_it_nothing_does() {
    let (hook, dir, status) = (
        Webhook::start(),
        tempfile::tempdir().unwrap(),
        free_address(),
    );
    let listen = format!("--status-listen={status}");
    let agent = agent(&hook, dir.path(), &[&listen]).spawn();
    wait_for(&hook, "checkpoint", |_| true);
    let metrics = || Metrics::at(status);
    within(PATIENCE, "the records are delivered", || {
        metrics().value("trail_pending_records") <= 1
    });
    metrics().hold();
    let show = || {
        Agent::command()
            .args(["show", "--state-dir"])
            .arg(dir.path())
            .run()
    };
    within(PATIENCE, "show has it", || {
        String::from_utf8(show().stdout)
            .unwrap()
            .contains("  trail       stream ")
    });
    end(agent, &hook);
    let hook = Webhook::start();
    let plain =
        Agent::command().args(["run", "--auth-token=Splunk test", "--endpoint", &hook.url()]);
    let ended = plain.input("{\"n\":1}\n").run();
    assert_eq!(arrived(&hook), ["{\"n\":1}"]);
    assert!(!ended.log.contains("trail"), "{}", ended.log);
    let request = &hook.requests()[0];
    assert!(
        request
            .headers
            .iter()
            .all(|(name, _)| !name.to_ascii_lowercase().starts_with("x-audit"))
    );
}

#[test]
fn clocks_that_differ_are_reported() {
    let hook = Webhook::start();
    hook.always(Answer::ok().header("Date", "Sat, 21 Nov 2020 10:00:00 GMT"));
    let status = free_address();
    let mut agent = Agent::command()
        .args([
            "run",
            "--auth-token=Splunk test",
            "--endpoint",
            &hook.url(),
            "--batch-age=0",
        ])
        .arg(format!("--status-listen={status}"))
        .spawn();
    agent
        .stdin()
        .write_all(b"{\"time\":\"2020-11-21T10:00:00Z\"}\n")
        .unwrap();
    let line = agent.wait_for_log("the webhook's clock is ");
    assert!(
        line.contains(" behind this host's clock; fix: synchronise the clocks, as by NTP"),
        "{line}"
    );
    let metrics = Metrics::at(status);
    let skews = &metrics.0["s3_audit_webhook_clock_skew_seconds"].samples;
    let year = 365 * 86_400;
    assert!(
        skews.len() == 2 && skews.values().all(|skew| *skew > year),
        "{skews:?}"
    );
    hook.always(Answer::ok());
    agent.stdin().write_all(b"{}\n").unwrap();
    end(agent, &hook);
}
