//! The webhook that was asked for: endpoint, token and trust, checked before anything starts.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use ureq::tls::{ClientCert, TlsConfig};

use crate::agent::{proxy_choice, request_template};
use crate::config::error::UsageError;
use crate::config::opt::Opt;
use crate::config::options::{RunOptions, WebhookOptions};
use crate::config::provenance::Provenance;
use crate::delivery::sender::Target;
use crate::telemetry::message::Message;
use crate::telemetry::snapshot::Forwarding;
use crate::text::pem::Part;
use crate::text::token::Token;
use crate::webhook::client::Webhook;
use crate::webhook::endpoint::Endpoint;
use crate::webhook::error::Timeouts;
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
pub fn choose(options: &RunOptions, provenance: &Provenance) -> Result<Destination, UsageError> {
    let config = &provenance.file;
    let forwarding = if !options.enabled {
        Forwarding::Off(format!(
            "webhook disabled by {}",
            provenance.name(Opt::Enabled)
        ))
    } else if options.webhook.endpoint.is_none() && (config.is_given || config.settings.is_ok()) {
        let path = config.path.display();
        Forwarding::Unset(format!(
            "webhook not enabled yet in {path}; `s3-audit-webhook enable` does that"
        ))
    } else {
        return open(&options.webhook, provenance);
    };
    Ok(Destination {
        target: None,
        forwarding,
        warnings: Vec::new(),
    })
}

/// Sets up the webhook that was asked for.
///
/// # Errors
/// Names the option that is missing or wrong.
pub fn open(options: &WebhookOptions, provenance: &Provenance) -> Result<Destination, UsageError> {
    let (webhook, warnings) = webhook(options, provenance)?;
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
    provenance: &Provenance,
) -> Result<(Webhook, Vec<Message>), UsageError> {
    let endpoint = endpoint(options, provenance)?;
    let token = token(options, provenance)?;
    let template = request_template::template(options, &endpoint, provenance)?;
    let mut warnings = Vec::new();
    let tls = TlsConfig::builder().client_cert(client(options, provenance, &mut warnings)?);
    let tls = match &options.ca_file {
        _ if options.insecure => {
            warnings.push(Message::CertificateUnverified {
                option: provenance.name(Opt::Insecure),
            });
            tls.disable_verification(true)
        }
        Some(path) => {
            let roots = tls::ca_file(path);
            tls.root_certs(roots.map_err(|what| of_file(provenance, Opt::CaFile, path, &what))?)
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
            option: provenance.name(Opt::Endpoint),
        });
    }
    let timeouts = Timeouts {
        connect: options.connect_timeout,
        request: options.request_timeout,
    };
    let proxy = proxy_choice::choose(options, provenance, &endpoint)?;
    let webhook = Webhook::new(endpoint, token, template, tls.build(), proxy, timeouts)
        .map_err(|what| provenance.error(Opt::AuthToken, what))?;
    Ok((webhook, warnings))
}

/// The certificate that the webhook may ask for.
fn client(
    options: &WebhookOptions,
    provenance: &Provenance,
    warnings: &mut Vec<Message>,
) -> Result<Option<ClientCert>, UsageError> {
    let Some(certificate) = &options.client_cert else {
        return match options.client_key {
            Some(_) => Err(provenance.error(
                Opt::ClientKey,
                "is of no use without --client-cert; fix: give that too",
            )),
            None => Ok(None),
        };
    };
    let (option, path) = match &options.client_key {
        Some(path) => (Opt::ClientKey, path),
        None => (Opt::ClientCert, certificate),
    };
    let client =
        tls::client(certificate, options.client_key.as_deref()).map_err(|(file, what)| {
            let (option, path) = match file {
                Part::Certificate => (Opt::ClientCert, certificate),
                Part::Key => (option, path),
            };
            of_file(provenance, option, path, &what)
        })?;
    let is_open = |file: fs::Metadata| file.mode() & 0o007 != 0;
    if fs::metadata(path).is_ok_and(is_open) {
        warnings.push(Message::KeyReadable {
            option: provenance.name(option),
            path: path.display().to_string(),
        });
    }
    Ok(Some(client))
}

fn of_file(provenance: &Provenance, option: Opt, path: &Path, what: &str) -> UsageError {
    provenance.error(option, format!("{} {what}", path.display()))
}

fn endpoint(options: &WebhookOptions, provenance: &Provenance) -> Result<Endpoint, UsageError> {
    match &options.endpoint {
        Some(text) => Endpoint::parse(text).map_err(|what| provenance.error(Opt::Endpoint, what)),
        None => Err(UsageError(
            "no webhook is set; fix: give --endpoint URL and --auth-token TOKEN (or --auth-token-file FILE), \
             or S3_AUDIT_WEBHOOK_ENDPOINT and S3_AUDIT_WEBHOOK_AUTH_TOKEN in the environment, or set them \
             with `s3-audit-webhook enable`; `run --dry-run` needs none"
                .into(),
        )),
    }
}

fn token(options: &WebhookOptions, provenance: &Provenance) -> Result<Option<Token>, UsageError> {
    let option = token_option(options, provenance)?;
    match (&options.auth_token, &options.auth_token_file) {
        (_, Some(path)) if option == Opt::AuthTokenFile => Token::from_file(path),
        (text, _) => Token::parse(text.as_deref().unwrap_or_default()),
    }
    .map(|token| Some(token).filter(|token| !token.is_none()))
    .map_err(|what| provenance.error(option, what))
}

/// Which option the token is from: a flag wins over the environment, and that over the settings file.
///
/// # Errors
/// Both are given in one place, or none is.
pub fn token_option(options: &WebhookOptions, provenance: &Provenance) -> Result<Opt, UsageError> {
    match (&options.auth_token, &options.auth_token_file) {
        (Some(_), Some(_)) => provenance.stronger(Opt::AuthToken, Opt::AuthTokenFile),
        (Some(_), None) => Ok(Opt::AuthToken),
        (None, Some(_)) => Ok(Opt::AuthTokenFile),
        (None, None) => Err(UsageError(
            "no token is set; fix: give --auth-token TOKEN or --auth-token-file FILE, or \
             S3_AUDIT_WEBHOOK_AUTH_TOKEN in the environment"
                .into(),
        )),
    }
}
