//! What is wrong is refused at the start, with the name that its user wrote and what would be right.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use tempfile::TempDir;

use crate::support::{Agent, Webhook};

use super::rows::options;
use super::{NOWHERE, TOKEN, refusal, run, variable};

/// Whether a message holds this flag or variable, and not just a longer one.
fn names(message: &str, name: &str) -> bool {
    message.split([' ', ':', '\'']).any(|word| word == name)
}

#[test]
fn without_a_webhook_it_says_what_to_give() {
    let message = refusal(&["run"], &[]);
    for part in [
        "--endpoint URL",
        "--auth-token TOKEN",
        "--auth-token-file FILE",
        "S3_AUDIT_WEBHOOK_ENDPOINT",
        "S3_AUDIT_WEBHOOK_AUTH_TOKEN",
        "--dry-run",
    ] {
        assert!(message.contains(part), "no {part} in {message}");
    }
    assert_eq!(message.lines().count(), 1, "{message}");

    let message = refusal(&["run", "--endpoint", NOWHERE], &[]);
    assert!(message.contains("no token is set"), "{message}");
    assert!(message.contains("--auth-token TOKEN"), "{message}");
    let message = refusal(&["run", "--auth-token", TOKEN], &[]);
    assert!(message.contains("--endpoint URL"), "{message}");
}

/// What may pass by itself is no wrong usage, such as what is in a file that is just being written.
fn code_of(flag: &str, value: &str, log: &str) -> i32 {
    let passes = [
        "Cannot assign requested address",
        "can't be read: No such file",
    ];
    let path = Path::new(value.trim_start_matches("X-Key: @"));
    let is_content = !["config", "state-dir", "spool-dir"].contains(&flag) && path.is_file();
    let passes = passes.iter().any(|what| log.contains(what)) && !log.contains("CONFIG");
    match passes || is_content {
        true => 1,
        false => 2,
    }
}

#[test]
fn a_bad_value_is_refused_with_the_name_that_its_user_wrote_and_what_would_be_right() {
    let dir = TempDir::new().unwrap();
    for row in options(dir.path()) {
        let (flag, variable) = (format!("--{}", row.flag), variable(row.flag));
        for (number, (value, right)) in row.bad.iter().enumerate() {
            // A line of the file holds no line end, and loses the blanks around it.
            let fits_file = !value.contains('\n') && row.flag != "config";
            let fits = [true, !row.is_switch(), fits_file];
            // The first in every way, and the others, which the same code reads, in one way each.
            let one = (number..).map(|way| way % 3).find(|&way| fits[way]);
            let is_due = |way: usize| fits[way] && (number == 0 || one == Some(way));
            let from_variable = is_due(0).then(|| row.run(None, &[(&variable, value)]));
            let from_flag = is_due(1).then(|| row.run(Some(row.as_flag(value)), &[]));
            let named = from_variable.map(|ended| (ended, &variable)).into_iter();
            let named = named.chain(from_flag.map(|ended| (ended, &flag)));
            let file = dir.path().join("webhook.env");
            let from_file = is_due(2).then(|| {
                fs::write(&file, format!("# first\n{variable}='{value}'\n")).unwrap();
                let ended = row.run(None, &[("S3_AUDIT_WEBHOOK_CONFIG", file.to_str().unwrap())]);
                let place = format!("{}:2: {variable}", file.display());
                assert!(ended.2.contains(&place), "no {place} in:\n{}", ended.2);
                (ended, &variable)
            });
            for ((code, stdout, log), name) in named.chain(from_file) {
                assert_eq!(
                    (code, stdout.as_str()),
                    (Some(code_of(row.flag, value, &log)), ""),
                    "{name} {value:?}:\n{log}"
                );
                // Of a settings file its path, and the line in it, say more.
                let name = if row.flag == "config" { value } else { name };
                assert!(names(&log, name), "no {name} in:\n{log}");
                // What the operating system says has no fix that is always the same.
                let has_fix =
                    log.contains("fix: ") || log.contains("can't ") || log.contains("os error");
                assert!(
                    log.contains(right) && has_fix,
                    "{name} {value:?} lacks {right:?}:\n{log}"
                );
                assert!(!log.contains("started:"), "{log}");
                // The part of a list that is wrong is enough.
                let shown = value.trim().rsplit(',').next().unwrap_or_default();
                let secret = ["auth-token", "header"].contains(&row.flag);
                assert!(secret || log.contains(shown), "no {shown:?} in:\n{log}");
            }
        }
    }
}

