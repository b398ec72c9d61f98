//! `test`: one marked event, each step with its time, the answer in words, and for every usual mistake the remedy.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use serde_json::Value;

use super::support::{Agent, Answer, Authority, BlackHole, Webhook, server_that_says};

const SECRET: &str = "B5A79AAD-D822-46CC-80D1-819F80D7BFB0";
const TOKEN: &str = "Splunk B5A79AAD-D822-46CC-80D1-819F80D7BFB0";
const HERE: &[&str] = &["127.0.0.1", "localhost"];
/// A settings file with nothing in it.
const EMPTY: &str = "/dev/null";

/// What `test` came to.
#[derive(Debug)]
struct Tested {
    code: Option<i32>,
    /// What it told, step by step.
    told: String,
    /// What it said on standard error.
    said: String,
}

impl Tested {
    /// What it told of a step, if it came so far.
    fn step(&self, name: &str) -> Option<&str> {
        let mut lines = self.told.lines().filter_map(|line| line.split_once(' '));
        lines
            .find(|(word, _)| *word == name)
            .map(|(_, rest)| rest.trim())
    }

    /// What it told of a step that has a time.
    #[track_caller]
    fn timed(&self, name: &str) -> &str {
        let step = self
            .step(name)
            .unwrap_or_else(|| panic!("no {name}: {self:#?}"));
        let (what, time) = step.rsplit_once(' ').unwrap();
        assert!(
            time.ends_with('s') && time.starts_with(|c: char| c.is_ascii_digit()),
            "{self:#?}"
        );
        what.trim()
    }

    #[track_caller]
    fn delivered(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        assert!(self.step("delivered").is_some(), "{self:#?}");
        self
    }

    /// It was not delivered, and said why and what to do.
    #[track_caller]
    fn failed(self, why: &str, remedy: &str) -> Self {
        assert_eq!(self.code, Some(1), "{why}: {self:#?}");
        assert_eq!(self.step("delivered"), None, "{self:#?}");
        let line = self.said.lines().last().unwrap_or_default();
        let rest = line.strip_prefix("s3-audit-webhook: not delivered: ");
        let rest = rest.unwrap_or_else(|| panic!("{self:#?}"));
        let remedied = rest
            .split_once(why)
            .is_some_and(|(_, rest)| rest.contains(remedy));
        assert!(remedied, "no {why:?}, {remedy:?}: {self:#?}");
        self
    }
}

#[track_caller]
fn run(config: &str, args: &[&str], env: &[(&str, &str)]) -> Tested {
    let mut command = Agent::command()
        .args(["test", "--config", config])
        .args(args);
    for (name, value) in env {
        command = command.env(name, value);
    }
    let ended = command.stdin(Stdio::null()).run();
    let tested = Tested {
        code: ended.code,
        told: String::from_utf8(ended.stdout).unwrap(),
        said: ended.log,
    };
    let output = format!("{}{}", tested.told, tested.said);
    assert!(
        !output.contains(SECRET) && !output.contains("s3cret"),
        "{tested:#?}"
    );
    assert!(!output.contains("panicked"), "{tested:#?}");
    assert!(
        !output.contains(|c: char| c.is_control() && c != '\n'),
        "{tested:#?}"
    );
    tested
}

#[track_caller]
fn test(url: &str, args: &[&str]) -> Tested {
    run(
        EMPTY,
        &[&["--endpoint", url, "--auth-token", TOKEN], args].concat(),
        &[],
    )
}

/// Tests a webhook that gives this answer.
#[track_caller]
fn answered(answer: Answer) -> Tested {
    let hook = Webhook::start();
    hook.script([answer]);
    let tested = test(&hook.url(), &["--request-timeout", "2s"]);
    assert_eq!(hook.request_count(), 1, "one attempt: {tested:#?}");
    tested
}

