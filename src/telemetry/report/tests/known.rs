//! What is known of what was reported.

use super::*;
use crate::telemetry::requests::RequestResult;

#[test]
fn a_report_says_where_events_go_and_what_the_webhook_does() {
    let report = Report::new(INTERVAL, Vec::new());
    assert!(report.is_forwarding(), "nothing is known yet");
    assert_eq!(report.snapshot().last_delivery, None);
    report.delivered(0, 0);
    report.rejected(0, "x");
    let snapshot = report.snapshot();
    assert_eq!((snapshot.last_delivery, snapshot.last_error), (None, None));
    for (forwarding, is_forwarding) in [
        (Forwarding::On("a".into()), true),
        (Forwarding::Awaited("token".into()), false),
        (Forwarding::Off("disabled".into()), false),
    ] {
        report.forwards(forwarding.clone(), "x");
        assert_eq!(report.forwarding(), Some(forwarding));
        assert_eq!(report.is_forwarding(), is_forwarding);
    }
    // It may be the answer of the webhook before this one.
    report.request_finished(Finished {
        result: RequestResult::Delivered,
        cause: None,
        took: Duration::ZERO,
    });
    let answers: [&dyn Fn(); 2] = [&|| report.rejected(1, "HTTP 400"), &|| {
        report.delivery_restored()
    }];
    for answer in answers {
        assert!(!report.snapshot().reached);
        answer();
        assert!(report.snapshot().reached);
        report.another_webhook(vec!["a".into(), "b".into()]);
    }
    let failing = || {
        let endpoints = report.snapshot().endpoints.into_iter();
        endpoints.map(|(_, outage)| outage.is_some()).collect()
    };
    assert_eq!(
        (report.snapshot().reached, failing()),
        (false, vec![false; 2])
    );
    report.endpoint_failed(1, "refused", None);
    assert_eq!(failing(), [false, true]);
    report.endpoint_restored(1);
    assert_eq!(failing(), [false, false]);
    report.delivery_failed("refused", Some("start it"), Duration::ZERO);
    let outage = report.webhook_outage().map(|(_, error)| error);
    assert_eq!(outage.unwrap(), "refused; fix: start it");
    report.delivery_restored();
    assert_eq!(report.webhook_outage(), None);
    report.settings(super::refused("line 3"), false);
    let rejected = |report: &Report| report.snapshot().settings_rejected.is_some();
    assert!(rejected(&report));
    report.settings(None, false);
    assert!(!rejected(&report));
    report.filters(&["a=1".into(), "b=1".into()]);
    assert_eq!(report.balance().filtered.len(), 2);
    report.received(0, 1);
    report.recovered(6);
    report.posted(9);
    report.spool_damaged(3);
    report.spool_damaged(4);
    report.spool(SpoolState {
        events: 7,
        ..SpoolState::default()
    });
    let snapshot = report.snapshot();
    let spool = snapshot.spool.unwrap();
    assert_eq!((spool.events, spool.corrupt_bytes), (5, 7));
    assert_eq!(snapshot.posted, 5, "no more than are buffered");
    report.another_webhook(Vec::new());
    assert_eq!(report.snapshot().posted, 0);
}

#[test]
fn a_report_knows_its_sources() {
    let source = |name: &str, resumes| ReportedSource {
        name: name.into(),
        resumes: bool::into(resumes),
    };
    let sources = vec![source("http:a", false), source("file:b", true)];
    let report = Report::new(INTERVAL, sources);
    let names = [0, 1, 2].map(|place| report.source_name(place));
    assert_eq!(names, ["http:a", "file:b", "?"]);
    let wanted = || [0, 1, 2].map(|place| report.wants_time(place));
    assert_eq!(wanted(), [true, false, false]);
    report.event_time(0, None);
    assert_eq!(wanted(), [false; 3]);
    report.tick();
    assert_eq!(wanted(), [true, false, false]);
    report.source_failed(1, "gone");
    let is_up = || {
        report
            .snapshot()
            .sources
            .iter()
            .map(|source| source.is_up)
            .collect::<Vec<_>>()
    };
    assert_eq!(is_up(), [true, false]);
    report.source_restored(1);
    assert_eq!(is_up(), [true, true]);
    report.source_deleted_bytes(1, 7);
    (0..2).for_each(|_| report.source_copied(1));
    report.request_refused(0, Refusal::Method, Some("10.0.0.7".into()));
    report.source_complaint(0, "sends MessagePack", None);
    let snapshot = report.snapshot();
    let (http, file) = (&snapshot.sources[0], &snapshot.sources[1]);
    assert_eq!((file.deleted_bytes, file.copies), (7, 2));
    assert_eq!(http.last_refused.as_deref(), Some("10.0.0.7"));
    let error = snapshot.last_error.unwrap().message;
    assert_eq!(error, "http:a: a client sends MessagePack");
}

#[test]
fn the_trail_is_told_of_losses_once() {
    let source = ReportedSource {
        name: "http:a".into(),
        resumes: false.into(),
    };
    let untold = Report::new(INTERVAL, vec![source.clone()]);
    untold.gap("rejected", Some(3..5));
    assert!(untold.take_gaps().is_empty(), "there is no trail");
    let report = Report::new(INTERVAL, vec![source]).with_trail();
    report.dropped(Reason::TooLarge, Some(0), 2);
    report.unnumbered_gap("corrupt", 4);
    // Whoever drops these knows their numbers, or says that they have none.
    report.dropped(Reason::Corrupt, None, 4);
    report.dropped(Reason::Disabled, None, 9);
    report.gap("rejected", Some(3..5));
    report.gap("rejected", Some(7..8));
    let gaps: Vec<_> = report.take_gaps().into_iter().collect();
    let gaps = gaps
        .iter()
        .map(|((source, reason), gap)| (&**source, &**reason, gap.unnumbered, gap.events()));
    assert_eq!(
        gaps.collect::<Vec<_>>(),
        [
            ("", "corrupt", 4, 4),
            ("", "rejected", 0, 3),
            ("http:a", "too_large", 2, 2),
        ]
    );
    assert!(report.take_gaps().is_empty());
}
