//! What leaves the host: excluded events are counted by rule and are no loss, secrets are masked before anything else sees
//! them, and a running agent follows changes of both.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;

use tempfile::TempDir;

use super::source_http::{free_address, start};
use super::support::{Agent, Answer, Client, Ended, Metrics, Webhook, arrived, end, eventually};

const EVENTS: &str = concat!(
    r#"{"n":1,"op":"get","status":200}"#,
    "\n",
    r#"{"n":2,"op":"get","status":404}"#,
    "\n",
    r#"{"n":3,"op":"put","status":200,"uri":"/b?X-Amz-Signature=abcdefgh&a=1"}"#,
    "\n",
    r#"{"n":4,"op":"head","status":200,"my-field":"abc"}"#,
    "\n",
);

fn run(hook: &Webhook, options: &[&str], input: impl Into<Vec<u8>>) -> Ended {
    Agent::command()
        .args(["run", "--endpoint", &hook.url(), "--auth-token=Splunk test"])
        .args(options)
        .input(input)
        .run()
}

#[test]
fn without_rules_every_event_goes_out_as_it_is() {
    let hook = Webhook::start();
    let ended = run(&hook, &[], EVENTS);
    assert_eq!(arrived(&hook).join("\n") + "\n", EVENTS);
    assert_eq!(
        (ended.done().filtered, ended.log.contains("rules")),
        (0, false)
    );
    assert!(!ended.log.contains("redacted"), "{}", ended.log);
}

#[test]
fn excluded_events_are_no_loss_and_secrets_are_masked() {
    let hook = Webhook::start();
    let options = [
        "--include=status>=400",
        "--exclude=op=get|op=head,n<4",
        "--redact=s3",
        "--redact-field=My_Field",
    ];
    let ended = run(&hook, &options, EVENTS);
    let expected = [
        r#"{"n":2,"op":"get","status":404}"#,
        r#"{"n":3,"op":"put","status":200,"uri":"/b?X-Amz-Signature=REDACTED&a=1"}"#,
        r#"{"n":4,"op":"head","status":200,"my-field":"***"}"#,
    ];
    assert_eq!(arrived(&hook), expected);
    let balance = ended.done();
    assert_eq!(
        (balance.received, balance.dropped, balance.filtered),
        (4, 0, 1)
    );
    for line in [
        "; rules: include status>=400, exclude op=get, exclude op=head,n<4, redact s3, redact My_Field\n",
        "delivered 3, dropped 0, filtered 1, buffered 0, redacted values 2\n",
    ] {
        assert!(ended.log.contains(line), "{}", ended.log);
    }
    assert!(!ended.log.contains("abcdefgh"), "{}", ended.log);
}

#[test]
fn rules_are_tried_in_the_order_of_the_command_line_and_those_of_variables_include_first() {
    for (options, variables, delivered) in [
        (
            &["--exclude=op=get", "--include=status>=400", "--exclude=*"][..],
            &[][..],
            0,
        ),
        (
            &["--include=status>=400", "--exclude=op=get", "--exclude=*"],
            &[],
            1,
        ),
        (
            &[],
            &[("EXCLUDE", "op=get|*"), ("INCLUDE", "status>=400")],
            1,
        ),
        (&["--exclude=*"], &[("INCLUDE", "status>=400")], 1),
    ] {
        let hook = Webhook::start();
        let mut command = Agent::command()
            .args(["run", "--endpoint", &hook.url(), "--auth-token=Splunk test"])
            .args(options);
        for (name, value) in variables {
            command = command.env(&format!("S3_AUDIT_WEBHOOK_{name}"), value);
        }
        let balance = command.input(EVENTS).run().done();
        assert_eq!(balance.delivered, delivered, "{options:?} {variables:?}");
    }
    let hook = Webhook::start();
    let ended = run(&hook, &["--exclude=op=get", "--include=op=put"], EVENTS);
    assert_eq!(ended.code, Some(2));
    let error = "--include: `op=put` changes nothing, since no rule behind it excludes; fix: ";
    assert!(ended.log.contains(error), "{}", ended.log);
}

#[test]
fn a_member_that_no_event_has_is_reported_once() {
    let hook = Webhook::start();
    let events = |count: usize| "{\"op\":\"get\"}\n".repeat(count);
    let options = ["--exclude=op=put,http_status<400", "--exclude=op=head"];
    let ended = run(&hook, &options, events(9_999));
    assert!(!ended.log.contains("has a member"), "{}", ended.log);
    let ended = run(&hook, &options, events(30_000));
    let line =
        "WARN  --exclude, --include: none of the first 10000 events has a member http_status";
    assert_eq!(ended.log.matches(line).count(), 1, "{}", ended.log);
    assert_eq!(
        ended.log.matches("has a member").count(),
        1,
        "{}",
        ended.log
    );
}

/// Posts events, and gives the status of the answer.
fn post(source: SocketAddr, body: &str) -> u16 {
    Client::connect(source).post(body).unwrap().0
}

