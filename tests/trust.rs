//! Whom the agent trusts without a CA: pinned certificates and keys, other names, and what `test` says of a webhook that
//! can't be verified.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use super::delivery::{feed, finish, lines_of, numbered, start};
use super::source_http::free_address;
use super::support::control::Settings;

use super::support::certs::provider;
use super::support::{Agent, Authority, Metrics, Webhook};

const HERE: &[&str] = &["127.0.0.1", "localhost"];
const V1: &[u8] = include_bytes!("data/certificates/v1.pem");
/// Of it and of its key.
const CERTIFICATE: &str = "efbf440c1bc60b15d8d74e5bc6f68fbce5032db98f6ed99d79449027d94341e1";
const KEY: &str = "4d9b6ecd3e9325830a7ede8bd199e77e78f69782b4b5b48944fb435bc10a055a";

/// A webhook with a certificate of X.509 version 1, and with its key or another one.
fn version_1(version: &'static SupportedProtocolVersion, has_its_key: bool) -> Webhook {
    let key = match has_its_key {
        true => PrivateKeyDer::from_pem_slice(include_bytes!("data/certificates/v1.key")).unwrap(),
        false => Authority::new("theirs").server(HERE).private_key(),
    };
    let key = provider().key_provider.load_private_key(key).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(V1).unwrap()];
    let identity = SingleCertAndKey::from(CertifiedKey::new(chain, key));
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(identity));
    Webhook::builder().tls(Arc::new(config)).start()
}

#[test]
fn a_pinned_certificate_or_key_is_trusted_whatever_its_version_and_name() {
    for version in [&TLS12, &TLS13] {
        for pin in [CERTIFICATE, KEY] {
            let hook = version_1(version, true);
            let pins = format!("--pin-sha256={},{}", "0".repeat(64), pin.to_uppercase());
            let mut agent = start(&hook.url(), &[&pins]);
            feed(&mut agent, &numbered(0..1));
            let (_, log) = finish(agent, &hook, &numbered(0..1));
            assert_eq!(lines_of("WARN", &log), [""; 0]);
        }
    }
}

#[test]
fn whoever_has_a_pinned_certificate_but_not_its_key_gets_nothing() {
    for version in [&TLS12, &TLS13] {
        // With an EC key it can't speak for a certificate of RSA at all in TLS 1.2.
        let hook = version_1(version, false);
        let mut agent = start(&hook.url(), &["--pin-sha256", CERTIFICATE]);
        feed(&mut agent, &numbered(0..1));
        let line = agent.wait_for_log("delivery failed: TLS: ");
        assert!(!line.contains("Err"), "{line}");
        assert_eq!(hook.request_count(), 0);
    }
}

#[test]
fn another_certificate_than_the_pinned_one_is_refused_whatever_else_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let ca = authority.write_pem(dir.path(), "ca");
    let hook = Webhook::builder()
        .tls(authority.server(HERE).server_config())
        .start();
    for more in ["--insecure", &format!("--ca-file={}", ca.display())] {
        let mut agent = start(&hook.url(), &["--pin-sha256", KEY, more]);
        feed(&mut agent, &numbered(0..1));
        let line = agent.wait_for_log("delivery failed");
        let what = "ERROR delivery failed: TLS: certificate is not that of --pin-sha256; events are buffered; fix: ";
        assert!(line.contains(what), "{line}");
        assert!(!agent.log().contains("not verified"), "{}", agent.log());
    }
    assert_eq!(hook.request_count(), 0);
}

#[test]
fn the_certificate_may_be_for_a_name_that_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let ca = authority.write_pem(dir.path(), "ca");
    let ca = format!("--ca-file={}", ca.display());
    let hook = Webhook::builder()
        .tls(authority.server(&["hec.example.com"]).server_config())
        .start();
    let mut agent = start(&hook.url(), &[&ca, "--tls-server-name=hec.example.com"]);
    feed(&mut agent, &numbered(0..1));
    finish(agent, &hook, &numbered(0..1));

    let mut agent = start(&hook.url(), &[&ca, "--tls-server-name=other.example.com"]);
    feed(&mut agent, &numbered(0..1));
    agent.wait_for_log("TLS: certificate for another name: hec.example.com");
}

/// What `test` prints, and whether it delivered.
fn test(hook: &Webhook, more: &[&str]) -> (String, bool) {
    let command = Agent::command().args(["test", "--config", "/dev/null", "--auth-token", "T"]);
    let ended = command.endpoint(&hook.url()).args(more).run();
    (
        String::from_utf8(ended.stdout).unwrap(),
        ended.code == Some(0),
    )
}

