//! `http:ADDR:PORT` and `https:ADDR:PORT`: a webhook of our own, for S3 servers that push: MinIO, RustFS, Versity,
//! clients of Splunk's HTTP Event Collector, another agent.
//!
//! One thread per connection, so that no client depends on another's pace. A body is taken whole or not at all, and
//! answered at once: nothing here waits for the webhook.

pub mod answer;
pub mod budget;
pub mod chunked;
mod client;
mod connection;
pub mod connections;
pub mod decoder;
pub mod health;
pub mod lot;
pub mod registry;
pub mod request;
pub mod route;
mod service;
pub mod tokens;
mod transport;
mod worker;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use budget::Budget;
use client::{Client, Waiting};
use connections::{BURST, Connections, Member};
use health::Health;
use lot::Lot;
use registry::Limits;
use service::Service;
pub use service::Settings;
use transport::Socket;

use super::output::SourceOutput;
use super::reader::Source;
use super::spec::OpenError;
use super::stream;
use crate::sys::descriptors;
use crate::sys::poll::{PollFd, poll};
use crate::sys::shutdown::ShutdownSignal;
use crate::sys::tcp;
use crate::telemetry::counters::Refusal;

/// How long accepting rests when the agent is out of descriptors or threads.
pub const REST: Duration = Duration::from_millis(100);
/// Max requests at a time, if nothing else is set; and inside TLS, which has buffers for each, max connections.
const BUSY: usize = 256;
/// Memory for bodies is enough for this many of the largest size,
const BODIES: usize = 4;
/// with this much around each.
const BODY_OVERHEAD: usize = 256 << 10;

/// A listening socket.
pub(super) struct Listener {
    listener: TcpListener,
    settings: Settings,
}

/// Whether these settings are enough for `https:`, or else `http:`, at this address.
pub(super) fn check(
    address: SocketAddr,
    settings: &Settings,
    is_tls: bool,
) -> Result<(), OpenError> {
    let tls = settings.listen.tls.as_ref().filter(|_| is_tls);
    let wants_cert = tls.is_some_and(|tls| tls.wants_client_cert());
    if !address.ip().is_loopback() && settings.tokens.is_none() && !wants_cert {
        return Err(OpenError::Wrong(
            "others on the network could post forged events; fix: give --listen-token-file, or listen on \
             127.0.0.1"
                .into(),
        ));
    }
    Ok(())
}

impl Listener {
    /// `https:`, or else `http:`.
    pub(super) fn open(
        address: SocketAddr,
        settings: &Settings,
        is_tls: bool,
    ) -> Result<Self, OpenError> {
        let mut settings = settings.clone();
        settings.listen.tls = settings.listen.tls.filter(|_| is_tls);
        if let Some(tokens) = &settings.tokens {
            tokens.current().map_err(OpenError::Missing)?;
        }
        if let Some(tls) = &settings.listen.tls {
            tls.check().map_err(OpenError::Missing)?;
        }
        Ok(Listener {
            listener: tcp::listen(address).map_err(OpenError::listening)?,
            settings,
        })
    }

    /// Max requests at a time.
    fn busy(&self) -> usize {
        self.settings.listen.connections.unwrap_or(BUSY)
    }

    fn service(&self, output: SourceOutput, lot: Lot<Waiting>, stop: &ShutdownSignal) -> Service {
        let settings = &self.settings;
        let body = settings.max_body.saturating_add(BODY_OVERHEAD);
        // A connection that waits for its next request costs next to nothing.
        let connections = match settings.listen.tls {
            Some(_) => BUSY,
            None => descriptors::for_files(),
        };
        let limits = Limits {
            connections: settings.listen.connections.unwrap_or(connections),
            busy: self.busy(),
            per_peer: settings.connections_per_peer,
        };
        let connections = Arc::new(Connections::new(limits, stop));
        let (ending, refused) = (Arc::clone(&connections), output.refusals());
        let end_one = move || {
            let ended = ending.end_body();
            ended
                .map(|peer| refused(Refusal::MemoryLimit, peer))
                .is_some()
        };
        Service {
            settings: settings.clone(),
            output,
            connections,
            lot,
            budget: Budget::new(body.saturating_mul(BODIES), end_one),
            health: Health::default(),
            stop: stop.clone(),
        }
    }
}

impl Source for Listener {
    fn run(self: Box<Self>, output: SourceOutput, stop: &ShutdownSignal) {
        let lot = loop {
            match Lot::new(self.busy(), connection::IDLE, stop) {
                Ok(lot) => break lot,
                Err(error) => output.failed(&format!("can't wait for clients: {error}")),
            }
            if stop.wait(REST) {
                return;
            }
        };
        let service = Arc::new(self.service(output, lot, stop));
        let mut is_full = false;
        for number in 0.. {
            let mut fds = [
                PollFd::new(self.listener.as_fd()),
                PollFd::new(stop.as_fd()),
            ];
            if poll(&mut fds, None).is_err() {
                stop.wait(REST);
            }
            if fds[1].is_ready() {
                break;
            }
            if descriptors::are_scarce(&self.listener) {
                service
                    .output
                    .failed("too many clients; raise the limit of open files (LimitNOFILE)");
                stop.wait(REST);
                continue;
            }
            let problem = match self.listener.accept() {
                Ok((stream, peer)) => {
                    let received = receive(&service, stream, peer.ip(), number, &mut is_full);
                    let error = received.err();
                    error.map(|error| format!("can't serve a client: {error}"))
                }
                Err(error) if stream::is_passing(&error) => None,
                Err(error) => Some(format!("can't accept a client: {error}")),
            };
            if let Some(problem) = problem {
                service.output.failed(&problem);
                stop.wait(REST);
            }
        }
        drop(self.listener);
        service.connections.end(stream::LAST_READS);
    }
}

/// Lets a client in. `is_full`: all places were taken when the last one came.
fn receive(
    service: &Arc<Service>,
    stream: TcpStream,
    peer: IpAddr,
    number: u64,
    is_full: &mut bool,
) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let member = Arc::new(Member::new(stream));
    let patience = if *is_full { Duration::ZERO } else { BURST };
    let admitted = service.connections.admit(number, &member, peer, patience);
    *is_full = !matches!(admitted, Ok(None) | Err(Refusal::PeerLimit));
    match admitted {
        Ok(ended) => service.displaced(ended),
        Err(refusal) => {
            worker::turn_away(service, member.stream(), peer, refusal);
            return Ok(());
        }
    }
    let client = Client {
        number,
        peer,
        is_trusted: false,
        is_served: false,
    };
    let Ok(socket) = Socket::new(member, service.settings.listen.timeout) else {
        // Without its timeouts, a client could occupy a thread forever: it is better not to serve it.
        service.connections.close(number);
        return Ok(());
    };
    let started = worker::start(service, Some(Waiting { client, socket }));
    if started.is_err() {
        service.connections.close(number);
    }
    started
}

#[cfg(test)]
mod tests;
