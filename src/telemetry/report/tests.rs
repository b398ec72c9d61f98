//! Which lines follow from which occurrences, in tables.

mod known;
mod outages;

use super::state::{Now, State};
use super::*;

const INTERVAL: Duration = Duration::from_secs(10);

/// The report of one source, on a clock that is set in seconds.
struct Story {
    state: State,
    begin: Now,
}

impl Story {
    fn new() -> Self {
        Story {
            state: State::new(INTERVAL, ["http:a".to_owned()].into_iter()),
            begin: Now::read(),
        }
    }

    fn at(&self, seconds: u64) -> Now {
        let passed = Duration::from_secs(seconds);
        Now {
            instant: self.begin.instant + passed,
            time: self.begin.time + passed,
        }
    }

    fn tick(&mut self, seconds: u64) -> Vec<String> {
        let now = self.at(seconds);
        texts(self.state.tick(312, now))
    }
}

fn refused(error: &str) -> Option<Refused> {
    Some(Refused {
        error: error.into(),
        kept: Kept::Settings,
    })
}

fn texts(messages: impl IntoIterator<Item = Message>) -> Vec<String> {
    messages.into_iter().map(|message| message.text()).collect()
}

#[test]
fn losses_are_logged_at_once_and_then_summed_up() {
    let mut story = Story::new();
    let drop = |story: &mut Story, events| texts(story.state.dropped(Reason::BufferFull, events));
    assert_eq!(
        drop(&mut story, 2),
        ["dropped 2 events (buffer full); 2 since start"]
    );
    assert_eq!(drop(&mut story, 3), [""; 0]);
    assert_eq!(
        story.tick(10),
        ["dropped 3 events in 10s (buffer full); 5 since start"]
    );
    assert_eq!(story.tick(20), [""; 0]);
    assert_eq!(drop(&mut story, 1).len(), 1, "after a quiet interval");

    let now = story.at(21);
    let rejected = texts(story.state.rejected(1, "HTTP 400 Invalid data format", now));
    let line = "rejected 1 event (HTTP 400 Invalid data format); 1 since start";
    assert_eq!(rejected, [line]);
    assert_eq!(texts(story.state.rejected(4, "HTTP 422", now)), [""; 0]);
    let redelivered = texts(story.state.count(Kind::Redelivered, 7, "timeout"));
    let line = "redelivered 7 events that may have arrived already (timeout); 7 since start";
    assert_eq!(redelivered, [line]);
    assert_eq!(
        story.tick(30),
        ["rejected 4 events in 10s (HTTP 422); 5 since start"]
    );
}

#[test]
fn a_certificate_that_expires_soon_is_logged_once_a_day() {
    let mut story = Story::new();
    assert_eq!(story.tick(1), [""; 0]);
    let day = 24 * 3600;
    let until = |at: SystemTime| Expiries {
        webhook: Some(at),
        ..Expiries::default()
    };
    let expiries = until(story.at(day + 3600).time);
    story.state.expiries.insert("a".into(), expiries);
    let line = |lines: Vec<String>, when: &str| {
        assert!(lines.len() == 1 && lines[0].contains(when), "{lines:?}");
    };
    line(story.tick(10), "(in 1 day)");
    assert_eq!(story.tick(20), [""; 0]);
    assert_eq!(story.tick(day), [""; 0]);
    line(story.tick(day + 10), "(within a day)");
    line(story.tick(3 * day), "(it has expired)");
    let error = story
        .state
        .snapshot(Report::new(INTERVAL, Vec::new()).balance())
        .last_error;
    assert!(
        error
            .unwrap()
            .message
            .contains("certificate of the webhook")
    );
    // A wall clock that was far ahead silences nothing once it is right.
    let ahead = Now {
        time: story.at(999 * day).time,
        ..story.at(5 * day)
    };
    assert_eq!(story.state.tick(0, ahead).len(), 1);
    line(story.tick(6 * day), "(it has expired)");
    let expiries = until(story.at(99 * day).time);
    story.state.expiries.insert("a".into(), expiries);
    assert_eq!(story.tick(7 * day), [""; 0]);
}