fn tls(config: Arc<ServerConfig>) -> Webhook {
    Webhook::builder().tls(config).start()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Where nobody listens: of a loopback address that no other test is given a port of.
fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.78.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

#[test]
fn one_marked_event_is_posted_and_told_so_that_it_can_be_found() {
    let hook = Webhook::start();
    let url = hook.url();
    let tested = test(&url, &[]).delivered();
    assert_eq!(tested.said, "");

    let requests = hook.requests();
    let [request] = requests.as_slice() else {
        panic!("{requests:?}")
    };
    assert_eq!(request.method, "POST");
    assert_eq!(request.header("Authorization"), Some(TOKEN));
    let events = request.events();
    assert_eq!(events.len(), 1);
    let event = std::str::from_utf8(&events[0]).unwrap();
    assert_eq!(tested.step("event"), Some(event));
    let event: Value = serde_json::from_str(event).unwrap();
    assert_eq!(event["s3_audit_webhook_test"], true);
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(event["host"], host.trim());
    assert!(event["time"].as_str().unwrap().ends_with('Z'));
    let id = event["id"].as_str().unwrap();
    assert_eq!(tested.step("delivered"), Some(&*format!("search for {id}")));

    assert_eq!(
        tested.timed("connect"),
        format!("{}: connected", hook.address())
    );
    assert_eq!(
        tested.timed("answer"),
        r#"HTTP 200 {"text":"Success","code":0}"#
    );
    assert_eq!((tested.step("name"), tested.step("TLS")), (None, None));

    let again = test(&url, &[]).delivered();
    assert_ne!(again.step("delivered"), tested.step("delivered"));
}

#[test]
fn name_connection_and_handshake_are_told_as_steps() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let ca = authority.write_pem(dir.path(), "ca");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let identity = authority.server(HERE);
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(identity.chain(), identity.private_key())
            .unwrap();
        let hook = tls(Arc::new(config));
        let url = hook.url().replace("127.0.0.1", "localhost");
        let tested = test(&url, &["--ca-file", text(&ca)]).delivered();
        assert!(
            tested.timed("name").starts_with("localhost: "),
            "{tested:#?}"
        );
        assert!(tested.timed("name").contains("127.0.0.1"), "{tested:#?}");
        // What is measured is the request itself.
        assert_eq!(hook.connections(), 1);
        assert_eq!(tested.timed("TLS"), "established");
        let steps: Vec<_> = tested
            .told
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        let expected = [
            "webhook",
            "token",
            "event",
            "name",
            "connect",
            "subject",
            "issuer",
            "names",
            "expires",
            "sha256",
            "sha256",
            "TLS",
            "answer",
            "delivered",
        ];
        let connects = steps.iter().filter(|step| **step == "connect").count();
        // localhost may have more addresses, which were tried before.
        assert_eq!(steps.len(), expected.len() - 1 + connects, "{tested:#?}");
        assert!(
            expected.iter().all(|step| steps.contains(step)),
            "{tested:#?}"
        );
    }
}

