//! `enable` and `disable`, as an administrator types them.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use tempfile::TempDir;

use crate::support::control::{ENABLE, ENDPOINT, Settings, TOKEN};
use crate::support::{Agent, AgentCommand, Authority, BINARY, STATE_DIR, Webhook};

#[test]
fn the_guides_lines_work_as_printed() {
    let settings = Settings::new();
    for path in [&[][..], &["s3", "cluster", "audit-webhook"]] {
        let command = |rest: &[&str]| settings.must(&[path, rest].concat());
        let said = command(&[
            "enable",
            "--no-test",
            "--endpoint=https://splunk-server:8088/services/collector/raw",
            r#"--auth-token=\"Splunk B5A79AAD-D822-46CC-80D1-819F80D7BFB0\""#,
        ]);
        let file = settings.path().display().to_string();
        for part in ["enabled", "https://splunk-server:8088", &file, "within 5 s"] {
            assert!(said.contains(part), "no {part:?} in: {said}");
        }
        let text = settings.text();
        assert!(text.starts_with("# Settings of s3-audit-webhook"), "{text}");
        assert!(settings.has("S3_AUDIT_WEBHOOK_ENABLED=true"), "{text}");
        let endpoint =
            "S3_AUDIT_WEBHOOK_ENDPOINT=https://splunk-server:8088/services/collector/raw";
        assert!(settings.has(endpoint), "{text}");
        let token = format!("S3_AUDIT_WEBHOOK_AUTH_TOKEN=\"{TOKEN}\"");
        assert!(settings.has(&token), "{text}");

        let said = command(&["disable"]);
        assert!(
            said.contains("disabled") && said.contains("kept: "),
            "{said}"
        );
        let text = settings.text();
        assert!(settings.has("S3_AUDIT_WEBHOOK_ENABLED=false"), "{text}");
        assert!(settings.has(endpoint) && settings.has(&token), "{text}");
    }
}

#[test]
fn an_agent_posts_to_what_was_enabled_until_it_is_disabled() {
    let hook = Webhook::start();
    let settings = Settings::new();
    let config = settings.path();
    let agent = || {
        let agent = Agent::command().arg("run").arg("--config").arg(&config);
        let agent = agent.arg("--state-dir").arg(settings.dir.path());
        agent.input("{}\n").run()
    };

    settings.must(&[
        "enable",
        "--no-test",
        "--endpoint",
        &hook.url(),
        "--auth-token",
        TOKEN,
    ]);
    assert_eq!(agent().balance().delivered, 1);
    assert_eq!(hook.requests()[0].header("Authorization"), Some(TOKEN));

    settings.must(&["disable"]);
    assert_eq!(agent().balance().delivered, 0);
    assert_eq!(hook.request_count(), 1);
}

