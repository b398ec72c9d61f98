//! `--trail`: the archive alone shows whether something is missing, through overload, outages, kills and restarts; and
//! `verify` says so.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bulk;
use crate::source_http::free_address;
use crate::status::get;
use crate::support::{Agent, AgentCommand, Answer, Metrics, Webhook, arrived, end, poll, within};

const PATIENCE: Duration = Duration::from_secs(60);
const BULK: &str = r#"--event-prefix={"create":{}}"#;

/// An agent with a state directory that outlives it.
fn agent(hook: &Webhook, dir: &Path, options: &[&str]) -> AgentCommand {
    let is_plain = options.contains(&"--format=ndjson");
    let (format, url) = match is_plain {
        true if options.contains(&BULK) => (
            "ndjson",
            format!("http://{}/s3-audit/_bulk", hook.address()),
        ),
        true => ("ndjson", hook.url()),
        false => ("hec", hook.url().replace("/raw", "/event")),
    };
    Agent::command()
        .args([
            "run",
            "--auth-token=Splunk test",
            "--endpoint",
            &url,
            "--trail",
            "--trail-interval=100ms",
        ])
        .args([
            "--batch-age=5ms",
            "--backoff-min=10ms",
            "--backoff-max=20ms",
        ])
        .arg(format!("--format={format}"))
        .arg("--state-dir")
        .arg(dir)
        .args(
            options
                .iter()
                .filter(|option| **option != "--format=ndjson"),
        )
}

fn feed(agent: &mut Agent, events: std::ops::Range<usize>) {
    let lines: String = events
        .map(|number| format!("{{\"n\":{number}}}\n"))
        .collect();
    agent.stdin().write_all(lines.as_bytes()).unwrap();
}

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

