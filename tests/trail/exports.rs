//! What `verify` makes of exports of every form, and of files that are none.

use std::path::Path;

use serde_json::json;

use crate::support::{Agent, Webhook, arrived};

use super::{SELDOM, agent, verify};

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
        let ended = agent(&hook, Path::new("/proc/none"), &[SELDOM]).input(event + "\n");
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
