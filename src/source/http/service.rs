//! What all connections of a listener share.

use std::sync::Arc;
use std::time::Duration;

use super::budget::Budget;
use super::connections::Connections;
use super::health::Health;
use super::lot::Lot;
use super::parked::Parked;
use super::tokens::Tokens;
use crate::source::output::SourceOutput;
use crate::source::spec::HecInput;
use crate::source::tls::TlsServer;
use crate::source::watched::Watched;
use crate::sys::shutdown::ShutdownSignal;

/// What all connections share.
pub(super) struct Service {
    pub(super) output: SourceOutput,
    pub(super) connections: Connections,
    pub(super) lot: Lot<Parked>,
    pub(super) tokens: Option<Arc<Watched<Tokens>>>,
    pub(super) tls: Option<Arc<TlsServer>>,
    pub(super) max_body: usize,
    pub(super) max_event: usize,
    pub(super) timeout: Duration,
    pub(super) hec_input: HecInput,
    pub(super) budget: Budget,
    pub(super) health: Health,
    pub(super) stop: ShutdownSignal,
}

impl Service {
    pub(super) fn is_full(&self) -> bool {
        self.health.is_full(self.output.percent_used())
    }
}
