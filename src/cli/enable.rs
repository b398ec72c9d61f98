//! `enable` and `disable`: edit the settings file that the agents follow.

use std::env;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::ValueHint;

use crate::agent::destination;
use crate::cli::token_input;
use crate::config::failure::Failure;
use crate::config::file;
use crate::config::given::{Config, Given, Origin, Origins, UsageError};
use crate::config::limits;
use crate::config::options::{DisableOptions, EnableOptions, WebhookOptions};
use crate::config::text::{self, Setting, SyntaxError};
use crate::telemetry::message::Message;
use crate::text::token::Token;
use crate::webhook::endpoint::Endpoint;
use crate::webhook::header;
use crate::webhook::proxy;

const ENABLED: &str = "S3_AUDIT_WEBHOOK_ENABLED";
const ENDPOINT: &str = "S3_AUDIT_WEBHOOK_ENDPOINT";
const AUTH_TOKEN: &str = "S3_AUDIT_WEBHOOK_AUTH_TOKEN";
const HEADER: &str = "S3_AUDIT_WEBHOOK_HEADER";
const PROXY: &str = "S3_AUDIT_WEBHOOK_PROXY";

/// Who gives the first does not want what is still there of the second.
const RIVALS: [(&str, &str); 6] = [
    ("auth_token", "auth_token_file"),
    ("auth_token_file", "auth_token"),
    ("ca_file", "insecure"),
    // The key of the certificate of before.
    ("client_cert", "client_key"),
    ("proxy", "no_proxy"),
    ("no_proxy", "proxy"),
];

/// Begins a file that was not there.
const HEADING: &str = "# Settings of s3-audit-webhook, which its agents follow. `s3-audit-webhook enable` and \
                       `disable` change them;\n# what else stands here stays.\n";

/// A variable, and its value in the file from now on, if any.
type Change = (String, Option<String>);

/// Sets the webhook.
///
/// # Errors
/// The settings can't be, or the file can't be written; then it is as it was.
pub fn enable(mut options: EnableOptions, origins: &Origins) -> Result<ExitCode, Failure> {
    let webhook = &mut options.webhook;
    require(webhook)?;
    if webhook.auth_token.as_deref() == Some("-") {
        let token = token_input::read().map_err(|error| {
            let what = format!("can't be read from standard input: {error}");
            origins.wrong("auth_token", what)
        })?;
        webhook.auth_token = Some(token);
    }
    // What is wrong with a flag is told by its name, and before anything is touched.
    limits::check_webhook(webhook, origins)?;
    destination::open(webhook, origins)?;
    let endpoint = webhook.endpoint.as_deref().map(shown_endpoint);
    let done = format!(
        "enabled: audit events go to {}",
        endpoint.unwrap_or_default()
    );
    change(
        &options.config.config,
        &changes(&options.webhook, origins)?,
        &done,
    )
}

/// Stops forwarding.
///
/// # Errors
/// The file can't be written; then it is as it was.
pub fn disable(options: &DisableOptions) -> Result<ExitCode, Failure> {
    let changes = [(ENABLED.to_owned(), Some("false".to_owned()))];
    let done = "disabled: audit events are not forwarded";
    change(&options.config.config, &changes, done)
}

/// Both are mandatory, whatever the file has.
fn require(webhook: &WebhookOptions) -> Result<(), UsageError> {
    let has_token = webhook.auth_token.is_some() || webhook.auth_token_file.is_some();
    let missing: Vec<_> = [
        ("--endpoint URL", webhook.endpoint.is_some()),
        ("--auth-token TOKEN (or --auth-token-file FILE)", has_token),
    ]
    .into_iter()
    .filter(|(_, is_given)| !is_given)
    .map(|(name, _)| name)
    .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!("enable needs {}", missing.join(" and "));
    Err(UsageError(message))
}

/// What the flags that were given make of the settings.
fn changes(webhook: &WebhookOptions, origins: &Origins) -> Result<Vec<Change>, UsageError> {
    let declaration = WebhookOptions::declaration();
    let mut changes = vec![(ENABLED.to_owned(), Some("true".to_owned()))];
    for argument in declaration.get_arguments() {
        let id = argument.get_id().as_str();
        let variable = argument.get_env().unwrap_or_default().display().to_string();
        let is_given = |id| origins.origin(id) == Origin::Flag;
        if !is_given(id) {
            let mut rivals = RIVALS.iter();
            if rivals.any(|(rival, loser)| *loser == id && is_given(rival)) {
                changes.push((variable, None));
            }
            continue;
        }
        let value = match (id, &webhook.auth_token) {
            ("headers", _) => headers(webhook, origins)?.into(),
            ("auth_token", Some(text)) => Token::parse(text)
                .map_err(|what| origins.wrong(id, what))?
                .reveal()
                .into(),
            _ => origins.raw(id).unwrap_or_default().to_owned(),
        };
        let value = match argument.get_value_hint() {
            // Agents have another working directory.
            ValueHint::AnyPath => std::path::absolute(&value)
                .map_err(|error| origins.wrong(id, error))?
                .into(),
            _ => value,
        };
        let value = value
            .to_str()
            .filter(|value| !value.contains(['\n', '\r', '\0']))
            .ok_or_else(|| {
                let what = "holds a line break or bytes that are not UTF-8, which no settings file can hold";
                origins.wrong(id, what)
            })?;
        changes.push((variable, Some(value.to_owned())));
    }
    Ok(changes)
}

