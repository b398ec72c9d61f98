//! `test`: posts one marked event and shows, step by step, what happened to it.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;

use crate::agent::destination;
use crate::cli::service;
use crate::cli::steps::Steps;
use crate::cli::terminal::{Paint, note, show};
use crate::config::error::CommandError;
use crate::config::limits;
use crate::config::opt::Opt;
use crate::config::options::{TestOptions, WebhookOptions};
use crate::config::provenance::Provenance;
use crate::delivery::batch::Batch;
use crate::delivery::outcome::{Cause, DeliveryError, Outcome};
use crate::sys::{host, random};
use crate::webhook::client::Webhook;
use crate::webhook::endpoint;
use crate::webhook::observer::Observer;

/// Posts the event.
///
/// # Errors
/// The settings are wrong, or the webhook did not take the event.
pub fn test(options: &TestOptions, provenance: &Provenance) -> Result<ExitCode, CommandError> {
    if provenance.file.is_given && provenance.file.settings == Err(io::ErrorKind::NotFound) {
        let path = provenance.file.path.display();
        return Err(provenance
            .error(
                Opt::Config,
                format!("{path} is not there; fix: name a file that is, or leave this out"),
            )
            .into());
    }
    provenance.check_readable(!options.webhook.endpoints.is_empty())?;
    limits::check_webhook(&options.webhook, provenance)?;
    provenance
        .warnings()
        .iter()
        .for_each(|warning| note(&warning.text()));
    if !options.enabled {
        let place = provenance.location(Opt::Enabled);
        note(&format!(
            "the webhook is disabled in {place}; testing it nevertheless"
        ));
    }
    post_event(&options.webhook, provenance, options.color.is_on())
}

/// Posts one marked event with these settings to each endpoint, and shows what happened to it.
///
/// # Errors
/// The settings are wrong, the service can't read what they name, or an endpoint did not take the event.
pub fn post_event(
    options: &WebhookOptions,
    provenance: &Provenance,
    has_colors: bool,
) -> Result<ExitCode, CommandError> {
    let (webhooks, warnings) = destination::webhooks(options, provenance)?;
    let token = destination::token_option(options, provenance)?;
    service::check_files(options)?;
    warnings.iter().for_each(|warning| note(&warning.text()));
    let id = format!("{:016x}", random::seed());
    let event = event(&id);
    let mut failed = Vec::new();
    let is_single = webhooks.len() == 1;
    for webhook in webhooks {
        let name = webhook.endpoint().to_string();
        show_settings(&webhook, token, provenance);
        show("event", &event);
        match post(webhook, &event) {
            Ok(remark) => {
                remark.into_iter().for_each(note);
                let delivered = Paint(has_colors).good(&format!("{:<9}", "delivered"));
                let _ = writeln!(io::stdout(), "{delivered} search for {id}");
            }
            Err(error) if is_single => failed.push(describe(&error)),
            Err(error) => failed.push(format!("{name}: {}", describe(&error))),
        }
    }
    match failed.is_empty() {
        true => Ok(ExitCode::SUCCESS),
        false => Err(CommandError::Failed(failed.join("; "))),
    }
}

/// Where the event goes, and where each of these settings comes from.
fn show_settings(webhook: &Webhook, token: Opt, provenance: &Provenance) {
    let url = endpoint::shown(&webhook.endpoint().uri().to_string());
    let place = provenance.location(Opt::Endpoint);
    show("webhook", &format!("{url} (from {place})"));
    let has = if webhook.has_token() {
        "not shown"
    } else {
        "none"
    };
    let place = provenance.location(token);
    show("token", &format!("{has} (from {place})"));
    if let Some(proxy) = webhook.proxy() {
        show("proxy", &format!("{proxy} (from {})", proxy.place()));
    }
}

/// Posts the event, and shows each step. Returns what the operator should know even though it was delivered.
fn post(webhook: Webhook, event: &str) -> Result<Option<&'static str>, DeliveryError> {
    let line = format!("{event}\n");
    let steps = Arc::new(Steps::default());
    let mut webhook = webhook.observed_by(Arc::clone(&steps) as Arc<dyn Observer>);
    let reply = webhook
        .try_out(&Batch::of(line.as_bytes()))
        .inspect_err(|error| {
            steps.end(error.message.trim_start_matches("TLS: "));
        })?;
    steps.end(&reply.shown);
    match reply.outcome {
        Outcome::Delivered => Ok(reply.note),
        Outcome::Accepted(id) => {
            let is_indexed = match webhook.is_indexed(id)? {
                true => "indexed",
                false => "not yet indexed, which may take minutes",
            };
            show("ack", &format!("event {id} is {is_indexed}"));
            Ok(reply.note)
        }
        Outcome::Failed(error) | Outcome::Rejected(error) | Outcome::TooLarge(error) => Err(error),
        // A single event has no parts.
        Outcome::Partial(_) => Err(DeliveryError::transient(Cause::Answer, reply.shown)),
    }
}

/// The error in words, with what to do about it.
fn describe(
    DeliveryError {
        message, fix, hint, ..
    }: &DeliveryError,
) -> String {
    match (fix, hint) {
        (Some(fix), _) => format!("not delivered: {message}; fix: {fix}"),
        (None, Some(hint)) => format!("not delivered: {message}; hint: {hint}"),
        (None, None) => format!("not delivered: {message}"),
    }
}

/// One line that differs from real events, and that can be searched for.
fn event(id: &str) -> String {
    let time = humantime::format_rfc3339_millis(SystemTime::now());
    format!(
        r#"{{"s3_audit_webhook_test":true,"host":{},"time":"{time}","id":"{id}"}}"#,
        Value::from(host::name())
    )
}