#[test]
fn an_answer_of_failure_is_told_with_the_remedy() {
    let token = "give the token that the webhook expects with --auth-token, scheme included";
    let raw = "/services/collector/raw";
    let busy = "agents try again by themselves";
    for (answer, why, remedy) in [
        (Answer::hec(401, "?", 2), "401 Token is required", token),
        (Answer::hec(401, "?", 3), "401 Invalid authorization", token),
        (Answer::hec(403, "?", 4), "403 Invalid token", token),
        (Answer::status(403).body(""), "403", token),
        (
            Answer::hec(403, "?", 1),
            "403 Token disabled",
            "enable this token in Splunk",
        ),
        (
            Answer::status(404),
            "404 The requested URL",
            "check the --endpoint's path",
        ),
        (Answer::status(404), "404 The requested URL", raw),
        (Answer::status(405), "405 Method Not Allowed", raw),
        (Answer::hec(400, "?", 5), "400 No data", raw),
        (Answer::hec(400, "?", 6), "400 Invalid data format", raw),
        (
            Answer::hec(400, "?", 12),
            "400 Event field is required",
            raw,
        ),
        (
            Answer::hec(400, "?", 7),
            "400 Incorrect index",
            "allow the index for this token",
        ),
        (
            Answer::hec(400, "?", 10),
            "400 Data channel is missing",
            "turn indexer acknowledgement off",
        ),
        (
            Answer::hec(400, "?", 11),
            "400 Invalid data channel",
            "turn indexer acknowledgement off",
        ),
        (
            Answer::hec(400, "?", 14),
            "400 ACK is disabled",
            "turn indexer acknowledgement on",
        ),
        (Answer::hec(400, "?", 16), "400 Query string auth", token),
        (Answer::status(413), "413", "raise the webhook's limit"),
        (Answer::status(408), "408", busy),
        (Answer::status(429), "429", busy),
        (Answer::status(500), "500 Internal server error", busy),
        (Answer::hec(503, "?", 9), "503 Server is busy", busy),
        (
            Answer::status(502),
            "502",
            "what is before the webhook answers, but not the webhook",
        ),
        (Answer::status(501), "501", raw),
        (
            Answer::status(400).body(
                "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title>",
            ),
            "400 The plain HTTP request was sent to HTTPS port",
            "https://",
        ),
        (
            Answer::status(400).body("Client sent an HTTP request to an HTTPS server.\n"),
            "400 Client sent an HTTP request",
            "https://",
        ),
        (
            Answer::status(303).header("Location", "/en-US/account/login?return_to=s3cret"),
            "which leads to /en-US/account/login?…",
            "8088",
        ),
        (Answer::hec(200, "?", 9), "200 Server is busy", busy),
    ] {
        let tested = answered(answer).failed(why, remedy);
        assert!(
            tested.timed("answer").contains(&why[..why.len().min(3)]) || why.starts_with("which")
        );
    }
}

#[test]
fn a_forgotten_scheme_is_named() {
    for answer in [
        Answer::hec(401, "?", 3),
        Answer::hec(401, "?", 2),
        Answer::hec(403, "?", 4),
        Answer::status(401).body(""),
    ] {
        let hook = Webhook::start();
        hook.always(answer);
        let bare = ["--endpoint", &hook.url(), "--auth-token", SECRET];
        run(EMPTY, &bare, &[]).failed("40", "the token has no scheme before it");
        let whole = test(&hook.url(), &[]);
        assert!(!whole.said.contains("no scheme"), "{whole:#?}");
    }
}

#[test]
fn a_webhook_that_is_not_reached_is_told_with_the_remedy() {
    let short = ["--connect-timeout", "300ms"];
    let unknown = "http://no-such-host.invalid:8088/";
    let tested = test(unknown, &short);
    // Where there is no DNS at all, it may be that nobody answers.
    let why = if tested.said.contains("within") {
        "name not resolved within"
    } else {
        "host name not found"
    };
    let tested = tested.failed(why, "check the --endpoint's host name");
    assert!(
        tested.timed("name").starts_with("no-such-host.invalid: "),
        "{tested:#?}"
    );
    assert_eq!(tested.step("connect"), None);

    let nobody = closed_port();
    let tested = test(&format!("http://{nobody}/"), &short);
    let tested = tested.failed("connection refused", "see that the webhook runs");
    assert_eq!(
        tested.timed("connect"),
        format!("{nobody}: connection refused")
    );
    assert_eq!(tested.step("answer"), None);

    let hole = BlackHole::start();
    let tested = test(&hole.url(), &short).failed("not connected within 300ms", "firewall");
    assert!(
        tested
            .timed("connect")
            .ends_with("not connected within 300ms"),
        "{tested:#?}"
    );
}

#[test]
fn a_webhook_that_does_not_answer_is_told_with_the_remedy() {
    let tested = answered(Answer::hang()).failed("no answer within 2s", "--request-timeout");
    assert_eq!(tested.timed("answer"), "no answer within 2s");
    for answer in [
        Answer::reset(),
        Answer::hang_up(),
        Answer::ok().half_a_head(),
    ] {
        answered(answer).failed(
            "connection closed by the webhook",
            "give https:// if its port speaks TLS",
        );
    }
    answered(Answer::garbage()).failed("the answer is not HTTP", "https://");
    let ssh = server_that_says(b"SSH-2.0-OpenSSH_9.6\r\n");
    test(&format!("http://{ssh}/"), &[]).failed("the answer is not HTTP", "another port");
    test(&format!("https://{ssh}/"), &["--insecure"])
        .failed("TLS: the webhook does not speak it", "another port");
}

