//! What fails and recovers faster than lines are logged.

use super::*;

#[test]
fn an_endpoint_that_comes_and_goes_is_logged_and_then_summed_up() {
    let mut story = Story::new();
    let names = ["http://a", "http://b"].map(str::to_owned);
    let begin = story.at(0);
    story.state.another_webhook(names.into(), begin);
    let mut lines = Vec::new();
    for second in [0, 2, 4] {
        let (failed, restored) = (story.at(second), story.at(second + 1));
        lines.extend(story.state.endpoint_failed(1, "refused", None, failed));
        lines.extend(story.state.endpoint_restored(1, restored));
    }
    let failed = "http://b: refused; the other endpoints are used until it works again";
    assert_eq!(texts(lines), [failed, "http://b: works again after 1s"]);
    let now = story.at(8);
    assert!(story.state.endpoint_failed(1, "reset", None, now).is_none());
    let summary = "http://b: 3 more outages in 10s, the last because of: reset";
    assert_eq!(story.tick(10), [summary]);
    assert_eq!(story.tick(20), [""; 0]);
    let now = story.at(21);
    let restored = texts(story.state.endpoint_restored(1, now));
    assert_eq!(restored, ["http://b: works again after 13s"]);
}

/// The first that failed is when it began, and delivery's own error is the one with the fix.
#[test]
fn queries_that_fail_are_an_outage_with_a_line_in_each_interval() {
    let mut story = Story::new();
    let asked = |story: &mut Story, second| {
        let now = story.at(second);
        texts(story.state.query_failed("HTTP 503", now))
    };
    let cant = "can't ask which events are indexed";
    let said = asked(&mut story, 0);
    assert_eq!(said, [format!("{cant}: HTTP 503; asking again")]);
    assert_eq!(asked(&mut story, 1), [""; 0]);
    let outage = |story: &Story| story.state.outage().map(|it| (it.since, it.error));
    let begin = story.at(0).instant;
    let failing = format!("{cant}: HTTP 503");
    assert_eq!(outage(&story), Some((begin, failing.clone())));
    let last = story.state.known.last_error.as_ref();
    assert_eq!(last.map(|last| &last.message), Some(&failing));
    for second in [10, 20] {
        let said = [format!("{cant} for {second}s (2 attempts): HTTP 503")];
        assert_eq!(story.tick(second), said);
    }
    let now = story.at(21);
    let delay = Duration::ZERO;
    (story.state).delivery_failed("refused", Some("start it"), delay, 0, now);
    let error = "refused; fix: start it".to_owned();
    assert_eq!(outage(&story), Some((begin, error)));
    let said = story.tick(40);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("delivery failing for 19s"), "{said:?}");
    story.state.delivery_restored(story.at(41));
    assert_eq!(outage(&story), Some((begin, failing)));
    story.state.query_answered(story.at(42));
    assert_eq!(outage(&story), None);
}

#[test]
fn all_that_comes_and_goes_is_logged_and_then_summed_up() {
    let mut story = Story::new();
    for second in 0..5 {
        let now = story.at(second);
        let state = &mut story.state;
        for failed in [
            state.delivery_failed("HTTP 503", None, Duration::ZERO, 0, now),
            state.query_failed("HTTP 503", now),
            state.status_file_failed("full", now),
            state.source_failed(0, "reset", now),
        ] {
            assert_eq!(failed.is_some(), second == 0);
        }
        let restored = [
            state.delivery_restored(now),
            state.query_answered(now),
            state.status_file_restored(now),
            state.sources[0].restored(now.instant),
        ];
        assert_eq!(
            restored.iter().flatten().count(),
            if second == 0 { 4 } else { 0 }
        );
    }
    let now = story.at(8);
    story
        .state
        .delivery_failed("timeout", None, Duration::ZERO, 0, now);
    let of = |what: &str, outages, error| {
        format!("{what}: {outages} more outages in 10s, the last because of: {error}")
    };
    let expected = [
        of("delivery", 4, "HTTP 503"),
        of("asking which events are indexed", 4, "HTTP 503"),
        of("the status for `show`", 4, "full"),
        of("http:a", 4, "reset"),
        "delivery failing for 2s (1 attempt): timeout; 312 events buffered".into(),
    ];
    assert_eq!(story.tick(10), expected);
    let restored = story.state.delivery_restored(story.at(11));
    assert_eq!(texts(restored), ["delivery restored after 3s (1 attempt)"]);
    assert_eq!(story.tick(20), [""; 0]);
}

/// The line that asks for other settings is answered by one that says whether they help.
#[test]
fn an_outage_ends_with_the_first_request_that_another_webhook_takes() {
    let failed = |story: &mut Story, second: u64, error: &str| {
        let now = story.at(second);
        let line = story
            .state
            .delivery_failed(error, None, Duration::ZERO, 0, now);
        line.map(|line| line.text())
    };
    let replaced = |story: &mut Story, second: u64| {
        let now = story.at(second);
        story.state.another_webhook(Vec::new(), now);
        // Each sender says so, too.
        story.state.another_webhook(Vec::new(), now);
        assert_eq!(story.state.webhook.state(), None);
    };
    let restored = |story: &mut Story, second: u64| {
        let now = story.at(second);
        story.state.delivery_restored(now).map(|line| line.text())
    };
    let off = Forwarding::Off("webhook disabled".into());
    for (steps, expected) in [
        ("fr", Some("delivery restored after 1s (1 attempt)")),
        ("fxr", Some("delivery restored after 2s (1 attempt)")),
        ("ffxxr", Some("delivery restored after 4s (2 attempts)")),
        // Another one that does not work either.
        ("fxfxfr", Some("delivery restored after 5s (3 attempts)")),
        ("fxor", None),
        ("frxr", None),
        ("xr", None),
    ] {
        let mut story = Story::new();
        let mut lines = Vec::new();
        let mut is_first = true;
        for (second, step) in (0..).zip(steps.chars()) {
            match step {
                'f' => {
                    let line = failed(&mut story, second, "HTTP 503");
                    assert_eq!(line.is_some(), is_first, "{steps}: {second}");
                    is_first = false;
                }
                'x' => {
                    replaced(&mut story, second);
                    is_first = true;
                }
                'o' => drop(story.state.forwards(off.clone(), "")),
                _ => lines.push(restored(&mut story, second)),
            }
        }
        assert_eq!(lines.pop().unwrap().as_deref(), expected, "{steps}");
    }
}

#[test]
fn an_outage_without_a_line_is_summed_up_though_another_webhook_took_its_place() {
    let mut story = Story::new();
    for second in [0, 2] {
        let now = story.at(second);
        (story.state).delivery_failed("HTTP 503", None, Duration::ZERO, 0, now);
        let now = story.at(second + 1);
        match second {
            0 => drop(story.state.delivery_restored(now)),
            _ => story.state.another_webhook(Vec::new(), now),
        }
    }
    let summary = "delivery: 1 more outage in 10s, the last because of: HTTP 503";
    assert_eq!(story.tick(10), [summary]);
}
