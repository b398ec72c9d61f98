//! TLS: whom the agent trusts, and what it says when it does not. Nothing is sent to a webhook that it does not trust.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;

use super::delivery::{feed, finish, lines_of, numbered, start};
use super::support::{
    Agent, AgentCommand, Answer, Authority, BINARY, Webhook, eventually, server_that_says,
};

const HERE: &[&str] = &["127.0.0.1", "localhost"];

fn webhook(tls: Arc<ServerConfig>) -> Webhook {
    Webhook::builder().tls(tls).start()
}

/// Another webhook in the place of one that is gone.
fn webhook_at(address: SocketAddr, tls: Arc<ServerConfig>) -> Webhook {
    Webhook::builder().address(address).tls(tls).start()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// An authority, and its certificate as a file that lasts as long as the directory.
fn authority(dir: &tempfile::TempDir) -> (Authority, PathBuf) {
    let authority = Authority::new("ours");
    let file = authority.write_pem(dir.path(), "ca");
    (authority, file)
}

#[test]
fn a_webhook_of_any_ca_in_the_ca_file_is_trusted_and_its_connection_kept() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second, third] = ["first", "second", "third"].map(Authority::new);
    let bundle = dir.path().join("bundle.pem");
    let pems = [&first, &second, &third].map(Authority::pem);
    fs::write(&bundle, format!("Our CAs:\n{}", pems.join("\n"))).unwrap();

    for authority in [first, second, third] {
        let hook = webhook(authority.server(HERE).server_config());
        let mut agent = start(&hook.url(), &["--ca-file", text(&bundle)]);
        let events = numbered(0..5);
        for (count, event) in events.iter().enumerate() {
            feed(&mut agent, std::slice::from_ref(event));
            hook.wait_for_events(count + 1);
        }
        let (_, log) = finish(agent, &hook, &events);
        assert_eq!(hook.connections(), 1);
        assert_eq!(lines_of("WARN", &log), [""; 0]);
    }
}

#[test]
fn a_ca_file_that_is_not_there_yet_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let ca = dir.path().join("ca.pem");
    let log = dir.path().join("audit.log");
    fs::write(&log, format!("{}\n", numbered(0..1)[0])).unwrap();
    let hook = webhook(authority.server(HERE).server_config());
    let file = format!("--source=file:{}", log.display());
    let mut agent = start(
        &hook.url(),
        &["--ca-file", text(&ca), "--source=stdin", &file],
    );
    let line = agent.wait_for_log("WARN  webhook unavailable");
    let what = format!(
        "WARN  webhook unavailable: --ca-file: {} can't be read",
        text(&ca)
    );
    assert!(line.contains(&what), "{line}");
    feed(&mut agent, &numbered(1..2));
    fs::write(&ca, authority.pem()).unwrap();
    hook.wait_for_events(2);
    agent.signal(libc::SIGTERM);
    let ended = agent.wait();
    let log = &ended.log;
    assert_eq!(
        (ended.done().delivered, ended.done().dropped),
        (2, 0),
        "{log}"
    );
    assert_eq!(log.matches("WARN  webhook").count(), 1, "{log}");
    assert!(!log.contains("ERROR"), "{log}");
}

#[test]
fn a_webhook_may_speak_tls_1_2_or_1_3() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, ca) = authority(&dir);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let identity = authority.server(HERE);
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(identity.chain(), identity.private_key())
            .unwrap();
        let hook = webhook(Arc::new(config));
        let by_name = hook.url().replace("127.0.0.1", "localhost");
        let mut agent = start(&by_name, &["--ca-file", text(&ca)]);
        feed(&mut agent, &numbered(0..1));
        hook.wait_for_events(1);
        finish(agent, &hook, &numbered(0..1));
    }
}

#[test]
fn the_hosts_own_roots_are_trusted_where_no_ca_file_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, ca) = authority(&dir);
    let hook = webhook(authority.server(HERE).server_config());
    let agent_of_host = |roots: &Path| {
        Agent::command()
            .arg("run")
            .endpoint(&hook.url())
            .token("Splunk T")
            // What a host has under /etc/ssl, for this process.
            .env("SSL_CERT_FILE", roots)
            .input("{}\n")
            .spawn()
    };
    let other = Authority::new("other").write_pem(dir.path(), "other");
    let agent = agent_of_host(&other);
    agent.wait_for_log("certificate of an unknown CA");
    drop(agent);
    assert_eq!(hook.request_count(), 0);

    let ended = agent_of_host(&ca).wait();
    assert_eq!(
        (ended.code, ended.balance().delivered),
        (Some(0), 1),
        "{}",
        ended.log
    );
    assert_eq!(hook.delivered_events(), [b"{}"]);
}

