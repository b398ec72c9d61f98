//! Which settings are tested: where each comes from, one that is disabled, and wrong ones.

use std::fs;

use crate::support::Webhook;

use super::{EMPTY, TOKEN, run, text};

#[test]
fn settings_come_from_file_variable_and_flag_and_it_is_told_from_which() {
    let dir = tempfile::tempdir().unwrap();
    let hooks = [(); 3].map(|()| Webhook::start());
    let [in_file, in_variable, in_flag] = hooks.each_ref().map(Webhook::url);
    let token_file = dir.path().join("token");
    fs::write(&token_file, TOKEN).unwrap();
    let config = dir.path().join("webhook.env");
    let lines = [
        "# The cluster's webhook".to_owned(),
        format!("S3_AUDIT_WEBHOOK_ENDPOINT={in_file}"),
        format!("S3_AUDIT_WEBHOOK_AUTH_TOKEN='{TOKEN}'"),
        // Of no meaning to test, but no slip of the pen either.
        "S3_AUDIT_WEBHOOK_BATCH_AGE=2s".to_owned(),
        "S3_AUDIT_WEBHOOK_AUTH_TOKN=x".to_owned(),
    ];
    fs::write(&config, lines.join("\n")).unwrap();
    let config = text(&config);

    let tested = run(config, &[], &[]).delivered();
    assert_eq!(
        tested.step("webhook"),
        Some(&*format!("{in_file} (from {config}:2)"))
    );
    assert_eq!(
        tested.step("token"),
        Some(&*format!("not shown (from {config}:3)"))
    );
    let slip = format!(
        "s3-audit-webhook: {config}:5: S3_AUDIT_WEBHOOK_AUTH_TOKN is not a setting of this version; ignored; fix: correct the name, or remove it\n"
    );
    assert_eq!(tested.said, slip);

    let variable = [
        ("S3_AUDIT_WEBHOOK_ENDPOINT", &*in_variable),
        ("S3_AUDIT_WEBHOOK_AUTH_TOKEN_FILE", text(&token_file)),
    ];
    let tested = run(config, &[], &variable).delivered();
    let expected = format!("{in_variable} (from S3_AUDIT_WEBHOOK_ENDPOINT)");
    assert_eq!(tested.step("webhook"), Some(&*expected));
    assert_eq!(
        tested.step("token"),
        Some("not shown (from S3_AUDIT_WEBHOOK_AUTH_TOKEN_FILE)")
    );

    let flags = [
        "--endpoint",
        &in_flag,
        "--auth-token",
        "Splunk another-s3cret",
    ];
    let tested = run(config, &flags, &variable).delivered();
    assert_eq!(
        tested.step("webhook"),
        Some(&*format!("{in_flag} (from --endpoint)"))
    );
    assert_eq!(tested.step("token"), Some("not shown (from --auth-token)"));

    let tokens = hooks.each_ref().map(|hook| {
        let [request] = &hook.requests()[..] else {
            panic!("one request each")
        };
        request.header("Authorization").unwrap().to_owned()
    });
    assert_eq!(tokens, [TOKEN, TOKEN, "Splunk another-s3cret"]);
}

#[test]
fn a_disabled_webhook_is_tested_nevertheless() {
    let dir = tempfile::tempdir().unwrap();
    let hook = Webhook::start();
    let config = dir.path().join("webhook.env");
    let settings = format!(
        "S3_AUDIT_WEBHOOK_ENDPOINT={}\nS3_AUDIT_WEBHOOK_AUTH_TOKEN='{TOKEN}'\nS3_AUDIT_WEBHOOK_ENABLED=false\n",
        hook.url()
    );
    fs::write(&config, settings).unwrap();
    let config = text(&config);
    let tested = run(config, &[], &[]).delivered();
    let expected = format!(
        "s3-audit-webhook: the webhook is disabled in {config}:3; testing it nevertheless\n"
    );
    assert_eq!(tested.said, expected);
    assert_eq!(hook.event_count(), 1);

    let enabled = [("S3_AUDIT_WEBHOOK_ENABLED", "true")];
    assert_eq!(run(config, &[], &enabled).delivered().said, "");
}

#[test]
fn wrong_settings_are_named_and_nothing_is_posted() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        text(&path).to_owned()
    };
    let hook = Webhook::start();
    let url = hook.url();
    let missing = format!("{}/missing", dir.path().display());
    let whole = ["--endpoint", &*url, "--auth-token", TOKEN];
    for (config, args, expected) in [
        (EMPTY, &[] as &[&str], "no webhook is set"),
        (EMPTY, &whole[..2], "no token is set"),
        (
            &missing,
            &whole,
            &*format!("--config: {missing} is not there"),
        ),
        (
            EMPTY,
            &["--endpoint", "hec:8088", "--auth-token", TOKEN],
            "--endpoint: 'hec:8088'",
        ),
        (
            EMPTY,
            &[&whole[..], &["--ca-file", &missing]].concat(),
            "--ca-file: ",
        ),
        (
            &file("syntax", "\nS3_AUDIT_WEBHOOK_ENDPOINT"),
            &whole,
            "/syntax:2: is neither NAME=value",
        ),
        (
            &file("token", "S3_AUDIT_WEBHOOK_AUTH_TOKEN="),
            &whole[..2],
            "/token:1: S3_AUDIT_WEBHOOK_AUTH_TOKEN: ",
        ),
    ] {
        let tested = run(config, args, &[]);
        assert_eq!((tested.code, &*tested.told), (Some(2), ""), "{tested:#?}");
        assert!(
            tested.said.contains(expected),
            "no {expected:?}: {tested:#?}"
        );
    }
    assert_eq!(hook.connections(), 0);
}
