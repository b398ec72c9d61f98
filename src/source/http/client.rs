//! Who is at a connection's other end, and whether its requests may come in.

use std::net::IpAddr;

use super::answer::Answer;
use super::request::{Head, Length};
use super::route::Route;
use super::service::Service;
use crate::telemetry::counters::Refusal;

/// Who is at the other end, as the service knows it.
pub(super) struct Client<'a> {
    pub(super) service: &'a Service,
    pub(super) number: u64,
    pub(super) peer: IpAddr,
    pub(super) is_trusted: bool,
}

/// What is kept of a head while its body is read.
pub(super) struct Asked {
    pub(super) route: Route,
    pub(super) length: Length,
    pub(super) is_gzip: bool,
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
}

impl Client<'_> {
    pub(super) fn trust(&mut self) {
        if !self.is_trusted {
            self.is_trusted = true;
            self.service.connections.trust(self.number);
        }
    }

    pub(super) fn refused(&self, reason: Refusal) {
        self.service.output.refused(reason, self.peer);
    }

    /// Counts a request that got no answer, unless it was the agent that ended the connection.
    pub(super) fn disconnected(&self) {
        let service = self.service;
        let is_ours = service.stop.is_triggered() || !service.connections.close(self.number);
        if !is_ours {
            self.refused(Refusal::Disconnected);
        }
    }

    /// Whether the request may come in, and what it wants.
    pub(super) fn check(&mut self, head: &Head<'_>) -> Result<Asked, Answer> {
        let route = Route::of(head.method, head.target);
        if let Some(tokens) = &self.service.tokens
            && route.is_none_or(Route::needs_token)
        {
            let given = head.authorization.ok_or(Answer::NoToken)?;
            if !tokens.current().is_ok_and(|tokens| tokens.accept(given)) {
                return Err(Answer::WrongToken);
            }
            self.trust();
        }
        let route = route.ok_or(Answer::OtherMethod)?;
        match head.length {
            _ if head.lacks_length() => return Err(Answer::NoLength),
            Length::Known(length) if length > self.service.max_body as u64 => {
                return Err(Answer::TooLarge);
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