/// What `verify` says of an export: its exit code, and its JSON.
fn verify(lines: &[String]) -> (i32, Value, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("export.ndjson");
    fs::write(&file, lines.join("\n")).unwrap();
    let run = |more: &[&str]| {
        let ended = Agent::command().arg("verify").args(more).arg(&file).run();
        (
            ended.code.unwrap(),
            String::from_utf8(ended.stdout).unwrap(),
        )
    };
    let (code, json) = run(&["--json"]);
    let (again, text) = run(&[]);
    assert_eq!(code, again);
    (code, serde_json::from_str(&json).unwrap(), text)
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

fn trail_file(dir: &TempDir) -> std::path::PathBuf {
    let entries = fs::read_dir(dir.path()).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    let is_trail =
        |path: &std::path::PathBuf| path.extension().is_some_and(|ending| ending == "trail");
    paths.find(is_trail).unwrap_or_default()
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

#[test]
fn each_start_goes_on_where_the_last_one_ended() {
    let (hook, dir) = (Webhook::start(), tempfile::tempdir().unwrap());
    for (round, after) in ["new", "clean", "clean"].into_iter().enumerate() {
        let ended = agent(&hook, dir.path(), &[])
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
    let options = ["--format=ndjson", "--exclude=op=get"];
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

/// What an index contains, by `_id`.
type Index = Arc<Mutex<BTreeMap<String, Value>>>;

/// An index that takes each `_id` once. The first answers are lost.
fn index(hook: &Webhook, lost_answers: usize) -> Index {
    let index = Index::default();
    let (store, lost) = (Arc::clone(&index), Mutex::new(lost_answers));
    hook.answer_by(move |request| {
        let text = request.text();
        let lines: Vec<_> = text.lines().collect();
        let mut store = store.lock().unwrap();
        let mut statuses = Vec::new();
        for pair in lines.chunks(2) {
            let action: Value = serde_json::from_str(pair[0]).unwrap();
            let id = action["create"]["_id"].as_str().unwrap().to_owned();
            let is_new = !store.contains_key(&id);
            let document: Value = serde_json::from_str(pair[1]).unwrap();
            assert_eq!(*store.entry(id).or_insert(document.clone()), document);
            statuses.push(if is_new { 201 } else { 409 });
        }
        let mut lost = lost.lock().unwrap();
        if *lost > 0 {
            *lost -= 1;
            return Answer::hang_up();
        }
        bulk::answer(&statuses)
    });
    index
}

/// A copied state directory, as in a machine's image, or one restored from a backup: the copies continue with the same
/// numbers, and no event of one may be taken for one of the other that is there already.
#[test]
fn with_bulk_agents_that_continue_from_the_same_state_lose_nothing_to_each_other() {
    let (hook, dir) = (Webhook::start(), tempfile::tempdir().unwrap());
    let index = index(&hook, 0);
    let run = |name: &str, dir: &Path| {
        let events: String = (0..9).map(|n| format!("{{\"{name}\":{n}}}\n")).collect();
        let ended = agent(&hook, dir, &["--format=ndjson", BULK]).input(events);
        assert_eq!(ended.run().done().delivered, 11);
    };
    run("image", dir.path());
    let copy = tempfile::tempdir().unwrap();
    let name = trail_file(&dir);
    fs::copy(&name, copy.path().join(name.file_name().unwrap())).unwrap();
    run("host1", dir.path());
    run("host2", copy.path());
    let index = index.lock().unwrap();
    for name in ["image", "host1", "host2"] {
        let there = index.values().filter(|event| event.get(name).is_some());
        assert_eq!(there.count(), 9, "{name}");
    }
    // And what the numbers prove no more is not said to be proved.
    let (code, _, text) = verify(&export(&index));
    assert!(code == 1 && text.contains("DOUBTFUL"), "{text}");
}

fn export(index: &BTreeMap<String, Value>) -> Vec<String> {
    let lines = index.iter();
    let lines = lines.map(|(id, source)| json!({"_id": id, "_source": source}).to_string());
    lines.collect()
}

/// Elasticsearch has indexed a request whose answer never arrives: it comes again with the same `_id`s, of which none is
/// indexed twice, and each conflict is a delivery.
#[test]
fn with_bulk_what_is_sent_again_is_there_once_and_counts_as_delivered() {
    let (hook, dir) = (Webhook::start(), tempfile::tempdir().unwrap());
    let index = index(&hook, 3);
    let mut first = agent(&hook, dir.path(), &["--format=ndjson", BULK]).spawn();
    feed(&mut first, 0..50);
    within(
        PATIENCE,
        "a checkpoint is indexed that says that all are",
        || {
            let index = index.lock().unwrap();
            (index.values()).any(|document| document["final"].as_u64() > Some(50))
        },
    );
    first.signal(libc::SIGTERM);
    let balance = first.wait().done();
    let index = index.lock().unwrap();
    assert_eq!(
        (balance.received, balance.delivered),
        (index.len() as u64, index.len() as u64)
    );
    let export = export(&index);
    let (code, found, text) = verify(&export);
    assert_eq!(code, 0, "{text}");
    assert_eq!(found["streams"][0]["events"], 50, "{text}");
    // The same with one document removed.
    let is_number_7 = |line: &&String| !line.contains("{\"n\":7}");
    let without: Vec<_> = export.iter().filter(is_number_7).cloned().collect();
    assert_eq!((without.len(), verify(&without).0), (export.len() - 1, 1));
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
    let metrics = || Metrics::parse(&get(status, "/metrics").1);
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
fn a_file_that_is_no_export_is_named() {
    let ended = Agent::command().args(["verify", "/none"]).run();
    assert_eq!(ended.code, Some(1));
    assert!(ended.log.contains("/none: No such file"), "{}", ended.log);
    let (code, _, text) = verify(&["{}".into()]);
    assert_eq!(
        (code, text),
        (
            1,
            "1 lines have no stream\nno stream of a trail is in it\n".into()
        )
    );
}

/// Whatever the agent takes for an event is one in an export, too, with all that is wrapped around it.
#[test]
fn an_export_may_have_events_that_other_programs_do_not_read() {
    let deep = format!("{}{}", "[".repeat(511), "]".repeat(511));
    for odd in [r#""\udcff""#, "1e999", &deep] {
        let event = format!("{{\"key\":{odd}}}");
        let hook = Webhook::start();
        let ended = agent(&hook, Path::new("/proc/none"), &[]).input(event + "\n");
        assert_eq!(ended.run().done().delivered, 3);
        let wrap = |line| format!("{{\"result\":{line}}}");
        let (code, found, text) = verify(&arrived(&hook).into_iter().map(wrap).collect::<Vec<_>>());
        assert_eq!(
            (code, &found["streams"][0]["events"]),
            (0, &1.into()),
            "{text}"
        );
    }
}

#[test]
fn an_export_may_be_an_array_over_many_lines() {
    let number =
        |number: u64| json!({"event":{"n":1},"fields":{"audit_stream":"s","audit_seq":number}});
    let export = |numbers: &[u64]| {
        let events: Vec<_> = numbers.iter().copied().map(number).collect();
        format!(
            "\u{feff}{}\r\n",
            serde_json::to_string_pretty(&events).unwrap()
        )
    };
    let (code, found, text) = verify(&[export(&[1, 3, 2])]);
    assert_eq!(
        (code, &found["streams"][0]["numbers"]),
        (0, &"1-3".into()),
        "{text}"
    );
    let (code, found, _) = verify(&[export(&[1, 3])]);
    assert_eq!(
        (code, &found["streams"][0]["unexplained"]),
        (1, &"2".into())
    );
    let (code, found, _) = verify(&[export(&[1, 2])[..150].into()]);
    assert_eq!((code, found["unreadable"] == 0), (1, false));
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
    let metrics = Metrics::parse(&get(status, "/metrics").1);
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
