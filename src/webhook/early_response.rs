//! What a server has said before it closed the connection on a body that it had not read to its end: an answer such as
//! 413, or the TLS alert that it wants a client certificate. Writing fails then, and ureq would not look at what
//! has arrived.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

use crate::webhook::error::is_hang_up;

/// Makes connections on which nothing more is written once that has failed, but what has arrived is read. To be
/// chained behind a socket's connector, below TLS.
#[derive(Debug, Clone, Default)]
pub struct EarlyResponse(Arc<AtomicBool>);

impl EarlyResponse {
    /// Whether a request was cut short since this was last asked.
    pub fn has_cut_short(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl<In: Transport> Connector<In> for EarlyResponse {
    type Out = Listening<In>;

    fn connect(
        &self,
        _: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(|inner| Listening {
            inner,
            hung_up: None,
            cut_short: Arc::clone(&self.0),
        }))
    }
}

/// Such a connection.
#[derive(Debug)]
pub struct Listening<T> {
    inner: T,
    /// How writing has failed.
    hung_up: Option<ErrorKind>,
    cut_short: Arc<AtomicBool>,
}

impl<T> Listening<T> {
    /// The connection that it is made of.
    pub fn inner(&self) -> &T {
        &self.inner
    }
}

impl<T: Transport> Transport for Listening<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if self.hung_up.is_some() {
            return Ok(());
        }
        match self.inner.transmit_output(amount, timeout) {
            Err(Error::Io(error)) if is_hang_up(&error) => {
                self.hung_up = Some(error.kind());
                self.cut_short.store(true, Ordering::Relaxed);
                Ok(())
            }
            result => result,
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let result = self.inner.await_input(timeout);
        match self.hung_up {
            Some(kind) if !matches!(result, Ok(true)) => Err(Error::Io(kind.into())),
            _ => result,
        }
    }

    fn is_open(&mut self) -> bool {
        self.hung_up.is_none() && self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}
