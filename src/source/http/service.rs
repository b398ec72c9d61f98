//! What all connections of a listener share, and whether a client's requests may come in.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::budget::Budget;
use super::client::{Client, Waiting};
use super::connections::{Connections, Ended};
use super::health::Health;
use super::lot::Lot;
use super::request::{Head, Length};
use super::route::Route;
use super::tokens::Tokens;
use crate::source::listen::ListenSettings;
use crate::source::output::SourceOutput;
use crate::source::watched::Watched;
use crate::sys::shutdown::ShutdownSignal;
use crate::telemetry::counters::Refusal;

/// The settings of the listener.
#[derive(Clone)]
pub struct Settings {
    /// Those that all sources that listen have.
    pub listen: ListenSettings,
    /// What `Authorization` must be, if anything.
    pub tokens: Option<Arc<Watched<Tokens>>>,
    /// Connections at a time from one address; 0: as many as in all.
    pub connections_per_peer: usize,
    /// Max bytes of a body, also when decompressed.
    pub max_body: usize,
    /// Envelopes of HTTP Event Collector are removed. It may change with the format of what is sent.
    pub unwraps: Arc<AtomicBool>,
}

/// What all connections share.
pub(super) struct Service {
    pub(super) settings: Settings,
    pub(super) output: SourceOutput,
    pub(super) connections: Arc<Connections>,
    pub(super) lot: Lot<Waiting>,
    pub(super) budget: Budget,
    pub(super) health: Health,
    pub(super) stop: ShutdownSignal,
}

/// What is kept of a head while its body is read.
pub(super) struct Asked {
    pub(super) route: Route,
    pub(super) length: Length,
    pub(super) is_gzip: bool,
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
}

impl Service {
    pub(super) fn is_full(&self) -> bool {
        self.health.is_full(self.output.percent_used())
    }

    pub(super) fn trust(&self, client: &mut Client) {
        if !std::mem::replace(&mut client.is_trusted, true) {
            self.connections.trust(client.number);
        }
    }

    pub(super) fn refused(&self, reason: Refusal, peer: IpAddr) {
        self.output.refused(reason, peer);
    }

    /// Counts a request that was ended for another one, if it was one.
    pub(super) fn displaced(&self, ended: Option<Ended>) {
        if let Some(Ended {
            reason: Some(reason),
            peer,
        }) = ended
        {
            self.refused(reason, peer);
        }
    }

    /// Counts a request that got no answer, unless it was the agent that ended the connection.
    pub(super) fn unanswered(&self, reason: Refusal, client: &Client) {
        let is_ours = self.stop.is_triggered() || !self.connections.close(client.number);
        if !is_ours {
            self.refused(reason, client.peer);
        }
    }

    /// Whether a client's request may come in, and what it wants.
    pub(super) fn check(&self, client: &mut Client, head: &Head<'_>) -> Result<Asked, Refusal> {
        let route = Route::of(head.method, head.target);
        if let Some(tokens) = &self.settings.tokens
            && route.is_none_or(Route::needs_token)
        {
            let given = head.authorization.ok_or(Refusal::Unauthorized)?;
            if !tokens.current().is_ok_and(|tokens| tokens.accept(given)) {
                return Err(Refusal::Forbidden);
            }
            self.trust(client);
        }
        let route = route.ok_or(Refusal::Method)?;
        match head.length {
            _ if head.lacks_length() => return Err(Refusal::LengthRequired),
            Length::Known(length) if length > self.settings.max_body as u64 => {
                return Err(Refusal::TooLarge);
            }
            _ => {}
        }
        Ok(Asked {
            route,
            length: head.length,
            is_gzip: head.is_gzip,
            keep_alive: head.keep_alive,
            expects_continue: head.expects_continue,
        })
    }
}
