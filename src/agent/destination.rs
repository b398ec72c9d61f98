//! The webhook that was asked for: endpoint, token and trust, checked before anything starts.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use rustls::sign::CertifiedKey;

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
use crate::webhook::tls::{self, TlsSettings, Trust, connect};

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
    let reason = if !options.enabled {
        format!("webhook disabled by {}", provenance.name(Opt::Enabled))
    } else if options.webhook.endpoint.is_none() && (config.is_given || config.settings.is_ok()) {
        let path = config.path.display();
        format!("webhook not enabled yet in {path}; `s3-audit-webhook enable` does that")
    } else {
        return open(&options.webhook, provenance);
    };
    Ok(Destination {
        target: None,
        forwarding: Forwarding::Off(reason),
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
    let sign_key = options.sign_key_file.as_ref();
    let sign_key = sign_key.and_then(|path| if_readable(Opt::SignKeyFile, path, provenance));
    let mut warnings: Vec<_> = sign_key.into_iter().collect();
    let tls = tls_settings(options, provenance, &endpoint, &mut warnings)?;
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
    let webhook = Webhook::new(
        endpoint,
        token,
        template,
        tls,
        proxy,
        timeouts,
        options.address_family,
    )
    .map_err(|what| provenance.error(Opt::AuthToken, what))?;
    Ok((webhook, warnings))
}

/// Whom to trust.
fn tls_settings(
    options: &WebhookOptions,
    provenance: &Provenance,
    endpoint: &Endpoint,
    warnings: &mut Vec<Message>,
) -> Result<TlsSettings, UsageError> {
    let is_https = endpoint.uri().scheme_str() == Some("https");
    for (option, is_given) in [
        (Opt::PinSha256, !options.pins.is_empty()),
        (Opt::TlsServerName, options.tls_server_name.is_some()),
    ] {
        if is_given && !is_https {
            return Err(provenance.error(
                option,
                "is of no use with http://; fix: leave it out, or use https://",
            ));
        }
    }
    let name = options
        .tls_server_name
        .as_deref()
        .map(connect::server_name)
        .transpose();
    let name = name.map_err(|what| {
        provenance.error(
            Opt::TlsServerName,
            format!("{what}; fix: give a host name or an address"),
        )
    })?;
    let identity = client(options, provenance, warnings)?.map(Arc::new);
    let (trust, authorities) = match &options.ca_file {
        _ if !options.pins.is_empty() => (Trust::Pins(options.pins.clone()), Vec::new()),
        _ if options.insecure => {
            warnings.push(Message::CertificateUnverified {
                option: provenance.name(Opt::Insecure),
            });
            (Trust::Anyone, Vec::new())
        }
        Some(path) => {
            tls::ca_file(path).map_err(|what| of_file(provenance, Opt::CaFile, path, &what))?
        }
        None if is_https => {
            let (trust, warning) = tls::host_roots().map_err(UsageError)?;
            warnings.extend(warning);
            (trust, Vec::new())
        }
        // Nobody is asked.
        None => (Trust::Pins(Vec::new()), Vec::new()),
    };
    Ok(TlsSettings {
        trust,
        authorities,
        identity,
        name,
    })
}

/// The certificate that the webhook may ask for.
fn client(
    options: &WebhookOptions,
    provenance: &Provenance,
    warnings: &mut Vec<Message>,
) -> Result<Option<CertifiedKey>, UsageError> {
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
    warnings.extend(if_readable(option, path, provenance));
    Ok(Some(client))
}

/// A warning if everybody may read this file of a key.
fn if_readable(option: Opt, path: &Path, provenance: &Provenance) -> Option<Message> {
    let is_open = |file: fs::Metadata| file.mode() & 0o007 != 0;
    fs::metadata(path)
        .is_ok_and(is_open)
        .then(|| Message::KeyReadable {
            option: provenance.name(option),
            path: path.display().to_string(),
        })
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
