//! Tells each step of a connection, with its time, as it is made: for `test`.
//!
//! It wraps ureq's own resolver and connectors, so that what is measured is the request itself, over the
//! agents' way and within their timeouts, and not a connection made beside it.

use std::fmt;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, NextTimeout, RustlsConnector, TcpConnector, Transport,
};

use crate::text::quantity::HumanDuration;
use crate::webhook::early_response::{EarlyResponse, Listening};
use crate::webhook::error::{self, Timeouts};
use crate::webhook::tunnel::Tunnel;

/// The step under way.
#[derive(Debug, Clone)]
pub struct Steps(Arc<Mutex<Step>>);

#[derive(Debug)]
struct Step {
    name: &'static str,
    /// To whom.
    subject: String,
    since: Instant,
}

impl Default for Steps {
    /// Before the first step.
    fn default() -> Self {
        Steps(Arc::new(Mutex::new(Step::new("request", ""))))
    }
}

impl Steps {
    /// A client's resolver that tells of its step.
    pub fn resolver(&self) -> impl Resolver + use<> {
        TracedResolver {
            inner: DefaultResolver::default(),
            steps: self.clone(),
        }
    }

    /// A client's connectors that tell of their steps, of which there is one more if there is a proxy: that it
    /// connects to the webhook, which is shown so.
    pub fn connector(&self, tunnel: Option<String>) -> impl Connector + use<> {
        ().chain(TracedProxy {
            inner: Tunnel::default(),
            steps: self.clone(),
        })
        .chain(TracedTcp {
            inner: TcpConnector::default(),
            tunnel,
            steps: self.clone(),
        })
        .chain(EarlyResponse::default())
        .chain(TracedTls {
            inner: RustlsConnector::default(),
            steps: self.clone(),
        })
    }

    /// Tells that the step under way is done, and how it ended.
    pub fn end(&self, how: impl fmt::Display) {
        let step = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let colon = if step.subject.is_empty() { "" } else { ": " };
        let how = format!("{}{colon}{how}", step.subject);
        tell(
            step.name,
            &format!("{how:<50} {}", HumanDuration(step.since.elapsed())),
        );
    }

    fn begin(&self, name: &'static str, subject: impl fmt::Display) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Step::new(name, subject);
    }
}

impl Step {
    fn new(name: &'static str, subject: impl fmt::Display) -> Self {
        Step {
            name,
            subject: subject.to_string(),
            since: Instant::now(),
        }
    }
}

/// Writes a line of what `test` tells.
pub fn tell(name: &str, what: &str) {
    // Nobody reading it changes nothing about the test.
    let _ = writeln!(io::stdout(), "{name:<9} {what}");
}

/// The webhook asks it for names only, never for an address.
#[derive(Debug)]
struct TracedResolver {
    inner: DefaultResolver,
    steps: Steps,
}

impl Resolver for TracedResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().unwrap_or_default();
        self.steps.begin("name", host);
        let addresses = self.inner.resolve(uri, config, timeout)?;
        let found: Vec<_> = addresses
            .iter()
            .map(|found| found.ip().to_string())
            .collect();
        self.steps.end(found.join(", "));
        Ok(addresses)
    }
}

#[derive(Debug)]
struct TracedProxy {
    inner: Tunnel,
    steps: Steps,
}

impl Connector for TracedProxy {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _: Option<()>,
    ) -> Result<Option<Self::Out>, Error> {
        // The connection to the proxy itself comes through here too, and gets nothing.
        let Some(tunnel) = self.inner.connect(details, None::<()>)? else {
            return Ok(None);
        };
        self.steps.end("connected");
        self.steps.begin("answer", "");
        Ok(Some(tunnel))
    }
}

#[derive(Debug)]
struct TracedTcp {
    inner: TcpConnector,
    tunnel: Option<String>,
    steps: Steps,
}

impl Connector<Box<dyn Transport>> for TracedTcp {
    type Out = TlsVersionTap<Box<dyn Transport>>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<Box<dyn Transport>>,
    ) -> Result<Option<Self::Out>, Error> {
        if let Some(tunnel) = chained {
            return Ok(Some(TlsVersionTap::new(tunnel)));
        }
        let start = Instant::now();
        let count = details.addrs.len();
        for (place, address) in details.addrs.iter().enumerate() {
            // Each address but the last has half of what is left, much as ureq shares it.
            let left = details.timeout.after.saturating_sub(start.elapsed());
            let share = if place + 1 < count { left / 2 } else { left };
            self.steps.begin("connect", address);
            let connected = self
                .inner
                .connect(&alone(details, *address, share), None::<()>);
            match connected {
                Err(error) if place + 1 < count => {
                    let timeouts = Timeouts {
                        connect: share,
                        request: share,
                    };
                    self.steps
                        .end(error::of(&error, details.uri, timeouts).message);
                }
                result => {
                    let transport = result?;
                    self.steps.end("connected");
                    match &self.tunnel {
                        Some(webhook) => self.steps.begin("tunnel", webhook),
                        None => self.steps.begin("answer", ""),
                    }
                    return Ok(transport.map(|inner| TlsVersionTap::new(inner.boxed())));
                }
            }
        }
        Err(Error::HostNotFound)
    }
}

