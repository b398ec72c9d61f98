//! What is wrong in the file, takes a restart or does nothing is told once.

use std::fs;

use crate::delivery::{feed, finish, lines_of, numbered};
use crate::support::{Agent, Webhook, end_input};

use super::{Place, TOKEN, disabled, webhook};

#[test]
fn a_wrong_file_changes_nothing_and_is_told_once_with_its_line() {
    let hook = Webhook::start();
    let place = Place::new();
    let right = webhook(&hook.url(), TOKEN);
    let missing = place.0.path().join("missing");
    let wrong = [
        ("a word\n".to_owned(), ":1: is neither NAME=value"),
        (
            format!("{right}S3_AUDIT_WEBHOOK_UNHEALTHY_AFTER=soon\n"),
            ":3: S3_AUDIT_WEBHOOK_UNHEALTHY_AFTER",
        ),
        (
            format!("{right}S3_AUDIT_WEBHOOK_BUFFER_EVENTS=0\n"),
            ":3: S3_AUDIT_WEBHOOK_BUFFER_EVENTS",
        ),
        (
            format!("{right}{right}"),
            ":3: S3_AUDIT_WEBHOOK_ENDPOINT is already set on line 1",
        ),
        (
            webhook("ftp://hec/", TOKEN),
            ":1: S3_AUDIT_WEBHOOK_ENDPOINT",
        ),
        (
            webhook(&hook.url(), "a\tb"),
            ":2: S3_AUDIT_WEBHOOK_AUTH_TOKEN",
        ),
        (right.lines().next().unwrap().to_owned(), "no token is set"),
        (
            right.lines().nth(1).unwrap().to_owned(),
            "S3_AUDIT_WEBHOOK_ENDPOINT is missing",
        ),
        (String::new(), "S3_AUDIT_WEBHOOK_ENDPOINT is missing"),
        (
            right[..right.len() - 5].to_owned(),
            ":2: S3_AUDIT_WEBHOOK_AUTH_TOKEN: lacks its closing quote",
        ),
        (
            format!("{right}S3_AUDIT_WEBHOOK_CA_FILE={}\n", missing.display()),
            ":3: S3_AUDIT_WEBHOOK_CA_FILE",
        ),
        // Nothing that a running agent applies, but it would not start again.
        (
            format!("{right}S3_AUDIT_WEBHOOK_LISTEN_KEY=/x\n"),
            ":3: S3_AUDIT_WEBHOOK_LISTEN_KEY: is of no use without --listen-cert",
        ),
        (
            format!("{right}S3_AUDIT_WEBHOOK_SOURCE=stdin,stdin\n"),
            ":3: S3_AUDIT_WEBHOOK_SOURCE: stdin: given twice",
        ),
        (
            format!("{right}S3_AUDIT_WEBHOOK_REJECT_FILE=/\n"),
            ":3: S3_AUDIT_WEBHOOK_REJECT_FILE: / is not a regular file",
        ),
        (
            format!(
                "{right}S3_AUDIT_WEBHOOK_REJECT_FILE={}\n",
                place.file().display()
            ),
            "webhook.env is for settings, or is named in them",
        ),
        (
            format!("{right}S3_AUDIT_WEBHOOK_SOURCE=http:0.0.0.0:9080\n"),
            "others on the network could post forged events",
        ),
        (
            format!("{right}S3_AUDIT_WEBHOOK_SOURCE=https:127.0.0.1:9080\n"),
            ":3: S3_AUDIT_WEBHOOK_SOURCE: https:127.0.0.1:9080: needs a certificate",
        ),
        (
            format!(
                "{right}S3_AUDIT_WEBHOOK_SOURCE=file:/x/a.log\nS3_AUDIT_WEBHOOK_EXCLUDE_FILES=*.log\n"
            ),
            "--exclude-files leaves it out",
        ),
        (
            format!("{right}S3_AUDIT_WEBHOOK_SOURCE=unix:/{}\n", "a".repeat(200)),
            "a socket's path has 107 bytes at most",
        ),
    ];
    place.write(&right);
    let mut agent = place.start(&[]);
    let mut sent = 0;
    let mut tell = |agent: &mut Agent, what: &str| {
        agent.signal(libc::SIGHUP);
        let line = agent.wait_for_nth_log(sent + 1, "keeping the previous settings");
        assert!(line.contains(what), "{line}");
        feed(agent, &numbered(sent..sent + 1));
        sent += 1;
        hook.wait_for_events(sent);
    };
    for (number, (text, what)) in wrong.iter().enumerate() {
        place.write(text);
        tell(&mut agent, what);
        place.write(&right);
        agent.signal(libc::SIGHUP);
        agent.wait_for_nth_log(number + 1, "the settings are valid again");
    }
    fs::remove_file(place.file()).unwrap();
    tell(&mut agent, "can't be read: it is not there");
    fs::create_dir(place.file()).unwrap();
    tell(&mut agent, "Is a directory");

    let log = agent.log();
    assert_eq!(lines_of("ERROR", &log).len(), wrong.len() + 2, "{log}");
    assert!(!log.contains("changed ("), "{log}");
    finish(agent, &hook, &numbered(0..sent));
}

