//! Looking up the webhook's name, only when a connection is to be made.
//!
//! ureq asks for the addresses before every request, and with a time limit its own resolver starts a thread each
//! time, even for a request over a connection that is there, and for an address that needs no looking up.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::webhook::observer::Observer;

/// What a name was found to stand for, until it is forgotten. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Known(Arc<Mutex<Option<ResolvedSocketAddrs>>>);

impl Known {
    /// To be called when there is no connection: the next one is made to what the name stands for then.
    pub fn forget(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<ResolvedSocketAddrs>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks another resolver for what is not known.
#[derive(Debug)]
pub struct Resolve<R> {
    /// The other.
    pub inner: R,
    /// What it has found.
    pub known: Known,
    /// Learns of what is asked.
    pub observer: Arc<dyn Observer>,
}

impl<R: Resolver> Resolver for Resolve<R> {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        if let Some(address) = literal(uri) {
            let mut found = self.empty();
            found.push(address);
            return Ok(found);
        }
        if let Some(known) = self.known.lock().clone() {
            return Ok(known);
        }
        self.observer.begin("name", uri.host().unwrap_or_default());
        let found = self.inner.resolve(uri, config, timeout)?;
        let addresses = found.iter().map(|address| address.ip().to_string());
        self.observer.end(&addresses.collect::<Vec<_>>().join(", "));
        *self.known.lock() = Some(found.clone());
        Ok(found)
    }
}

/// The address of a URI that has one instead of a name.
fn literal(uri: &Uri) -> Option<SocketAddr> {
    let address = DefaultResolver::host_and_port(uri.scheme()?, uri.authority()?)?;
    address.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_no_looking_up() {
        let of = |uri: &'static str| literal(&Uri::from_static(uri)).map(|found| found.to_string());
        assert_eq!(of("http://192.0.2.7/x").as_deref(), Some("192.0.2.7:80"));
        assert_eq!(
            of("https://[2001:db8::7]/").as_deref(),
            Some("[2001:db8::7]:443")
        );
        assert_eq!(
            of("https://192.0.2.7:8088/").as_deref(),
            Some("192.0.2.7:8088")
        );
        assert_eq!(of("https://hec.example.com:8088/"), None);
    }
}
