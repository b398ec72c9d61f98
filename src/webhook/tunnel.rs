//! The way through a proxy, made within the time for connecting. ureq alone waits that long again for each piece of the
//! proxy's answer, so an answer that drips in would never end.

use std::sync::Arc;
use std::time::Instant;

use ureq::Error;
use ureq::unversioned::transport::{
    ConnectProxyConnector, ConnectionDetails, Connector, Transport,
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
    /// Makes tunnels that `wire` and `observer` learn of.
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
        // There is no tunnel to the proxy itself either, which is connected to from here.
        if details.config.proxy().is_none() {
            return Ok(None);
        }
        let deadline = Instant::now().checked_add(*details.timeout.after);
        let observer = Arc::clone(&self.observer);
        let scheme = details.uri.scheme_str().unwrap_or_default();
        let authority = details
            .uri
            .authority()
            .map_or("", |authority| authority.as_str());
        let webhook = format!("{scheme}://{authority}");
        let connect = Arc::clone(&details.run_connector);
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
                let proxy = connect(details)?;
                observer.begin("tunnel", &webhook);
                Ok(proxy)
            }),
            register_shutdown: Arc::clone(&details.register_shutdown),
        };
        self.wire.set_deadline(deadline);
        let tunnel = self.inner.connect(&details, None::<()>);
        self.wire.set_deadline(None);
        let tunnel = tunnel?;
        if tunnel.is_some() {
            self.observer.end("connected");
            self.observer.begin("answer", "");
        }
        Ok(tunnel.map(|tunnel| Box::new(tunnel) as Self::Out))
    }
}
