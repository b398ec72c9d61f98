//! Proxies: which one is used, what it is told, what is said of its troubles, and that its password is never shown.

use std::io::Write as _;
use std::net::TcpListener;
use std::time::Duration;
use std::{fs, iter, thread};

use super::delivery::{feed, finish, lines_of, numbered, start};
use super::support::{Agent, Authority, BlackHole, Proxy, Webhook, eventually};

/// What only the proxy can find.
const NAME: &str = "hec.example.com";
const BASIC: &str = "Proxy-Authorization: Basic bWU6czNjcmV0\r\n"; // me:s3cret

#[test]
fn events_go_through_the_proxy_that_alone_knows_the_webhook() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let ca = authority.write_pem(dir.path(), "ca");
    let secure = Webhook::builder()
        .tls(authority.server(&[NAME]).server_config())
        .start();
    let plain = Webhook::start();
    for (scheme, hook) in [("http", plain), ("https", secure)] {
        let proxy = Proxy::to(hook.address());
        let endpoint = format!("{scheme}://{NAME}:8088/services/collector/raw");
        let address = proxy.address();
        let mut options = vec!["--proxy", &address];
        if scheme == "https" {
            options.extend(["--ca-file", ca.to_str().unwrap()]);
        }
        let mut agent = start(&endpoint, &options);
        let line = agent.wait_for_log("started:");
        let told = format!("webhook {scheme}://{NAME}:8088 through proxy {address}");
        assert!(line.contains(&told), "{line}");
        let events = numbered(0..3);
        for (count, event) in (1..).zip(&events) {
            feed(&mut agent, std::slice::from_ref(event));
            hook.wait_for_events(count);
        }
        let (_, log) = finish(agent, &hook, &events);
        assert_eq!(lines_of("WARN", &log).len(), usize::from(scheme == "http"));
        // One connection for all, and the token is for the webhook alone.
        let heads = proxy.heads();
        assert_eq!(heads.len(), 1, "{heads:?}");
        let line = format!("CONNECT {NAME}:8088 HTTP/1.1\r\n");
        assert!(heads[0].starts_with(&line), "{heads:?}");
        assert!(!heads[0].contains("Splunk"), "{heads:?}");
        assert!(!heads[0].contains("Proxy-Authorization"), "{heads:?}");
    }
}

#[test]
fn a_proxys_credentials_are_for_the_proxy_and_for_no_eye() {
    let hook = Webhook::start();
    let proxy = Proxy::to(hook.address());
    let url = format!("http://me:s3cret@{}", proxy.address());
    let mut agent = start(&hook.url(), &["--proxy", &url]);
    feed(&mut agent, &numbered(0..1));
    hook.wait_for_events(1);
    let (_, log) = finish(agent, &hook, &numbered(0..1));
    assert!(proxy.heads()[0].contains(BASIC), "{:?}", proxy.heads());
    assert_eq!(hook.requests()[0].header("Proxy-Authorization"), None);
    assert!(log.contains("through proxy 127.0.0.1:"), "{log}");
    assert!(!log.contains("s3cret") && !log.contains("me:"), "{log}");
}

#[test]
fn troubles_of_the_proxy_are_told_as_such() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = TcpListener::bind("127.78.1.1:0").unwrap();
    let nobody = closed.local_addr().unwrap();
    drop(closed);
    let hole = BlackHole::start();
    let answering = |answer| Proxy::answering(answer).address();
    for (address, level, told) in [
        (
            answering("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"),
            "ERROR",
            "wants another user and password (407); events are buffered; fix: give those that it expects",
        ),
        (
            answering("HTTP/1.0 403 Forbidden\r\nContent-Length: 3\r\n\r\nno\n"),
            "ERROR",
            "refuses to connect to hec.example.com:8088 (403); events are buffered; fix: let it allow CONNECT",
        ),
        (
            answering("HTTP/1.1 503 Service Unavailable\r\n\r\n"),
            "WARN",
            "can't connect to hec.example.com:8088 (503); retrying",
        ),
        (
            answering(""),
            "WARN",
            "connection closed by proxy ADDRESS; retrying",
        ),
        (
            answering("220 smtp ready\r\n"),
            "ERROR",
            "check the ports of the proxy and of the --endpoint",
        ),
        (
            nobody.to_string(),
            "WARN",
            "proxy ADDRESS: connection refused; retrying",
        ),
        (
            "no-such-host.invalid:3128".into(),
            "WARN",
            "proxy ADDRESS: host name not found",
        ),
        (
            silent.local_addr().unwrap().to_string(),
            "WARN",
            "not connected through proxy ADDRESS within 300ms; retrying",
        ),
        (
            hole.address().to_string(),
            "WARN",
            "not connected through proxy ADDRESS within 300ms; retrying",
        ),
        (
            answering("HTTP/1.1 200 OK\r\n\r\n"),
            "WARN",
            "connection closed by proxy ADDRESS or the webhook; retrying",
        ),
    ] {
        // Only what is waited for in vain is to be slow.
        let patience = match told.contains("300ms") {
            true => "300ms",
            false => "1m",
        };
        let options = [
            "--insecure",
            "--proxy",
            &address,
            "--connect-timeout",
            patience,
        ];
        let mut agent = start("https://hec.example.com:8088/", &options);
        feed(&mut agent, &numbered(0..1));
        let line = agent.wait_for_log("delivery failed");
        let told = told.replace("ADDRESS", &address);
        assert!(line.contains(level) && line.contains(&told), "{line}");
    }
}

