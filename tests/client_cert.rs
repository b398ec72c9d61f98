//! Client certificates: what a webhook that wants one gets, what is said where it is missing or not taken, and how the
//! files are read and followed.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use super::delivery::{feed, finish, lines_of, numbered, start};
use super::support::{Agent, Authority, Webhook, eventually};

const HERE: &[&str] = &["127.0.0.1", "localhost"];

/// An authority for servers, one for clients, and a directory with the former's certificate and a pair of the latter's.
struct World {
    dir: tempfile::TempDir,
    servers: Authority,
    clients: Authority,
}

impl World {
    fn new() -> Self {
        let world = World {
            dir: tempfile::tempdir().unwrap(),
            servers: Authority::new("servers"),
            clients: Authority::new("clients"),
        };
        world.servers.write_pem(world.dir.path(), "ca");
        world.write(&world.clients, "mine");
        world
    }

    /// A pair `NAME.pem` and `NAME.key`, which only this user can read.
    fn write(&self, authority: &Authority, name: &str) {
        let (_, key) = authority.client(name).write_pem(self.dir.path(), name);
        fs::set_permissions(key, Permissions::from_mode(0o600)).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// A webhook that wants a certificate of these.
    fn webhook(
        &self,
        clients: &Authority,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Webhook {
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(clients.roots(), Arc::clone(&provider))
                .build()
                .unwrap();
        let identity = self.servers.server(HERE);
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(identity.chain(), identity.private_key())
            .unwrap();
        Webhook::builder().tls(Arc::new(config)).start()
    }

    fn start(&self, hook: &Webhook, options: &[(&str, &str)]) -> Agent {
        let ca = self.path("ca.pem");
        let files: Vec<_> = options
            .iter()
            .flat_map(|(flag, name)| [(*flag).to_owned(), self.path(name)])
            .collect();
        let mut args = vec!["--ca-file", &ca];
        args.extend(files.iter().map(String::as_str));
        start(&hook.url(), &args)
    }
}

const PAIR: &[(&str, &str)] = &[("--client-cert", "mine.pem"), ("--client-key", "mine.key")];

/// A key of nobody's, as `openssl ecparam -genkey` writes them.
const SEC1: &str = "\
-----BEGIN EC PARAMETERS-----
BggqhkjOPQMBBw==
-----END EC PARAMETERS-----
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIM5QMIkUCDDI+q96ivCLj8B6V0knVCwghKPtu/y2cCa5oAoGCCqGSM49
AwEHoUQDQgAEsNDIB6J4bkNJJcBhfT9SvNdz4Ib3DurNXZNTs0g+VbMHMCUeCqTH
BHlISPkOjiUV1gxswjCpDH9fth2UXH/66w==
-----END EC PRIVATE KEY-----
";

#[test]
fn a_webhook_that_wants_a_client_certificate_gets_it() {
    let world = World::new();
    // All in one file, the key first, as some tools write it.
    let combined = world.read("mine.key") + &world.read("mine.pem");
    fs::write(world.path("combined.pem"), combined).unwrap();
    let mode = Permissions::from_mode(0o640);
    fs::set_permissions(world.path("combined.pem"), mode).unwrap();
    for version in [&TLS12, &TLS13] {
        for options in [PAIR, &[("--client-cert", "combined.pem")]] {
            let hook = world.webhook(&world.clients, &[version]);
            let mut agent = world.start(&hook, options);
            feed(&mut agent, &numbered(0..1));
            hook.wait_for_events(1);
            let (_, log) = finish(agent, &hook, &numbered(0..1));
            assert_eq!(lines_of("WARN", &log), [""; 0]);
        }
    }
}

#[test]
fn a_client_certificate_that_is_missing_or_not_taken_is_told_as_such() {
    let world = World::new();
    world.write(&Authority::new("strangers"), "strange");
    let strange = &[
        ("--client-cert", "strange.pem"),
        ("--client-key", "strange.key"),
    ];
    for version in [&TLS12, &TLS13] {
        for (options, why) in [
            (
                &[][..],
                "wants a client certificate; events are buffered; fix: give one with --client-cert and --client-key",
            ),
            (strange, "refuses this host's client certificate"),
        ] {
            let hook = world.webhook(&world.clients, &[version]);
            let mut agent = world.start(&hook, options);
            feed(&mut agent, &numbered(0..1));
            let line = agent.wait_for_log("; events are buffered; fix: ");
            assert!(line.contains("ERROR") && line.contains(why), "{line}");
            assert_eq!(hook.request_count(), 0);
        }
    }
}

#[test]
fn files_that_hold_no_pair_are_refused_with_the_option_and_what_would_be_right() {
    let world = World::new();
    world.write(&world.clients, "other");
    let key = world.read("mine.key");
    fs::write(world.path("empty"), "").unwrap();
    fs::write(world.path("sec1"), SEC1).unwrap();
    fs::write(
        world.path("mixed"),
        world.read("mine.pem") + &world.read("other.key"),
    )
    .unwrap();
    fs::write(
        world.path("encrypted"),
        key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
    )
    .unwrap();
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n";
    fs::write(world.path("old"), old).unwrap();
    fs::write(world.path("both"), world.read("mine.pem") + old).unwrap();
    // A label that the key does not keep to, and a certificate that is none.
    fs::write(world.path("false"), key.replace("PRIVATE", "RSA PRIVATE")).unwrap();
    let nothing = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(world.path("none"), nothing).unwrap();

    for (certificate, key, option, what) in [
        (
            "mine.pem",
            "other.key",
            "--client-key",
            "not the certificate's",
        ),
        ("mixed", "", "--client-cert", "not the certificate's"),
        // The key is read, and another's.
        ("mine.pem", "sec1", "--client-key", "not the certificate's"),
        ("mine.pem", "", "--client-cert", "contains no private key"),
        (
            "mine.pem",
            "empty",
            "--client-key",
            "contains no private key",
        ),
        (
            "mine.pem",
            "mine.pem",
            "--client-key",
            "contains no private key",
        ),
        ("mine.pem", "encrypted", "--client-key", "openssl pkey"),
        ("mine.pem", "old", "--client-key", "openssl pkey"),
        ("both", "", "--client-cert", "openssl pkey"),
        ("mine.pem", "false", "--client-key", "can't be used"),
        (
            "mine.key",
            "mine.key",
            "--client-cert",
            "contains no certificate",
        ),
        (
            "none",
            "mine.key",
            "--client-cert",
            "certificate that is none",
        ),
        (
            "",
            "mine.key",
            "--client-key",
            "is of no use without --client-cert",
        ),
    ] {
        let mut command = Agent::command()
            .arg("run")
            .endpoint("https://127.0.0.1:9/")
            .token("Splunk T")
            .arg("--insecure");
        for (flag, name) in [("--client-cert", certificate), ("--client-key", key)] {
            if !name.is_empty() {
                command = command.arg(flag).arg(world.path(name));
            }
        }
        let ended = command.run();
        // What is in a file may pass by itself.
        let code = 1 + i32::from(certificate.is_empty());
        assert_eq!(ended.code, Some(code), "{certificate} {key}: {}", ended.log);
        assert!(
            ended.log.contains(&format!("{option}: ")) && ended.log.contains(what),
            "{certificate} {key}: {}",
            ended.log
        );
    }
}

#[test]
fn a_key_that_every_user_can_read_is_warned_of() {
    let world = World::new();
    fs::set_permissions(world.path("mine.key"), Permissions::from_mode(0o644)).unwrap();
    let hook = world.webhook(&world.clients, &[&TLS13]);
    let agent = world.start(&hook, PAIR);
    let line = agent.wait_for_log("WARN");
    assert!(
        line.contains("--client-key: every user of this host can read or change"),
        "{line}"
    );
}

#[test]
fn a_pair_that_is_renewed_in_two_steps_is_taken_when_both_are_there() {
    let world = World::new();
    let successors = Authority::new("successors");
    world.write(&successors, "new");
    let rename = |from: &str, to: &str| fs::rename(world.path(from), world.path(to)).unwrap();
    let old = world.webhook(&world.clients, &[&TLS13]);
    let new = world.webhook(&successors, &[&TLS13]);
    let config = world.path("webhook.env");
    let set = |hook: &Webhook| {
        let text = format!(
            "S3_AUDIT_WEBHOOK_ENDPOINT={}\nS3_AUDIT_WEBHOOK_AUTH_TOKEN=T\nS3_AUDIT_WEBHOOK_CA_FILE={}\n\
             S3_AUDIT_WEBHOOK_CLIENT_CERT={}\nS3_AUDIT_WEBHOOK_CLIENT_KEY={}\n",
            hook.url(),
            world.path("ca.pem"),
            world.path("mine.pem"),
            world.path("mine.key"),
        );
        fs::write(Path::new(&config), text).unwrap();
    };
    set(&old);
    let mut agent = Agent::command()
        .args(["run", "--batch-age", "0s", "--config", &config])
        .spawn();
    let events = numbered(0..3);
    feed(&mut agent, &events[..1]);
    old.wait_for_events(1);

    // The certificate comes before its key: until then the old pair is in force.
    rename("new.pem", "mine.pem");
    let line = agent.wait_for_log("keeping the previous webhook");
    assert!(
        line.contains("S3_AUDIT_WEBHOOK_CLIENT_KEY") && line.contains("not the certificate's"),
        "{line}"
    );
    feed(&mut agent, &events[1..2]);
    old.wait_for_events(2);

    rename("new.key", "mine.key");
    agent.wait_for_log("the settings are valid again");
    let line = agent.wait_for_log("changed (");
    assert!(
        line.contains("mine.pem") && line.contains("mine.key"),
        "{line}"
    );
    set(&new);
    agent.wait_for_nth_log(2, "changed (");
    feed(&mut agent, &events[2..]);
    new.wait_for_events(1);
    agent.close_stdin();
    let ended = agent.wait();
    assert_eq!(ended.balance().delivered, 3);
    assert_eq!(lines_of("ERROR", &ended.log).len(), 1, "{}", ended.log);
    eventually("no more than once each", || {
        (old.request_count() == 2 && new.request_count() == 1).then_some(())
    });
}

#[test]
fn enable_sets_the_pair_and_a_new_certificate_lets_go_of_the_old_key() {
    let world = World::new();
    let combined = world.read("mine.pem") + &world.read("mine.key");
    fs::write(world.path("combined.pem"), combined).unwrap();
    let config = world.path("webhook.env");
    let enable = |options: &[(&str, &str)]| {
        let mut command = Agent::command()
            .args(["enable", "--no-test", "--config", &config, "--insecure"])
            .endpoint("https://hec/")
            .token("T");
        for (flag, name) in options {
            command = command.arg(flag).arg(world.path(name));
        }
        let ended = command.run();
        (
            ended.code,
            ended.log,
            fs::read_to_string(&config).unwrap_or_default(),
        )
    };
    let (code, log, text) = enable(PAIR);
    assert_eq!(code, Some(0), "{log}");
    for (variable, name) in [("CERT", "mine.pem"), ("KEY", "mine.key")] {
        let line = format!("S3_AUDIT_WEBHOOK_CLIENT_{variable}={}\n", world.path(name));
        assert!(text.contains(&line), "{text}");
    }
    let (code, log, unchanged) = enable(&[("--client-cert", "mine.pem")]);
    assert_eq!(code, Some(2), "{log}");
    assert_eq!(unchanged, text);
    let (code, log, text) = enable(&[("--client-cert", "combined.pem")]);
    assert_eq!(code, Some(0), "{log}");
    assert!(!text.contains("CLIENT_KEY"), "{text}");
}

#[test]
fn files_that_are_missing_are_waited_for() {
    let world = World::new();
    let hook = world.webhook(&world.clients, &[&TLS13]);
    let (key, away) = (world.path("mine.key"), world.path("away"));
    fs::rename(&key, &away).unwrap();
    let mut agent = world.start(&hook, PAIR);
    feed(&mut agent, &numbered(0..1));
    let line = agent.wait_for_log("WARN");
    assert!(line.contains("mine.key"), "{line}");
    fs::rename(&away, &key).unwrap();
    hook.wait_for_events(1);
}
