//! What an administrator is told: by `enable` when something else is to be done, by `check`, `show`, and in a terminal.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::support::control::{ENABLE, Settings, TOKEN};
use crate::support::{Agent, BINARY, Webhook, eventually};

/// A `systemctl` that knows the service so, first in the path.
fn systemd_says(dir: &TempDir, properties: &str) -> String {
    let path = dir.path().join("systemctl");
    fs::write(&path, format!("#!/bin/sh\nprintf '%s\\n' {properties}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    format!(
        "{}:{}",
        dir.path().display(),
        std::env::var("PATH").unwrap()
    )
}

#[test]
fn enable_resumes_with_what_disable_has_kept() {
    let settings = Settings::new();
    let hook = Webhook::start();
    settings.must(&["enable", "--endpoint", &hook.url(), "--auth-token", TOKEN]);
    settings.must(&["disable"]);
    let before = settings.text();
    let said = settings.must(&["enable"]);
    let expected = "enabled: audit events go to http://127.";
    assert!(said.starts_with(expected), "{said}");
    assert_eq!(
        settings.text(),
        before.replace("ENABLED=false", "ENABLED=true")
    );
    // Once for each enable.
    let said = String::from_utf8(hook.delivered_events().concat()).unwrap();
    assert_eq!(said.matches("s3_audit_webhook_test").count(), 2, "{said}");
    let said = Settings::new().run(&["enable"]);
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.contains("fix: add --endpoint URL"), "{said:?}");
}

#[test]
fn enable_ends_with_a_test_and_warns_of_likely_mistakes() {
    let settings = Settings::new();
    let hook = Webhook::start();
    let enable = ["enable", "--endpoint", &*hook.url(), "--auth-token", TOKEN];
    let said = settings.must(&enable);
    assert!(said.contains("delivered search for "), "{said}");
    let posted = String::from_utf8(hook.delivered_events()[0].clone()).unwrap();
    assert!(posted.contains("s3_audit_webhook_test"), "{posted}");
    settings.must(&[&enable[..], &["--no-test"]].concat());
    assert_eq!(hook.request_count(), 1);
    // What fails is in the file all the same: the webhook may be down.
    let said = settings.run(&[
        "enable",
        "--endpoint",
        "http://127.0.0.1:1/x",
        "--auth-token",
        TOKEN,
    ]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let expected =
        "the settings are written, but the test failed: not delivered: connection refused";
    assert!(said.stderr.contains(expected), "{said:?}");
    assert!(settings.has("S3_AUDIT_WEBHOOK_ENDPOINT=http://127.0.0.1:1/x"));
    let said = settings.run(&[
        "enable",
        "--no-test",
        "--endpoint",
        "http://127.0.0.1:8000",
        "--insecure",
        "--auth-token",
        TOKEN,
    ]);
    for part in [
        "has no path",
        "port 8000 is that of Splunk's web interface",
        "S3_AUDIT_WEBHOOK_INSECURE: has no effect without an https:// endpoint",
    ] {
        assert!(
            said.stderr.contains("warning: ") && said.stderr.contains(part),
            "{said:?}"
        );
    }
}

#[test]
fn enable_names_the_service_that_had_failed_and_says_when_no_agent_runs() {
    let dir = TempDir::new().unwrap();
    let settings = Settings::of(&format!(
        "S3_AUDIT_WEBHOOK_STATE_DIR={}\n",
        dir.path().display()
    ));
    let said = |properties: &str| {
        let path = systemd_says(&dir, properties);
        settings.run_with(&ENABLE, "", &[("PATH", &path)]).stdout
    };
    let failed = said("LoadState=loaded ActiveState=failed");
    assert!(
        failed.contains("start it again: systemctl restart s3-audit-webhook"),
        "{failed}"
    );
    let none = said("LoadState=loaded ActiveState=inactive");
    assert!(
        none.contains("no agent runs on this host, as far as ")
            && none.contains(" shows; start one: systemctl enable --now"),
        "{none}"
    );
    let none = said("LoadState=not-found");
    assert!(none.contains("start one: s3-audit-webhook run"), "{none}");
    assert!(!said("LoadState=loaded ActiveState=active").contains("agent runs"));
    let agent = Agent::command()
        .args(["run", "--config"])
        .arg(settings.path())
        .without("S3_AUDIT_WEBHOOK_STATE_DIR");
    let agent = agent.source("unix-listen:s").in_dir(dir.path()).spawn();
    agent.wait_for_log("started:");
    eventually("its status", || {
        let said = said("LoadState=not-found");
        (!said.contains("agent runs")).then_some(())
    });
}

#[test]
fn what_the_service_cannot_read_is_no_success_for_root() {
    if unsafe { libc::geteuid() } != 0 {
        return eprintln!("skipped: only root is more than the service");
    }
    let dir = TempDir::new().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let token = dir.path().join("token");
    fs::write(&token, TOKEN).unwrap();
    let file = token.to_str().unwrap();
    let hook = Webhook::start();
    let (settings, before) = (Settings::of("# empty\n"), "# empty\n");
    let url = hook.url();
    let mode = |mode| fs::set_permissions(&token, fs::Permissions::from_mode(mode)).unwrap();
    let run = |args: &[&str], properties: &str| {
        let path = systemd_says(&dir, &format!("LoadState=loaded {properties}"));
        let args = [args, &["--endpoint", &url, "--auth-token-file", file]].concat();
        settings.run_with(&args, "", &[("PATH", &path)])
    };
    for command in [
        &["test"][..],
        &["enable"],
        &["check", "--source=http:127.0.0.1:0"],
    ] {
        mode(0o600);
        let said = run(command, "User=nobody");
        assert_eq!(said.code, Some(1), "{said:?}");
        let expected = format!(
            "{file}: the service s3-audit-webhook can't read it: its user nobody may not; fix: "
        );
        assert!(said.stderr.contains(&expected), "{said:?}");
        assert!(hook.requests().is_empty() && settings.text() == before);
    }
    fs::remove_file(&token).unwrap();
    let said = run(&["check", "--source=http:127.0.0.1:0"], "User=nobody");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("an agent would wait"), "{said:?}");
    fs::write(&token, TOKEN).unwrap();
    mode(0o644);
    let said = run(&["test"], "User=nobody PrivateTmp=yes");
    assert!(
        said.stderr.contains("the unit hides /tmp from it"),
        "{said:?}"
    );
    // Of another group, that the unit has.
    mode(0o640);
    std::os::unix::fs::chown(&token, Some(0), Some(4)).unwrap();
    assert_eq!(run(&["test"], "User=nobody").code, Some(1));
    assert_eq!(
        run(&["test"], "User=nobody SupplementaryGroups=adm").code,
        Some(0)
    );
    mode(0o600);
    assert_eq!(run(&["test"], "User=root").code, Some(0));
    assert_eq!(
        run(&["enable"], "LoadState=not-found User=nobody").code,
        Some(0)
    );
}