#[test]
fn what_is_dropped_while_disabled_is_logged_when_that_is_over() {
    let mut story = Story::new();
    let off = Forwarding::Off("webhook disabled by --enabled".into());
    assert_eq!(texts(story.state.forwards(off, "")), [""; 0]);
    assert!(story.state.dropped(Reason::Disabled, 9).is_none());
    assert_eq!(story.tick(10), [""; 0]);
    let on = Forwarding::On("webhook https://splunk:8088".into());
    assert_eq!(
        texts(story.state.forwards(on, "--enabled")),
        ["forwarding enabled (--enabled): webhook https://splunk:8088; 9 events dropped before"]
    );
}

#[test]
fn an_outage_of_the_webhook_from_beginning_to_end() {
    let mut story = Story::new();
    let fail = |story: &mut Story, seconds, error: &str, fix| {
        let (now, delay) = (story.at(seconds), Duration::from_millis(1400));
        texts(story.state.delivery_failed(error, fix, delay, 312, now))
    };
    assert_eq!(
        fail(&mut story, 0, "connection refused", None),
        ["delivery failed: connection refused; retrying in 1.4s; 312 events buffered"]
    );
    assert_eq!(fail(&mut story, 1, "connection refused", None), [""; 0]);
    let fix = Some("enable --auth-token …");
    assert_eq!(
        fail(&mut story, 2, "HTTP 403 Invalid token", fix),
        [
            "delivery failed: HTTP 403 Invalid token; events are buffered; fix: enable --auth-token …"
        ]
    );
    assert_eq!(
        story.tick(12),
        [
            "delivery failing for 12s (3 attempts): HTTP 403 Invalid token; 312 events buffered; \
             fix: enable --auth-token …"
        ]
    );
    fail(&mut story, 20, "HTTP 503", None);
    story.state.dropped(Reason::BufferFull, 5);
    story.state.dropped(Reason::BufferFull, 5);
    assert_eq!(
        story.tick(22),
        [
            "dropped 5 events in 10s (buffer full); 10 since start",
            "delivery failing for 22s (4 attempts): HTTP 503; 312 events buffered, others dropped"
        ]
    );
    let now = story.at(30);
    assert_eq!(
        texts(story.state.delivery_restored(now)),
        ["delivery restored after 30s (4 attempts)"]
    );
    assert!(story.state.delivery_restored(now).is_none());
}

#[test]
fn the_clock_of_a_source_is_known_while_it_has_events() {
    let mut story = Story::new();
    let skew = |story: &Story| {
        let balance = Report::new(INTERVAL, Vec::new()).balance();
        story.state.snapshot(balance).sources[0].clock_skew
    };
    let now = story.at(0).instant;
    story.state.sources[0].dated(-88_171, now);
    // A single late event is over before anybody is alarmed.
    for (seconds, known) in [(10, Some(88_171)), (299, Some(88_171)), (300, None)] {
        story.tick(seconds);
        assert_eq!(skew(&story), known, "{seconds}");
    }
    let now = story.at(301).instant;
    story.state.sources[0].dated(-90, now);
    assert_eq!(skew(&story), Some(90));
}

#[test]
fn refused_requests_are_summed_up_by_reason_with_the_last_client() {
    let mut story = Story::new();
    let refuse = |story: &mut Story, reason, peer: &str| {
        let source = &mut story.state.sources[0];
        texts(source.request_refused(reason, Some(peer.to_owned())))
    };
    assert_eq!(
        refuse(&mut story, Refusal::Forbidden, "10.0.0.6"),
        ["http:a: 1 request refused (403 invalid token), last from 10.0.0.6"]
    );
    for _ in 0..20 {
        assert_eq!(refuse(&mut story, Refusal::Forbidden, "10.0.0.7"), [""; 0]);
    }
    assert_eq!(
        story.tick(10),
        ["http:a: 20 requests refused in 10s (403 invalid token), last from 10.0.0.7"]
    );
    // Another reason has another culprit.
    refuse(&mut story, Refusal::Forbidden, "10.0.0.7");
    refuse(&mut story, Refusal::Method, "10.0.0.8");
    assert_eq!(
        story.tick(20),
        ["http:a: 1 request refused in 10s (403 invalid token), last from 10.0.0.7"]
    );
}

