//! For every usual mistake the remedy.

use std::net::{SocketAddr, TcpListener};

use crate::support::{Answer, Authority, BlackHole, Webhook, server_that_says};

use super::{EMPTY, HERE, SECRET, answered, run, test, text, tls};

/// Where nobody listens: of a loopback address that no other test is given a port of.
fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.78.0.1:0").unwrap();
    listener.local_addr().unwrap()
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
fn hints_for_other_receivers_are_given_where_they_show() {
    answered(Answer::status(400).body("error: invalid 'Content-Type'\n"))
        .failed("HTTP 400 error: invalid", "--format array");
    let tested = answered(Answer::ok().header("Server", "Fluent Bit v3.2.1")).delivered();
    assert!(tested.said.contains("--format hec"), "{tested:#?}");
}