#[test]
fn what_takes_a_restart_is_said_once_and_the_rest_taken_over() {
    let hook = Webhook::start();
    let place = Place::new();
    let right = webhook(&hook.url(), TOKEN);
    place.write(&right);
    let agent = place.start(&[]);
    place.write(&format!(
        "{right}S3_AUDIT_WEBHOOK_SOURCE=stdin,unix:/nowhere\nS3_AUDIT_WEBHOOK_BATCH_EVENTS=5\n"
    ));
    agent.wait_for_log(
        ":4: S3_AUDIT_WEBHOOK_BATCH_EVENTS has changed; restart the agent to apply it",
    );
    agent.wait_for_log(":3: S3_AUDIT_WEBHOOK_SOURCE has changed");
    place.write(&format!(
        "{}S3_AUDIT_WEBHOOK_SOURCE=stdin,unix:/nowhere\nS3_AUDIT_WEBHOOK_BATCH_EVENTS=5\n",
        disabled(&right)
    ));
    agent.wait_for_log("webhook disabled by");
    let (_, log) = end_input(agent);
    assert_eq!(
        log.matches("restart the agent to apply it").count(),
        2,
        "{log}"
    );
}

/// What is in a file may pass by itself, and is no reason to keep the rules from being applied.
#[test]
fn a_restart_that_would_fail_now_is_told() {
    let hook = Webhook::start();
    let place = Place::new();
    let right = webhook(&hook.url(), TOKEN);
    place.write(&right);
    let agent = place.start(&[]);
    let dir = place.0.path();
    let [empty, spool] = ["empty", "spool"].map(|name| dir.join(name));
    fs::write(&empty, "").unwrap();
    fs::create_dir(&spool).unwrap();
    fs::write(spool.join("mine"), "").unwrap();
    let (empty, spool) = (empty.display(), spool.display());
    for (number, (more, what)) in [
        (
            format!("LISTEN_TOKEN_FILE={empty}"),
            "S3_AUDIT_WEBHOOK_LISTEN_TOKEN_FILE: ",
        ),
        (
            format!("LISTEN_CERT={empty}"),
            "S3_AUDIT_WEBHOOK_LISTEN_CERT: ",
        ),
        (
            format!("SPOOL_DIR={spool}\nS3_AUDIT_WEBHOOK_SPOOL_BYTES=1GiB"),
            "S3_AUDIT_WEBHOOK_SPOOL_DIR: ",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        place.write(&format!(
            "{right}S3_AUDIT_WEBHOOK_{more}\nS3_AUDIT_WEBHOOK_REDACT_FIELD=a{number}\n"
        ));
        agent.signal(libc::SIGHUP);
        let line = agent.wait_for_nth_log(number + 1, "WARN  a restart would fail now: ");
        assert!(line.contains(what), "{line}");
        agent.wait_for_log(&format!("; rules: redact a{number}"));
    }
    let (_, log) = end_input(agent);
    assert_eq!(lines_of("ERROR", &log), [""; 0]);
}

/// What was never in effect needs no restart when it goes.
#[test]
fn what_is_removed_takes_a_restart_only_if_the_agent_was_started_with_it() {
    let hook = Webhook::start();
    let place = Place::new();
    let right = webhook(&hook.url(), TOKEN);
    let started = format!("{right}S3_AUDIT_WEBHOOK_BATCH_EVENTS=7\n");
    place.write(&started);
    let agent = place.start(&[]);
    place.write(&format!("{right}S3_AUDIT_WEBHOOK_BATCH_BYTES=5\n"));
    agent
        .wait_for_log("  S3_AUDIT_WEBHOOK_BATCH_EVENTS was removed; restart the agent to apply it");
    agent.wait_for_log(
        ":3: S3_AUDIT_WEBHOOK_BATCH_BYTES has changed; restart the agent to apply it",
    );
    place.write(&disabled(&started));
    agent.wait_for_log("webhook disabled by");
    let (_, log) = end_input(agent);
    let count = log.matches("restart the agent to apply it").count();
    assert_eq!(count, 2, "{log}");
}

#[test]
fn settings_that_do_nothing_are_told_at_start() {
    let hook = Webhook::start();
    let place = Place::new();
    place.write(&format!(
        "{}S3_AUDIT_WEBHOOK_ENDPONT=x\nPATH=/bin\nS3_AUDIT_WEBHOOK_SPOOL_SYNC=always\n",
        webhook(&hook.url(), TOKEN)
    ));
    let agent = place.start(&[]);
    agent.wait_for_log(":3: S3_AUDIT_WEBHOOK_ENDPONT is not a setting of this version; ignored");
    agent.wait_for_log(":5: S3_AUDIT_WEBHOOK_SPOOL_SYNC: has no effect without --spool-bytes");
    let (_, log) = end_input(agent);
    assert_eq!(lines_of("WARN", &log).len(), 2, "{log}");
}

/// Misspelt names, names with another case or without what all begin with, and settings that only the environment can
/// have; but not what the environment has too, which may be made of this file.
#[test]
fn names_in_the_file_that_are_no_settings_are_told() {
    let hook = Webhook::start();
    let place = Place::new();
    place.write(&format!(
        "{}S3_AUDIT_WEBHOOK_LOG=off\nS3_AUDIT_WEBHOOK_CONFIG=/x\nBATCH_BYTES=1\n\
         s3_audit_webhook_batch_bytes=1\nS3_AUDIT_WEBHOK_COMPRESS=gzip\nBATCH_BYTE=1\nNO_PROXY=h\n",
        webhook(&hook.url(), TOKEN)
    ));
    let command = place.command(&[]).env("NO_PROXY", "h");
    let agent = command.spawn();
    let here = "is not a setting of the settings file; ignored; fix: set it in the environment";
    let write =
        "is not a setting of this version; ignored; fix: write S3_AUDIT_WEBHOOK_BATCH_BYTES";
    agent.wait_for_log(&format!(":3: S3_AUDIT_WEBHOOK_LOG {here}"));
    agent.wait_for_log(&format!(":4: S3_AUDIT_WEBHOOK_CONFIG {here}"));
    agent.wait_for_log(&format!(":5: BATCH_BYTES {write}"));
    agent.wait_for_log(&format!(":6: s3_audit_webhook_batch_bytes {write}"));
    let correct = "is not a setting of this version; ignored; fix: correct the name, or remove it";
    agent.wait_for_log(&format!(":7: S3_AUDIT_WEBHOK_COMPRESS {correct}"));
    agent.wait_for_log(&format!(":8: BATCH_BYTE {correct}"));
    let (_, log) = end_input(agent);
    assert_eq!(lines_of("WARN", &log).len(), 6, "{log}");
}

/// Someone who adds a rule with a typo to the file of a running agent must not believe that it is in force.
#[test]
fn settings_that_do_nothing_are_told_when_a_running_agent_reads_them_and_when_it_is_asked() {
    let hook = Webhook::start();
    let place = Place::new();
    let old = format!("{}S3_AUDIT_WEBHOOK_OLD=x\n", webhook(&hook.url(), TOKEN));
    place.write(&old);
    let agent = place.start(&[]);
    place.write(&format!(
        "{old}S3_AUDIT_WEBHOOK_REDCT=s3\nS3_AUDIT_WEBHOOK_SPOOL_SYNC=always\n"
    ));
    let unknown = ":4: S3_AUDIT_WEBHOOK_REDCT is not a setting of this version; ignored";
    agent.wait_for_log(unknown);
    agent.wait_for_log(":5: S3_AUDIT_WEBHOOK_SPOOL_SYNC: has no effect without --spool-bytes");
    assert_eq!(
        agent.log().matches("WEBHOOK_OLD is").count(),
        1,
        "{}",
        agent.log()
    );
    agent.signal(libc::SIGHUP);
    agent.wait_for_log("settings read again: nothing changed");
    let (_, log) = end_input(agent);
    assert_eq!(log.matches(unknown).count(), 2, "{log}");
    assert_eq!(log.matches("WEBHOOK_OLD is").count(), 2, "{log}");
}