#[test]
fn a_refused_request_is_in_no_count_of_events() {
    let source = ReportedSource {
        name: "http:a".into(),
        resumes: false.into(),
    };
    let report = Report::new(INTERVAL, vec![source]);
    report.received(0, 1);
    (0..5).for_each(|_| report.request_refused(0, Refusal::BufferFull, None));
    let (balance, refused) = (report.balance(), report.snapshot().refused());
    assert_eq!((balance.received(), balance.dropped(), refused), (1, 0, 5));
}

#[test]
fn a_source_fails_and_recovers_and_a_complaint_is_logged_once() {
    let mut story = Story::new();
    let now = story.at(0);
    assert_eq!(
        texts(story.state.source_failed(0, "no such socket", now)),
        ["http:a: unavailable: no such socket; retrying"]
    );
    for second in [10, 20, 30, 40, 50] {
        assert_eq!(story.tick(second), [""; 0]);
    }
    assert_eq!(
        story.tick(60),
        ["http:a: still unavailable after 1m00s: no such socket"]
    );
    let now = story.at(62).instant;
    assert_eq!(
        texts(story.state.sources[0].restored(now)),
        ["http:a: available again after 1m02s"]
    );
    let mut complain = |peer: Option<&str>| {
        let (now, peer) = (story.at(13), peer.map(str::to_owned));
        let message = story
            .state
            .source_complaint(0, "sends MessagePack", peer, now);
        texts(message).pop()
    };
    for (peer, client) in [(None, "client"), (Some("10.0.0.7"), "client at 10.0.0.7")] {
        let line = format!("http:a: a {client} sends MessagePack");
        assert_eq!(complain(peer), Some(line));
        assert_eq!(complain(peer), None);
    }
    let others = (0..100).filter_map(|number| complain(Some(&format!("10.0.1.{number}"))));
    assert_eq!(others.count(), 14, "with those, 16");
    let report = Report::new(INTERVAL, Vec::new());
    report.source_failed(7, "a source that is not there");
    report.request_refused(7, Refusal::Method, None);
}

#[test]
fn at_the_end_nothing_is_lost_of_what_the_next_start_reads_again() {
    // By whether the two sources resume: how many of the buffered events are dropped, and how many are left.
    for (resumes, dropped, left) in [
        ([false, false], 10, 0),
        ([true, true], 0, 10),
        ([true, false], 7, 3),
    ] {
        let sources = resumes.map(|resumes| ReportedSource {
            name: "x".into(),
            resumes: resumes.into(),
        });
        let report = Report::new(INTERVAL, sources.to_vec());
        report.received(0, 8);
        report.received(1, 7);
        report.delivered(5, 50);
        report.dropped(Reason::Shutdown, Some(0), 3);
        report.dropped(Reason::Shutdown, Some(1), 2);
        // The other five are in a thread that does not end.
        let last = report.stopped(0).balance;
        assert_eq!(
            (last.dropped(), last.buffered()),
            (dropped, left),
            "{resumes:?}"
        );
        assert_eq!(last.received(), last.delivered + dropped + left);
    }
}

#[test]
fn what_fails_and_works_again_has_a_line_for_each() {
    let mut story = Story::new();
    let (begin, end) = (story.at(0), story.at(5));
    let state = &mut story.state;
    state.another_webhook(vec!["https://a".into(), "https://b".into()], begin);
    for (messages, failed, restored) in [
        (
            [
                state.query_failed("timeout", begin),
                state.query_answered(end),
            ],
            "can't ask which events are indexed: timeout; asking again",
            "the webhook says again which events are indexed, after 5s",
        ),
        (
            [
                state.status_file_failed("no space", begin),
                state.status_file_restored(end),
            ],
            "can't write the status of this agent for `show`: no space; retrying",
            "`show` has the status of this agent again after 5s",
        ),
        (
            [
                state.endpoint_failed(1, "refused", Some("start it"), begin),
                state.endpoint_restored(1, end),
            ],
            "https://b: refused; fix: start it; the other endpoints are used until it works again",
            "https://b: works again after 5s",
        ),
        (
            [
                state.settings(refused("line 3"), false, begin),
                state.settings(None, false, end),
            ],
            "line 3; keeping the previous settings",
            "the settings are valid again",
        ),
    ] {
        assert_eq!(texts(messages.into_iter().flatten()), [failed, restored]);
    }
    assert!(state.settings(None, true, end).is_none());
    for (error, is_asked, is_logged) in [
        ("line 3", false, true),
        ("line 3", false, false),
        ("line 3", true, true),
        ("line 4", false, true),
    ] {
        let message = state.settings(refused(error), is_asked, begin);
        assert_eq!(message.is_some(), is_logged, "{error}");
    }
}

