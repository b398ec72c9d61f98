//! What is set and where it comes from, without secrets; and what is wrong with it.

use std::fs;

use serde_json::{Value, json};

use crate::state::{StateDir, host};

use super::{Agent, Show};

const TOKEN: &str = "Splunk B5A79AAD-D822-46CC-80D1-819F80D714D0";

/// Without what aligns them.
fn words(text: &str) -> String {
    let lines = text.lines();
    let lines = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n");
    lines.collect()
}

#[test]
fn settings_are_shown_with_their_origins_and_without_secrets() {
    let show = || {
        Show::new().settings(&format!(
            "# mine\nS3_AUDIT_WEBHOOK_ENDPOINT=https://hooks/T0000/B0000/XXXXXXXXXXXXXXXXXXXXXXXX?key=s3cret\n\
             S3_AUDIT_WEBHOOK_AUTH_TOKEN='\"{TOKEN}\"'\nS3_AUDIT_WEBHOOK_INSECURE=true\n\
             S3_AUDIT_WEBHOOK_BATCH_AGE=2s\n"
        ))
    };
    let shown = "\
webhook     enabled
endpoint    https://hooks/T0000/B0000/XXXX…?…  HERE/webhook.env:2
auth-token  Splunk B5A7…14D0                   HERE/webhook.env:3
insecure    true                               HERE/webhook.env:4
";
    let text = show().text();
    assert!(text.starts_with(&format!("{shown}\nno agent ")), "{text}");
    let webhook = &show().json()["webhook"];
    assert_eq!(
        *webhook,
        json!({
            "enabled": true,
            "settings_file": "HERE/webhook.env",
            "endpoint": "https://hooks/T0000/B0000/XXXX…?…",
            "auth_token": "Splunk B5A7…14D0",
            "insecure": "true",
            "origins": {
                "endpoint": "HERE/webhook.env:2",
                "auth_token": "HERE/webhook.env:3",
                "insecure": "HERE/webhook.env:4",
            },
        })
    );

    let text = show()
        .env("ENABLED", "no")
        .env("AUTH_TOKEN", "Bearer s3cret")
        .text();
    assert!(text.contains("webhook     disabled "), "{text}");
    assert!(text.contains("  S3_AUDIT_WEBHOOK_ENABLED\n"), "{text}");
    assert!(text.contains("auth-token  Bearer … "), "{text}");
    assert!(text.contains("  S3_AUDIT_WEBHOOK_AUTH_TOKEN\n"), "{text}");
}

#[test]
fn each_of_several_values_is_shown() {
    let pins = ["0a", "0b"].map(|byte| byte.repeat(32)).join(",");
    let settings = format!(
        "S3_AUDIT_WEBHOOK_ENDPOINT=https://hec\nS3_AUDIT_WEBHOOK_AUTH_TOKEN=none\nS3_AUDIT_WEBHOOK_PIN_SHA256={pins}\n"
    );
    let show = || Show::new().settings(&settings);
    assert!(show().text().contains(&format!("  {pins}  ")));
    assert_eq!(show().json()["webhook"]["pin_sha256"], *pins);
}

#[test]
fn a_token_file_is_shown_with_what_can_be_shown_of_its_token() {
    let settings =
        "S3_AUDIT_WEBHOOK_ENDPOINT=https://hec\nS3_AUDIT_WEBHOOK_AUTH_TOKEN_FILE=HERE/token\n";
    let show = Show::new().settings(settings);
    fs::write(show.config.path().join("token"), format!("{TOKEN}\n")).unwrap();
    let text = show.text();
    for line in [
        "auth-token Splunk B5A7…14D0 HERE/token\n",
        "auth-token-file HERE/token HERE/webhook.env:2\n",
    ] {
        assert!(words(&text).contains(line), "{line}: {text}");
    }
    // One that is for another user is no mistake.
    let (code, text, log) = Show::new().settings(settings).run();
    assert_eq!(code, Some(0), "{log}");
    assert!(text.contains("auth-token-file  HERE/token "), "{text}");
    assert!(log.contains(
        "HERE/webhook.env:2: S3_AUDIT_WEBHOOK_AUTH_TOKEN_FILE: HERE/token can't be read"
    ));
    // The environment wins, whichever of the two it has.
    let text = Show::new()
        .settings(settings)
        .env("AUTH_TOKEN", TOKEN)
        .text();
    assert!(!text.contains("auth-token-file"), "{text}");
}

#[test]
fn with_nothing_set_and_no_agents_it_says_so() {
    let dir = StateDir::new();
    let text = Show::of(&dir).text();
    let state_dir = dir.path().display();
    assert_eq!(
        text,
        format!(
            "webhook  not set\n\n`s3-audit-webhook enable` sets it in HERE/webhook.env for all agents that \
             read that\n\nno agent has reported in {state_dir}\n"
        )
    );
    let show = Show::of(&dir);
    fs::remove_file(show.config.path().join("webhook.env")).unwrap();
    let text = show.text();
    assert!(
        text.contains("HERE/webhook.env (not there yet) for all"),
        "{text}"
    );
    let all = Show::of(&dir).json();
    assert_eq!(all["agents"], json!([]));
    assert_eq!(all["webhook"]["endpoint"], Value::Null);
    assert_eq!(all["webhook"]["enabled"], false);
}

