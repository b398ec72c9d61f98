//! The handshake with the webhook, and the connection that follows. ureq's own connector takes no verifier.

use std::fmt;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, ClientConnection, Stream, StreamOwned};
use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport, time,
};

use super::below::Below;
use super::handshake::Handshake;
use super::{TlsSettings, Trust};
use crate::telemetry::expiry::Expiries;
use crate::text::certificate::{Certificate, date};
use crate::text::hex;
use crate::text::pem;
use crate::webhook::observer::Observer;
use crate::webhook::wire::Wire;
use crate::webhook::wire::socket::write_pieces;

/// Speaks TLS on the connections of one client, one after the other.
#[derive(Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
    handshake: Arc<Handshake>,
    wire: Wire,
    observer: Arc<dyn Observer>,
}

impl Tls {
    /// Makes handshakes that `wire` and `observer` learn of.
    pub fn new(settings: Arc<TlsSettings>, wire: Wire, observer: Arc<dyn Observer>) -> Self {
        let handshake = Arc::new(Handshake::new(settings));
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_protocol_versions(rustls::ALL_VERSIONS);
        #[expect(clippy::expect_used, reason = "ring has ciphers of all versions")]
        let config = config
            .expect("all versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&handshake) as Arc<dyn ServerCertVerifier>)
            .with_client_cert_resolver(Arc::clone(&handshake) as Arc<dyn ResolvesClientCert>);
        Tls {
            config: Arc::new(config),
            handshake,
            wire,
            observer,
        }
    }

    /// Reports what was seen, to the observer and for the log.
    fn report(&self, chain: &[Certificate]) {
        let settings = &self.handshake.settings;
        let Some(leaf) = chain.first() else {
            return;
        };
        for (name, text) in describe(leaf) {
            self.observer.note(name, &text);
        }
        let issuers = settings.authorities.iter();
        let issuers = issuers.filter(|ca| {
            chain
                .iter()
                .any(|certificate| certificate.issuer == ca.subject)
        });
        let identity = settings.identity.as_ref();
        let identity = identity.and_then(|identity| Certificate::parse(identity.cert.first()?));
        self.wire.set_expiries(Expiries {
            // Any other certificate is trusted whatever its expiry.
            webhook: matches!(settings.trust, Trust::Roots(_)).then_some(leaf.not_after),
            // A bundle may also contain the previous one.
            ca: issuers.map(|ca| ca.not_after).max(),
            client: identity.map(|certificate| certificate.not_after),
        });
    }
}

/// What `test` shows of a certificate.
fn describe(leaf: &Certificate) -> Vec<(&'static str, String)> {
    let version = if leaf.version < 3 {
        format!(" (X.509 version {})", leaf.version)
    } else {
        String::new()
    };
    let names = if leaf.names.is_empty() {
        "none".into()
    } else {
        leaf.names.join(", ")
    };
    vec![
        ("subject", format!("{}{version}", leaf.subject)),
        ("issuer", leaf.issuer.clone()),
        ("names", names),
        ("expires", date(leaf.not_after)),
        (
            "sha256",
            format!("{} (certificate)", hex::encode(&leaf.fingerprint)),
        ),
        (
            "sha256",
            format!("{} (public key)", hex::encode(&leaf.key_fingerprint)),
        ),
    ]
}

/// The option that would make this certificate trusted, if there is one.
fn advice(error: &rustls::Error, leaf: &Certificate) -> Option<String> {
    use CertificateError as E;
    let rustls::Error::InvalidCertificate(error) = error else {
        return None;
    };
    let plain = leaf.names.iter().find(|name| !name.starts_with('*'));
    match (error, plain) {
        (
            E::Expired | E::ExpiredContext { .. } | E::NotValidYet | E::NotValidYetContext { .. },
            _,
        ) => None,
        _ if leaf.unusable_key().is_some() => None,
        (E::NotValidForName | E::NotValidForNameContext { .. }, Some(name)) => Some(format!(
            "if {name} is the webhook: --tls-server-name {name}"
        )),
        _ => {
            let pin = hex::encode(&leaf.key_fingerprint);
            Some(format!("if this key is the webhook's: --pin-sha256 {pin}"))
        }
    }
}

impl Connector<Box<dyn Transport>> for Tls {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        socket: Option<Box<dyn Transport>>,
    ) -> Result<Option<Self::Out>, Error> {
        let Some(socket) = socket else {
            return Ok(None);
        };
        if !details.needs_tls() {
            return Ok(Some(socket));
        }
        self.observer.begin("TLS", "");
        let name = match &self.handshake.settings.name {
            Some(name) => name.clone(),
            None => server_name(details.uri.host().unwrap_or_default()).map_err(Error::Io)?,
        };
        self.handshake.begin();
        let broken = |error| {
            Error::Io(io::Error::new(
                ErrorKind::InvalidData,
                self.handshake.failure(error),
            ))
        };
        let mut conn = ClientConnection::new(Arc::clone(&self.config), name).map_err(broken)?;
        let mut sock = Below::new(socket, left(details));
        let result = conn.complete_io(&mut sock);
        let chain = match conn.peer_certificates() {
            Some(chain) => pem::described(chain),
            None => self.handshake.chain(),
        };
        self.report(&chain);
        if let Err(error) = result {
            let source = error.get_ref().and_then(|source| source.downcast_ref());
            let advice = source.and_then(|error| advice(error, chain.first()?));
            advice
                .iter()
                .for_each(|text| self.observer.note("trust", text));
            return Err(self.handshake.explain(error));
        }
        self.observer.end("established");
        self.observer.begin("answer", "");
        let config = details.config;
        Ok(Some(Box::new(Encrypted {
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
            stream: StreamOwned { conn, sock },
            handshake: Arc::clone(&self.handshake),
            wire: self.wire.clone(),
        })))
    }
}

/// A name or an address as certificates have it.
///
/// # Errors
/// It is neither.
pub fn server_name(text: &str) -> io::Result<ServerName<'static>> {
    let name = ServerName::try_from(text.trim_matches(['[', ']']).to_owned());
    name.map_err(|_| {
        let what = format!("'{text}' is no name that a certificate can have");
        io::Error::new(ErrorKind::InvalidInput, what)
    })
}

/// The time that is left for connecting.
fn left(details: &ConnectionDetails) -> NextTimeout {
    let mut timeout = details.timeout;
    if let (time::Instant::Exact(since), time::Duration::Exact(limit)) =
        (details.now, timeout.after)
    {
        timeout.after = limit.saturating_sub(since.elapsed()).into();
    }
    timeout
}

/// A connection with TLS.
struct Encrypted {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, Below>,
    handshake: Arc<Handshake>,
    wire: Wire,
}

impl fmt::Debug for Encrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encrypted")
    }
}

impl Transport for Encrypted {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.sock.set_timeout(timeout);
        let result = match self.wire.take_request() {
            request if request.is_empty() => {
                self.stream.write_all(&self.buffers.output()[..amount])
            }
            request => {
                // `StreamOwned` writes one piece at a time.
                let mut stream = Stream::new(&mut self.stream.conn, &mut self.stream.sock);
                write_pieces(&mut stream, &request)
                    .and_then(|()| stream.flush())
                    .map(|()| self.wire.set_written())
            }
        };
        result.map_err(|error| self.handshake.explain(error))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.sock.set_timeout(timeout);
        let result = self.stream.read(self.buffers.input_append_buf());
        let amount = result.map_err(|error| self.handshake.explain(error))?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.transport().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