#[test]
fn what_is_logged_once_or_summed_up() {
    let mut story = Story::new();
    let now = story.at(0);
    let state = &mut story.state;
    let mut lines = Vec::new();
    for _ in 0..2 {
        lines.extend(state.count(Kind::RejectsUnsaved, 2, "no space"));
        lines.extend(state.count(Kind::SetAside, 1, "HTTP 500"));
        lines.extend(state.source_lost_bytes(0, 7, "truncated", now));
    }
    let lost = "http:a: 7 bytes lost: truncated";
    assert_eq!(
        texts(lines),
        [
            "not saved: 2 events that the webhook rejected (no space); 2 since start",
            "set aside 1 event that failed while others were delivered (HTTP 500)",
            lost,
            lost,
        ]
    );
    assert_eq!(
        story.tick(10),
        [
            "not saved: 2 events in 10s that the webhook rejected (no space); 4 since start",
            "set aside 1 event in 10s that failed while others were delivered (HTTP 500)",
        ]
    );
}

#[test]
fn where_events_go_is_logged_when_that_changes() {
    let mut story = Story::new();
    let on = |webhook: &str| Forwarding::On(webhook.into());
    for (forwarding, line) in [
        (on("a"), None),
        (on("b"), Some("settings changed (x): now b")),
        (Forwarding::Awaited("token".into()), None),
        (on("c"), Some("settings changed (x): now c")),
        (
            Forwarding::Off("disabled".into()),
            Some("disabled: files and the spool wait; other events are dropped"),
        ),
        (
            on("d"),
            Some("forwarding enabled (x): d; 0 events dropped before"),
        ),
    ] {
        let message = story.state.forwards(forwarding, "x");
        assert_eq!(texts(message), Vec::from_iter(line));
    }
}

#[test]
fn the_end_logs_what_no_line_has_reported() {
    let mut story = Story::new();
    let report = Report::new(INTERVAL, Vec::new());
    report.recovered(9);
    story.state.dropped(Reason::BufferFull, 2);
    story.state.dropped(Reason::BufferFull, 3);
    let last = story.state.snapshot(report.balance().at_end(2));
    assert_eq!(
        texts(story.state.stopped(&last)),
        [
            "dropped 3 events (buffer full); 5 since start",
            "dropped 7 events (shutdown); 7 since start",
        ]
    );
    let posted = Snapshot { posted: 4, ..last };
    assert_eq!(
        texts(story.state.stopped(&posted)),
        [
            "4 events posted but not acknowledged as indexed when the agent ended; they may be indexed, and are \
             counted as not delivered"
        ]
    );
}

#[test]
fn what_the_next_start_finds_is_left_at_the_end_and_all_else_is_lost() {
    // Of nine events: those in the queue that are read again, and those that did not get there; and how many are left.
    for (queued, outside, left) in [
        (0, [0, 0], 0),
        (4, [0, 0], 4),
        (0, [2, 3], 5),
        (3, [2, 1], 6),
        (8, [4, 4], 9),
    ] {
        let source = |resumes| ReportedSource {
            name: "x".into(),
            resumes: bool::into(resumes),
        };
        let report = Report::new(INTERVAL, vec![source(false), source(true)]);
        report.received(1, 9);
        outside.into_iter().for_each(|events| report.left(events));
        let balance = report.last_balance(queued);
        let found = (balance.buffered(), balance.dropped_for(Reason::Shutdown));
        assert_eq!(found, (left, 9 - left), "{queued} {outside:?}");
        assert_eq!(report.stopped(queued).balance, balance);
    }
}