#[test]
fn tls_on_one_side_only_is_told_with_the_remedy() {
    let plain = Webhook::start();
    for address in [
        plain.address(),
        server_that_says(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
        server_that_says(b""),
    ] {
        let tested = test(&format!("https://{address}/"), &["--insecure"]).failed("", "http://");
        assert!(
            tested.step("TLS").is_some() && tested.step("answer").is_none(),
            "{tested:#?}"
        );
    }
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", silent.local_addr().unwrap());
    let tested = test(&url, &["--insecure", "--connect-timeout", "300ms"])
        .failed("not connected", "http://");
    assert!(tested.step("TLS").is_some(), "{tested:#?}");

    let hook = tls(Authority::new("ours").server(HERE).server_config());
    let url = hook.url().replace("https", "http");
    test(&url, &[]).failed("the answer is not HTTP", "give https://");
    assert_eq!(hook.request_count(), 0);
}

#[test]
fn a_certificate_that_is_not_trusted_is_told_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Authority::new("ours");
    let ca = ours.write_pem(dir.path(), "ca");
    let clock = "set this host's clock right";
    for (identity, why, remedy) in [
        (
            Authority::new("theirs").server(HERE),
            "of an unknown CA",
            "--ca-file",
        ),
        (ours.expired_server(HERE), "expired on 2021-01-01", clock),
        (
            ours.early_server(HERE),
            "not valid yet, but from 2120-01-01",
            clock,
        ),
        (
            ours.server(&["hec.example.com", "*.example.net"]),
            "for another name: hec.example.com, *.example.net",
            "use the name in the certificate",
        ),
        (
            ours.server(&["192.0.2.1"]),
            "for another name: 192.0.2.1",
            "use the name",
        ),
        (ours.server(&[]), "for no name at all", "subjectAltName"),
        (ours.ca_server(HERE), "is a CA's own", "CA:FALSE"),
    ] {
        let hook = tls(identity.server_config());
        let tested = test(&hook.url(), &["--ca-file", text(&ca)]);
        let tested = tested.failed(&format!("TLS: certificate {why}"), remedy);
        assert_eq!(tested.timed("TLS"), format!("certificate {why}"));
        assert_eq!(hook.request_count(), 0);

        let tested = test(&hook.url(), &["--insecure"]).delivered();
        assert!(
            tested
                .said
                .contains("--insecure: the webhook's certificate is not verified"),
            "{tested:#?}"
        );
    }

    // It says so only once the request is under way: its words may be lost with the connection.
    let clients = ours.server(HERE).server_config_for_clients_of(&ours);
    let tested = test(&tls(clients).url(), &["--ca-file", text(&ca)]).failed("", "");
    assert!(
        tested.said.contains("want a client certificate")
            || tested.said.contains("wants a client certificate"),
        "{tested:#?}"
    );
}

