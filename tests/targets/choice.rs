//! The choice of a format: what can't work together, a change while the agent runs, a dry run and a test.

use std::fs;

use tempfile::TempDir;

use crate::delivery::{feed, numbered, start};
use crate::support::{Agent, Webhook};

use super::{end, envelope, expected, plain};

const TOKEN: &str = "Splunk B5A79AAD-D822-46CC-80D1-819F80D7BFB0";

#[test]
fn what_can_not_work_together_is_refused_at_start() {
    for (path, args, parts) in [
        (
            "/services/collector/raw",
            &["--format=hec"][..],
            &["--format: ", "/services/collector/event"][..],
        ),
        (
            "/services/collector/event",
            &[],
            &["--endpoint: ", "--format hec", "/services/collector/raw"],
        ),
        (
            "/services/collector",
            &["--format=array"],
            &["--endpoint: ", "--format hec"],
        ),
        (
            "/s3/_bulk?pipeline=x",
            &[],
            &["--endpoint: ", r#"--event-prefix '{"create":{}}'"#],
        ),
        (
            "/",
            &["--event-prefix={}", "--format=array"],
            &["--event-prefix: ", "--format ndjson"],
        ),
        (
            "/",
            &["--event-prefix=a\nb"],
            &["--event-prefix: ", "line break"],
        ),
        (
            "/",
            &["--hec-index=a"],
            &["--hec-index: ", "--format hec", "/services/collector/raw"],
        ),
        ("/", &["--hec-host=a", "--format=array"], &["--hec-host: "]),
    ] {
        for command in ["run", "test"] {
            let url = format!("http://127.0.0.1:9{path}");
            let config = ["--config", "/dev/null", "--auth-token", TOKEN];
            let command = Agent::command()
                .arg(command)
                .endpoint(&url)
                .args(config)
                .args(args);
            let ended = command.input("").run();
            assert_eq!(ended.code, Some(2), "{path} {args:?}: {}", ended.log);
            for part in parts {
                assert!(
                    ended.log.contains(part),
                    "{path} {args:?}: no {part} in {}",
                    ended.log
                );
            }
            assert_eq!(ended.log.lines().count(), 1, "{}", ended.log);
        }
    }
}

#[test]
fn another_format_is_in_force_with_the_next_request() {
    let hook = Webhook::start();
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("webhook.env");
    let set = |settings: &str| {
        let new = dir.path().join("new");
        fs::write(&new, settings).unwrap();
        fs::rename(new, &file).unwrap();
    };
    set("");
    let mut agent = start(
        &plain(&hook),
        &["--config", file.to_str().unwrap(), "--batch-age", "50ms"],
    );
    let events = numbered(0..40);
    let mut requests = 0;
    for (place, (settings, bodies)) in [
        ("# nothing yet\n", None),
        ("S3_AUDIT_WEBHOOK_FORMAT=array\nS3_AUDIT_WEBHOOK_COMPRESS=gzip\n", None),
        ("S3_AUDIT_WEBHOOK_FORMAT=single\n", Some(10)),
        ("S3_AUDIT_WEBHOOK_FORMAT=hec\nS3_AUDIT_WEBHOOK_HEC_HOST=h\nS3_AUDIT_WEBHOOK_HEADER='X-A: 1 | X-B: 2'\n", None),
    ]
    .into_iter()
    .enumerate()
    {
        set(settings);
        if place > 0 {
            agent.wait_for_nth_log(place, "changed (");
        }
        let events = &events[place * 10..][..10];
        feed(&mut agent, events);
        let format = ["ndjson", "array", "single", "hec"][place];
        let all = hook.wait_for_requests(requests + bodies.unwrap_or(1));
        let texts: Vec<_> = all[requests..].iter().map(|request| request.text()).collect();
        assert_eq!(texts, expected(format, events));
        requests = all.len();
        if format == "hec" {
            assert_eq!((all[requests - 1].header("X-A"), all[requests - 1].header("X-B")), (Some("1"), Some("2")));
        }
    }
    end(agent, 40, 0);
}

#[test]
fn a_dry_run_prints_bodies_of_the_format() {
    let events = numbered(0..2).join("\n");
    for (format, printed) in [
        ("array", "[{\"number\":0},{\"number\":1}]\n".to_owned()),
        ("single", "{\"number\":0}\n{\"number\":1}\n".to_owned()),
        (
            "hec",
            format!(
                "{}{}",
                envelope("{\"number\":0}"),
                envelope("{\"number\":1}")
            ),
        ),
    ] {
        let mut command =
            Agent::command().args(["run", "--dry-run", "--compress=gzip", "--format", format]);
        if format == "hec" {
            command = command.args(["--hec-host", "h"]);
        }
        let ended = command.input(events.clone()).run();
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        assert_eq!(String::from_utf8(ended.stdout).unwrap(), printed);
    }
}

#[test]
fn a_test_event_is_posted_as_all_others() {
    let hook = Webhook::start();
    let args = [
        "--config",
        "/dev/null",
        "--auth-token=none",
        "--format=array",
        "--compress=gzip",
        "--header=X-Key: a",
    ];
    let ended = Agent::command()
        .arg("test")
        .endpoint(&plain(&hook))
        .args(args)
        .input("")
        .run();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let told = String::from_utf8(ended.stdout).unwrap();
    assert!(
        told.contains("token     none (from --auth-token)"),
        "{told}"
    );
    let requests = hook.requests();
    assert_eq!(
        (requests.len(), requests[0].header("X-Key")),
        (1, Some("a"))
    );
    let text = requests[0].text();
    assert!(
        text.starts_with("[{\"s3_audit_webhook_test\":true") && text.ends_with("}]"),
        "{text}"
    );
}