#[test]
fn endpoint_and_token_are_mandatory() {
    let settings = Settings::new();
    let refused = |args: &[&str], parts: &[&str]| {
        let said = settings.run(&[&["enable"], args].concat());
        assert_eq!(said.code, Some(2), "{args:?}: {said:?}");
        for part in parts {
            assert!(said.stderr.contains(part), "no {part:?}: {said:?}");
        }
    };
    let url = format!("--endpoint={ENDPOINT}");
    let token = format!("--auth-token={TOKEN}");
    refused(&[], &["--endpoint URL", "--auth-token TOKEN"]);
    refused(&[&url], &["--auth-token TOKEN", "--auth-token-file FILE"]);
    refused(&[&token], &["--endpoint URL"]);
    refused(&[&url, "--auth-token="], &["--auth-token: is empty"]);
    refused(&[&url, r#"--auth-token=\"\""#], &["--auth-token: is empty"]);
    refused(&["--endpoint=", &token], &["--endpoint: ''"]);
    assert!(!settings.path().exists(), "nothing was written");

    // Also where the file still has them.
    settings.enable(&[]);
    settings.must(&["disable"]);
    let before = settings.text();
    refused(&[&url], &["--auth-token TOKEN"]);
    assert_eq!(settings.text(), before);

    // And where this shell's environment has them: that is not what was asked for.
    let settings = Settings::new();
    let env = [
        ("S3_AUDIT_WEBHOOK_ENDPOINT", ENDPOINT),
        ("S3_AUDIT_WEBHOOK_AUTH_TOKEN", TOKEN),
    ];
    assert_eq!(settings.run_with(&["enable"], "", &env).code, Some(2));
}

#[test]
fn a_wrong_flag_is_named_and_nothing_is_written() {
    const UNREADABLE: &str = "missing can't be read: No such file or directory (os error 2); fix: ";
    let settings = Settings::new();
    for (flag, value, right) in [
        ("--endpoint", "hec:8088", "fix: use a URL such as"),
        (
            "--endpoint",
            "https://user:B5A79AAD-D822@hec/",
            "--auth-token",
        ),
        ("--auth-token", "B5A79AAD-D822\nX: y", "control character"),
        ("--auth-token-file", "./missing", UNREADABLE),
        ("--auth-token-file", "missing", "is not shown"),
        ("--ca-file", "missing", UNREADABLE),
        ("--header", "X: @./missing", UNREADABLE),
        ("--sign-key-file", "./missing", UNREADABLE),
        ("--request-timeout", "soon", "is no duration; fix: "),
        ("--connect-timeout", "0", "fix: use 1ms or more"),
        ("--ca-file", "a\nb", "can't be read"),
        ("--batch-age", "1s", "unexpected argument"),
    ] {
        let mut args = vec!["enable".to_owned(), format!("{flag}={value}")];
        let rest = [("--endpoint", ENDPOINT), ("--auth-token", TOKEN)];
        let rest = rest.iter().filter(|(name, _)| !flag.starts_with(name));
        args.extend(rest.map(|(name, value)| format!("{name}={value}")));
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let said = settings.run(&args);
        assert_eq!((said.code, &*said.stdout), (Some(2), ""), "{said:?}");
        assert!(said.stderr.contains(flag), "{said:?}");
        assert!(said.stderr.contains(right), "no {right:?}: {said:?}");
    }
    let two = [
        "--auth-token-file",
        "token",
        "--endpoint",
        ENDPOINT,
        "--auth-token",
        TOKEN,
    ];
    let said = settings.run(&[&["enable"], &two[..]].concat());
    assert!(said.stderr.contains("give one of them"), "{said:?}");
    assert!(!settings.path().exists());
}

#[test]
fn every_flag_that_was_given_is_written_and_all_else_stays() {
    let dir = TempDir::new().unwrap();
    let ca = Authority::new("some CA").write_pem(dir.path(), "ca");
    let ca = ca.to_str().unwrap();
    let settings = Settings::of(
        "# ours\n\nS3_AUDIT_WEBHOOK_SOURCE=stdin\r\n  FOO='bar baz'\n\
         S3_AUDIT_WEBHOOK_NOT_YET=1\nexport S3_AUDIT_WEBHOOK_ENDPOINT=https://old/\n# S3_AUDIT_WEBHOOK_ENDPOINT=x\n",
    );
    let said = settings.enable(&["--ca-file", ca, "--request-timeout", "5s"]);
    assert!(!said.contains("kept"), "{said}");
    assert_eq!(
        settings.text(),
        format!(
            "# ours\n\nS3_AUDIT_WEBHOOK_SOURCE=stdin\r\n  FOO='bar baz'\nS3_AUDIT_WEBHOOK_NOT_YET=1\n\
             S3_AUDIT_WEBHOOK_ENDPOINT={ENDPOINT}\n# S3_AUDIT_WEBHOOK_ENDPOINT=x\n\
             S3_AUDIT_WEBHOOK_ENABLED=true\nS3_AUDIT_WEBHOOK_AUTH_TOKEN=\"{TOKEN}\"\nS3_AUDIT_WEBHOOK_CA_FILE={ca}\n\
             S3_AUDIT_WEBHOOK_REQUEST_TIMEOUT=5s\n"
        )
    );
    let said = settings.enable(&["--connect-timeout", "2s"]);
    let kept =
        format!("kept: S3_AUDIT_WEBHOOK_CA_FILE={ca}, S3_AUDIT_WEBHOOK_REQUEST_TIMEOUT=5s\n");
    assert!(said.contains(&kept), "{said}");
    assert!(settings.has("S3_AUDIT_WEBHOOK_CONNECT_TIMEOUT=2s"));
}

#[test]
fn what_is_given_takes_the_place_of_what_it_contradicts() {
    let settings = Settings::new();
    let in_dir = |name: &str| settings.dir.path().join(name).display().to_string();
    fs::write(in_dir("token"), TOKEN).unwrap();
    Authority::new("some CA").write_pem(settings.dir.path(), "ca");
    // Relative paths mean files in the directory where enable was called, not in an agent's.
    let enable = |more: &str| {
        let script = format!("cd \"$0\"; exec \"$1\" enable --no-test --config webhook.env {more}");
        let dir = settings.dir.path();
        let ended = AgentCommand::of("sh")
            .args(["-c", &script])
            .arg(dir)
            .args([BINARY, ENDPOINT, TOKEN])
            .env(STATE_DIR, dir)
            .run();
        assert_eq!(ended.code, Some(0), "{}", ended.log);
    };
    let token = format!("S3_AUDIT_WEBHOOK_AUTH_TOKEN=\"{TOKEN}\"");
    let token_file = format!("S3_AUDIT_WEBHOOK_AUTH_TOKEN_FILE={}", in_dir("token"));
    let insecure = "S3_AUDIT_WEBHOOK_INSECURE=true";

    enable("--endpoint \"$2\" --auth-token \"$3\" --insecure");
    assert!(
        settings.has(&token) && settings.has(insecure),
        "{}",
        settings.text()
    );
    enable("--endpoint \"$2\" --auth-token-file token --ca-file ./ca.pem");
    let text = settings.text();
    assert!(settings.has(&token_file) && !settings.has(&token), "{text}");
    let ca = format!("S3_AUDIT_WEBHOOK_CA_FILE={}", in_dir("ca.pem"));
    assert!(settings.has(&ca) && !settings.has(insecure), "{text}");
    enable("--endpoint \"$2\" --auth-token \"$3\"");
    let text = settings.text();
    assert!(
        settings.has(&token) && !settings.has(&token_file) && settings.has(&ca),
        "{text}"
    );
}

#[test]
fn the_same_again_changes_nothing_and_is_no_error() {
    let settings = Settings::new();
    let said = settings.must(&["disable"]);
    assert!(!said.contains("is unchanged"), "{said}");
    let text = settings.text();
    assert!(text.starts_with("# Settings of"), "{text}");
    assert!(settings.has("S3_AUDIT_WEBHOOK_ENABLED=false"), "{text}");

    let disable = || settings.must(&["disable"]);
    let enable = || settings.enable(&["--request-timeout", "5s"]);
    for command in [&disable as &dyn Fn() -> String, &enable] {
        command();
        let before = (settings.version(), settings.text());
        let said = command();
        assert!(said.contains("is unchanged"), "{said}");
        assert_eq!((settings.version(), settings.text()), before);
        // But that all others may read it.
        fs::set_permissions(settings.path(), fs::Permissions::from_mode(0o644)).unwrap();
        command();
        assert_eq!(fs::metadata(settings.path()).unwrap().mode() & 0o777, 0o640);
        assert_eq!(settings.text(), before.1);
    }
}

#[test]
fn a_file_that_agents_would_refuse_is_named_with_its_line_and_left_alone() {
    for (text, line, what) in [
        ("# x\nwhat is this\n", 2, "neither NAME=value nor a comment"),
        ("A='B5A79AAD-D822", 1, "lacks its closing quote"),
        (
            "A=1\nS3_AUDIT_WEBHOOK_BATCH_AGE=soon\n",
            2,
            "S3_AUDIT_WEBHOOK_BATCH_AGE",
        ),
        (
            "\n\nS3_AUDIT_WEBHOOK_BUFFER_EVENTS=0\n",
            3,
            "fix: use 1 or more",
        ),
        (
            "S3_AUDIT_WEBHOOK_ENABLED=1\nS3_AUDIT_WEBHOOK_ENABLED=0\n",
            2,
            "already set on line 1",
        ),
        // The line above it goes, so that it is another one in the new file.
        (
            "S3_AUDIT_WEBHOOK_AUTH_TOKEN_FILE=x\nS3_AUDIT_WEBHOOK_SOURCE=disk\n",
            2,
            "SOURCE",
        ),
        ("S3_AUDIT_WEBHOOK_SOURCE=stdin,stdin\n", 1, "given twice"),
        ("S3_AUDIT_WEBHOOK_REJECT_FILE=/\n", 1, "not a regular file"),
        (
            "S3_AUDIT_WEBHOOK_EXCLUDE=*|op=get\n",
            1,
            "S3_AUDIT_WEBHOOK_EXCLUDE",
        ),
    ] {
        let settings = Settings::of(text);
        let before = settings.version();
        for args in [&ENABLE[..], &["disable"]] {
            // What this environment says instead does not make the file right.
            let env = [("S3_AUDIT_WEBHOOK_BATCH_AGE", "1s")];
            let said = settings.run_with(args, "", &env);
            assert_eq!((said.code, &*said.stdout), (Some(1), ""), "{said:?}");
            let place = format!("{}:{line}: ", settings.path().display());
            assert!(said.stderr.contains(&place), "no {place:?}: {said:?}");
            assert!(said.stderr.contains(what), "no {what:?}: {said:?}");
            assert_eq!((settings.text(), settings.version()), (text.into(), before));
        }
    }
    // Its certificate may be in an agent's variables. An agent that has none follows nothing.
    for (args, done) in [(&ENABLE[..], "enabled"), (&["disable"], "disabled")] {
        let settings = Settings::of("S3_AUDIT_WEBHOOK_LISTEN_KEY=/x\n");
        let said = settings.run(args);
        assert_eq!(said.code, Some(0), "{said:?}");
        let warning = format!(
            "warning: {}:1: S3_AUDIT_WEBHOOK_LISTEN_KEY: is of no use without --listen-cert; ",
            settings.path().display()
        );
        assert!(said.stderr.contains(&warning), "no {warning:?}: {said:?}");
        assert!(
            said.stderr.contains("keep their previous settings"),
            "{said:?}"
        );
        assert!(said.stdout.contains("written to "), "{said:?}");
        for promise in [done, "follow within"] {
            assert!(!said.stdout.contains(promise), "{said:?}");
        }
    }
    let settings = Settings::new();
    fs::write(settings.path(), b"A=1\nB=\xff\n").unwrap();
    let said = settings.run(&["disable"]);
    assert!(
        said.stderr
            .contains(":2: contains bytes that are not UTF-8"),
        "{said:?}"
    );

    // A kept setting can be what keeps agents from taking the new ones.
    let settings = Settings::of("S3_AUDIT_WEBHOOK_CA_FILE=/missing/ca.pem\n");
    let said = settings.run(&["enable", "--endpoint", ENDPOINT, "--auth-token", TOKEN]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.stderr
            .contains(":1: S3_AUDIT_WEBHOOK_CA_FILE: /missing/ca.pem"),
        "{said:?}"
    );
    settings.must(&["disable"]);
}

#[test]
fn what_wins_over_the_file_in_this_environment_is_told() {
    let settings = Settings::new();
    for (name, args) in [
        ("S3_AUDIT_WEBHOOK_ENDPOINT", &ENABLE[..]),
        ("S3_AUDIT_WEBHOOK_AUTH_TOKEN", &ENABLE),
        ("S3_AUDIT_WEBHOOK_ENABLED", &ENABLE),
        ("S3_AUDIT_WEBHOOK_ENABLED", &["disable"]),
    ] {
        let said = settings.run_with(args, "", &[(name, "true")]);
        assert_eq!(said.code, Some(0), "{said:?}");
        let warning = format!("warning: {name} is also set in this environment");
        assert!(said.stderr.contains(&warning), "{said:?}");
        // Nothing shows the flags and variables of agents.
        let follow = "running agents follow within 5 s, unless their own flags or variables";
        let is_unchanged = said.stdout.contains("is unchanged");
        assert!(is_unchanged || said.stdout.contains(follow), "{said:?}");
        let said = settings.run(args);
        assert_eq!(said.stderr, "", "{args:?}");
    }
    let said = settings.run(&[
        "enable",
        "--no-test",
        "--endpoint",
        "http://hec/services",
        "--auth-token",
        TOKEN,
    ]);
    assert!(said.stderr.contains("unencrypted"), "{said:?}");
}