#[test]
fn a_certificate_that_is_not_trusted_is_named_with_the_remedy_and_gets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, ca) = authority(&dir);
    for (certificate, why, remedy) in [
        (
            Authority::new("theirs").server(HERE),
            "certificate of an unknown CA",
            "give that CA's certificate with --ca-file",
        ),
        (
            // What the name of our CA alone does not prove.
            Authority::new("ours").server(HERE),
            "certificate of an unknown CA",
            "give that CA's certificate with --ca-file",
        ),
        (
            authority.server(&["hec.example.com"]),
            "certificate for another name",
            "use the name in the certificate in the --endpoint",
        ),
        (
            authority.expired_server(HERE),
            "certificate expired",
            "renew it, or set this host's clock right",
        ),
    ] {
        let hook = webhook(certificate.server_config());
        let mut agent = start(&hook.url(), &["--ca-file", text(&ca)]);
        feed(&mut agent, &numbered(0..1));
        let line = agent.wait_for_log("; events are buffered; fix: ");
        assert!(
            line.contains("ERROR") && line.contains(why) && line.contains(remedy),
            "{line}"
        );
        eventually("it is tried again", || {
            (hook.connections() >= 3).then_some(())
        });
        assert_eq!(hook.request_count(), 0, "{why}");

        // The operator mends it, and the agent notices by itself.
        let address = hook.address();
        drop(hook);
        let mended = webhook_at(address, authority.server(HERE).server_config());
        mended.wait_for_events(1);
        let (_, log) = finish(agent, &mended, &numbered(0..1));
        assert_eq!(lines_of("ERROR", &log).len(), 1, "{log}");
    }
}

#[test]
fn insecure_takes_any_certificate_and_warns_at_every_start() {
    let authority = Authority::new("theirs");
    let hook = webhook(authority.expired_server(&["elsewhere"]).server_config());
    for start_number in 1..=2 {
        let mut agent = start(&hook.url(), &["--insecure"]);
        feed(&mut agent, &numbered(start_number - 1..start_number));
        hook.wait_for_events(start_number);
        agent.close_stdin();
        let ended = agent.wait();
        let warnings = lines_of("WARN", &ended.log);
        assert_eq!(warnings.len(), 1, "{}", ended.log);
        assert!(
            warnings[0].contains("--insecure: the webhook's certificate is not verified"),
            "{}",
            warnings[0]
        );
    }
}

#[test]
fn a_certificate_that_is_renewed_while_the_agent_runs_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, ca) = authority(&dir);
    let old = webhook(authority.server(HERE).server_config());
    let address = old.address();
    let mut agent = start(&old.url(), &["--ca-file", text(&ca)]);
    // The second request shows that the first one's answer has come.
    old.script([Answer::ok(), Answer::hang()]);
    let events = numbered(0..2);
    for (count, event) in (1..).zip(&events) {
        feed(&mut agent, std::slice::from_ref(event));
        old.wait_for_requests(count);
    }
    drop(old);
    let new = webhook_at(address, authority.server(HERE).server_config());
    new.wait_for_events(1);

    agent.close_stdin();
    let ended = agent.wait();
    assert_eq!(ended.balance().delivered, 2);
    assert_eq!(lines_of("ERROR", &ended.log), [""; 0]);
}

#[test]
fn a_kept_connection_that_the_webhook_closes_costs_no_word_and_no_duplicate() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, ca) = authority(&dir);
    let hook = webhook(authority.server(HERE).server_config());
    hook.script([Answer::ok().close(), Answer::ok().close_silently()]);
    let mut agent = start(&hook.url(), &["--ca-file", text(&ca)]);
    let events = numbered(0..3);
    for (count, event) in events.iter().enumerate() {
        feed(&mut agent, std::slice::from_ref(event));
        hook.wait_for_events(count + 1);
        if count < 2 {
            hook.wait_until_closed();
        }
    }
    let (_, log) = finish(agent, &hook, &events);
    assert_eq!((hook.request_count(), hook.connections()), (3, 3));
    assert_eq!(lines_of("WARN", &log), [""; 0]);
}