#[test]
fn settings_come_from_file_variable_and_flag_and_it_is_told_from_which() {
    let dir = tempfile::tempdir().unwrap();
    let hooks = [(); 3].map(|()| Webhook::start());
    let [in_file, in_variable, in_flag] = hooks.each_ref().map(Webhook::url);
    let token_file = dir.path().join("token");
    fs::write(&token_file, TOKEN).unwrap();
    let config = dir.path().join("webhook.env");
    let lines = [
        "# The cluster's webhook".to_owned(),
        format!("S3_AUDIT_WEBHOOK_ENDPOINT={in_file}"),
        format!("S3_AUDIT_WEBHOOK_AUTH_TOKEN='{TOKEN}'"),
        // Of no meaning to test, but no slip of the pen either.
        "S3_AUDIT_WEBHOOK_BATCH_AGE=2s".to_owned(),
        "S3_AUDIT_WEBHOOK_AUTH_TOKN=x".to_owned(),
    ];
    fs::write(&config, lines.join("\n")).unwrap();
    let config = text(&config);

    let tested = run(config, &[], &[]).delivered();
    assert_eq!(
        tested.step("webhook"),
        Some(&*format!("{in_file} (from {config}:2)"))
    );
    assert_eq!(
        tested.step("token"),
        Some(&*format!("not shown (from {config}:3)"))
    );
    let slip = format!(
        "s3-audit-webhook: {config}:5: S3_AUDIT_WEBHOOK_AUTH_TOKN is not a setting of this version; ignored; fix: correct the name, or remove it\n"
    );
    assert_eq!(tested.said, slip);

    let variable = [
        ("S3_AUDIT_WEBHOOK_ENDPOINT", &*in_variable),
        ("S3_AUDIT_WEBHOOK_AUTH_TOKEN_FILE", text(&token_file)),
    ];
    let tested = run(config, &[], &variable).delivered();
    let expected = format!("{in_variable} (from S3_AUDIT_WEBHOOK_ENDPOINT)");
    assert_eq!(tested.step("webhook"), Some(&*expected));
    assert_eq!(
        tested.step("token"),
        Some("not shown (from S3_AUDIT_WEBHOOK_AUTH_TOKEN_FILE)")
    );

    let flags = [
        "--endpoint",
        &in_flag,
        "--auth-token",
        "Splunk another-s3cret",
    ];
    let tested = run(config, &flags, &variable).delivered();
    assert_eq!(
        tested.step("webhook"),
        Some(&*format!("{in_flag} (from --endpoint)"))
    );
    assert_eq!(tested.step("token"), Some("not shown (from --auth-token)"));

    let tokens = hooks.each_ref().map(|hook| {
        let [request] = &hook.requests()[..] else {
            panic!("one request each")
        };
        request.header("Authorization").unwrap().to_owned()
    });
    assert_eq!(tokens, [TOKEN, TOKEN, "Splunk another-s3cret"]);
}

#[test]
fn a_disabled_webhook_is_tested_nevertheless() {
    let dir = tempfile::tempdir().unwrap();
    let hook = Webhook::start();
    let config = dir.path().join("webhook.env");
    let settings = format!(
        "S3_AUDIT_WEBHOOK_ENDPOINT={}\nS3_AUDIT_WEBHOOK_AUTH_TOKEN='{TOKEN}'\nS3_AUDIT_WEBHOOK_ENABLED=false\n",
        hook.url()
    );
    fs::write(&config, settings).unwrap();
    let config = text(&config);
    let tested = run(config, &[], &[]).delivered();
    let expected = format!(
        "s3-audit-webhook: the webhook is disabled in {config}:3; testing it nevertheless\n"
    );
    assert_eq!(tested.said, expected);
    assert_eq!(hook.event_count(), 1);

    let enabled = [("S3_AUDIT_WEBHOOK_ENABLED", "true")];
    assert_eq!(run(config, &[], &enabled).delivered().said, "");
}

#[test]
fn wrong_settings_are_named_and_nothing_is_posted() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        text(&path).to_owned()
    };
    let hook = Webhook::start();
    let url = hook.url();
    let missing = format!("{}/missing", dir.path().display());
    let whole = ["--endpoint", &*url, "--auth-token", TOKEN];
    for (config, args, expected) in [
        (EMPTY, &[] as &[&str], "no webhook is set"),
        (EMPTY, &whole[..2], "no token is set"),
        (
            &missing,
            &whole,
            &*format!("--config: {missing} is not there"),
        ),
        (
            EMPTY,
            &["--endpoint", "hec:8088", "--auth-token", TOKEN],
            "--endpoint: 'hec:8088'",
        ),
        (
            EMPTY,
            &[&whole[..], &["--ca-file", &missing]].concat(),
            "--ca-file: ",
        ),
        (
            &file("syntax", "\nS3_AUDIT_WEBHOOK_ENDPOINT"),
            &whole,
            "/syntax:2: is neither NAME=value",
        ),
        (
            &file("token", "S3_AUDIT_WEBHOOK_AUTH_TOKEN="),
            &whole[..2],
            "/token:1: S3_AUDIT_WEBHOOK_AUTH_TOKEN: ",
        ),
    ] {
        let tested = run(config, args, &[]);
        assert_eq!((tested.code, &*tested.told), (Some(2), ""), "{tested:#?}");
        assert!(
            tested.said.contains(expected),
            "no {expected:?}: {tested:#?}"
        );
    }
    assert_eq!(hook.connections(), 0);
}

