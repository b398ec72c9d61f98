//! The webhook that was asked for: endpoint, token and trust, checked before anything starts.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use ureq::tls::{ClientCert, TlsConfig};

use crate::config::given::{Origin, Origins, UsageError};
use crate::config::options::{RunOptions, WebhookOptions};
use crate::delivery::sender::Target;
use crate::telemetry::message::Message;
use crate::telemetry::snapshot::Forwarding;
use crate::text::token::Token;
use crate::webhook::client::Webhook;
use crate::webhook::endpoint::Endpoint;
use crate::webhook::error::Timeouts;
use crate::webhook::proxy;
use crate::webhook::template::RequestTemplate;
use crate::webhook::tls;

/// Where bodies go.
pub struct Destination {
    /// Takes them; nobody while forwarding is disabled.
    pub target: Option<Box<dyn Target>>,
    /// For the log.
    pub forwarding: Forwarding,
    /// What the operator should know of it at every start.
    pub warnings: Vec<Message>,
}

/// Decides for an agent whether there is a webhook, and sets it up.
///
/// # Errors
/// Names the option that is missing or wrong.
pub fn choose(options: &RunOptions, origins: &Origins) -> Result<Destination, UsageError> {
    let config = &origins.config;
    let why = if !options.enabled {
        format!("webhook disabled by {}", origins.name("enabled"))
    } else if options.webhook.endpoint.is_none() && (config.is_given || config.settings.is_ok()) {
        let path = config.path.display();
        format!("webhook not enabled yet in {path}; `s3-audit-webhook enable` does that")
    } else {
        return open(&options.webhook, origins);
    };
    Ok(Destination {
        target: None,
        forwarding: Forwarding::Off(why),
        warnings: Vec::new(),
    })
}

/// Sets up the webhook that was asked for.
///
/// # Errors
/// Names the option that is missing or wrong.
pub fn open(options: &WebhookOptions, origins: &Origins) -> Result<Destination, UsageError> {
    let (webhook, warnings) = webhook(options, origins)?;
    Ok(Destination {
        forwarding: Forwarding::On(match webhook.proxy() {
            Some(proxy) => format!("webhook {} through proxy {proxy}", webhook.endpoint()),
            None => format!("webhook {}", webhook.endpoint()),
        }),
        target: Some(Box::new(webhook)),
        warnings,
    })
}

/// The webhook itself, and what the operator should know of it.
///
/// # Errors
/// Names the option that is missing or wrong.
pub fn webhook(
    options: &WebhookOptions,
    origins: &Origins,
) -> Result<(Webhook, Vec<Message>), UsageError> {
    let endpoint = endpoint(options, origins)?;
    let token = token(options, origins)?;
    let shape = RequestTemplate::new(options, &endpoint, origins)?;
    let mut warnings = Vec::new();
    let tls = TlsConfig::builder().client_cert(client(options, origins, &mut warnings)?);
    let tls = match &options.ca_file {
        _ if options.insecure => {
            warnings.push(Message::CertificateUnverified {
                option: origins.name("insecure"),
            });
            tls.disable_verification(true)
        }
        Some(path) => {
            let roots = tls::ca_file(path);
            tls.root_certs(roots.map_err(|what| of_file(origins, "ca_file", path, &what))?)
        }
        None if endpoint.uri().scheme_str() == Some("https") => {
            let (roots, warning) = tls::host_roots().map_err(UsageError)?;
            warnings.extend(warning);
            tls.root_certs(roots)
        }
        None => tls,
    };
    if endpoint.is_plain_and_remote() {
        warnings.push(Message::PlainHttp {
            option: origins.name("endpoint"),
        });
    }
    let timeouts = Timeouts {
        connect: options.connect_timeout,
        request: options.request_timeout,
    };
    let proxy = proxy::choose(options, origins, &endpoint)?;
    let webhook = Webhook::new(endpoint, token, shape, tls.build(), proxy, timeouts)
        .map_err(|what| origins.wrong("auth_token", what))?;
    Ok((webhook, warnings))
}

/// The certificate that the webhook may ask for.
fn client(
    options: &WebhookOptions,
    origins: &Origins,
    warnings: &mut Vec<Message>,
) -> Result<Option<ClientCert>, UsageError> {
    let Some(certificate) = &options.client_cert else {
        return match options.client_key {
            Some(_) => Err(origins.wrong("client_key", "is of no use without --client-cert")),
            None => Ok(None),
        };
    };
    let (id, path) = match &options.client_key {
        Some(path) => ("client_key", path),
        None => ("client_cert", certificate),
    };
    let client =
        tls::client(certificate, options.client_key.as_deref()).map_err(|(id, what)| {
            let path = if id == "client_cert" {
                certificate
            } else {
                path
            };
            of_file(origins, id, path, &what)
        })?;
    let is_open = |file: fs::Metadata| file.mode() & 0o007 != 0;
    if fs::metadata(path).is_ok_and(is_open) {
        warnings.push(Message::KeyReadable {
            option: origins.name(id),
            path: path.display().to_string(),
        });
    }
    Ok(Some(client))
}

fn of_file(origins: &Origins, id: &str, path: &Path, what: &str) -> UsageError {
    origins.wrong(id, format!("{} {what}", path.display()))
}

fn endpoint(options: &WebhookOptions, origins: &Origins) -> Result<Endpoint, UsageError> {
    match &options.endpoint {
        Some(text) => Endpoint::parse(text).map_err(|what| origins.wrong("endpoint", what)),
        None => Err(UsageError(
            "no webhook is set: give --endpoint URL and --auth-token TOKEN (or --auth-token-file FILE), \
             or S3_AUDIT_WEBHOOK_ENDPOINT and S3_AUDIT_WEBHOOK_AUTH_TOKEN in the environment, or set them \
             with `s3-audit-webhook enable`; `run --dry-run` needs none"
                .into(),
        )),
    }
}

fn token(options: &WebhookOptions, origins: &Origins) -> Result<Option<Token>, UsageError> {
    let option = token_option(options, origins)?;
    match (&options.auth_token, &options.auth_token_file) {
        (_, Some(path)) if option == "auth_token_file" => Token::from_file(path),
        (text, _) => Token::parse(text.as_deref().unwrap_or_default()),
    }
    .map(|token| Some(token).filter(|token| !token.is_none()))
    .map_err(|what| origins.wrong(option, what))
}

/// Which option the token is from: a flag wins over the environment, and that over the settings file.
///
/// # Errors
/// Both are given in one place, or none is.
pub fn token_option(
    options: &WebhookOptions,
    origins: &Origins,
) -> Result<&'static str, UsageError> {
    // Two lines of the file are one place.
    let rank = |id| match origins.origin(id) {
        Origin::File(path, _) => Origin::File(path, 0),
        origin => origin,
    };
    let (text, file) = (rank("auth_token"), rank("auth_token_file"));
    match (&options.auth_token, &options.auth_token_file) {
        (Some(_), Some(_)) if text == file => Err(UsageError(format!(
            "{} and {}: give one of them",
            origins.name("auth_token"),
            origins.name("auth_token_file")
        ))),
        (Some(_), Some(_)) if text > file => Ok("auth_token"),
        (Some(_), None) => Ok("auth_token"),
        (_, Some(_)) => Ok("auth_token_file"),
        (None, None) => Err(UsageError(
            "no token is set: give --auth-token TOKEN or --auth-token-file FILE, or \
             S3_AUDIT_WEBHOOK_AUTH_TOKEN in the environment"
                .into(),
        )),
    }
}
