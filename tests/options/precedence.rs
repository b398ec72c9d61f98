//! Flag, variable and settings file: which one wins, and what it then says.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::support::{Agent, Answer, Webhook};

use super::rows::options;
use super::{NOWHERE, SECRET, TOKEN, refusal, run, variable};

#[test]
fn a_flag_wins_over_a_variable_and_that_over_the_file_for_every_option_in_the_help() {
    let dir = TempDir::new().unwrap();
    let rows = options(dir.path());
    let (_, help, _) = run(&["run", "--help"], &[]);
    let in_help: BTreeSet<_> = help
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("--"))
        .filter_map(|line| line.split(' ').next())
        .collect();
    let tested: BTreeSet<_> = rows.iter().map(|row| row.flag).collect();
    assert_eq!(in_help, tested, "the table above must have a row for each");

    let file = dir.path().join("webhook.env");
    let config = ("S3_AUDIT_WEBHOOK_CONFIG", file.to_str().unwrap());
    for row in rows {
        let variable = variable(row.flag);
        let good = row.good.as_str();
        let bad = row.bad.first().map_or(good, |(bad, _)| bad);
        let flag = row.as_flag(good);

        if row.flag == "config" {
            let (code, _, log) = row.run(None, &[(&variable, good)]);
            assert_eq!(code, Some(0), "{variable}={good}:\n{log}");
            let (code, _, log) = row.run(Some(flag.clone()), &[(&variable, bad)]);
            assert_eq!(code, Some(0), "{flag} over {variable}:\n{log}");
            continue;
        }

        fs::write(&file, format!("{variable}='{good}'\n")).unwrap();
        let (code, _, log) = row.run(None, &[config]);
        assert_eq!(code, Some(0), "{variable}={good} in the file:\n{log}");
        fs::write(&file, format!("{variable}='{bad}'\n")).unwrap();
        let (code, _, log) = row.run(None, &[config, (&variable, good)]);
        assert_eq!(code, Some(0), "{variable} over the file:\n{log}");
        let (code, _, log) = row.run(Some(flag.clone()), &[config, (&variable, bad)]);
        assert_eq!(code, Some(0), "{flag} over both:\n{log}");
    }
}

/// Any directory will do, so which one has won shows only where the agent writes.
#[test]
fn a_directory_is_the_flags_or_else_the_variables_or_else_the_files() {
    let dir = TempDir::new().unwrap();
    let rows = options(dir.path());
    let file = dir.path().join("webhook.env");
    for row in rows.iter().filter(|row| row.flag.ends_with("-dir")) {
        let variable = variable(row.flag);
        let places = ["of-flag", "of-variable", "of-file"];
        let places = places.map(|name| format!("{}/{name}", dir.path().display()));
        let [of_flag, of_variable, of_file] = &places;
        fs::write(&file, format!("{variable}='{of_file}'\n")).unwrap();
        let config = ("S3_AUDIT_WEBHOOK_CONFIG", file.to_str().unwrap());
        // Without a size there is no spool.
        let size = ("S3_AUDIT_WEBHOOK_SPOOL_BYTES", "1MiB");
        let all = [config, size, (&*variable, &**of_variable)];
        for (flag, env, used) in [
            (None, &all[..2], of_file),
            (None, &all, of_variable),
            (Some(row.as_flag(of_flag)), &all, of_flag),
        ] {
            let (code, _, log) = row.run(flag, env);
            assert_eq!(code, Some(0), "{log}");
            for place in &places {
                assert_eq!(Path::new(place).exists(), place == used, "{place}: {log}");
            }
            fs::remove_dir_all(used).unwrap();
        }
    }
}

#[test]
fn the_example_of_a_settings_file_has_every_setting_with_its_default() {
    let example = include_str!("../../packaging/webhook.env");
    let (_, help, _) = run(&["run", "--help"], &[]);
    let settings: Vec<_> = example
        .lines()
        .filter_map(|line| line.strip_prefix('#')?.split_once('='))
        .filter(|(name, _)| name.starts_with("S3_AUDIT_WEBHOOK_"))
        .collect();
    let in_help = help.matches("\n      --").count();
    // All but the settings file's own place.
    assert_eq!(settings.len(), in_help - 1);

    let dir = TempDir::new().unwrap();
    let file = dir.path().join("webhook.env");
    let mut text = String::new();
    for (name, value) in settings {
        let flag = name.trim_start_matches("S3_AUDIT_WEBHOOK_");
        let flag = flag.to_lowercase().replace('_', "-");
        let mut parts = help.split("\n      --");
        let is_its = |part: &&str| part.split([' ', '\n']).next() == Some(&*flag);
        let rest = parts.find(is_its).expect(name);
        let is_default = rest.contains(&format!("[default: {value}]"));
        assert!(
            is_default || value.starts_with('<') || value == "false",
            "{name}={value}"
        );
        if !value.starts_with('<') && name != "S3_AUDIT_WEBHOOK_STATE_DIR" {
            text += &format!("{name}={value}\n");
        }
    }
    fs::write(&file, text).unwrap();
    let config = ("S3_AUDIT_WEBHOOK_CONFIG", file.to_str().unwrap());
    let (code, _, log) = run(
        &["run", "--endpoint", NOWHERE, "--auth-token", TOKEN],
        &[config],
    );
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("is not a setting"), "{log}");
}

