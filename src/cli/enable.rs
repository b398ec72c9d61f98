//! `enable` and `disable`: edit the settings file, which running agents follow.

use std::env;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::ValueHint;

use crate::agent::destination;
use crate::cli::terminal::{note, shown};
use crate::cli::{doubts, service, test, token_input};
use crate::config::effect;
use crate::config::error::{CommandError, UsageError};
use crate::config::file;
use crate::config::file::SettingsFile;
use crate::config::invocation::Invocation;
use crate::config::limits;
use crate::config::opt::Opt;
use crate::config::options::{DisableOptions, EnableOptions, RunOptions, WebhookOptions};
use crate::config::provenance::{Origin, Provenance};
use crate::config::startable;
use crate::config::text::{self, Setting, SyntaxError};
use crate::telemetry::message::Message;
use crate::text::hex;
use crate::text::token::Token;
use crate::webhook::endpoint::{self, Endpoint};
use crate::webhook::header;
use crate::webhook::proxy;

/// Setting the first option removes the second from the file.
const REPLACES: [(Opt, Opt); 8] = [
    (Opt::AuthToken, Opt::AuthTokenFile),
    (Opt::AuthTokenFile, Opt::AuthToken),
    (Opt::CaFile, Opt::Insecure),
    (Opt::CaFile, Opt::PinSha256),
    (Opt::PinSha256, Opt::Insecure),
    // It is the key of the previous certificate.
    (Opt::ClientCert, Opt::ClientKey),
    (Opt::Proxy, Opt::NoProxy),
    (Opt::NoProxy, Opt::Proxy),
];

/// The beginning of a new file.
const HEADING: &str = "# Settings of s3-audit-webhook, which its agents follow. `s3-audit-webhook enable` and \
                       `disable` change them\n# and keep all other lines.\n";

/// An option, and its new value in the file; without a value it is removed.
type Change = (Opt, Option<String>);

/// Sets the webhook, or resumes with the one that is configured; then tests it, unless `--no-test` is given.
///
/// # Errors
/// The settings can't work, or the file can't be written: then it is unchanged. Or the webhook did not take the test
/// event: the settings are kept, since it may only be down.
pub fn enable(
    mut options: EnableOptions,
    provenance: &Provenance,
) -> Result<ExitCode, CommandError> {
    let webhook = &mut options.webhook;
    let declared = WebhookOptions::declarations();
    if declared
        .iter()
        .any(|(option, _)| provenance.origin(*option) == Origin::Flag)
    {
        require(webhook)?;
        if webhook.auth_token.as_deref() == Some("-") {
            let token = token_input::read().map_err(|error| {
                let what = format!("can't be read from standard input: {error}");
                provenance.error(Opt::AuthToken, what)
            })?;
            webhook.auth_token = Some(token);
        }
        // Wrong flags are reported by their names, before anything is changed.
        limits::check_webhook(webhook, provenance)?;
        destination::open(webhook, provenance)?;
    }
    let path = &options.config.config;
    let changes = changes(&options.webhook, provenance)?;
    change(path, &changes, |set| {
        if set.endpoints.is_empty() {
            require(set)?;
        }
        service::check_files(set)?;
        let endpoints = shown_endpoints(set.endpoints());
        Ok(format!("enabled: audit events go to {endpoints}"))
    })?;
    let file = SettingsFile::read(path.clone(), true)?;
    let (set, provenance) = Invocation::of_file(file).map_err(CommandError::Failed)?;
    doubts::doubts(&set.webhook)
        .iter()
        .for_each(|doubt| warn(doubt));
    if let Some(word) = service::who_runs(&set.spool.dir.state.state_dir) {
        let _ = writeln!(io::stdout(), "{word}");
    }
    if options.no_test {
        return Ok(ExitCode::SUCCESS);
    }
    let _ = writeln!(io::stdout(), "\ntesting it, with one marked event");
    test::post_event(&set.webhook, &provenance, false).map_err(|error| match error {
        CommandError::Failed(why) => CommandError::Failed(format!(
            "the settings are written, but the test failed: {why}"
        )),
        usage @ CommandError::Usage(_) => usage,
    })
}