#[test]
fn a_client_s_events_are_counted_when_they_are_taken() {
    let (hook, source, status) = (Webhook::start(), free_address(), free_address());
    hook.hold();
    let options = [
        &format!("--source=http:{source}"),
        &format!("--status-listen={status}"),
        "--buffer-events=2",
        "--exclude=op=get",
        "--redact=s3",
    ];
    let agent = start(&hook, &options);
    let metrics = || {
        let metrics = Metrics::at(status);
        metrics.hold();
        (
            metrics.sum("events_received_total"),
            metrics.filtered(),
            metrics.value("redacted_values_total"),
        )
    };
    assert_eq!(metrics(), (0, 0, 0));
    assert_eq!(post(source, "{\"op\":\"get\"}{\"op\":\"get\"}"), 200);
    assert_eq!(metrics(), (2, 2, 0));
    assert_eq!(
        post(
            source,
            "{\"op\":\"get\"}{\"op\":\"put\"}{\"sig\":\"abcdefgh\"}"
        ),
        413
    );
    assert_eq!(post(source, "{\"op\":\"put\"}{\"sig\":\"abcdefgh\"}"), 200);
    assert_eq!(metrics(), (4, 2, 1));
    assert_eq!(post(source, "{\"op\":\"get\"}{\"sig\":\"abcdefgh\"}"), 503);
    assert_eq!(metrics(), (4, 2, 1));
    hook.release();
    hook.wait_for_events(2);
    assert_eq!(arrived(&hook)[1], "{\"sig\":\"REDACTED\"}");
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.filtered), (4, 2));
}

#[test]
fn a_file_is_read_on_behind_events_that_were_not_sent() {
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("audit.log");
    fs::write(&log, "{\"op\":\"get\"}\n".repeat(5000)).unwrap();
    let hook = Webhook::start();
    let source = format!("--source=file:{}", log.display());
    let state = format!("--state-dir={}", dir.path().display());
    let options = [&*source, &state, "--exclude=op=get"];
    let status = || {
        let files = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let mut files =
            files.filter(|path| path.extension().is_some_and(|ending| ending == "json"));
        let text = fs::read_to_string(files.next()?).ok()?;
        serde_json::from_str::<serde_json::Value>(&text).ok()
    };
    let agent = start(&hook, &options);
    eventually("all were read", || {
        let status = status()?;
        (status["filtered"]["op=get"] == 5000).then_some(())
    });
    assert_eq!(end(agent, &hook).filtered, 5000);
    let shown = Agent::command()
        .args(["show", &state, "--config=/dev/null"])
        .run();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("received 5000, delivered 0, dropped 0, filtered 5000 (op=get 5000)"),
        "{shown}"
    );
    let mut file = fs::OpenOptions::new().append(true).open(&log).unwrap();
    file.write_all(b"{\"op\":\"put\"}\n").unwrap();
    let agent = start(&hook, &options);
    hook.wait_for_events(1);
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.filtered), (1, 0));
}

#[test]
fn a_running_agent_takes_other_rules_over() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("webhook.env");
    let hook = Webhook::start();
    let write = |rules: &str| {
        let webhook = format!(
            "S3_AUDIT_WEBHOOK_ENDPOINT={}\nS3_AUDIT_WEBHOOK_AUTH_TOKEN=none\n",
            hook.url()
        );
        fs::write(&file, webhook + rules).unwrap();
    };
    write("");
    let source = free_address();
    let agent = Agent::command()
        .args(["run", "--batch-age=0", "--config"])
        .arg(&file)
        .arg(format!("--source=http:{source}"))
        .spawn();
    agent.wait_for_log("started:");
    let event = "{\"op\":\"get\",\"sig\":\"abcdefgh\"}";
    assert_eq!(post(source, event), 200);
    write("S3_AUDIT_WEBHOOK_REDACT=s3\nS3_AUDIT_WEBHOOK_EXCLUDE=op=put\n");
    agent.wait_for_log(":4: S3_AUDIT_WEBHOOK_EXCLUDE");
    agent.wait_for_log("; rules: exclude op=put, redact s3");
    assert_eq!(post(source, &format!("{{\"op\":\"put\"}}{event}")), 200);
    write("S3_AUDIT_WEBHOOK_EXCLUDE=op\n");
    let log = agent.wait_for_log("keeping the previous settings");
    assert!(log.contains(":3: S3_AUDIT_WEBHOOK_EXCLUDE: "), "{log}");
    assert_eq!(post(source, "{\"op\":\"put\"}"), 200);
    write("");
    agent.wait_for_log("S3_AUDIT_WEBHOOK_EXCLUDE removed, S3_AUDIT_WEBHOOK_REDACT removed)");
    let line = agent.wait_for_log("no longer masked");
    assert!(line.ends_with("WARN  no longer masked: s3"), "{line}");
    assert_eq!(post(source, "{\"op\":\"put\"}"), 200);
    hook.wait_for_events(3);
    let masked = "{\"op\":\"get\",\"sig\":\"REDACTED\"}";
    assert_eq!(arrived(&hook), [event, masked, "{\"op\":\"put\"}"]);
    assert_eq!(hook.connections(), 1, "the webhook is the same");
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.filtered), (5, 2));
}

#[test]
fn secrets_are_masked_before_a_webhook_can_reject_an_event() {
    let hook = Webhook::start();
    hook.always(Answer::status(400).body("no"));
    let ended = run(&hook, &["--redact=s3"], "{\"sig\":\"abcdefgh\"}\n");
    assert_eq!(ended.balance().rejected, 1);
    let requests = hook.requests();
    assert!(requests.iter().all(|request| !request.contains("abcdefgh")));
}
