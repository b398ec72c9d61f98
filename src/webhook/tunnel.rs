//! The way through a proxy, made within the time there is for connecting. ureq alone waits that long again for each
//! piece of the proxy's answer, so that one which drips it would never come to an end.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, NextTimeout, Transport,
};

use crate::webhook::observer::Observer;
use crate::webhook::wire::Wire;

/// ureq's connector through a proxy, for the beginning of a chain.
#[derive(Debug)]
pub struct Tunnel {
    inner: ConnectProxyConnector,
    wire: Wire,
    observer: Arc<dyn Observer>,
}

impl Tunnel {
    /// Makes tunnels that these learn of.
    pub fn new(wire: Wire, observer: Arc<dyn Observer>) -> Self {
        Tunnel {
            inner: ConnectProxyConnector::default(),
            wire,
            observer,
        }
    }
}

impl Connector for Tunnel {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _: Option<()>,
    ) -> Result<Option<Self::Out>, Error> {
        let until = Instant::now().checked_add(*details.timeout.after);
        let is_open = Arc::new(AtomicBool::new(false));
        let (wire, observer) = (self.wire.clone(), Arc::clone(&self.observer));
        let scheme = details.uri.scheme_str().unwrap_or_default();
        let authority = details
            .uri
            .authority()
            .map_or("", |authority| authority.as_str());
        let webhook = format!("{scheme}://{authority}");
        let (connect, opened) = (Arc::clone(&details.run_connector), Arc::clone(&is_open));
        let details = ConnectionDetails {
            uri: details.uri,
            addrs: details.addrs.clone(),
            config: details.config,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: Arc::clone(&details.current_time),
            run_connector: Arc::new(move |details: &ConnectionDetails| {
                wire.set_to_proxy(true);
                let proxy = connect(details);
                wire.set_to_proxy(false);
                let inner = proxy?;
                observer.begin("tunnel", &webhook);
                Ok(Box::new(Bounded {
                    inner,
                    until,
                    is_open: Arc::clone(&opened),
                }))
            }),
            register_shutdown: Arc::clone(&details.register_shutdown),
        };
        let tunnel = self.inner.connect(&details, None::<()>)?;
        is_open.store(true, Ordering::Relaxed);
        if tunnel.is_some() {
            self.observer.end("connected");
            self.observer.begin("answer", "");
        }
        Ok(tunnel.map(|tunnel| Box::new(tunnel) as Self::Out))
    }
}

/// The connection to the proxy, on which nothing is waited for any longer until the tunnel is open.
struct Bounded {
    inner: Box<dyn Transport>,
    /// None if that is beyond what the clock can count.
    until: Option<Instant>,
    is_open: Arc<AtomicBool>,
}

impl Transport for Bounded {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, mut timeout: NextTimeout) -> Result<bool, Error> {
        if let Some(until) = self.until
            && !self.is_open.load(Ordering::Relaxed)
        {
            let left = until.saturating_duration_since(Instant::now());
            // For ureq, zero is no limit.
            if left.is_zero() {
                return Err(Error::Timeout(timeout.reason));
            }
            timeout.after = left.min(*timeout.after).into();
        }
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

impl fmt::Debug for Bounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bounded({:?})", self.inner)
    }
}
