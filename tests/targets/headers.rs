//! Headers: they go out with each request, may take the token's place, and are shown nowhere.

use std::fs;

use tempfile::TempDir;

use crate::delivery::{feed, lines_of, numbered, start};
use crate::support::{Agent, Answer, Webhook};

use super::{end, plain};

const SECRET: &str = "7f3a-api-key-0042";

#[test]
fn headers_go_out_with_each_request_and_are_shown_nowhere() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("key");
    fs::write(&file, format!("{SECRET}\n")).unwrap();
    let hook = Webhook::start();
    // It repeats what it was given.
    hook.script([Answer::status(403).body(format!("no key {SECRET} here"))]);
    let from_file = format!("X-Key: @{}", file.display());
    let more = [
        "--header",
        "X-Sumo-Category: a/b, c",
        "--header",
        &from_file,
        "--header=content-type: text/plain",
    ];
    let mut agent = start(&plain(&hook), &more);
    feed(&mut agent, &numbered(0..1));
    let requests = hook.wait_for_requests(2);
    for request in &requests {
        assert_eq!(request.header("X-Sumo-Category"), Some("a/b, c"));
        assert_eq!(request.header("X-Key"), Some(SECRET));
        assert_eq!(request.header("Content-Type"), Some("text/plain"));
        let names = request.headers.iter().map(|(name, _)| name.to_lowercase());
        assert_eq!(names.filter(|name| name == "content-type").count(), 1);
    }

    // Another key, as who rotates keys writes it.
    fs::write(dir.path().join("new"), "another-key").unwrap();
    fs::rename(dir.path().join("new"), &file).unwrap();
    agent.wait_for_log(&format!("changed ({})", file.display()));
    feed(&mut agent, &numbered(1..2));
    assert_eq!(
        hook.wait_for_requests(3)[2].header("X-Key"),
        Some("another-key")
    );
    let log = end(agent, 2, 0);
    assert!(log.contains("text not shown"), "{log}");
    assert!(
        !log.contains(SECRET) && !log.contains("another-key"),
        "{log}"
    );
}

#[test]
fn a_webhook_may_want_no_authorization() {
    let hook = Webhook::start();
    hook.script([Answer::status(401)]);
    let mut agent = start(&plain(&hook), &["--auth-token", "none"]);
    feed(&mut agent, &numbered(0..1));
    let requests = hook.wait_for_requests(2);
    assert!(
        requests
            .iter()
            .all(|request| request.header("Authorization").is_none())
    );
    let log = end(agent, 1, 0);
    let errors = lines_of("ERROR", &log);
    assert!(errors[0].contains("--auth-token or --header"), "{log}");
}

#[test]
fn headers_are_written_into_the_settings_file_and_not_shown() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("key"), SECRET).unwrap();
    let file = dir.path().join("webhook.env");
    let key = format!("X-Key: @{}/./key", dir.path().display());
    let enable = |args: &[&str]| {
        let command = Agent::command()
            .arg("enable")
            .arg("--no-test")
            .arg("--config")
            .arg(&file);
        let ended = command
            .endpoint("http://127.0.0.1:9/")
            .args(["--auth-token", "none"])
            .args(args)
            .input("")
            .run();
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        let told = format!("{}{}", String::from_utf8(ended.stdout).unwrap(), ended.log);
        assert!(!told.contains(SECRET) && !told.contains("s3cret"), "{told}");
        fs::read_to_string(&file).unwrap()
    };
    let text = enable(&[
        "--header",
        "X-Other: s3cret, 2",
        "--header",
        &key,
        "--format",
        "array",
    ]);
    let line = format!(
        "S3_AUDIT_WEBHOOK_HEADER=\"X-Other: s3cret, 2 | X-Key: @{}/./key\"",
        dir.path().display()
    );
    assert!(
        text.lines().any(|found| found == line.replace("/./", "/")),
        "{text}"
    );
    assert!(text.contains("S3_AUDIT_WEBHOOK_FORMAT=array\n"), "{text}");
    // What stays is told, but for its value.
    enable(&[]);
    let show = Agent::command().args(["show", "--config"]).arg(&file);
    let show = show.arg("--state-dir").arg(dir.path()).input("").run();
    let shown = String::from_utf8(show.stdout).unwrap();
    let line = |name: &str| shown.lines().find(|line| line.starts_with(name));
    assert!(
        line("header").is_some_and(|line| line.contains('…')),
        "{shown}"
    );
    assert!(
        line("auth-token").is_some_and(|line| line.contains(" none ")),
        "{shown}"
    );
    assert!(
        !shown.contains(SECRET) && !shown.contains("s3cret"),
        "{shown}"
    );

    let hook = Webhook::start();
    let command = Agent::command()
        .args(["run", "--config"])
        .arg(&file)
        .endpoint(&plain(&hook));
    assert_eq!(command.input("{}").run().code, Some(0));
    let request = &hook.requests()[0];
    assert_eq!(
        (request.header("X-Other"), request.header("X-Key")),
        (Some("s3cret, 2"), Some(SECRET))
    );
    assert_eq!(request.text(), "[{}]");
}