/// Stops forwarding.
///
/// # Errors
/// The file can't be written; then it is unchanged.
pub fn disable(options: &DisableOptions) -> Result<ExitCode, CommandError> {
    let changes = [(Opt::Enabled, Some("false".to_owned()))];
    let done = "disabled: audit events are not forwarded; `s3-audit-webhook enable` resumes";
    change(&options.config.config, &changes, |_| Ok(done.into()))?;
    Ok(ExitCode::SUCCESS)
}

/// Endpoint and token are required, whatever the file contains.
fn require(webhook: &WebhookOptions) -> Result<(), UsageError> {
    let has_token = webhook.auth_token.is_some() || webhook.auth_token_file.is_some();
    let missing: Vec<_> = [
        ("--endpoint URL", !webhook.endpoints.is_empty()),
        ("--auth-token TOKEN (or --auth-token-file FILE)", has_token),
    ]
    .into_iter()
    .filter(|(_, is_given)| !is_given)
    .map(|(name, _)| name)
    .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!(
        "enable: missing options; fix: add {}",
        missing.join(" and ")
    );
    Err(UsageError(message))
}

/// The changes that the flags ask for.
fn changes(webhook: &WebhookOptions, provenance: &Provenance) -> Result<Vec<Change>, UsageError> {
    let is_given = |option| provenance.origin(option) == Origin::Flag;
    let mut changes = vec![(Opt::Enabled, Some("true".to_owned()))];
    for (option, argument) in WebhookOptions::declarations() {
        if !is_given(option) {
            let is_replaced = |(new, old): &(Opt, Opt)| *old == option && is_given(*new);
            if REPLACES.iter().any(is_replaced) {
                changes.push((option, None));
            }
            continue;
        }
        let value = match (option, &webhook.auth_token) {
            (Opt::Endpoint, _) => webhook.endpoints().collect::<Vec<_>>().join(" ").into(),
            (Opt::Header, _) => headers(webhook, provenance)?.into(),
            (Opt::PinSha256, _) => webhook
                .pins
                .iter()
                .map(|pin| hex::encode(pin))
                .collect::<Vec<_>>()
                .join(",")
                .into(),
            (Opt::AuthToken, Some(text)) => Token::parse(text)
                .map_err(|what| provenance.error(option, what))?
                .reveal()
                .into(),
            _ => provenance.raw(option).next().unwrap_or_default().to_owned(),
        };
        let value = match argument.get_value_hint() {
            // Agents have a different working directory.
            ValueHint::AnyPath => std::path::absolute(&value)
                .map_err(|error| provenance.error(option, error))?
                .into(),
            _ => value,
        };
        let value = value
            .to_str()
            .filter(|value| !value.contains(['\n', '\r', '\0']))
            .ok_or_else(|| {
                let what = "contains a line break or bytes that are not UTF-8; fix: give what a line of the settings file can hold";
                provenance.error(option, what)
            })?;
        changes.push((option, Some(value.to_owned())));
    }
    Ok(changes)
}

/// All headers as one value, with absolute paths, since agents have a different working directory.
fn headers(webhook: &WebhookOptions, provenance: &Provenance) -> Result<String, UsageError> {
    let absolute = |text: &String| match (header::split(text), header::file(text)) {
        (Some((name, _)), Some(path)) => {
            let path =
                std::path::absolute(path).map_err(|error| provenance.error(Opt::Header, error))?;
            Ok(format!("{name}: @{}", path.display()))
        }
        _ => Ok(text.trim().to_owned()),
    };
    let headers: Result<Vec<_>, _> = webhook.headers.iter().map(absolute).collect();
    Ok(headers?.join(&format!(" {} ", header::SEPARATOR)))
}

