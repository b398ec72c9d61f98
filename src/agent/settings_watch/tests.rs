use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use crossbeam_channel::never;

use super::*;
use crate::telemetry::expiry::Expiries;

/// What an agent that was started with these arguments has.
fn watcher(arguments: &str, forwarding: Forwarding) -> (SettingsWatcher, Arc<Report>) {
    let invocation = Invocation::read(arguments.split(' ').map(OsString::from)).unwrap();
    let Command::Run(options) = invocation.command else {
        panic!("not run");
    };
    let report = Arc::new(Report::new(Duration::from_secs(1), Vec::new()));
    report.forwards(forwarding, "");
    let settings = (contents(&options), &*options, &invocation.provenance);
    let rules = LiveRules::new(Rules::default());
    let watcher = SettingsWatcher::new(settings, Arc::clone(&report), &[], rules, never());
    (watcher, report)
}

#[test]
fn nothing_is_known_of_a_webhook_before_it_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("webhook.env");
    let write = |host: &str, enabled: bool| {
        let text = format!(
            "S3_AUDIT_WEBHOOK_ENDPOINT=http://{host}\nS3_AUDIT_WEBHOOK_AUTH_TOKEN=none\n\
             S3_AUDIT_WEBHOOK_ENABLED={enabled}\n"
        );
        fs::write(&file, text).unwrap();
    };
    write("a", true);
    let arguments = format!("x run --config {}", file.display());
    let (mut watcher, report) = watcher(&arguments, Forwarding::On("a".into()));
    for (host, enabled) in [("b", true), ("b", false), ("b", true)] {
        report.delivery_restored();
        report.delivery_failed("no", None, Duration::ZERO);
        report.webhook_clock(0, 9);
        let expiries = Expiries {
            webhook: Some(SystemTime::now()),
            ..Expiries::default()
        };
        report.certificates("a".into(), expiries);
        write(host, enabled);
        watcher.poll(true);
        let now = report.snapshot();
        assert_eq!(report.is_forwarding(), enabled);
        let known = (now.reached, now.outage, now.clock_skew, now.expiries);
        assert_eq!(known, (false, None, None, Expiries::default()));
    }
}

/// While the agent started, the file was there, gone, and there again.
#[test]
fn a_file_that_was_only_missing_while_the_webhook_was_set_up_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "Splunk x").unwrap();
    let arguments = "x run --config /missing --endpoint http://h/ --auth-token-file";
    let arguments = format!("{arguments} {}", token.display());
    let error = format!("--auth-token-file: {} can't be read: x", token.display());
    let (mut watcher, report) = watcher(&arguments, Forwarding::Awaited(error));
    watcher.poll(false);
    let now = report.forwarding();
    assert!(matches!(now, Some(Forwarding::On(_))), "{now:?}");
}

/// The settings file of an agent, and the file that its token belongs in.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Place(tempfile::tempdir().unwrap())
    }

    fn token(&self) -> PathBuf {
        self.0.path().join("token")
    }

    fn write(&self, host: &str, more: &str) {
        let token = format!("AUTH_TOKEN_FILE={}", self.token().display());
        let lines = [&format!("ENDPOINT=http://{host}"), &*token];
        let lines = lines.into_iter().chain(more.lines());
        let text: String = lines
            .map(|line| format!("S3_AUDIT_WEBHOOK_{line}\n"))
            .collect();
        fs::write(self.0.path().join("webhook.env"), text).unwrap();
    }

    /// An agent that runs with what is there.
    fn start(&self) -> (SettingsWatcher, Arc<Report>) {
        let arguments = format!(
            "x run --config {}",
            self.0.path().join("webhook.env").display()
        );
        let forwarding = match self.token().exists() {
            true => Forwarding::On("a".into()),
            false => Forwarding::Awaited(format!(
                "{}:2: S3_AUDIT_WEBHOOK_AUTH_TOKEN_FILE: {} can't be read: No such file or directory (os error 2); \
                 fix: name a file that this user can read",
                self.0.path().join("webhook.env").display(),
                self.token().display()
            )),
        };
        watcher(&arguments, forwarding)
    }
}