/// Runs a shell script with a settings file in `/etc` that only root may read, in a mount namespace of its own, since it is
/// the default file that is meant: `$0` is the agent, `$AS` begins a command of another user. Its exit code, and what it
/// has said; None if that can't be tried here.
fn with_settings_of_root(script: &str, path: &str) -> Option<(Option<i32>, String)> {
    if unsafe { libc::geteuid() } != 0 || Path::new("/etc/s3-audit-webhook").exists() {
        eprintln!("skipped: it needs root, on a host without settings of its own");
        return None;
    }
    let before = "mount -t tmpfs none /etc && mkdir -m 755 /etc/s3-audit-webhook && cd /etc/s3-audit-webhook && \
                  echo nobody:x:65534:65534::/: >/etc/passwd && \
                  umask 077 && echo S3_AUDIT_WEBHOOK_BATCH_EVENTS=1 >webhook.env && ";
    let binary = TempDir::new().unwrap();
    fs::set_permissions(binary.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = binary.path().join("agent");
    // Not by this process: while another thread starts one, that would have the copy open for writing.
    let status = Command::new("cp").arg(BINARY).arg(&copy).status().unwrap();
    assert!(status.success());
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &format!("{before}{script}")])
        .arg(&copy)
        .env_clear()
        .env("PATH", path)
        .env("AS", "setpriv --reuid 65534 --regid 65534 --clear-groups")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.code(), String::from_utf8(said).unwrap()))
}

#[test]
fn a_user_who_may_not_read_the_settings_is_told_so() {
    let unread = "webhook.env: this user may not read the settings; fix: run this as root";
    for (command, code, expected) in [
        ("test", 1, unread),
        ("run --source=unix-listen:/tmp/unused", 1, unread),
        ("check --source=unix-listen:/tmp/unused", 1, unread),
        (
            "run --config=webhook.env",
            1,
            "webhook.env: can't be read: Permission denied",
        ),
        (
            "show --state-dir=/",
            1,
            "webhook.env: can't be read: permission denied; its settings are not used",
        ),
        (
            "disable",
            1,
            ".lock: Permission denied (os error 13); fix: run this as root",
        ),
        // None of these needs it.
        ("run --dry-run", 0, "stopped: "),
        ("check --dry-run", 0, "valid "),
    ] {
        let script = format!("exec $AS \"$0\" {command} </dev/null");
        let path = "/usr/sbin:/usr/bin:/sbin:/bin";
        let Some((found, said)) = with_settings_of_root(&script, path) else {
            return;
        };
        assert_eq!(found, Some(code), "{command}: {said}");
        assert!(said.contains(expected), "{command}: {said}");
    }
}