#[test]
fn test_shows_what_it_saw_and_the_line_that_would_trust_it() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let ca = authority.write_pem(dir.path(), "ca");
    let ca = format!("--ca-file={}", ca.display());
    let tls = |config| Webhook::builder().tls(config).start();
    for (hook, option, seen) in [
        (
            version_1(&TLS13, true),
            "--pin-sha256",
            "subject   CN=v1, O=Test (X.509 version 1)",
        ),
        (version_1(&TLS12, true), "--pin-sha256", "names     none"),
        (
            tls(authority
                .server(&["*.example.com", "hec.example.com"])
                .server_config()),
            "--tls-server-name",
            "names     *.example.com, hec.example.com",
        ),
        (
            tls(authority.server(&[]).server_config()),
            "--pin-sha256",
            "issuer    CN=ours",
        ),
        (
            tls(authority.ca_server(HERE).server_config()),
            "--pin-sha256",
            "expires   4096-01-01",
        ),
        (
            tls(Authority::new("theirs").server(HERE).server_config()),
            "--pin-sha256",
            "issuer    CN=theirs",
        ),
    ] {
        let (printed, is_delivered) = test(&hook, &[&ca]);
        assert!(
            !is_delivered && printed.contains(&format!("\n{seen}\n")),
            "{seen}: {printed}"
        );
        let advice = printed.lines().find(|line| line.starts_with("trust "));
        let (_, line) = advice
            .and_then(|line| line.split_once(": "))
            .unwrap_or_else(|| panic!("{printed}"));
        assert!(line.starts_with(option), "{line}");
        let value = line.split(' ').nth(1).unwrap();
        assert!(
            printed.contains(&format!("sha256    {value} (public key)"))
                || option != "--pin-sha256"
        );
        let (printed, is_delivered) = test(&hook, &[&ca, option, value]);
        assert!(is_delivered && !printed.contains("\ntrust"), "{printed}");
    }
    let (printed, _) = test(&version_1(&TLS13, true), &[]);
    for (hex, what) in [(CERTIFICATE, "certificate"), (KEY, "public key")] {
        assert!(
            printed.contains(&format!("\nsha256    {hex} ({what})\n")),
            "{printed}"
        );
    }
    let expired = tls(authority.expired_server(HERE).server_config());
    let (printed, _) = test(&expired, &[&ca]);
    assert!(
        printed.contains("expires   2021-01-01") && !printed.contains("\ntrust"),
        "{printed}"
    );
}

#[test]
fn certificates_that_expire_soon_are_logged_and_in_the_metrics() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let ca = authority.write_pem(dir.path(), "ca");
    let expiry = SystemTime::now() + Duration::from_secs(5 * 24 * 3600 + 3600);
    let server = authority.server_until(HERE, expiry);
    let hook = Webhook::builder().tls(server.server_config()).start();
    let status = free_address();
    let more = [
        &format!("--ca-file={}", ca.display())[..],
        &format!("--status-listen={status}"),
        "--report-interval=100ms",
    ];
    let mut agent = start(&hook.url(), &more);
    feed(&mut agent, &numbered(0..1));
    let line = agent.wait_for_log("certificate");
    assert!(
        line.contains("WARN  the certificate of the webhook expires on 2")
            && line.ends_with(" (in 5 days); renew it"),
        "{line}"
    );
    let metrics = Metrics::at(status);
    let name = "certificate_expiry_timestamp_seconds";
    let seconds = expiry
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert_eq!(metrics.of(name, "certificate", "webhook"), seconds);
    assert!(metrics.of(name, "certificate", "ca") > seconds);
    let (_, log) = finish(agent, &hook, &numbered(0..1));
    assert_eq!(lines_of("WARN", &log).len(), 1, "{log}");
}

#[test]
fn enable_writes_pins_and_a_running_agent_follows() {
    let hook = version_1(&TLS13, true);
    let settings = Settings::new();
    let path = settings.path();
    let enable = |pins: &[&str]| {
        let command = Agent::command()
            .args(["enable", "--no-test", "--auth-token", "T", "--config"])
            .arg(&path);
        let pins = pins.iter().flat_map(|pin| ["--pin-sha256", pin]);
        command.endpoint(&hook.url()).args(pins).run().code
    };
    assert_eq!(enable(&[CERTIFICATE, &CERTIFICATE.to_uppercase()]), Some(0));
    assert!(settings.has(&format!(
        "S3_AUDIT_WEBHOOK_PIN_SHA256={CERTIFICATE},{CERTIFICATE}"
    )));
    assert_eq!(enable(&["x"]), Some(2));
    assert_eq!(enable(&[&"0".repeat(64)]), Some(0));
    let command = Agent::command().args([
        "run",
        "--batch-age=0s",
        "--backoff-max=20ms",
        "--backoff-min=5ms",
        "--config",
    ]);
    let mut agent = command.arg(&path).spawn();
    feed(&mut agent, &numbered(0..1));
    agent.wait_for_log("is not that of --pin-sha256");
    assert_eq!(enable(&[KEY]), Some(0));
    hook.wait_for_events(1);
    assert!(fs::read_to_string(&path).unwrap().contains(KEY));
}
