//! What the test and the webhook's threads share: the script, the requests, and how far each was answered.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use rustls::ServerConfig;

use super::{Answer, Request};

/// What the test and the webhook's threads share.
pub(super) struct Shared {
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) forgetful: bool,
    pub(super) state: Mutex<State>,
    /// Notified whenever a wait may be over: a request came or was answered, the hold was released, the webhook stops.
    pub(super) changed: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) stopping: bool,
    /// No more requests are answered.
    pub(super) finishing: bool,
    /// How many requests are being answered.
    pub(super) answering: usize,
    pub(super) held: bool,
    pub(super) script: VecDeque<Answer>,
    pub(super) otherwise: Choice,
    pub(super) requests: Vec<Request>,
    /// Memory for bodies.
    pub(super) spare: Vec<Vec<u8>>,
    pub(super) connections: usize,
    /// The connections that are open, so that they can be shut down from outside their threads.
    pub(super) open: HashMap<usize, TcpStream>,
}

/// How requests are answered: all in the same way, or by their content.
#[derive(Clone)]
pub(super) enum Choice {
    Answer(Answer),
    By(Arc<dyn Fn(&mut Request) -> Answer + Send + Sync>),
}

impl Default for Choice {
    fn default() -> Self {
        Self::Answer(Answer::ok())
    }
}

impl State {
    fn delivered(&self) -> impl Iterator<Item = &Request> {
        self.requests.iter().filter(|request| request.delivered())
    }

    pub(super) fn delivered_events(&self) -> Vec<Vec<u8>> {
        self.delivered().flat_map(Request::events).collect()
    }

    pub(super) fn count_delivered_events(&self) -> usize {
        self.delivered().map(Request::event_count).sum()
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The number of a new connection; `None` if the webhook stops.
    pub(super) fn open(&self, socket: &TcpStream) -> Option<usize> {
        let mut state = self.lock();
        if state.stopping {
            return None;
        }
        state.connections += 1;
        let number = state.connections;
        state.open.insert(number, socket.try_clone().unwrap());
        Some(number)
    }

    /// How the request whose head has just arrived is to be answered.
    pub(super) fn choose(&self) -> Choice {
        let mut state = self.lock();
        state
            .script
            .pop_front()
            .map_or_else(|| state.otherwise.clone(), Choice::Answer)
    }

    /// An error if no more requests are answered.
    pub(super) fn begin_answer(&self) -> io::Result<Answering<'_>> {
        let mut state = self.lock();
        if state.finishing {
            return Err(io::Error::other("the webhook stops"));
        }
        state.answering += 1;
        Ok(Answering(self))
    }

    pub(super) fn remember(&self, request: Request) -> Exchange<'_> {
        let mut state = self.lock();
        if self.forgetful {
            if request.body.capacity() > 0 {
                state.spare.push(request.body);
            }
            return Exchange {
                shared: self,
                request: None,
            };
        }
        state.requests.push(request);
        self.changed.notify_all();
        Exchange {
            shared: self,
            request: Some(state.requests.len() - 1),
        }
    }

    /// Waits while `condition` holds, for `limit` at most; an error if the webhook stops meanwhile.
    pub(super) fn wait_while(
        &self,
        limit: Duration,
        condition: impl Fn(&State) -> bool,
    ) -> io::Result<()> {
        let still = |state: &mut State| condition(state) && !state.stopping;
        let (state, _) = self
            .changed
            .wait_timeout_while(self.lock(), limit, still)
            .unwrap();
        if state.stopping {
            Err(io::Error::other("the webhook stops"))
        } else {
            Ok(())
        }
    }
}

/// An answer is being made or sent; see [`Webhook::finish`].
pub(super) struct Answering<'a>(&'a Shared);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.lock().answering -= 1;
        self.0.changed.notify_all();
    }
}

/// One request that is being answered.
pub(super) struct Exchange<'a> {
    shared: &'a Shared,
    request: Option<usize>,
}

impl Exchange<'_> {
    pub(super) fn mark(&self, status: u16) {
        self.set_answered(Some(status));
    }

    pub(super) fn unmark(&self) {
        self.set_answered(None);
    }

    fn set_answered(&self, status: Option<u16>) {
        if let Some(request) = self.request {
            self.shared.lock().requests[request].answered = status;
            self.shared.changed.notify_all();
        }
    }

    pub(super) fn pause(&self, time: Duration) -> io::Result<()> {
        self.shared.wait_while(time, |_| true)
    }
}