#[test]
fn what_the_environment_says_takes_effect_and_a_flag_changes_it() {
    let hook = Webhook::start();
    let agent = || {
        Agent::command()
            .arg("run")
            .env("S3_AUDIT_WEBHOOK_ENDPOINT", hook.url())
            .env("S3_AUDIT_WEBHOOK_AUTH_TOKEN", TOKEN)
            .env("S3_AUDIT_WEBHOOK_SOURCE", "stdin")
            .env("S3_AUDIT_WEBHOOK_BATCH_EVENTS", "1")
            .env("S3_AUDIT_WEBHOOK_DRY_RUN", "no")
            .input("{}\n{}\n{}\n")
    };
    agent().run().balance().holds();
    let requests = hook.requests();
    assert_eq!(requests.len(), 3, "one event a request: {requests:?}");
    let path = requests[0].path.split('?').next();
    assert_eq!(path, Some("/services/collector/raw"));
    assert_eq!(requests[0].header("Authorization"), Some(TOKEN));

    agent()
        .args(["--batch-events", "3"])
        .run()
        .balance()
        .holds();
    assert_eq!(hook.request_count(), 3 + 1);

    assert_eq!(agent().arg("--dry-run").run().stdout, b"{}\n{}\n{}\n");
    assert_eq!(hook.request_count(), 3 + 1, "a dry run posts nothing");
}

#[test]
fn a_token_goes_out_as_it_is_but_for_quotes_around_it() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("token");
    let hook = Webhook::start();
    let sent = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = Agent::command().arg("run").endpoint(&hook.url()).args(args);
        for (name, value) in env {
            command = command.env(name, value);
        }
        let before = hook.request_count();
        assert_eq!(command.input("{}").run().code, Some(0), "{args:?} {env:?}");
        let requests = hook.requests();
        assert_eq!(requests.len(), before + 1);
        requests[before].header("Authorization").unwrap().to_owned()
    };
    for (given, header) in [
        (TOKEN, TOKEN),
        ("Bearer a.b_c==", "Bearer a.b_c=="),
        ("Basic dTpw", "Basic dTpw"),
        (&format!("\"{TOKEN}\""), TOKEN),
        (&format!("'{TOKEN}'"), TOKEN),
        // As the guide's command line gives it: --auth-token='\"Splunk …\"'.
        (&format!("\\\"{TOKEN}\\\""), TOKEN),
        ("Custom a\"b\"", "Custom a\"b\""),
    ] {
        assert_eq!(sent(&[&format!("--auth-token={given}")], &[]), header);
        assert_eq!(sent(&[], &[("S3_AUDIT_WEBHOOK_AUTH_TOKEN", given)]), header);
        for end in ["", "\n", "\r\n"] {
            fs::write(&file, format!("{given}{end}")).unwrap();
            assert_eq!(
                sent(&["--auth-token-file", file.to_str().unwrap()], &[]),
                header
            );
        }
    }
}

#[test]
fn of_two_tokens_the_flag_wins_and_else_it_is_asked_which() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("token");
    fs::write(&path, "from a file\n").unwrap();
    let file = path.to_str().unwrap();
    let token_variable = ("S3_AUDIT_WEBHOOK_AUTH_TOKEN", "from a variable");
    let file_variable = ("S3_AUDIT_WEBHOOK_AUTH_TOKEN_FILE", file);

    let hook = Webhook::start();
    for (flag, value, env, sent) in [
        ("--auth-token", "from a flag", token_variable, "from a flag"),
        ("--auth-token", "from a flag", file_variable, "from a flag"),
        ("--auth-token-file", file, token_variable, "from a file"),
        (
            "--auth-token-file",
            file,
            ("S3_AUDIT_WEBHOOK_AUTH_TOKEN_FILE", "/missing"),
            "from a file",
        ),
    ] {
        let agent = Agent::command().arg("run").endpoint(&hook.url());
        agent
            .args([flag, value])
            .env(env.0, env.1)
            .input("{}")
            .run();
        let last = hook.requests().pop().unwrap();
        assert_eq!(
            last.header("Authorization"),
            Some(sent),
            "{flag} and {env:?}"
        );
    }

    let base = ["run", "--endpoint", NOWHERE];
    let both_flags = [
        &base[..],
        &["--auth-token", SECRET, "--auth-token-file", file],
    ]
    .concat();
    for (message, names) in [
        (
            refusal(&both_flags, &[]),
            ["--auth-token and", "--auth-token-file"],
        ),
        (
            refusal(&base, &[token_variable, file_variable]),
            [token_variable.0, file_variable.0],
        ),
    ] {
        assert!(names.iter().all(|name| message.contains(name)), "{message}");
        assert!(message.contains("give one of them"), "{message}");
    }
}

#[test]
fn the_log_has_the_level_that_the_environment_names() {
    let hook = Webhook::start();
    hook.script([Answer::status(503)]);
    let log = |level: &str| {
        let agent = Agent::command()
            .arg("run")
            .endpoint(&hook.url())
            .token(TOKEN);
        let agent = agent.args(["--backoff-min", "1ms", "--backoff-max", "1ms"]);
        agent
            .env("S3_AUDIT_WEBHOOK_LOG", level)
            .input("{}")
            .run()
            .log
    };
    let warnings = log("warn");
    assert!(warnings.contains("WARN  delivery failed"), "{warnings}");
    assert!(!warnings.contains("INFO"), "{warnings}");
    assert!(log("info").contains("INFO  started:"));
    assert_eq!(log("off"), "");

    for level in ["loud", "", "warning", "ureq=trace", "info,loud"] {
        let message = refusal(
            &["run", "--endpoint", NOWHERE, "--auth-token", TOKEN],
            &[("S3_AUDIT_WEBHOOK_LOG", level)],
        );
        let named = format!("S3_AUDIT_WEBHOOK_LOG: '{level}'");
        assert!(message.contains(&named), "{message}");
        assert!(
            message.contains("fix: use error, warn, info or off"),
            "{message}"
        );
    }
}