/// Changes the file if `accept` does not object to the resulting settings; prints what `accept` says, and the result.
fn change(
    path: &Path,
    changes: &[Change],
    accept: impl FnOnce(&WebhookOptions) -> Result<String, CommandError>,
) -> Result<(), CommandError> {
    let (mut done, mut kept, mut warnings) = (String::new(), Vec::new(), Vec::new());
    let mut followed =
        "; running agents follow within 5 s, unless their own flags or variables say otherwise";
    let has_changed = file::change(path, |old| {
        let (text, settings) = edit(path, old, changes)?;
        kept = kept_settings(&settings, changes);
        let (options, found, incomplete) = check(path, settings)?;
        warnings = found.iter().map(Message::text).collect();
        done = accept(&options.webhook)? + "\n";
        if let Some(what) = incomplete {
            warnings.push(format!("{what}; until then, agents whose own flags or variables lack it keep their previous settings"));
            (done, followed) = (String::new(), "");
        }
        Ok(text)
    })?;
    for (option, _) in changes {
        let variable = option.variable();
        if env::var_os(&variable).is_some() {
            warnings.push(format!(
                "{variable} is also set in this environment, which overrides the file for agents started with it"
            ));
        }
    }
    warnings.extend(service::cannot_follow(path));
    warnings.iter().for_each(|warning| warn(warning));
    let mut message = done;
    if !kept.is_empty() {
        message += &format!("kept: {}\n", kept.join(", "));
    }
    let path = shown(&path.to_string_lossy());
    message += &match has_changed {
        true => format!("written to {path}{followed}\n"),
        false => format!("{path} is unchanged\n"),
    };
    // If standard output is closed, the change stays.
    let _ = io::stdout().write_all(message.as_bytes());
    Ok(())
}

fn warn(text: &str) {
    note(&format!("warning: {text}"));
}

/// The file's new text, and the settings that it contains.
fn edit(
    path: &Path,
    old: Option<&[u8]>,
    changes: &[Change],
) -> Result<(String, Vec<Setting>), CommandError> {
    let wrong = |error: SyntaxError| {
        let path = path.display();
        CommandError::Failed(format!("{path}:{}: {}", error.line, error.what))
    };
    let old_text = old.map_or(Ok(HEADING), text::decode).map_err(wrong)?;
    let old_settings = text::parse(old_text).map_err(wrong)?;
    let changes: Vec<_> = changes
        .iter()
        .map(|(option, value)| (option.variable(), value.as_deref()))
        .collect();
    let text = text::edit(old_text, &changes);
    let mut settings = text::parse(&text).map_err(wrong)?;
    // Messages must name lines of the existing file.
    for setting in &mut settings {
        let old = old_settings.iter().find(|old| old.name == setting.name);
        setting.line = old.map_or(setting.line, |old| old.line);
    }
    Ok((text, settings))
}

/// Checks the settings as far as they are wrong whatever else an agent has. Also returns what an operator should know,
/// and what an agent must have besides.
fn check(
    path: &Path,
    settings: Vec<Setting>,
) -> Result<(RunOptions, Vec<Message>, Option<String>), CommandError> {
    let (options, provenance) = Invocation::of_file(SettingsFile {
        path: path.to_owned(),
        is_given: true,
        settings: Ok(settings),
    })
    .map_err(CommandError::Failed)?;
    let failed = |error: UsageError| CommandError::Failed(error.0);
    startable::check_file(&options, &provenance).map_err(failed)?;
    let mut warnings = destination::choose(&options, &provenance)
        .map_err(failed)?
        .warnings;
    if options.enabled {
        warnings.extend(effect::without_effect(&options, &provenance));
    }
    let incomplete = startable::check(&options, &provenance).err();
    Ok((options, warnings, incomplete.map(|error| error.0)))
}

/// The unchanged settings of the webhook, without secrets.
fn kept_settings(settings: &[Setting], changes: &[Change]) -> Vec<String> {
    let unchanged: Vec<_> = WebhookOptions::declarations()
        .into_iter()
        .map(|(option, _)| option)
        .filter(|option| changes.iter().all(|(changed, _)| changed != option))
        .collect();
    let kept = settings.iter().filter_map(|setting| {
        let is_named = |option: &&Opt| option.variable() == setting.name;
        let value = match unchanged.iter().find(is_named)? {
            Opt::AuthToken | Opt::Header => "…".into(),
            Opt::Endpoint => shown_endpoints(endpoint::list(&setting.value)),
            Opt::Proxy => proxy::shown(&setting.value),
            _ => setting.value.clone(),
        };
        Some(format!("{}={value}", setting.name))
    });
    kept.collect()
}

/// Without the parts that may be secret.
fn shown_endpoints<'a>(urls: impl Iterator<Item = &'a str>) -> String {
    let shown = |url| Endpoint::parse(url).map_or_else(|_| "…".into(), |url| url.to_string());
    urls.map(shown).collect::<Vec<_>>().join(", ")
}
