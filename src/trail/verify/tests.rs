use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const S: &str = "274eb47431eb5a38";

fn lines(lines: &[Value]) -> Found {
    verify(lines.iter().map(|line| line.to_string().into_bytes()))
}

#[test]
fn every_form_of_export_is_read() {
    let record = json!({"s3_audit_webhook":"checkpoint","v":9,"stream":S,"host":"h","record":1,"final":4,
        "time":"2026-11-28T10:00:00.000Z","later":{}});
    for numbered in [
        json!({"event":{"n":1},"time":1.5,"fields":{"audit_stream":S,"audit_seq":1}}),
        json!({"preview":false,"result":{"_raw":"{\"n\":1}","audit_stream":S,"audit_seq":"1"}}),
        json!({"_raw":"{\"n\":1}","audit_stream":[S],"audit_seq":["1","1"]}),
        json!({"_index":"a","_id":format!("{S}-1"),"_source":{"n":1}}),
        json!({"_index":"a","_id":format!("{S}-1-0123abcd"),"_source":{"n":1}}),
    ] {
        let mut more = numbered.clone();
        let found = lines(&[numbered.clone(), record.clone()]);
        let stream = &found.streams[S];
        assert_eq!((stream.events, stream.seen.to_string()), (1, "1".into()));
        assert_eq!(stream.unexplained().to_string(), "2-4", "{numbered}");
        // Around a record, too.
        for name in ["event", "_source"] {
            if let Some(event) = more.get_mut(name) {
                *event = record.clone();
                let found = lines(&[more.clone()]);
                assert_eq!(found.streams[S].records.to_string(), "1");
                assert_eq!((found.streams[S].events, found.is_explained()), (0, true));
            }
        }
    }
    let found = verify(
        [
            &b"{}"[..],
            b"",
            b"x",
            b"[1]",
            b"{\"_id\":\"Qk3x8vWbTz4oEoO7u-12\"}",
        ]
        .map(Vec::from),
    );
    assert_eq!(
        (found.others, found.unreadable, found.is_explained()),
        (2, 2, false)
    );
}