#[test]
fn wrong_settings_are_named_and_the_agents_shown_all_the_same() {
    let dir = StateDir::new();
    let _agent = dir.start("http://127.0.0.1:9", &[]);
    let endpoint = "S3_AUDIT_WEBHOOK_ENDPOINT=https://hec\n";
    let token = "S3_AUDIT_WEBHOOK_AUTH_TOKEN=s3cret\n";
    for (settings, message, state) in [
        ("A=1\ns3cret\n", "HERE/webhook.env:2: is neither", None),
        (
            "S3_AUDIT_WEBHOOK_BATCH_AGE=soon\n",
            "HERE/webhook.env:1: S3_AUDIT_WEBHOOK_BATCH_AGE: ",
            None,
        ),
        (
            &format!("S3_AUDIT_WEBHOOK_ENDPOINT=hec?s3cret\n{token}"),
            "HERE/webhook.env:1: S3_AUDIT_WEBHOOK_ENDPOINT: 'hec?…' ",
            Some("wrong"),
        ),
        (endpoint, "no token is set", Some("wrong")),
        (
            &format!("{endpoint}S3_AUDIT_WEBHOOK_AUTH_TOKEN=\n"),
            "HERE/webhook.env:2: S3_AUDIT_WEBHOOK_AUTH_TOKEN: is empty",
            Some("wrong"),
        ),
        (
            &format!("{endpoint}{token}S3_AUDIT_WEBHOOK_AUTH_TOKEN_FILE=x\n"),
            "give one of them",
            Some("wrong"),
        ),
    ] {
        let (code, text, log) = Show::of(&dir).settings(settings).run();
        assert_eq!(code, Some(1), "{settings}: {log}");
        assert!(log.contains(message), "{message}: {log}");
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(text.contains(&format!("{}  up ", host())), "{text}");
        let first = words(&text).lines().next().map(str::to_owned);
        assert_eq!(
            first.as_deref() == Some("webhook wrong"),
            state.is_some(),
            "{text}"
        );
        let (code, json, _) = Show::of(&dir).settings(settings).arg("--json").run();
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(code, Some(1));
        assert!(json["webhook"].is_null(), "{json}");
        assert_eq!(json["agents"][0]["status"], "up");
    }
    // A slip of the pen is told, and nothing is wrong for it.
    let (code, _, log) = Show::of(&dir)
        .settings("S3_AUDIT_WEBHOOK_ENDPIONT=x\n")
        .run();
    assert_eq!(code, Some(0));
    assert!(
        log.contains("HERE/webhook.env:1: S3_AUDIT_WEBHOOK_ENDPIONT is not a setting"),
        "{log}"
    );
}

#[test]
fn settings_with_which_no_agent_starts_are_wrong() {
    let webhook = "S3_AUDIT_WEBHOOK_ENDPOINT=http://hec\nS3_AUDIT_WEBHOOK_AUTH_TOKEN=none\n";
    for (setting, option, code) in [
        ("HEC_INDEX=x", "HEC_INDEX", 2),
        ("HEC_ACK=true", "HEC_ACK", 2),
        ("CA_FILE=HERE/ca.pem", "CA_FILE", 2),
        ("CLIENT_KEY=HERE/key.pem", "CLIENT_KEY", 2),
        ("REQUEST_TIMEOUT=0", "REQUEST_TIMEOUT", 2),
        ("BATCH_BYTES=0", "BATCH_BYTES", 2),
        ("HEADER='Host: x'", "HEADER", 2),
        ("INCLUDE=a=b", "INCLUDE", 2),
        (
            "PROXY=http://p:1\nS3_AUDIT_WEBHOOK_NO_PROXY=true",
            "NO_PROXY",
            2,
        ),
        ("ENABLED=false\nS3_AUDIT_WEBHOOK_INCLUDE=a=b", "INCLUDE", 2),
        ("SIGN_KEY_FILE=HERE/webhook.env", "SIGN_KEY_FILE", 1),
        // Not wrong: an agent waits for the file.
        ("SIGN_KEY_FILE=HERE/key", "SIGN_KEY_FILE", 1),
        ("BATCH_AGE=2s", "", 0),
    ] {
        let show = || Show::new().settings(&format!("{webhook}S3_AUDIT_WEBHOOK_{setting}\n"));
        let settings = show();
        let config = settings.config.path().join("webhook.env");
        let checked = Agent::command().arg("check").arg("--config").arg(config);
        assert_eq!(checked.run().code, Some(code), "{setting}");

        let is_wrong = code != 0 && setting != "SIGN_KEY_FILE=HERE/key";
        let (code, text, log) = show().run();
        assert_eq!(code, Some(i32::from(is_wrong)), "{setting}: {log}");
        let state = if is_wrong { "wrong" } else { "enabled" };
        assert_eq!(text.split_whitespace().nth(1), Some(state), "{setting}");
        let said = format!("S3_AUDIT_WEBHOOK_{option}");
        assert_eq!(log.contains(&said), !option.is_empty(), "{setting}: {log}");
        let (_, json, _) = show().arg("--json").run();
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["webhook"].is_null(), is_wrong, "{setting}: {json}");
    }
}

#[test]
fn a_proxy_that_another_setting_overrides_is_not_shown() {
    let webhook = "S3_AUDIT_WEBHOOK_ENDPOINT=http://hec\nS3_AUDIT_WEBHOOK_AUTH_TOKEN=none\n";
    let proxy = "S3_AUDIT_WEBHOOK_PROXY=http://p:1\n";
    let show = || Show::new().settings(&format!("{webhook}{proxy}"));
    assert!(words(&show().text()).contains("proxy http://p:1 HERE"));
    let text = words(&show().env("NO_PROXY", "true").text());
    assert!(!text.contains("http://p:1"), "{text}");
    assert!(text.contains("no-proxy true "), "{text}");
}