/// What clap, and the parsers of values, say alone names neither the option nor what is wrong.
#[test]
fn what_is_wrong_with_a_value_is_said_wherever_it_is_found() {
    for (args, expected) in [
        (
            &["--batch-bytes", "-1"][..],
            "--batch-bytes: '-1' is no size; fix: ",
        ),
        (
            &["--redact", "S3"],
            "--redact: 'S3' is not known; fix: use s3",
        ),
        (
            &["--address-family=5"],
            "--address-family: '5' is not known; fix: use 4, 6 or any",
        ),
        (
            &["--redact-field=a b"],
            "--redact-field: 'a b' is no name; fix: ",
        ),
        (
            &["--endpoint=http://h/x # note"],
            "--endpoint: '#' is no URL",
        ),
        (
            &["--header=X-Key s3cret"],
            "--header: lacks the colon behind the name; fix: ",
        ),
    ] {
        let endpoint = format!("--endpoint={NOWHERE}");
        let args = [&["run", "--auth-token=none", &endpoint], args].concat();
        let message = refusal(&args, &[]);
        assert!(message.contains(expected), "no {expected:?} in {message}");
    }
    for (args, expected) in [
        (
            &["show", "--color", "foo"][..],
            "--color: 'foo' is not known; fix: use one of auto, always, never",
        ),
        (&["show", "--color="], "--color: lacks its value; fix: "),
        (
            &["run", "--dry-run=false"],
            "--dry-run: takes no value; fix: ",
        ),
        (
            &["check", "--hec-ack", "true"],
            "an argument belongs to no option; fix: leave it out; ",
        ),
        (
            &["run", "--batch-age=1s", "--batch-age=2s"],
            "--batch-age: is given twice; fix: give it once",
        ),
    ] {
        let message = refusal(args, &[]);
        assert!(message.contains(expected), "no {expected:?} in {message}");
    }
    let message = refusal(&["spool", "nope"], &[]);
    assert!(
        message.contains("'nope' is not known; fix: use list, cat or verify"),
        "{message}"
    );

    let bytes = OsStr::from_bytes(b"s3cr\xe9t");
    let flag = OsStr::from_bytes(b"--auth-token=s3cr\xe9t");
    let command = || Agent::command().arg("run");
    for (command, name) in [
        (
            command().env("S3_AUDIT_WEBHOOK_AUTH_TOKEN", bytes),
            "S3_AUDIT_WEBHOOK_AUTH_TOKEN",
        ),
        (command().arg(flag), "--auth-token"),
        (command().arg("--auth-token").arg(bytes), "an argument"),
    ] {
        let ended = command.run();
        let expected = format!("{name}: contains bytes that are not UTF-8; fix: ");
        assert_eq!(ended.code, Some(2), "{}", ended.log);
        assert!(
            ended.log.contains(&expected) && !ended.log.contains("s3cr"),
            "{}",
            ended.log
        );
    }
}

/// Who gives them believes that the webhook is verified, or knows this host.
#[test]
fn what_belongs_to_tls_is_refused_without_it() {
    let pin = format!("--pin-sha256={}", "0a".repeat(32));
    for option in [
        "--ca-file=ca.pem",
        "--client-cert=mine.pem",
        "--client-key=mine.key",
        "--tls-server-name=h",
        &pin,
    ] {
        let (name, _) = option.split_once('=').unwrap();
        let endpoints = format!("--endpoint={NOWHERE}");
        let log = refusal(&["run", &endpoints, "--auth-token=none", option], &[]);
        let expected = format!("{name}: is of no use with http://; fix: ");
        assert!(log.contains(&expected), "no {expected:?} in {log}");
    }
}

/// A settings file may have it from an endpoint that was `https://`.
#[test]
fn without_tls_insecure_has_no_effect_and_is_named() {
    let endpoint = format!("--endpoint={NOWHERE}");
    let args = ["check", &endpoint, "--auth-token=none", "--insecure"];
    let (code, _, log) = run(&args, &[]);
    assert_eq!(code, Some(0), "{log}");
    assert!(
        log.contains("--insecure: has no effect without an https:// endpoint"),
        "{log}"
    );
    assert!(!log.contains("not verified"), "{log}");
}