/// As one text, with whole paths: agents have another working directory.
fn headers(webhook: &WebhookOptions, origins: &Origins) -> Result<String, UsageError> {
    let whole = |text: &String| match (header::split(text), header::file(text)) {
        (Some((name, _)), Some(path)) => {
            let path =
                std::path::absolute(path).map_err(|error| origins.wrong("headers", error))?;
            Ok(format!("{name}: @{}", path.display()))
        }
        _ => Ok(text.trim().to_owned()),
    };
    let headers: Result<Vec<_>, _> = webhook.headers.iter().map(whole).collect();
    Ok(headers?.join(&format!(" {} ", header::SEPARATOR)))
}

/// Makes the changes and tells what is in force then.
fn change(path: &Path, changes: &[Change], done: &str) -> Result<ExitCode, Failure> {
    let mut kept = Vec::new();
    let mut warnings = Vec::new();
    let has_changed = file::change(path, |old| {
        let (text, settings) = edit(path, old, changes)?;
        kept = kept_settings(&settings, changes);
        warnings = check(path, settings)?;
        Ok(text)
    })?;
    for (variable, _) in changes {
        if env::var_os(variable).is_some() {
            warnings.push(format!(
                "{variable} is set in this environment too; an agent that is started with it takes that, not what \
                 the file says"
            ));
        }
    }
    for warning in warnings {
        let _ = writeln!(io::stderr(), "s3-audit-webhook: warning: {warning}");
    }
    let mut message = format!("{done}\n");
    if !kept.is_empty() {
        message += &format!("kept: {}\n", kept.join(", "));
    }
    let path = path.display();
    message += &match has_changed {
        true => format!("set in {path}; agents that run take it over within 5 s\n"),
        false => format!("nothing had to change in {path}\n"),
    };
    // It is done, whoever hears of it.
    let _ = io::stdout().write_all(message.as_bytes());
    Ok(ExitCode::SUCCESS)
}

/// The file's new text, and the settings in it.
fn edit(
    path: &Path,
    old: Option<&[u8]>,
    changes: &[Change],
) -> Result<(String, Vec<Setting>), Failure> {
    let wrong = |error: SyntaxError| {
        let path = path.display();
        Failure::Failed(format!("{path}:{}: {}", error.line, error.what))
    };
    let old_text = old.map_or(Ok(HEADING), text::decode).map_err(wrong)?;
    let old_settings = text::parse(old_text).map_err(wrong)?;
    let changes: Vec<_> = changes
        .iter()
        .map(|(variable, value)| (variable.as_str(), value.as_deref()))
        .collect();
    let text = text::edit(old_text, &changes);
    let mut settings = text::parse(&text).map_err(wrong)?;
    // Messages name lines of the file that is there.
    for setting in &mut settings {
        let old = old_settings.iter().find(|old| old.name == setting.name);
        setting.line = old.map_or(setting.line, |old| old.line);
    }
    Ok((text, settings))
}

/// Takes the settings as an agent would that knows of nothing else; gives its warnings.
fn check(path: &Path, settings: Vec<Setting>) -> Result<Vec<String>, Failure> {
    let (options, origins) = Given::in_file(Config {
        path: path.to_owned(),
        is_given: true,
        settings: Ok(settings),
    })
    .map_err(Failure::Failed)?;
    let failed = |error: UsageError| Failure::Failed(error.0);
    limits::check(&options, &origins).map_err(failed)?;
    let destination = destination::choose(&options, &origins).map_err(failed)?;
    Ok(destination.warnings.iter().map(Message::text).collect())
}

/// The webhook's settings that were not changed, as they may be shown.
fn kept_settings(settings: &[Setting], changes: &[Change]) -> Vec<String> {
    let declaration = WebhookOptions::declaration();
    let is_kept = |setting: &&Setting| {
        let mut known = declaration.get_arguments();
        known.any(|known| known.get_env().is_some_and(|name| name == &*setting.name))
            && changes.iter().all(|(changed, _)| *changed != setting.name)
    };
    let kept = settings.iter().filter(is_kept);
    kept.map(|setting| match setting.name.as_str() {
        name @ (AUTH_TOKEN | HEADER) => format!("{name}=…"),
        ENDPOINT => format!("{ENDPOINT}={}", shown_endpoint(&setting.value)),
        PROXY => format!("{PROXY}={}", proxy::shown(&setting.value)),
        name => format!("{name}={}", setting.value),
    })
    .collect()
}

/// Without what may be a secret.
fn shown_endpoint(text: &str) -> String {
    Endpoint::parse(text).map_or_else(|_| "…".into(), |endpoint| endpoint.to_string())
}
