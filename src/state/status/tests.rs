use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::*;
use crate::telemetry::ReportedSource;
use crate::telemetry::counters::Refusal;
use crate::telemetry::snapshot::{Lag, LastError, SpoolState, TrailState};

const INTERVAL: Duration = Duration::from_secs(10);

fn written(file: &StatusFile) -> Option<u64> {
    Some(fs::metadata(file.path()).ok()?.ino())
}

#[test]
fn a_heartbeat_is_written_when_nothing_has_changed() {
    let dir = tempfile::tempdir().unwrap();
    let file = StatusFile::open(dir.path(), "host".into()).unwrap();
    let report = Report::new(INTERVAL, Vec::new());
    let (last, told) = bounded(1);
    let (look, heartbeat) = (Duration::from_millis(1), Duration::from_millis(300));
    let (file, report) = (&file, &report);
    // If this fails, it drops its end of the channel, which ends the thread.
    std::thread::scope(move |scope| {
        let began = Instant::now();
        scope.spawn(move || file.run(report, &told, look, heartbeat));
        let mut versions = Vec::new();
        while versions.len() < 3 && began.elapsed() < INTERVAL {
            let version = written(file);
            if version.is_some() && versions.last() != Some(&version) {
                versions.push(version);
            }
        }
        assert_eq!(versions.len(), 3);
        assert!(began.elapsed() >= 2 * heartbeat, "{:?}", began.elapsed());
        last.send(report.stopped(0)).unwrap();
    });
    let state: Value = serde_json::from_slice(&fs::read(file.path()).unwrap()).unwrap();
    assert!(state["ended"].is_string(), "{state}");
}

#[test]
fn the_last_snapshot_is_not_waited_for_where_the_directory_hangs() {
    let report = Report::new(INTERVAL, Vec::new());
    let (last, _told) = bounded(1);
    let (_end, ended) = bounded(0);
    let began = Instant::now();
    Writer { last, ended }.finish(report.stopped(0), Duration::from_millis(10));
    assert!(began.elapsed() < INTERVAL);
}

#[test]
fn the_last_snapshot_is_written_before_an_agent_ends() {
    let dir = tempfile::tempdir().unwrap();
    let report = Arc::new(Report::new(INTERVAL, Vec::new()));
    let file = StatusFile::open(dir.path(), "host".into()).unwrap();
    let path = file.path();
    let place = Place::Taken(file);
    let writer = place.follow(dir.path(), Arc::clone(&report), Watchdog::default());
    writer.unwrap().finish(report.stopped(0), INTERVAL);
    assert!(read(&path)["ended"].is_string());
}

#[test]
fn a_change_is_written_before_a_heartbeat_is_due() {
    let dir = tempfile::tempdir().unwrap();
    let file = StatusFile::open(dir.path(), "host".into()).unwrap();
    let source = ReportedSource {
        name: "stdin:".into(),
        resumes: false.into(),
    };
    let report = Report::new(INTERVAL, vec![source]);
    let (last, told) = bounded(1);
    let (file, report) = (&file, &report);
    std::thread::scope(move |scope| {
        let began = Instant::now();
        scope.spawn(move || file.run(report, &told, Duration::from_millis(1), 100 * INTERVAL));
        for received in [0, 3, 10] {
            report.received(0, received);
            let expected = report.snapshot().balance.received();
            while written(file).is_none() || read(&file.path())["received"] != expected {
                assert!(began.elapsed() < INTERVAL, "{received} is not written");
            }
        }
        last.send(report.stopped(0)).unwrap();
    });
}

#[test]
fn a_directory_is_awaited_until_it_can_be_used_or_the_agent_ends() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("state");
    let (last, told) = bounded(1);
    let file = StatusFile::await_dir(&dir, "host", &told, Duration::ZERO).unwrap();
    assert_eq!(file.path(), dir.join("host.json"));
    let report = Report::new(INTERVAL, Vec::new());
    last.send(report.stopped(0)).unwrap();
    assert!(StatusFile::await_dir(&dir, "host", &told, INTERVAL).is_none());
    drop(last);
    assert!(StatusFile::await_dir(&dir, "host", &told, INTERVAL).is_none());
}