#[test]
fn a_proxy_that_is_silent_longer_than_a_request_may_take_is_not_the_webhooks_fault() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let options = ["--proxy", &address, "--request-timeout", "300ms"];
    let mut agent = start("http://hec.example.com/", &options);
    feed(&mut agent, &numbered(0..1));
    let line = agent.wait_for_log("delivery failed");
    let told = format!("not connected through proxy {address} within 300ms; retrying");
    assert!(line.contains(&told), "{line}");
}

#[test]
fn a_proxy_that_drips_its_answer_is_given_up_after_the_connect_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let proxy = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let answer = "HTTP/1.1 200 OK\r\nX-Filler: ".bytes();
        for byte in answer.chain(iter::repeat(b'x')) {
            if client.write_all(&[byte]).is_err() {
                return;
            }
            // Its answer never ends, and never pauses for long either.
            thread::sleep(Duration::from_millis(10));
        }
    });
    let options = ["--proxy", &address, "--connect-timeout", "300ms"];
    let mut agent = start("http://hec.example.com/", &options);
    feed(&mut agent, &numbered(0..1));
    let told = format!("not connected through proxy {address} within 300ms");
    agent.wait_for_log(&told);
    // Its connection was closed.
    proxy.join().unwrap();
}

#[test]
fn the_environments_proxy_is_used_but_for_what_is_excepted() {
    let hook = Webhook::start();
    let host = hook.address().ip().to_string();
    let network = format!("example.com,{host}/24");
    for (options, variables, is_used) in [
        (&[][..], &[][..], true),
        (&[], &[("NO_PROXY", &*host)], false),
        (&[], &[("no_proxy", &*network)], false),
        (&[], &[("NO_PROXY", "example.com")], true),
        (&[], &[("NO_PROXY", "*")], false),
        (&["--no-proxy"], &[], false),
        (&[], &[("S3_AUDIT_WEBHOOK_NO_PROXY", "true")], false),
        (&[], &[("http_proxy", "")], false),
    ] {
        let proxy = Proxy::to(hook.address());
        let mut command = Agent::command()
            .args(["run", "--endpoint", &hook.url(), "--auth-token", "T"])
            .args(options)
            .env("http_proxy", proxy.address())
            // Read by nobody for http://.
            .env("HTTP_PROXY", "http://127.0.0.1:9")
            .env("HTTPS_PROXY", "http://127.0.0.1:9");
        for (name, value) in variables {
            command = command.env(name, value);
        }
        let ended = command.input("{}\n").run();
        assert_eq!(ended.balance().delivered, 1, "{}", ended.log);
        assert_eq!(
            proxy.heads().len(),
            usize::from(is_used),
            "{options:?} {variables:?}"
        );
        assert_eq!(
            ended.log.contains("through proxy"),
            is_used,
            "{}",
            ended.log
        );
    }
}

#[test]
fn a_proxy_that_was_asked_for_wins_over_the_environment() {
    let hook = Webhook::start();
    let proxy = Proxy::to(hook.address());
    for (options, variable) in [
        (vec!["--proxy".to_owned(), proxy.address()], None),
        (vec![], Some(proxy.address())),
    ] {
        let mut command = Agent::command()
            .args(["run", "--endpoint", &hook.url(), "--auth-token", "T"])
            .args(options)
            .env("http_proxy", "http://127.0.0.1:9")
            .env("NO_PROXY", "*");
        if let Some(address) = variable {
            command = command.env("S3_AUDIT_WEBHOOK_PROXY", address);
        }
        let ended = command.input("{}\n").run();
        assert_eq!(ended.balance().delivered, 1, "{}", ended.log);
    }
    assert_eq!(proxy.heads().len(), 2);
}

#[test]
fn a_proxy_that_can_not_be_used_is_refused_with_its_place_and_without_its_password() {
    let refusal = |options: &[&str], name: &str, value: &str| {
        let ended = Agent::command()
            .args(["run", "--endpoint", "https://hec/", "--auth-token", "T"])
            .args(options)
            .env(name, value)
            .run();
        assert_eq!(ended.code, Some(2), "{}", ended.log);
        assert!(!ended.log.contains("s3cret"), "{}", ended.log);
        ended.log
    };
    let log = refusal(&[], "HTTPS_PROXY", "socks5://me:s3cret@proxy:1080");
    assert!(
        log.contains("HTTPS_PROXY: ") && log.contains("http://proxy:3128"),
        "{log}"
    );
    let log = refusal(&["--proxy=http://me:s3cret@proxy:x"], "X", "");
    assert!(log.contains("--proxy: "), "{log}");
    let log = refusal(&[], "S3_AUDIT_WEBHOOK_PROXY", "https://me:s3cret@proxy");
    assert!(log.contains("S3_AUDIT_WEBHOOK_PROXY: "), "{log}");
    let log = refusal(&["--proxy=proxy", "--no-proxy"], "X", "");
    assert!(
        log.contains("--proxy and --no-proxy are both set; fix: give one of them"),
        "{log}"
    );
}

