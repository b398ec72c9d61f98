//! What listening sources need besides their addresses: tokens and certificates.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::config::error::CommandError;
use crate::config::opt::Opt;
use crate::config::options::RunOptions;
use crate::config::provenance::{Origin, Provenance};
use crate::source::http::Settings;
use crate::source::http::tokens::Tokens;
use crate::source::tls::{TlsFile, TlsFiles, TlsServer};
use crate::source::watched::{Watch, Watched};
use crate::source::{ListenSettings, Spec};
use crate::telemetry::message::Message;
use crate::text::small_file;

/// What was opened.
pub(super) struct Listening {
    /// Those of all listeners, and of HTTP's.
    pub(super) http: Settings,
    /// The tokens that the status page requires of its clients.
    pub(super) status_tokens: Option<Arc<Watched<Tokens>>>,
    /// To be checked for changes while the agent runs.
    pub(super) files: Vec<Arc<dyn Watch>>,
    /// What an operator should know.
    pub(super) warnings: Vec<Message>,
}

/// Reads the files.
///
/// # Errors
/// A file's content can't be used, which passes if it is just being written; or a secret is given instead of its file.
pub(super) fn open(
    options: &RunOptions,
    provenance: &Provenance,
) -> Result<Listening, CommandError> {
    for (option, path) in options.listen_files() {
        let has_secret = option != Opt::ListenClientCa;
        if let Some(path) = path.as_ref().filter(|_| has_secret) {
            small_file::check_name(path).map_err(|what| provenance.error(option, what))?;
        }
    }
    let token_file = options.listen_token_file.as_ref();
    let tokens = open_tokens(token_file, Opt::ListenTokenFile, provenance)?;
    let token_file = options.status_token_file.as_ref();
    let status_tokens = open_tokens(token_file, Opt::StatusTokenFile, provenance)?;
    let of_tokens = tokens.iter().chain(&status_tokens);
    let mut files: Vec<_> = of_tokens
        .map(|tokens| Arc::clone(tokens) as Arc<dyn Watch>)
        .collect();
    let tls = open_tls(options, provenance)?;
    files.extend(tls.iter().map(|tls| Arc::clone(tls) as Arc<dyn Watch>));
    let wants_cert = tls.as_ref().is_some_and(|tls| tls.wants_client_cert());
    let is_given = provenance.origin(Opt::ListenConnections) > Origin::Default;
    let connections = is_given.then_some(options.listen_connections);
    Ok(Listening {
        http: Settings {
            listen: ListenSettings {
                connections,
                timeout: options.listen_timeout,
                socket_mode: options.socket_mode,
                tls,
            },
            tokens,
            connections_per_peer: options.listen_connections_per_peer,
            max_body: options.max_body_bytes,
            unwraps: Arc::new(AtomicBool::new(options.unwraps_envelopes())),
        },
        files,
        warnings: warnings(options, status_tokens.as_deref(), wants_cert),
        status_tokens,
    })
}

fn open_tokens(
    path: Option<&PathBuf>,
    option: Opt,
    provenance: &Provenance,
) -> Result<Option<Arc<Watched<Tokens>>>, CommandError> {
    let Some(path) = path else { return Ok(None) };
    let parse = |contents: &[Vec<u8>]| {
        let content = contents.first().map_or(&[][..], Vec::as_slice);
        Tokens::parse(content).map_err(|what| (0, what))
    };
    let opened = Watched::open("tokens of clients", vec![path.clone()], parse);
    let opened = opened.map_err(|(_, what)| {
        let what = format!("{} {what}", path.display());
        CommandError::Failed(provenance.error(option, what).0)
    })?;
    Ok(Some(Arc::new(opened)))
}

fn open_tls(
    options: &RunOptions,
    provenance: &Provenance,
) -> Result<Option<Arc<TlsServer>>, CommandError> {
    let Some(cert) = options.listen_cert.clone() else {
        return Ok(None);
    };
    let (key, client_ca) = (options.listen_key.clone(), options.listen_client_ca.clone());
    let files = TlsFiles {
        cert,
        key,
        client_ca,
    };
    match TlsServer::load(files) {
        Ok(server) => Ok(Some(Arc::new(server))),
        Err(error) => {
            let option = match error.file {
                TlsFile::Cert => Opt::ListenCert,
                TlsFile::Key => Opt::ListenKey,
                TlsFile::ClientCa => Opt::ListenClientCa,
            };
            let error = provenance.error(option, error.message);
            Err(CommandError::Failed(error.0))
        }
    }
}

fn warnings(
    options: &RunOptions,
    status_tokens: Option<&Watched<Tokens>>,
    wants_cert: bool,
) -> Vec<Message> {
    let mut warnings = Vec::new();
    for spec in &options.sources {
        let source = spec.to_string();
        if spec.lacks_port() {
            let listener = source.clone();
            warnings.push(Message::PortUnknown { listener });
        }
        match spec {
            Spec::Http(address) if !address.ip().is_loopback() => {
                warnings.push(Message::PlainListener { source });
            }
            Spec::Fluents(_) if wants_cert => {}
            Spec::Fluent(address) | Spec::Fluents(address) if !address.ip().is_loopback() => {
                warnings.push(Message::FluentUnprotected { source });
            }
            _ => {}
        }
    }
    if let Some(address) = options.status_listen {
        if address.port() == 0 {
            let listener = format!("{}: {address}", Opt::StatusListen.flag());
            warnings.push(Message::PortUnknown { listener });
        }
        if !address.ip().is_loopback() && status_tokens.is_none() {
            let address = address.to_string();
            warnings.push(Message::StatusExposed { address });
        }
    }
    warnings.extend(status_tokens.and_then(Watched::awaited));
    warnings
}