#[test]
fn root_is_told_when_the_running_service_cannot_read_its_settings() {
    let dir = TempDir::new().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let expected = "warning: /etc/s3-audit-webhook/webhook.env: the service can't read it: its user nobody may not; fix: \
                    systemctl restart s3-audit-webhook";
    for (properties, first, is_told) in [
        ("ActiveState=active User=nobody", "true", true),
        ("ActiveState=inactive User=nobody", "true", false),
        (
            "ActiveState=active User=nobody",
            "chgrp 65534 webhook.env && chmod 640 webhook.env",
            false,
        ),
    ] {
        let path = systemd_says(&dir, &format!("LoadState=loaded {properties}"));
        let script = format!("{first} && exec \"$0\" disable");
        let Some((code, said)) = with_settings_of_root(&script, &path) else {
            return;
        };
        assert_eq!(
            (code, said.contains(expected)),
            (Some(0), is_told),
            "{properties}: {said}"
        );
    }
}

#[test]
fn check_validates_settings_and_files_and_starts_nothing() {
    let settings = Settings::new();
    settings.enable(&[]);
    let socket = settings.dir.path().join("socket");
    let source = format!("--source=unix-listen:{}", socket.display());
    let absolute = std::path::absolute("a.log").unwrap();
    let twice = format!("--source=file:{},file:a.log", absolute.display());
    let long = format!("--source=unix-listen:/{}", "x".repeat(107));
    let said = settings.must(&["check", &source]);
    for part in [
        &*format!("source    unix-listen:{}", socket.display()),
        "webhook   webhook https://127.0.0.1:9",
        "valid ",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    assert!(!socket.exists());
    for (flag, code, what) in [
        ("--batch-events=0", 2, "--batch-events: 0 is too small"),
        // An agent waits for a mount that may come.
        (
            "--ca-file=/missing",
            1,
            "warning: webhook unavailable: --ca-file: /missing can't be read",
        ),
        ("--ca-file=/dev/zero", 1, "it is longer than 1 MiB"),
        ("--exclude=what", 2, "--exclude"),
        ("--source=http:0.0.0.0:0", 2, "give --listen-token-file"),
        ("--source=https:127.0.0.1:0", 2, "needs a certificate"),
        ("--source=fluents:127.0.0.1:0", 2, "needs a certificate"),
        (
            "--listen-token-file=/missing",
            1,
            "warning: --listen-token-file: /missing can't be read",
        ),
        (
            "--listen-token-file=/etc",
            1,
            "warning: --listen-token-file: /etc can't be read: Is a directory",
        ),
        (
            "--status-token-file=/missing",
            1,
            "warning: /missing: can't be read",
        ),
        (
            "--listen-token-file=/dev/null",
            1,
            "--listen-token-file: /dev/null",
        ),
        (
            "--listen-cert=/etc/hostname",
            1,
            "--listen-cert: /etc/hostname",
        ),
        (&long, 2, "a socket's path has 107 bytes at most"),
        ("--source=unix:@a", 2, "unix:@a: an abstract socket"),
        ("--source=unix-listen:@a", 2, "fix: use a path, or ./@"),
        (
            "--source=http:127.0.0.1:9,fluent:127.0.0.1:9",
            2,
            "--source: fluent:127.0.0.1:9: http:127.0.0.1:9 listens there; fix: ",
        ),
        (
            "--source=fluent:127.0.0.1:9,fluent:[::]:9",
            2,
            "--source: fluent:[::]:9: fluent:127.0.0.1:9 listens there; fix: ",
        ),
        (
            "--address-family=6",
            2,
            "--address-family: 127.0.0.1 is of the other family; fix: ",
        ),
        (
            &twice,
            2,
            "--source: file:a.log: given twice, also as file:/",
        ),
    ] {
        let said = settings.run(&["check", &source, flag]);
        assert_eq!(said.code, Some(code), "{said:?}");
        assert!(said.stderr.contains(what), "{said:?}");
        let is_awaited =
            what.contains("/missing") || flag.contains("/dev/zero") || flag.ends_with("=/etc");
        let says_so = said.stderr.contains("an agent would wait");
        assert_eq!(says_so, is_awaited, "{said:?}");
        if code == 2 {
            let said = settings.run(&["run", &source, flag]);
            assert_eq!(said.code, Some(code), "{said:?}");
            assert!(said.stderr.contains(what), "{said:?}");
        }
    }
    for command in ["check", "run"] {
        let excluded = ["--source=file:/a.log", "--exclude-files=*.gz,a.*"];
        let said = settings.run(&[command, excluded[0], excluded[1]]);
        assert_eq!(said.code, Some(2), "{said:?}");
        let what = "--source: file:/a.log: --exclude-files leaves it out; fix: ";
        assert!(said.stderr.contains(what), "{said:?}");
        let spool = format!("--spool-dir={}", settings.dir.path().display());
        let said = settings.run(&[command, &source, "--spool-bytes=1MiB", &spool]);
        assert_eq!(said.code, Some(1), "{said:?}");
        let what = "there are files of others; fix: ";
        assert!(said.stderr.contains(what), "{said:?}");
    }
    let page = "--status-listen=127.0.0.1:9";
    let said = settings.run(&["check", "--source=http:127.0.0.1:9", page]);
    assert_eq!(said.code, Some(2), "{said:?}");
    let what = "--status-listen: http:127.0.0.1:9: http:127.0.0.1:9 listens there; fix: ";
    assert!(said.stderr.contains(what), "{said:?}");
    let level = [("S3_AUDIT_WEBHOOK_LOG", "debugg")];
    let said = settings.run_with(&["check", &source], "", &level);
    assert_eq!(said.code, Some(2), "{said:?}");
    let what = "S3_AUDIT_WEBHOOK_LOG: 'debugg' is no log level; fix: ";
    assert!(said.stderr.contains(what), "{said:?}");
    for (options, what) in [
        (
            "--source=fluent:0.0.0.0:9",
            "fluent:0.0.0.0:9: anyone who can reach this address can send forged events",
        ),
        ("--source=http:127.0.0.1:0", "http:127.0.0.1:0: port 0 is"),
        (
            "--source=file:/proc",
            "file:/proc is not read: it is no regular file but a directory (fix: ",
        ),
        (
            "--status-listen=127.0.0.1:0",
            "--status-listen: 127.0.0.1:0: port 0 is",
        ),
        (
            "--buffer-bytes=64",
            "--buffer-bytes: 64 bytes is too little for most events; fix: ",
        ),
        (
            "--max-event-bytes=4",
            "--max-event-bytes: 4 bytes is too little for most events; fix: ",
        ),
        (
            "--max-rate=10",
            "--max-rate: 10 bytes is too little for most events; fix: ",
        ),
        (
            "--config=/missing.env",
            "/missing.env: no such file; until it is there, only flags and variables count",
        ),
        (
            "--insecure",
            "--source is not set: events would come from standard input, and a service, which has none, would end",
        ),
    ] {
        let said = settings.run(&["check", options]);
        let warning = format!("warning: {what}");
        assert!(
            said.code == Some(0) && said.stderr.contains(&warning),
            "{said:?}"
        );
    }
}

#[test]
fn rejected_settings_are_shown_until_they_are_right_again() {
    let hook = Webhook::start();
    let settings = Settings::new();
    settings.must(&[
        "enable",
        "--no-test",
        "--endpoint",
        &hook.url(),
        "--auth-token",
        TOKEN,
    ]);
    let right = settings.text();
    let state = settings.dir.path().join("state");
    let agent = Agent::command()
        .args(["run", "--status-listen=127.0.0.1:0", "--state-dir"])
        .arg(&state)
        .arg("--config");
    let agent = agent
        .arg(settings.path())
        .source("unix-listen:s")
        .in_dir(settings.dir.path())
        .spawn();
    agent.wait_for_log("started:");
    fs::write(settings.path(), right.replace("=true", "=perhaps")).unwrap();
    let state = state.to_str().unwrap();
    let shown = || {
        settings
            .run(&["status", "--color=always", "--state-dir", state])
            .stdout
    };
    eventually("the rejected settings", || {
        let shown = shown();
        (shown.contains("settings    \x1b[31mrejected for ") && shown.contains("perhaps"))
            .then_some(())
    });
    fs::write(settings.path(), right).unwrap();
    eventually("the settings are right", || {
        (!shown().contains("rejected for")).then_some(())
    });
    // On a terminal alone, unless they are asked for.
    let plain = settings.must(&["show", "--state-dir", state]);
    assert!(
        plain.contains("  up ") && !plain.contains('\x1b'),
        "{plain}"
    );
}

#[test]
fn show_can_be_watched() {
    let settings = Settings::new();
    let show = Agent::command()
        .args(["show", "--watch", "--state-dir"])
        .arg(settings.dir.path())
        .env("S3_AUDIT_WEBHOOK_CONFIG", settings.path())
        .spawn();
    eventually("it is shown again", || {
        (show.stdout().matches("no agent has reported").count() >= 2).then_some(())
    });
}