#[test]
fn what_an_option_names_and_is_not_there_is_waited_for() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    // Not even root can read this.
    let unreadable = dir.path().join("loop");
    symlink(&unreadable, &unreadable).unwrap();
    let (missing, inside) = (dir.path().join("missing/x"), file.join("x"));
    for path in [&missing, &inside, &unreadable, &dir.path().to_owned()] {
        let path = path.to_str().unwrap();
        for options in [
            "--auth-token-file=PATH",
            "--ca-file=PATH",
            "--sign-key-file=PATH",
            "--client-cert=PATH",
            "--header=X-Key: @PATH",
            "--status-token-file=PATH --status-listen=127.0.0.1:0",
            "--listen-token-file=PATH --source=stdin,http:127.0.0.1:0",
            "--listen-cert=PATH --source=stdin,fluents:127.0.0.1:0",
            "--listen-cert=PATH --listen-key=PATH --source=stdin,https:127.0.0.1:0",
            "--state-dir=PATH/state",
            "--spool-dir=PATH/spool --spool-bytes=1MiB",
            "--source=stdin,file:PATH/a.log",
            "--source=stdin,unix-listen:PATH/inside/sock",
            "--source=stdin,fluent:PATH/inside/sock",
            "--source=stdin,unix:PATH/inside/sock",
        ] {
            let options = options.replace("PATH", path).replace(" --", "\n--");
            let token =
                (!options.contains("--auth-token")).then(|| format!("--auth-token={TOKEN}"));
            let endpoint = "--endpoint=https://127.0.0.1:9/";
            let agent = Agent::command().args(["run", endpoint]);
            let agent = agent.args(options.lines()).args(token).spawn();
            agent.wait_for_log("started: ");
            agent.signal(libc::SIGTERM);
            let ended = agent.wait();
            assert_eq!(ended.code, Some(0), "{options}: {}", ended.log);
        }
    }
}

#[test]
fn limits_that_contradict_each_other_name_both_as_they_were_written() {
    let message = refusal(
        &[
            "run",
            "--endpoint",
            NOWHERE,
            "--auth-token",
            TOKEN,
            "--backoff-max",
            "1s",
        ],
        &[("S3_AUDIT_WEBHOOK_BACKOFF_MIN", "2s")],
    );
    assert!(
        message.contains("--backoff-max: 1s is less than"),
        "{message}"
    );
    assert!(
        message.contains("S3_AUDIT_WEBHOOK_BACKOFF_MIN, which is 2s"),
        "{message}"
    );
}

#[test]
fn a_limit_that_nobody_has_set_is_not_what_is_wrong() {
    let endpoint = format!("--endpoint={NOWHERE}");
    let args = ["check", &endpoint, "--auth-token=none", "--backoff-min=1h"];
    let message = refusal(&args, &[]);
    let expected = "--backoff-min: 1h00m is more than --backoff-max, which is 30s; fix: use less, ";
    assert!(message.contains(expected), "{message}");
}

#[test]
fn a_source_that_cannot_be_opened_keeps_all_others_from_starting() {
    let dir = TempDir::new().unwrap();
    let hook = Webhook::start();
    let socket = dir.path().join("audit.sock");
    let first = format!("unix-listen:{},stdin", socket.display());
    let wrong = dir.path().join("file");
    fs::write(&wrong, "").unwrap();
    let wrong = format!("unix-listen:{}", wrong.display());

    let agent = Agent::command()
        .arg("run")
        .endpoint(&hook.url())
        .token(TOKEN);
    let agent = agent.source(&first).source(&wrong);
    let ended = agent.args(["--batch-age", "0"]).input("{}\n").run();

    assert_eq!(ended.code, Some(2), "{}", ended.log);
    assert!(ended.log.contains(&wrong), "{}", ended.log);
    assert_eq!(
        ended.log.lines().count(),
        1,
        "nothing was started: {}",
        ended.log
    );
    assert_eq!(hook.connections(), 0, "nothing was posted");
    assert!(
        !socket.exists(),
        "the socket of the first source is gone again"
    );
}

#[test]
fn a_socket_on_which_another_process_listens_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("audit.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let source = format!("unix-listen:{}", path.display());

    let args = [
        "run",
        "--endpoint",
        NOWHERE,
        "--auth-token",
        TOKEN,
        "--source",
        &source,
    ];
    let (code, stdout, log) = run(&args, &[]);

    assert_eq!(
        (code, stdout.as_str()),
        (Some(1), ""),
        "not the command line is wrong: {log}"
    );
    assert!(
        log.contains(&source) && log.contains("another process listens"),
        "{log}"
    );
    // The agent has looked in, and nothing else has changed.
    drop(listener.accept().unwrap());
    drop(UnixStream::connect(&path).unwrap());
    drop(listener.accept().unwrap());
}
