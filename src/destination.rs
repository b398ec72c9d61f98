//! The webhook that was asked for: endpoint, token and trust, checked before anything starts.

use crate::cli::{Given, UsageError};
use crate::dry_run::DryRun;
use crate::endpoint::Endpoint;
use crate::sender::Target;
use crate::stop::Stop;
use crate::tls;
use crate::token::Token;
use crate::webhook::{Timeouts, Webhook};

/// Where bodies go.
pub struct Destination {
    /// Takes them.
    pub target: Box<dyn Target>,
    /// Ends the request in flight.
    pub cut: Box<dyn FnOnce() + Send>,
    /// For the start line.
    pub name: String,
    /// What the operator should know of it at every start.
    pub warnings: Vec<String>,
}

/// Sets up the webhook that was asked for, or the dry run, which gives `cut_off` when it can't go on.
///
/// # Errors
/// Names the option that is missing or wrong.
pub fn open(given: &Given, cut_off: &Stop) -> Result<Destination, UsageError> {
    let options = &given.options;
    if options.dry_run {
        return Ok(Destination {
            target: Box::new(DryRun {
                cut_off: cut_off.clone(),
            }),
            cut: Box::new(|| ()),
            name: "dry run: printed to standard output".into(),
            warnings: Vec::new(),
        });
    }
    let endpoint = endpoint(given)?;
    let token = token(given)?;
    let mut warnings = Vec::new();
    let tls = match &options.ca_file {
        _ if options.insecure => {
            warnings.push(format!(
                "{}: the webhook's certificate is not verified; anyone on the way can read the token \
                 and the events",
                given.name("insecure")
            ));
            tls::unverified()
        }
        Some(path) => tls::with_ca_file(path)
            .map_err(|what| given.wrong("ca_file", format!("{} {what}", path.display())))?,
        None if endpoint.uri().scheme_str() == Some("https") => {
            tls::with_host_roots().map_err(|what| given.wrong("endpoint", what))?
        }
        None => tls::unverified(),
    };
    if endpoint.is_plain_and_remote() {
        warnings.push(format!(
            "{}: http:// carries the token and the events in the clear; use https://",
            given.name("endpoint")
        ));
    }
    let name = format!("webhook {endpoint}");
    let timeouts = Timeouts {
        connect: options.connect_timeout,
        request: options.request_timeout,
    };
    let webhook = Webhook::new(endpoint, token, tls, timeouts)
        .map_err(|what| given.wrong("auth_token", what))?;
    let cut = Box::new(webhook.cutter());
    Ok(Destination {
        target: Box::new(webhook),
        cut,
        name,
        warnings,
    })
}

fn endpoint(given: &Given) -> Result<Endpoint, UsageError> {
    match &given.options.endpoint {
        Some(text) => Endpoint::parse(text).map_err(|what| given.wrong("endpoint", what)),
        None => Err(UsageError(
            "no webhook is set: give --endpoint URL and --auth-token TOKEN (or --auth-token-file FILE), \
             or S3_AUDIT_WEBHOOK_ENDPOINT and S3_AUDIT_WEBHOOK_AUTH_TOKEN in the environment; \
             --dry-run needs none"
                .into(),
        )),
    }
}

/// The token, from where it was given: a flag wins over the environment.
fn token(given: &Given) -> Result<Token, UsageError> {
    let options = &given.options;
    match (&options.auth_token, &options.auth_token_file) {
        (Some(_), Some(_)) if given.is_flag("auth_token") == given.is_flag("auth_token_file") => {
            Err(UsageError(format!(
                "{} and {}: give one of them",
                given.name("auth_token"),
                given.name("auth_token_file")
            )))
        }
        (Some(text), file) if file.is_none() || given.is_flag("auth_token") => {
            Token::parse(text).map_err(|what| given.wrong("auth_token", what))
        }
        (_, Some(path)) => std::fs::read_to_string(path)
            .map_err(|error| format!("can't be read: {error}"))
            .and_then(|text| Token::parse(&text))
            .map_err(|what| given.wrong("auth_token_file", format!("{} {what}", path.display()))),
        (_, None) => Err(UsageError(
            "no token is set: give --auth-token TOKEN or --auth-token-file FILE, or \
             S3_AUDIT_WEBHOOK_AUTH_TOKEN in the environment"
                .into(),
        )),
    }
}
