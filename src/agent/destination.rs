//! The webhook that is configured: endpoint, token and trust, checked before anything starts.

use std::collections::BTreeSet;
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
use crate::delivery::route::Policy;
use crate::delivery::target::Targets;
use crate::telemetry::message::Message;
use crate::telemetry::snapshot::Forwarding;
use crate::text::pem::Part;
use crate::text::small_file;
use crate::text::token::Token;
use crate::webhook::client::Webhook;
use crate::webhook::endpoint::{self, Endpoint};
use crate::webhook::error::Timeouts;
use crate::webhook::proxy::Proxy;
use crate::webhook::tls::{self, TlsSettings, Trust, connect};

/// Where bodies go.
pub struct Destination {
    /// Take the bodies; `None` while forwarding is disabled.
    pub targets: Option<Targets>,
    /// For the log.
    pub forwarding: Forwarding,
    /// What the operator should know about it at every start.
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
    } else if options.webhook.endpoints.is_empty() && (config.is_given || config.settings.is_ok()) {
        let path = config.path.display();
        Forwarding::Unset(format!(
            "webhook not enabled yet in {path}; `s3-audit-webhook enable` does that"
        ))
    } else {
        return open(&options.webhook, provenance);
    };
    Ok(Destination {
        targets: None,
        forwarding,
        warnings: Vec::new(),
    })
}

/// Sets up the webhook that is configured.
///
/// # Errors
/// Names the option that is missing or wrong.
pub fn open(options: &WebhookOptions, provenance: &Provenance) -> Result<Destination, UsageError> {
    let (webhooks, warnings) = webhooks(options, provenance)?;
    let names = names(&webhooks);
    let mut text = format!("webhook {}", names.join(", "));
    if names.len() > 1 {
        let mode = provenance.raw(Opt::EndpointMode).next().unwrap_or_default();
        text += &format!(" ({})", mode.to_string_lossy());
    }
    let proxies = webhooks.iter().filter_map(Webhook::proxy);
    let proxies: BTreeSet<_> = proxies.map(ToString::to_string).collect();
    for proxy in proxies {
        text += &format!(" through proxy {proxy}");
    }
    let policy = Policy {
        endpoints: webhooks.len(),
        mode: options.endpoint_mode,
        failback: options.failback,
    };
    let all = webhooks.into_iter().map(|webhook| Box::new(webhook) as _);
    Ok(Destination {
        forwarding: Forwarding::On(text),
        targets: Some(Targets {
            all: all.collect(),
            names: if names.len() > 1 { names } else { Vec::new() },
            policy,
            ack_timeout: options.hec_ack.then_some(options.hec_ack_timeout),
        }),
        warnings,
    })
}

/// What each is called, without the secret parts of its URL.
fn names(webhooks: &[Webhook]) -> Vec<String> {
    let long = |webhook: &Webhook| endpoint::shown(&webhook.endpoint().uri().to_string());
    let short = |webhook: &Webhook| webhook.endpoint().to_string();
    let mut names: Vec<String> = Vec::new();
    for (place, webhook) in webhooks.iter().enumerate() {
        let numbered = format!("{} (endpoint {})", long(webhook), place + 1);
        let mut candidates = [short(webhook), long(webhook)].into_iter();
        let free = candidates.find(|name| !names.contains(name));
        names.push(free.unwrap_or(numbered));
    }
    names
}

/// The webhook itself, one per endpoint, and what the operator should know about it.
///
/// # Errors
/// Names the option that is missing or wrong.
pub fn webhooks(
    options: &WebhookOptions,
    provenance: &Provenance,
) -> Result<(Vec<Webhook>, Vec<Message>), UsageError> {
    let endpoints = endpoints(options, provenance)?;
    let token = token(options, provenance)?;
    let sign_key = options.sign_key_file.as_ref();
    let sign_key = sign_key.and_then(|path| if_readable(Opt::SignKeyFile, path, provenance));
    let mut warnings: Vec<_> = sign_key.into_iter().collect();
    let is_https = endpoints.iter().any(Endpoint::is_https);
    let tls = Arc::new(tls_settings(options, provenance, is_https, &mut warnings)?);
    if endpoints.iter().any(Endpoint::is_plain_and_remote) {
        warnings.push(Message::PlainHttp {
            option: provenance.name(Opt::Endpoint),
        });
    }
    let timeouts = Timeouts {
        connect: options.connect_timeout,
        request: options.request_timeout,
    };
    let webhook = |endpoint: Endpoint| {
        let template = request_template::template(options, &endpoint, provenance)?;
        let proxy = proxy_choice::choose(options, provenance, &endpoint)?;
        let host = (proxy.as_ref()).map_or(endpoint.uri().host().unwrap_or_default(), Proxy::host);
        let family = options.address_family.check(host);
        family.map_err(|what| provenance.error(Opt::AddressFamily, what))?;
        Webhook::new(
            endpoint,
            token.clone(),
            template,
            Arc::clone(&tls),
            proxy,
            timeouts,
            options.address_family,
        )
        .map_err(|what| provenance.error(Opt::AuthToken, what))
    };
    let webhooks = endpoints.into_iter().map(webhook);
    Ok((webhooks.collect::<Result<_, _>>()?, warnings))
}

/// Whom to trust.
fn tls_settings(
    options: &WebhookOptions,
    provenance: &Provenance,
    is_https: bool,
    warnings: &mut Vec<Message>,
) -> Result<TlsSettings, UsageError> {
    for (option, is_given) in [
        (Opt::PinSha256, !options.pins.is_empty()),
        (Opt::TlsServerName, options.tls_server_name.is_some()),
        (Opt::CaFile, options.ca_file.is_some()),
        (Opt::ClientCert, options.client_cert.is_some()),
        (Opt::ClientKey, options.client_key.is_some()),
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
        _ if options.insecure && is_https => {
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
        // Without TLS, there is no certificate to check.
        None => (Trust::Pins(Vec::new()), Vec::new()),
    };
    Ok(TlsSettings {
        trust,
        authorities,
        identity,
        name,
    })
}

/// The client certificate that the webhook may ask for.
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
    small_file::check_name(path).map_err(|what| provenance.error(option, what))?;
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

/// A warning if everybody may read this key file.
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

fn endpoints(
    options: &WebhookOptions,
    provenance: &Provenance,
) -> Result<Vec<Endpoint>, UsageError> {
    let wrong = |what| provenance.error(Opt::Endpoint, what);
    let mut endpoints = Vec::new();
    for text in options.endpoints() {
        let endpoint = Endpoint::parse(text).map_err(wrong)?;
        if endpoints.contains(&endpoint) {
            let what = format!("{endpoint} is given twice; fix: give it once");
            return Err(wrong(what));
        }
        endpoints.push(endpoint);
    }
    match endpoints.is_empty() {
        false => Ok(endpoints),
        true => Err(UsageError(
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

/// Which option the token comes from: a flag wins over the environment, and that over the settings file.
///
/// # Errors
/// Both are given in one place, or neither is.
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