/// Everything that the agent takes for an event: half surrogates, numbers beyond any type, deep nesting.
#[test]
fn whatever_is_in_an_event_it_is_there() {
    let deep = format!("{}{}", "[".repeat(510), "]".repeat(510));
    let odd = [r#""\udcff""#, "1e999", "-0.0e-400", &deep, r#""\u0000""#];
    let event = |odd: &str| format!(r#"{{"key":{odd},"result":"ok","event":{odd}}}"#);
    for odd in odd {
        let text = serde_json::to_string(&event(odd)).unwrap();
        for line in [
            format!(
                r#"{{"event":{},"fields":{{"audit_stream":"{S}","audit_seq":1}}}}"#,
                event(odd)
            ),
            format!(r#"{{"_id":"{S}-1-00000000","_source":{}}}"#, event(odd)),
            format!(r#"{{"_raw":{text},"audit_stream":"{S}","audit_seq":"1"}}"#),
        ] {
            let found = verify([line.clone().into_bytes()]);
            assert!(found.is_explained(), "{line}: {found:?}");
            assert_eq!(found.streams[S].events, 1, "{line}");
        }
    }
}

/// An agent sends to another one, and both have a trail: the records of the first are events of the second.
#[test]
fn a_record_of_another_stream_is_an_event_and_says_nothing_of_this_one() {
    let record = json!({"s3_audit_webhook":"gap","stream":"0123456789abcdef","record":900,"reason":"x","numbers":"2",
        "time":"2026-11-28T10:00:00.000Z"});
    let export = [(1, json!({})), (3, record)];
    let export =
        export.map(|(number, event)| json!({"_id":format!("{S}-{number}"),"_source":event}));
    let found = lines(&export);
    let stream = &found.streams[S];
    assert_eq!((stream.events, found.streams.len()), (2, 1));
    assert_eq!(stream.unexplained().to_string(), "2");
    assert!(stream.records.is_empty() && stream.times.is_none());
}

/// Where a record only says how many are lost, no more may be missing.
#[test]
fn a_count_explains_no_more_than_it_says() {
    let count = |record: u64, events: u64| {
        json!({"s3_audit_webhook":"gap","stream":S,"record":record,
        "reason":"rejected","numbers":"","within":"3-8","events":events})
    };
    for (counts, unexplained) in [
        (vec![count(1, 5)], ""),
        (vec![count(1, 4)], "3-4,6-8"),
        (vec![count(1, 3), count(2, 2)], ""),
        // The same record twice.
        (vec![count(1, 3), count(1, 3)], "3-4,6-8"),
    ] {
        let mut export = counts;
        export.push(json!({"s3_audit_webhook":"checkpoint","stream":S,"final":9}));
        let seen = [1, 2, 5, 9].map(|number| json!({"_id":format!("{S}-{number}"),"_source":{}}));
        export.extend(seen);
        let found = lines(&export);
        assert_eq!(
            found.streams[S].unexplained().to_string(),
            unexplained,
            "{export:?}"
        );
    }
}

#[test]
fn two_agents_that_write_one_stream_are_noticed() {
    let record = |number: u64, ms: u64| {
        let time = format!("2026-11-28T10:00:00.{ms:03}Z");
        json!({"s3_audit_webhook":"stop","stream":S,"record":number,"time":time})
    };
    let mut export = vec![record(1, 1), record(2, 2), record(2, 2)];
    assert!(lines(&export).is_explained());
    export.extend([record(2, 3), record(3, 4)]);
    let found = lines(&export);
    assert_eq!(found.streams[S].conflicts().to_string(), "2");
    assert!(!found.is_explained());
}

/// What a killed agent could not save, the next start gives again, and the killed one nothing more.
#[test]
fn only_what_a_killed_agent_has_given_may_be_there_twice() {
    for (what, records, doubtful) in [
        ("given again after a kill", "1 2 3 K3@4 4@5", ""),
        (
            "while nothing could be saved",
            "1 2 3 4 K2@5 3@6 4@7 5@8 6@9",
            "",
        ),
        ("and again", "1 2 3 4 K2@5 3@6 4@7 K3@8 4@9", ""),
        ("before the kill", "1 2@2 2@3 K3@4 4@5", "2"),
        ("long after a kill", "1 K2 3 4 4@5", "4"),
        (
            "after a clean start from a copy",
            "1 K2 3 S4@4 S4@5 5@6 5@7",
            "4-5",
        ),
        ("both went on after a kill", "1 2 K3@3 K3@4 4@5 4@6", "4"),
        ("one is far ahead", "1 2 3 4 5 K3@6 4@7 6@8", "3-4"),
        ("another kill between", "1 2 3 K3@4 4@5 5@6 5@7 K6@8", "5"),
    ] {
        let record = |text: &str| {
            let (number, time) = text.split_once('@').unwrap_or((text, text));
            let kind = number.trim_end_matches(|c: char| c.is_ascii_digit());
            let [number, time] = [number, time]
                .map(|text| text.trim_start_matches(['K', 'S']).parse::<u64>().unwrap());
            let time = format!("2026-11-28T10:00:0{time}.000Z");
            let kinds = [("", "gap"), ("S", "start"), ("K", "start")];
            let (_, named) = kinds.iter().find(|(letter, _)| *letter == kind).unwrap();
            let mut record =
                json!({"s3_audit_webhook":named,"stream":S,"record":number,"time":time,"first":9});
            if kind == "K" {
                record["lost_from"] = 9.into();
            }
            record
        };
        let mut export: Vec<_> = records.split(' ').map(record).collect();
        for _ in 0..2 {
            let found = lines(&export);
            assert_eq!(found.streams[S].conflicts().to_string(), doubtful, "{what}");
            assert_eq!(found.is_explained(), doubtful.is_empty(), "{what}");
            export.reverse();
        }
    }
}

#[test]
fn events_without_numbers_are_not_called_complete() {
    let record = json!({"s3_audit_webhook":"stop","stream":S,"record":1});
    let found = lines(&[record.clone(), json!({"n":1})]);
    assert!(found.lacks_numbers() && !found.is_explained());
    let numbered = json!({"_id":format!("{S}-1"),"_source":{}});
    assert!(lines(&[record.clone(), numbered.clone()]).is_explained());
    // Nor if others have some: the agent may have run without the trail meanwhile, and lost more.
    let found = lines(&[record, json!({"n":1}), numbered]);
    assert!(!found.is_explained() && found.are_streams_explained() && !found.lacks_numbers());
}

#[test]
fn a_record_that_is_missing_is_noticed_without_any_event() {
    let record = |number: u64| json!({"s3_audit_webhook":"checkpoint","stream":S,"record":number});
    assert!(lines(&[record(1), record(2), record(3), record(2)]).is_explained());
    let found = lines(&[record(1), record(4)]);
    assert_eq!(found.streams[S].lost_records().to_string(), "2-3");
    assert!(!found.is_explained());
}

proptest! {
    /// Compared with sets of single numbers.
    #[test]
    fn what_is_missing_is_what_a_naive_model_misses(
        seen in vec(1..60_u64, 1..80),
        gaps in vec((1..60_u64, 0..6_u64), 0..6),
        killed in prop::option::of((1..60_u64, 1..9_u64)),
        settled in 0..70_u64,
    ) {
        let mut export: Vec<_> = seen.iter().map(|number| json!({"_id":format!("{S}-{number}"),"_source":{}})).collect();
        let (mut owned, mut unknown) = (BTreeSet::new(), BTreeSet::new());
        for (first, more) in &gaps {
            owned.extend(*first..=first + more);
            let numbers = format!("{first}-{}", first + more);
            export.push(json!({"s3_audit_webhook":"gap","stream":S,"reason":"x","numbers":numbers}));
        }
        let mut end = settled + 1;
        if let Some((from, length)) = killed {
            unknown.extend(from..from + length);
            end = end.max(from + length);
            export.push(json!({"s3_audit_webhook":"start","stream":S,"lost_from":from,"first":from + length}));
        }
        export.push(json!({"s3_audit_webhook":"checkpoint","stream":S,"final":settled}));
        let found = lines(&export);
        let stream = &found.streams[S];
        let there: BTreeSet<_> = seen.iter().copied().collect();
        let first = seen.iter().copied().chain(killed.map(|(from, length)| from + length)).min().unwrap();
        let lost = owned.iter().copied().filter(|number| first < end && *number >= end);
        let missing = (first..end).chain(lost);
        let missing: BTreeSet<_> = missing.filter(|number| !there.contains(number) && !unknown.contains(number)).collect();
        prop_assert_eq!(stream.missing().iter().flatten().collect::<BTreeSet<_>>(), missing.clone());
        let unexplained: BTreeSet<_> = missing.difference(&owned).copied().collect();
        prop_assert_eq!(stream.unexplained().iter().flatten().collect::<BTreeSet<_>>(), unexplained.clone());
        let doubled = there.iter().filter(|number| seen.iter().filter(|seen| seen == number).count() > 1);
        prop_assert_eq!(stream.doubled.count(), doubled.count() as u64);
        prop_assert_eq!(stream.present(), (first..end).filter(|number| there.contains(number)).count() as u64);
        prop_assert_eq!(found.is_explained(), unexplained.is_empty());
    }
}
