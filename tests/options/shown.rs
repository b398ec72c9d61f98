//! What is shown: help and version on standard output, and no secret anywhere.

use std::fs;

use tempfile::TempDir;

use super::{NOWHERE, SECRET, refusal, run};

#[test]
fn no_message_and_no_help_shows_a_secret() {
    let silent = |args: &[&str], env: &[(&str, &str)]| {
        let message = refusal(&[&["run"], args].concat(), env);
        assert!(!message.contains(SECRET), "{message}");
        message
    };
    for url in [
        format!("https://user:{SECRET}@hec/"),
        format!("user:{SECRET}@hec:8088"),
        format!("https:/user:{SECRET}@hec/"),
        format!("https://us er:{SECRET}@hec/"),
        // Not escaped, these end the host's part of the URL for whoever reads it.
        format!("https://user:{SECRET}/x@hec/"),
        format!("https://user:{SECRET}?x@hec/"),
        format!("https://user:{SECRET}#x@hec/"),
        format!("hec/raw?token={SECRET}"),
        format!("ftp://hec/#{SECRET}"),
    ] {
        let message = silent(&["--endpoint", &url, "--auth-token", SECRET], &[]);
        assert!(message.contains("--endpoint"), "{message}");
        let env = ("S3_AUDIT_WEBHOOK_ENDPOINT", url.as_str());
        let message = silent(&["--auth-token", SECRET], &[env]);
        assert!(message.contains(env.0), "{message}");
    }

    let dir = TempDir::new().unwrap();
    let file = dir.path().join("token");
    for token in [
        format!("{SECRET}\nX: y"),
        format!("{SECRET}é"),
        format!("{SECRET}\u{7f}"),
    ] {
        silent(&["--endpoint", NOWHERE, "--auth-token", &token], &[]);
        let env = ("S3_AUDIT_WEBHOOK_AUTH_TOKEN", token.as_str());
        silent(&["--endpoint", NOWHERE], &[env]);
        fs::write(&file, token).unwrap();
        silent(
            &[
                "--endpoint",
                NOWHERE,
                "--auth-token-file",
                file.to_str().unwrap(),
            ],
            &[],
        );
    }
    fs::write(&file, [SECRET.as_bytes(), b"\xff"].concat()).unwrap();
    silent(
        &[
            "--endpoint",
            NOWHERE,
            "--auth-token-file",
            file.to_str().unwrap(),
        ],
        &[],
    );

    // Quotes forgotten, an option misspelt, given twice, and something else that is wrong.
    let message = silent(
        &["--endpoint", NOWHERE, "--auth-token", "Splunk", SECRET],
        &[],
    );
    assert!(
        message.contains("--auth-token 'Splunk <token>'"),
        "{message}"
    );
    let token = format!("--auth-token={SECRET}");
    silent(
        &["--endpoint", NOWHERE, &format!("--auth-tokn={SECRET}")],
        &[],
    );
    silent(&["--endpoint", NOWHERE, &token, &token], &[]);
    silent(&["--endpoint", NOWHERE, &token, "--batch-age=soon"], &[]);

    let url = format!("https://hec/raw?token={SECRET}");
    let env = [
        ("S3_AUDIT_WEBHOOK_AUTH_TOKEN", SECRET),
        ("S3_AUDIT_WEBHOOK_ENDPOINT", &*url),
    ];
    for args in [&["run", "--help"][..], &["run", "-h"], &["help", "run"]] {
        let (code, help, _) = run(args, &env);
        assert_eq!(code, Some(0));
        assert!(help.contains("--auth-token"), "{help}");
        assert!(!help.contains(SECRET), "{help}");
    }
}

/// Where the name of its file belongs.
#[test]
fn a_secret_in_place_of_its_file_is_refused_unseen() {
    let splunk = format!("Splunk {SECRET}");
    let hook = format!("whsec_{SECRET}");
    let header = format!("X: @{SECRET}");
    let token = "--auth-token=none";
    let http = "--source=http:127.0.0.1:0";
    for args in [
        &["--auth-token-file", &splunk][..],
        &["--auth-token-file", SECRET],
        &[token, "--sign-key-file", &hook],
        &[token, "--header", &header],
        &[token, "--client-cert", &hook],
        &[token, "--client-cert=/x", "--client-key", &hook],
        &[token, http, "--listen-token-file", SECRET],
        &[token, http, "--listen-cert=/x", "--listen-key", SECRET],
        &[
            token,
            "--status-listen=127.0.0.1:0",
            "--status-token-file",
            SECRET,
        ],
    ] {
        // The webhook's options are also those of `test`.
        let of_agent = args.iter().any(|arg| arg.contains("127.0.0.1"));
        let commands = ["run", "check", "test"];
        for command in &commands[..if of_agent { 2 } else { 3 }] {
            let endpoint = ["--endpoint", "https://127.0.0.1:9/"];
            let (code, stdout, log) = run(&[&[*command], &endpoint[..], args].concat(), &[]);
            assert_eq!(code, Some(2), "{command} {args:?}: {log}");
            assert!(log.contains("no file has this name"), "{command}: {log}");
            assert!(
                !(stdout + &log).contains(SECRET),
                "{command} {args:?}: {log}"
            );
        }
    }
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("webhook.env");
    let text = format!("ENDPOINT=https://h/\nAUTH_TOKEN_FILE={splunk}\nSIGN_KEY_FILE={hook}\n");
    let lines = text
        .lines()
        .map(|line| format!("S3_AUDIT_WEBHOOK_{line}\n"));
    fs::write(&file, lines.collect::<String>()).unwrap();
    let state = dir.path().to_str().unwrap();
    for (more, shown) in [(&[][..], "https://h/"), (&["--json"], "\"webhook\": null")] {
        let args = [
            "show",
            "--config",
            file.to_str().unwrap(),
            "--state-dir",
            state,
        ];
        let (_, stdout, log) = run(&[&args[..], more].concat(), &[]);
        assert!(stdout.contains(shown), "{stdout}{log}");
        assert!(!(stdout + &log).contains(SECRET), "{log}");
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    let (_, short, _) = run(&["run", "-h"], &[]);
    for line in short.lines().filter(|line| line.starts_with("      --")) {
        assert!(line.trim().contains("  "), "one line for each: {line}");
    }
    let (code, version, log) = run(&["--version"], &[]);
    let expected = format!("s3-audit-webhook {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((code, version, log), (Some(0), expected, String::new()));

    let (code, help, log) = run(&["--help"], &[]);
    assert_eq!((code, log), (Some(0), String::new()));
    assert!(help.contains("Usage: s3-audit-webhook <COMMAND>"), "{help}");

    for wrong in [&[][..], &["walk"], &["run", "--no-such-option"]] {
        refusal(wrong, &[]);
    }
}