/// The webhook has the events by then.
#[test]
fn what_is_sent_again_after_an_answer_that_cant_be_decrypted_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, ca) = authority(&dir);
    let hook = webhook(authority.server(HERE).server_config());
    hook.script([Answer::spoilt()]);
    let mut agent = start(&hook.url(), &["--ca-file", text(&ca)]);
    let events = numbered(0..1);
    feed(&mut agent, &events);
    let (_, log) = finish(agent, &hook, &events);
    let counted = "redelivered 1 event that may have arrived already (TLS: cannot decrypt";
    assert!(log.contains(counted), "{log}");
}

#[test]
fn https_to_a_port_without_tls_is_an_operators_matter() {
    let address = server_that_says(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    let mut agent = start(&format!("https://{address}/"), &["--insecure"]);
    feed(&mut agent, &numbered(0..1));
    let line = agent.wait_for_log("; events are buffered; fix: ");
    assert!(
        line.contains("ERROR") && line.contains("use http://, or another port"),
        "{line}"
    );
}

#[test]
fn http_to_a_port_with_tls_is_an_operators_matter() {
    let hook = webhook(Authority::new("ours").server(HERE).server_config());
    let mut agent = start(&hook.url().replace("https", "http"), &[]);
    feed(&mut agent, &numbered(0..1));
    let line = agent.wait_for_log("; events are buffered; fix: ");
    assert!(
        line.contains("ERROR")
            && line
                .contains("the answer is not HTTP; events are buffered; fix: check the --endpoint"),
        "{line}"
    );
    assert_eq!(hook.request_count(), 0);
}

#[test]
fn http_to_a_port_with_tls_that_answers_in_http_is_an_operators_matter() {
    for words in [
        // As Go's servers say it, and nginx and Apache.
        "Client sent an HTTP request to an HTTPS server.",
        "<title>400 The plain HTTP request was sent to HTTPS port</title>",
        "You're speaking plain HTTP to an SSL-enabled server port.",
    ] {
        let hook = Webhook::start();
        hook.script([Answer::status(400).body(words)]);
        let mut agent = start(&hook.url(), &[]);
        feed(&mut agent, &numbered(0..1));
        let (_, log) = finish(agent, &hook, &numbered(0..1));
        assert!(lines_of("ERROR", &log)[0].contains("https://"), "{log}");
    }
}

#[test]
fn a_server_that_never_shakes_hands_is_given_up_after_the_connect_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("https://{}/", silent.local_addr().unwrap());
    // The request's own time may be shorter.
    for timeout in ["--connect-timeout", "--request-timeout"] {
        let mut agent = start(&endpoint, &["--insecure", timeout, "150ms"]);
        feed(&mut agent, &numbered(0..1));
        let line = agent.wait_for_log("delivery failed");
        assert!(line.contains("not connected within 150ms"), "{line}");
    }
}

#[test]
fn a_host_without_roots_has_those_of_the_program_and_is_told_so() {
    // As in a container of nothing but the binary.
    let script = "for place in /etc/ssl /etc/pki; do [ ! -d $place ] || mount -t tmpfs none $place || exit 77; done; \
                  exec \"$@\"";
    let dir = tempfile::tempdir().unwrap();
    let run = |roots: Option<&str>| {
        let mut command = AgentCommand::of("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", script, "sh"])
            .args([BINARY, "run", "--source=stdin", "--config", "/dev/null"])
            .args(["--endpoint", "https://127.0.0.1:9/", "--auth-token", "T"])
            .args(["--no-proxy", "--state-dir", text(dir.path())]);
        if let Some(roots) = roots {
            command = command.env("SSL_CERT_FILE", roots);
        }
        let ended = command.stdin(Stdio::null()).run();
        (ended.code, ended.log)
    };
    let (code, log) = run(None);
    if log.contains("unshare:") || code == Some(77) {
        eprintln!("skipped: nobody may mount in a namespace of his own here");
        return;
    }
    assert_eq!(code, Some(0), "{log}");
    let warnings = lines_of("WARN", &log);
    assert!(
        warnings.len() == 1
            && warnings[0].contains("no trusted roots on this host")
            && warnings[0].contains("bundled with this program (webpki-roots 1."),
        "{log}"
    );

    // Whoever names a place for them does not want others.
    let (code, log) = run(Some("/nowhere"));
    assert_eq!(code, Some(2), "{log}");
    assert!(
        log.contains("SSL_CERT_FILE: no trusted roots there"),
        "{log}"
    );
}