/// What a running agent refuses of its settings, and what it keeps.
fn refused(report: &Report) -> Option<String> {
    report
        .snapshot()
        .settings_rejected
        .map(|rejected| rejected.error)
}

#[test]
fn rules_are_applied_while_a_file_of_the_webhook_is_awaited() {
    let place = Place::new();
    place.write("a", "");
    let (mut watcher, report) = place.start();
    let rules = watcher.rules.clone();
    watcher.poll(false);
    assert_eq!(refused(&report), None);
    place.write("a", "REDACT=s3\nEXCLUDE=e=drop*");
    watcher.poll(true);
    assert_eq!(rules.describe(), "exclude e=drop*, redact s3");
    // Another webhook's is missing too.
    place.write("b", "REDACT=s3\nREDACT_FIELD=x\nCOMPRESS=gzip");
    watcher.poll(true);
    assert_eq!(rules.describe(), "redact s3, redact x");
    assert!(matches!(report.forwarding(), Some(Forwarding::Awaited(_))));
    fs::write(place.token(), "Splunk x").unwrap();
    watcher.poll(true);
    let now = report.forwarding();
    assert!(
        matches!(&now, Some(Forwarding::On(webhook)) if webhook.contains("http://b")),
        "{now:?}"
    );
}

#[test]
fn rules_are_applied_after_a_file_of_the_webhook_has_become_unusable() {
    let place = Place::new();
    fs::write(place.token(), "Splunk x").unwrap();
    place.write("a", "");
    let (mut watcher, report) = place.start();
    let rules = watcher.rules.clone();
    for (content, redact, more) in [
        (None, "a", ""),
        (Some(""), "b", ""),
        (Some("é"), "c", ""),
        (None, "d", "COMPRESS=gzip\n"),
        (Some(""), "e", "COMPRESS=gzip\n"),
    ] {
        match content {
            None => fs::remove_file(place.token()).unwrap(),
            Some(content) => fs::write(place.token(), content).unwrap(),
        }
        place.write("a", &format!("{more}REDACT_FIELD=z,{redact}"));
        watcher.poll(true);
        let error = refused(&report).unwrap_or_default();
        assert!(error.contains("token "), "{redact}: {error}");
        assert!(
            rules.describe().ends_with(redact),
            "{redact}: {}",
            rules.describe()
        );
        assert!(report.is_forwarding());
        place.write("a", "REDACT_FIELD=z");
        fs::write(place.token(), "Splunk x").unwrap();
        watcher.poll(true);
        assert_eq!((refused(&report), &*rules.describe()), (None, "redact z"));
    }
}

#[test]
fn what_another_webhook_may_know_is_not_sent_to_the_present_one() {
    let place = Place::new();
    fs::write(place.token(), "Splunk x").unwrap();
    place.write("a", "");
    let (mut watcher, report) = place.start();
    let rules = watcher.rules.clone();
    place.write("a", "REDACT=s3");
    watcher.poll(true);
    fs::remove_file(place.token()).unwrap();
    for (host, more, in_force) in [
        ("b", "EXCLUDE=a=1", "redact s3"),
        ("b", "EXCLUDE=a=1\nREDACT=s3", "exclude a=1, redact s3"),
        // It was asked for, and concerns this webhook.
        ("a", "", ""),
    ] {
        place.write(host, more);
        watcher.poll(true);
        assert!(refused(&report).is_some());
        assert_eq!(rules.describe(), in_force, "{host} {more}");
    }
}

#[test]
fn settings_that_are_wrong_themselves_are_not_taken_in_part() {
    let place = Place::new();
    fs::write(place.token(), "Splunk x").unwrap();
    place.write("a", "");
    let (mut watcher, report) = place.start();
    let rules = watcher.rules.clone();
    for wrong in ["HEADER=Host: x", "BATCH_BYTES=0", "CA_FILE=/missing"] {
        place.write("a", &format!("{wrong}\nREDACT=s3"));
        watcher.poll(true);
        assert!(refused(&report).is_some());
        assert_eq!(rules.describe(), "", "{wrong}");
    }
}