/// The connection to one of several addresses.
fn alone<'a>(
    details: &ConnectionDetails<'a>,
    address: SocketAddr,
    share: Duration,
) -> ConnectionDetails<'a> {
    let mut addrs = details.resolver.empty();
    addrs.push(address);
    ConnectionDetails {
        addrs,
        uri: details.uri,
        config: details.config,
        request_level: details.request_level,
        resolver: details.resolver,
        now: ureq::unversioned::transport::time::Instant::now(),
        timeout: NextTimeout {
            after: share.into(),
            ..details.timeout
        },
        current_time: Arc::clone(&details.current_time),
        run_connector: Arc::clone(&details.run_connector),
        register_shutdown: Arc::clone(&details.register_shutdown),
    }
}

#[derive(Debug)]
struct TracedTls {
    inner: RustlsConnector,
    steps: Steps,
}

/// What TLS is spoken over.
type Socket = Listening<TlsVersionTap<Box<dyn Transport>>>;

impl Connector<Socket> for TracedTls {
    type Out = <RustlsConnector as Connector<Socket>>::Out;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<Socket>,
    ) -> Result<Option<Self::Out>, Error> {
        if !details.needs_tls() {
            return self.inner.connect(details, chained);
        }
        self.steps.begin("TLS", "");
        let version = chained
            .as_ref()
            .map(|socket| Arc::clone(&socket.inner().heard));
        let transport = self.inner.connect(details, chained)?;
        let version = version.and_then(|version| version.get().copied().flatten());
        self.steps.end(version.unwrap_or("established"));
        self.steps.begin("answer", "");
        Ok(transport)
    }
}

/// A connection of which the first bytes are looked at, since ureq does not tell the version of TLS.
#[derive(Debug)]
struct TlsVersionTap<T> {
    inner: T,
    heard: Arc<OnceLock<Option<&'static str>>>,
}

impl<T> TlsVersionTap<T> {
    fn new(inner: T) -> Self {
        TlsVersionTap {
            inner,
            heard: Arc::default(),
        }
    }
}

impl<T: Transport> Transport for TlsVersionTap<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let progress = self.inner.await_input(timeout)?;
        let first = self.inner.buffers().input();
        self.heard.get_or_init(|| tls_version(first));
        Ok(progress)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

/// The version that a server's first message, its ServerHello, has chosen (RFC 8446, 4.1.3). The cipher
/// suite tells it: those of TLS 1.3 begin with 0x13, and no others do.
fn tls_version(bytes: &[u8]) -> Option<&'static str> {
    const HANDSHAKE: u8 = 22;
    const SERVER_HELLO: u8 = 2;
    /// Behind the record's header, the message's header, the old version and the random.
    const SESSION_ID: usize = 5 + 4 + 2 + 32;
    if (*bytes.first()?, *bytes.get(5)?) != (HANDSHAKE, SERVER_HELLO) {
        return None;
    }
    let suite = SESSION_ID + 1 + usize::from(*bytes.get(SESSION_ID)?);
    Some(if *bytes.get(suite)? == 0x13 {
        "TLS 1.3"
    } else {
        "TLS 1.2"
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpListener;

    use ureq::Agent;

    use super::*;

    #[derive(Debug)]
    struct Known([SocketAddr; 2]);

    impl Resolver for Known {
        fn resolve(
            &self,
            _: &Uri,
            _: &Config,
            _: NextTimeout,
        ) -> Result<ResolvedSocketAddrs, Error> {
            let mut addresses = self.empty();
            for address in self.0 {
                addresses.push(address);
            }
            Ok(addresses)
        }
    }

    #[test]
    fn the_next_address_is_tried_where_one_fails() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        // Of another address, since ports of this one are given to other tests.
        let closed = TcpListener::bind("127.78.0.2:0").unwrap();
        let bad = closed.local_addr().unwrap();
        drop(closed);
        let server = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let _ = socket.read(&mut [0; 1024]).unwrap();
            socket
                .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                .unwrap();
        });
        let config = Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(9)))
            .build();
        let connector = Steps::default().connector(None);
        let agent = Agent::with_parts(config, connector, Known([bad, good]));
        assert_eq!(agent.get("http://hec/").call().unwrap().status(), 204);
        server.join().unwrap();
    }

    #[test]
    fn a_server_hello_tells_the_version() {
        let hello = |session: u8, suite: [u8; 2]| {
            let mut bytes = vec![22, 3, 3, 0, 90, 2, 0, 0, 86, 3, 3];
            bytes.extend([7; 32]);
            bytes.push(session);
            bytes.extend(vec![7; session.into()]);
            bytes.extend(suite);
            bytes
        };
        assert_eq!(tls_version(&hello(32, [0x13, 0x01])), Some("TLS 1.3"));
        assert_eq!(tls_version(&hello(0, [0xc0, 0x2f])), Some("TLS 1.2"));
        for cut in 0..45 {
            assert_eq!(tls_version(&hello(0, [0x13, 0x01])[..cut.min(44)]), None);
        }
        assert_eq!(tls_version(b"HTTP/1.1 400 Bad Request\r\n\r\n"), None);
    }
}