#[test]
fn a_directory_that_can_not_be_used_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let [none, file, busy] = ["none/state", "file", "busy"].map(|name| dir.path().join(name));
    fs::write(&file, "").unwrap();
    // A file can't be created while a directory has its name.
    fs::create_dir_all(busy.join(".host.json.new")).unwrap();
    for (dir, what) in [
        (none, "created"),
        (file, "written to"),
        (busy, "written to"),
    ] {
        let error = StatusFile::open(&dir, "host".into())
            .unwrap_err()
            .to_string();
        let expected = format!("{}: can't be {what}: ", dir.display());
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn each_agent_of_a_host_has_a_file_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let open = || StatusFile::open(dir.path(), "h/1".into()).unwrap();
    let (first, second) = (open(), open());
    let names = [&first, &second].map(|file| file.name.clone());
    assert_eq!(names, ["h_1", "h_1.2"]);
    drop(first);
    assert_eq!(open().name, "h_1");
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn outage(error: &str) -> OutageState {
    OutageState {
        since: Instant::now(),
        error: error.into(),
    }
}

/// Replaces times at `places` that are not before `began` by `now`.
fn now_at(state: &mut Value, began: &str, places: &[&str]) {
    for place in places {
        let at = state.pointer_mut(place).unwrap();
        let is_now = at
            .as_str()
            .is_some_and(|at| at >= began && *at <= *time(SystemTime::now()));
        assert!(is_now, "{place}: {at}");
        *at = "now".into();
    }
}

#[test]
fn a_status_says_where_events_go_and_why_they_do_not() {
    let on = |webhook: &str| Some(Forwarding::On(webhook.into()));
    let why = || "webhook is off".to_owned();
    let (off, unset) = (Forwarding::Off(why()), Forwarding::Unset(why()));
    let is_off = ["disabled", "", "is off"];
    // Where events go, whether the webhook has answered and whether it fails; the state, the endpoint and why.
    for (forwarding, reached, fails, [state, endpoint, why]) in [
        (None, false, false, ["untried", "", ""]),
        (None, true, false, ["connected", "", ""]),
        (on("webhook a"), false, false, ["untried", "a", ""]),
        (on("webhook a"), true, false, ["connected", "a", ""]),
        (
            on("a webhook b"),
            true,
            true,
            ["failing", "a webhook b", "no"],
        ),
        (on("webhook a"), false, true, ["failing", "a", "no"]),
        (
            on("webhook a through p"),
            true,
            false,
            ["connected", "a", ""],
        ),
        (Some(off.clone()), false, false, is_off),
        (Some(off), true, true, is_off),
        (Some(unset), true, true, is_off),
        (
            Some(Forwarding::Awaited("a token".into())),
            true,
            true,
            ["waiting", "", "a token"],
        ),
    ] {
        let began = time(SystemTime::now());
        let place = format!("{forwarding:?} {reached} {fails}");
        let mut found = webhook(&Snapshot {
            forwarding,
            reached,
            outage: fails.then(|| outage("no")),
            last_delivery: Some(SystemTime::UNIX_EPOCH),
            ..Snapshot::default()
        });
        let or_null = |text: &str| match text {
            "" => Value::Null,
            text => text.into(),
        };
        if state == "failing" {
            now_at(&mut found, &began, &["/failing_since"]);
        }
        let expected = json!({
            "state": state,
            "endpoint": or_null(endpoint),
            "endpoints": [],
            "failing_since": or_null(if state == "failing" { "now" } else { "" }),
            "why": or_null(why),
            // That of an untried one was another webhook's.
            "last_delivery": or_null(if state == "untried" { "" } else { "1970-01-01T00:00:00Z" }),
        });
        assert_eq!(found, expected, "{place}");
    }
}

#[test]
fn times_before_1970_are_shown_as_1970() {
    let second = Duration::from_secs(1);
    for (at, shown) in [
        (SystemTime::UNIX_EPOCH - second, "1970-01-01T00:00:00Z"),
        (SystemTime::UNIX_EPOCH + second, "1970-01-01T00:00:01Z"),
    ] {
        assert_eq!(time(at), shown);
    }
}

/// What an agent with all that there can be knows.
fn snapshot() -> Snapshot {
    let report = Report::new(INTERVAL, Vec::new());
    report.recovered(20);
    report.delivered(1, 10);
    report.filtered(&"rule".into(), 3);
    report.redacted(4);
    Snapshot {
        forwarding: Some(Forwarding::On("webhook w".into())),
        reached: true,
        endpoints: vec![("e1".into(), None), ("e2".into(), Some(outage("down")))],
        last_delivery: Some(SystemTime::UNIX_EPOCH),
        posted: 5,
        redelivered: 6,
        sources: vec![
            SourceState {
                name: "stdin:".into(),
                ..SourceState::default()
            },
            SourceState {
                name: "file:/a".into(),
                received: 7,
                outage: Some(outage("gone")),
                is_up: true,
                lag: Some(Lag {
                    bytes: 8,
                    oldest: Duration::from_millis(9900),
                    unreadable: Some("/b can't be read".into()),
                    catching_up: Some("soon".into()),
                }),
                lost_bytes: 10,
                copies: 11,
                refused: vec![(Refusal::Forbidden, 12)],
                last_refused: Some("192.0.2.1".into()),
                ..SourceState::default()
            },
        ],
        spool: Some(SpoolState {
            bytes: 13,
            limit: 14,
            events: 15,
            oldest: Duration::from_millis(16_900),
            corrupt_bytes: 17,
        }),
        settings_rejected: Some(outage("typo")),
        trail: Some(TrailState {
            stream: "s".into(),
            last: 18,
            pending: 19,
        }),
        last_error: Some(LastError {
            at: SystemTime::UNIX_EPOCH,
            message: "broken".into(),
        }),
        balance: report.balance(),
        ..Snapshot::default()
    }
}

#[test]
fn a_status_holds_all_that_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let file = StatusFile::open(dir.path(), "h".into()).unwrap();
    let began = time(SystemTime::now());
    let second = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    let mut state = file.describe(&snapshot(), SystemTime::UNIX_EPOCH, Some(second));
    let now = [
        "/settings_rejected/since",
        "/sources/1/away_since",
        "/webhook/endpoints/1/failing_since",
    ];
    now_at(&mut state, &began, &now);
    let epoch = "1970-01-01T00:00:00Z";
    let dropped = Reason::ALL.map(|reason| (reason.label().to_owned(), 0.into()));
    for (name, expected) in [
        ("program", json!(PROGRAM)),
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        ("host", json!("h")),
        ("pid", json!(process::id())),
        ("started", json!(epoch)),
        ("written", json!("1970-01-01T00:00:01Z")),
        ("ended", json!("1970-01-01T00:00:01Z")),
        (
            "webhook",
            json!({
                "state": "connected",
                "endpoint": "w",
                "endpoints": [
                    { "name": "e1", "failing_since": null, "why": null },
                    { "name": "e2", "failing_since": "now", "why": "down" },
                ],
                "failing_since": null,
                "why": null,
                "last_delivery": epoch,
            }),
        ),
        (
            "sources",
            json!([
                {
                    "name": "stdin:", "received": 0, "away_since": null, "why": null,
                    "requests_refused": {}, "last_refused": null, "lost_bytes": 0, "copies": 0,
                    "is_up": false, "lag_bytes": null, "lag_seconds": null, "unreadable": null,
                    "catching_up": null,
                },
                {
                    "name": "file:/a", "received": 7, "away_since": "now", "why": "gone",
                    "requests_refused": { "forbidden": 12 }, "last_refused": "192.0.2.1",
                    "lost_bytes": 10, "copies": 11, "is_up": true, "lag_bytes": 8,
                    "lag_seconds": 9, "unreadable": "/b can't be read", "catching_up": "soon",
                },
            ]),
        ),
        ("received", json!(0)),
        ("recovered", json!(20)),
        ("delivered", json!(1)),
        ("dropped", Value::Object(dropped.into_iter().collect())),
        ("rejected", json!(0)),
        ("filtered", json!({ "rule": 3 })),
        ("redacted_values", json!(4)),
        ("redelivered", json!(6)),
        ("in_buffer", json!(16)),
        ("posted_not_indexed", json!(5)),
        (
            "spool",
            json!({
                "bytes": 13, "limit": 14, "events": 15, "oldest_seconds": 16, "corrupt_bytes": 17,
            }),
        ),
        (
            "settings_rejected",
            json!({ "since": "now", "why": "typo" }),
        ),
        ("trail", json!({ "stream": "s", "last": 18, "pending": 19 })),
        ("last_error", json!({ "at": epoch, "what": "broken" })),
    ] {
        assert_eq!(state[name], expected, "{name}");
    }
}