#[test]
fn test_tells_the_step_through_the_proxy() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let ca = authority.write_pem(dir.path(), "ca");
    let hook = Webhook::builder()
        .tls(authority.server(&[NAME]).server_config())
        .start();
    let test = |proxy: &Proxy| {
        Agent::command()
            .args(["test", "--auth-token", "T", "--config", "/dev/null"])
            .args(["--endpoint", &format!("https://{NAME}:8088/")])
            .args(["--ca-file", ca.to_str().unwrap()])
            .env("https_proxy", format!("me:s3cret@{}", proxy.address()))
            .run()
    };
    let proxy = Proxy::to(hook.address());
    let ended = test(&proxy);
    let told = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(ended.code, Some(0), "{told}{}", ended.log);
    let address = proxy.address();
    let mut rest = told.as_str();
    for line in [
        format!("proxy     {address} (from https_proxy)\n"),
        format!("connect   {address}: connected "),
        format!("tunnel    https://{NAME}:8088: connected "),
        "TLS       established ".into(),
        "answer    HTTP 200 ".into(),
    ] {
        let place = rest
            .find(&line)
            .unwrap_or_else(|| panic!("{line:?} in {told}"));
        rest = &rest[place..];
    }
    assert!(!told.contains("s3cret"), "{told}");

    let ended = test(&Proxy::answering("HTTP/1.1 407 No\r\n\r\n"));
    let told = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(ended.code, Some(1));
    assert!(
        told.contains("tunnel    https://hec.example.com:8088: proxy "),
        "{told}"
    );
    assert!(
        ended.log.contains("http://user:password@HOST:PORT"),
        "{}",
        ended.log
    );
}

#[test]
fn enable_sets_a_proxy_for_agents_that_run_and_no_proxy_takes_it_away() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("webhook.env");
    let path = config.to_str().unwrap();
    let hook = Webhook::start();
    let proxy = Proxy::to(hook.address());
    let url = format!("http://me:s3cret@{}", proxy.address());
    let enable = |options: &[&str]| {
        let ended = Agent::command()
            .args(["enable", "--no-test", "--config", path, "--auth-token", "T"])
            .args(["--endpoint", &hook.url()])
            .args(options)
            // What stands in this shell is not for the agents.
            .env("http_proxy", "socks5://nobody")
            .run();
        let told = String::from_utf8(ended.stdout).unwrap();
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        assert!(
            !told.contains("s3cret") && !ended.log.contains("s3cret"),
            "{told}"
        );
        (told, fs::read_to_string(&config).unwrap())
    };
    enable(&[]);
    let mut agent = Agent::command()
        .args(["run", "--batch-age", "0s", "--config", path])
        .spawn();
    let events = numbered(0..3);
    feed(&mut agent, &events[..1]);
    hook.wait_for_events(1);
    assert_eq!(proxy.heads().len(), 0);

    let (_, text) = enable(&["--proxy", &url]);
    assert!(
        text.contains(&format!("S3_AUDIT_WEBHOOK_PROXY={url}")),
        "{text}"
    );
    let (told, _) = enable(&[]);
    let kept = format!("kept: S3_AUDIT_WEBHOOK_PROXY=http://{}\n", proxy.address());
    assert!(told.contains(&kept), "{told}");
    let line = agent.wait_for_log("changed (");
    assert!(line.contains("through proxy 127.0.0.1:"), "{line}");
    feed(&mut agent, &events[1..2]);
    hook.wait_for_events(2);
    assert!(proxy.heads()[0].contains(BASIC));

    let ended = Agent::command().args(["show", "--config", path]).run();
    let shown = String::from_utf8(ended.stdout).unwrap();
    assert!(
        shown.contains(&format!("http://{}", proxy.address())),
        "{shown}"
    );
    assert!(
        !shown.contains("s3cret") && !ended.log.contains("s3cret"),
        "{shown}"
    );

    let (_, text) = enable(&["--no-proxy"]);
    assert!(
        !text.contains("s3cret") && text.contains("NO_PROXY=true"),
        "{text}"
    );
    agent.wait_for_nth_log(2, "changed (");
    feed(&mut agent, &events[2..]);
    hook.wait_for_events(3);
    assert_eq!(proxy.heads().len(), 1);
    let (_, log) = finish(agent, &hook, &events);
    assert!(!log.contains("s3cret"), "{log}");
    eventually("once each", || (hook.request_count() == 3).then_some(()));
}