#[test]
fn what_may_be_secret_is_not_shown_whoever_repeats_it() {
    let hook = Webhook::start();
    let url = hook.url().replace(
        "/services/collector/raw",
        "/hooks/s3cret-s3cret-s3cret-s3cret?key=s3cret-key",
    );
    let shown = hook.url().replace("/services/collector/raw", "/hooks/");
    for (status, body) in [
        (403, format!("no such token: {TOKEN}")),
        (403, format!("no such token: {SECRET}")),
        (
            404,
            "no such page: /hooks/s3cret-s3cret-s3cret-s3cret".to_owned(),
        ),
        (404, "no such key: s3cret-key".to_owned()),
        (403, SECRET.to_lowercase()),
        (403, SECRET.replace('-', "")),
        (403, SECRET[..18].to_owned()),
        (403, SECRET.replace('-', "%2D")),
        (
            403,
            "U3BsdW5rIEI1QTc5QUFELUQ4MjItNDZDQy04MEQxLTgxOUY4MEQ3QkZCMA==".to_owned(),
        ),
        (
            403,
            SECRET.bytes().map(|byte| format!("{byte:02x}")).collect(),
        ),
        (
            403,
            SECRET
                .bytes()
                .map(|byte| format!("\\u{byte:04x}"))
                .collect(),
        ),
        (200, format!(r#"{{"token":"{SECRET}"}}"#)),
    ] {
        hook.script([Answer::status(status).body(body)]);
        let tested = test(&url, &[]);
        assert_eq!(tested.code, Some(i32::from(status != 200)), "{tested:#?}");
        assert!(
            tested.step("webhook").unwrap().starts_with(&shown),
            "{tested:#?}"
        );
        let answer = format!("HTTP {status} (text not shown: it repeats what was sent)");
        assert_eq!(tested.timed("answer"), answer);
    }
    // But for the event, which is none.
    let hook = Webhook::start();
    hook.answer_by(|request| Answer::status(200).body(request.body.clone()));
    let tested = test(&hook.url(), &[]).delivered();
    assert!(
        tested.timed("answer").contains("s3_audit_webhook_test"),
        "{tested:#?}"
    );
}

#[test]
fn a_foreign_text_is_told_in_one_short_line() {
    let evil = format!("\u{1b}[2Jno\r\nsuch\u{7} thing {}", "x".repeat(9999));
    let tested = answered(Answer::status(404).body(evil))
        .failed(r"HTTP 404 \u{1b}[2Jno such\u{7} thing xxx", "path");
    assert!(
        tested.told.lines().all(|line| line.len() < 200),
        "{tested:#?}"
    );
    let page = "<!DOCTYPE html>\n<html><head><title>Log\nin</title></head><body>…";
    let tested = answered(Answer::status(200).body(page));
    assert_eq!(tested.timed("answer"), "HTTP 200 Log in");
    tested.failed(
        "a web page, not the webhook",
        "check that the --endpoint's path",
    );
}

#[test]
fn hints_for_other_receivers_are_given_where_they_show() {
    answered(Answer::status(400).body("error: invalid 'Content-Type'\n"))
        .failed("HTTP 400 error: invalid", "--format array");
    let tested = answered(Answer::ok().header("Server", "Fluent Bit v3.2.1")).delivered();
    assert!(tested.said.contains("--format hec"), "{tested:#?}");
}

#[test]
fn a_slow_answer_is_waited_for_and_its_time_told() {
    let tested = answered(Answer::ok().after(Duration::from_millis(1200))).delivered();
    let time = tested.step("answer").unwrap().rsplit(' ').next().unwrap();
    assert!(time.starts_with("1.") && time.ends_with('s'), "{tested:#?}");
}
