//! One client's connection: requests in, answers out, one after the other.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::answer::{Answer, TAKEN};
use super::chunked::{Chunked, Piece};
use super::client::{Client, Waiting};
use super::decoder::{BodyDecoder, Coding};
use super::registry::Phase;
use super::request::{HEAD_BYTES, Length, parse_head};
use super::route::Route;
use super::service::Service;
use super::transport::{NoTls, Patience, Transport};
use crate::telemetry::counters::Refusal;

/// What is read at once: a whole request of the usual kind.
const BUFFER: usize = HEAD_BYTES + (16 << 10);
/// An idle connection is closed after this, if a request has come over it. One that never sends anything has as long
/// for its first request as any request may take.
pub(super) const IDLE: Duration = Duration::from_secs(300);
/// The rest of a refused request is read for this long, so that its client gets to see the answer.
const LINGER: Duration = Duration::from_secs(2);

/// Memory of a thread that serves connections, one after the other.
pub(super) struct Memory<'a> {
    decoder: BodyDecoder<'a>,
    buffer: Box<[u8]>,
    answer: Vec<u8>,
}

impl<'a> Memory<'a> {
    pub(super) fn new(service: &'a Service) -> Self {
        Memory {
            decoder: BodyDecoder::new(
                &service.budget,
                service.settings.max_body,
                service.output.max_event(),
            ),
            buffer: vec![0; BUFFER].into(),
            answer: Vec::new(),
        }
    }
}

/// A connection and what has been read of it.
struct Connection<'a, 'm> {
    transport: Transport,
    client: Client,
    service: &'a Service,
    memory: &'m mut Memory<'a>,
    /// Bytes of the buffer that were not processed yet.
    unread: std::ops::Range<usize>,
    /// The current request is HEAD: its answer has no text.
    head_only: bool,
    /// What reads wait for.
    phase: Phase,
    /// The current request brings events.
    has_events: bool,
    /// When the current request must be complete, if it was not complete at once.
    deadline: Option<Instant>,
    /// There may be something to read.
    may_read: bool,
}

/// Why a request was not answered in the usual way.
enum Broken {
    /// The next request is awaited elsewhere.
    Parked,
    /// The client left between two requests, or has not read its answer, or the agent stops.
    Gone,
    /// The client left within a request.
    Disconnected,
    /// This answer, then no more.
    Refused(Answer),
}

impl<A: Into<Answer>> From<A> for Broken {
    fn from(answer: A) -> Self {
        Broken::Refused(answer.into())
    }
}

/// Serves a client's requests until it or the agent is done, or the connection is to wait without a thread.
pub(super) fn serve<'a>(
    waiting: Waiting,
    service: &'a Service,
    memory: &mut Memory<'a>,
) -> Option<Waiting> {
    let Waiting { mut client, socket } = waiting;
    let Some(tls) = &service.settings.listen.tls else {
        return Connection::new(Transport::Plain(socket), client, service, memory).serve();
    };
    let deadline = Instant::now() + service.settings.listen.timeout;
    match Transport::secure(socket, tls, deadline) {
        Ok(transport) => {
            if tls.wants_client_cert() {
                service.trust(&mut client);
            }
            return Connection::new(transport, client, service, memory).serve();
        }
        Err(NoTls::Plain(transport, refusal)) => {
            Connection::new(transport, client, service, memory).end(refusal.into());
        }
        Err(NoTls::Failed(Some(reason))) => service.refused(reason, client.peer),
        Err(NoTls::Failed(None)) => service.unanswered(Refusal::Disconnected, &client),
        Err(NoTls::Gone) => {}
    }
    None
}

impl<'a, 'm> Connection<'a, 'm> {
    /// One that has waited without a thread has something to read.
    fn new(
        transport: Transport,
        client: Client,
        service: &'a Service,
        memory: &'m mut Memory<'a>,
    ) -> Self {
        let has_waited = client.is_served;
        Connection {
            transport,
            client,
            service,
            memory,
            unread: 0..0,
            head_only: false,
            phase: if has_waited { Phase::Idle } else { Phase::Head },
            has_events: false,
            deadline: None,
            may_read: has_waited,
        }
    }

    fn serve(mut self) -> Option<Waiting> {
        let broken = loop {
            match self.request() {
                Ok(true) => {}
                Ok(false) => break Broken::Gone,
                Err(broken) => break broken,
            }
        };
        self.memory.decoder.clear();
        match broken {
            Broken::Gone | Broken::Disconnected if self.transport.is_unread() => {
                self.service.unanswered(Refusal::Unread, &self.client);
            }
            Broken::Gone => {}
            Broken::Disconnected => self.service.unanswered(Refusal::Disconnected, &self.client),
            Broken::Refused(answer) => {
                self.end(answer);
                return None;
            }
            Broken::Parked => {
                let Transport::Plain(socket) = self.transport else {
                    return None;
                };
                let client = self.client;
                return Some(Waiting { client, socket });
            }
        }
        self.transport.close();
        None
    }

    /// Answers, and ends the connection so that the client gets to see the answer: closing it with unread bytes would
    /// reset it.
    fn end(mut self, answer: Answer) {
        if self.write(answer, false).is_err() || self.transport.finish().is_err() {
            if self.transport.is_unread() {
                self.service.unanswered(Refusal::Unread, &self.client);
            }
            return;
        }
        self.enter(Phase::Answered);
        let deadline = Instant::now() + LINGER;
        self.transport.set_patience(Patience::Until(deadline));
        while let Ok(1..) = self.transport.discard(&mut self.memory.buffer) {}
    }

    /// From now on, the connection waits for this.
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        let holds_memory = self.memory.decoder.holds_memory();
        let number = self.client.number;
        self.service.connections.enter(number, phase, holds_memory);
    }

    /// One request. True if another may follow.
    fn request(&mut self) -> Result<bool, Broken> {
        self.head_only = false;
        self.deadline = None;
        let asked = loop {
            if !self.unread.is_empty() {
                let bytes = &self.memory.buffer[self.unread.clone()];
                if let Some(head) = parse_head(bytes)? {
                    self.head_only = head.method == "HEAD";
                    let asked = self.service.check(&mut self.client, &head)?;
                    self.unread.start += head.bytes;
                    break asked;
                }
            }
            self.read(Phase::Head)?;
        };
        if asked.expects_continue && self.unread.is_empty() {
            let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
            let sent = self.transport.write_all(interim);
            sent.map_err(|_| Broken::Disconnected)?;
        }
        let service = self.service;
        self.has_events = asked.route.has_events();
        self.memory.decoder.start(Coding {
            is_gzip: asked.is_gzip,
            is_ignored: !self.has_events,
            unwraps: asked.route == Route::Envelopes
                && service.settings.unwraps.load(Ordering::Relaxed),
        });
        match asked.length {
            Length::None => {}
            Length::Known(length) => self.read_known(length)?,
            Length::Chunked => self.read_chunked()?,
        }
        let answer = match asked.route {
            Route::Events | Route::Envelopes => self.take(),
            Route::Health if service.is_full() => Answer::Full,
            Route::Health | Route::Probe => Answer::Healthy,
            Route::Options => Answer::Options,
            Route::Acknowledgements => Answer::NoAcknowledgements,
        };
        self.memory.decoder.clear();
        // If some of the next request has been read, that must be answered.
        let is_crowded = service.connections.served(self.client.number);
        let keep_alive = asked.keep_alive
            && !(is_crowded && self.unread.is_empty())
            && !service.stop.is_triggered();
        self.write(answer, keep_alive).map_err(|_| Broken::Gone)?;
        self.client.is_served = true;
        Ok(keep_alive)
    }

    fn read_known(&mut self, length: u64) -> Result<(), Broken> {
        let mut left = length;
        while left > 0 {
            if self.unread.is_empty() {
                self.read(Phase::Body)?;
            }
            let count =
                usize::try_from(left).map_or(self.unread.len(), |left| left.min(self.unread.len()));
            self.feed(count)?;
            left -= count as u64;
        }
        Ok(())
    }

    fn read_chunked(&mut self) -> Result<(), Broken> {
        let mut chunked = Chunked::default();
        loop {
            if self.unread.is_empty() {
                self.read(Phase::Body)?;
            }
            match chunked
                .next(&self.memory.buffer[self.unread.clone()])
                .map_err(|_| Refusal::BadChunking)?
            {
                Piece::Data { skip, take } => {
                    self.unread.start += skip;
                    self.feed(take)?;
                }
                Piece::Done(count) => {
                    self.unread.start += count;
                    return Ok(());
                }
            }
        }
    }

    /// The next bytes are the body's.
    fn feed(&mut self, count: usize) -> Result<(), Broken> {
        let start = self.unread.start;
        self.unread.start += count;
        Ok(self
            .memory
            .decoder
            .feed(&self.memory.buffer[start..start + count])?)
    }

    /// The body is complete: takes it into the buffer, or refuses it.
    fn take(&mut self) -> Answer {
        let output = &self.service.output;
        if let Err(answer) = self.memory.decoder.finish() {
            return answer;
        }
        let events = &mut self.memory.decoder.chunk;
        if !output.could_take(events.extent()) {
            return Refusal::TooLarge.into();
        }
        let screened = output.screen(events);
        if output.take_whole(events, &screened) {
            return Answer::Taken;
        }
        self.service.health.no_room();
        Refusal::BufferFull.into()
    }

    /// Reads more of a head or a body, after what is unread; or a new request's beginning, whenever it comes.
    fn read(&mut self, phase: Phase) -> Result<(), Broken> {
        let is_new = phase == Phase::Head && self.unread.is_empty();
        if self.unread.is_empty() {
            self.unread = 0..0;
        } else if self.unread.end == self.memory.buffer.len() {
            self.memory.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        let timeout = self.service.settings.listen.timeout;
        if !is_new {
            let phase = if self.has_events { phase } else { Phase::Head };
            // In a body, each part is waited for by itself; otherwise the whole.
            if self.phase != phase || phase == Phase::Body {
                self.enter(phase);
            }
            let deadline = *self
                .deadline
                .get_or_insert_with(|| Instant::now() + timeout);
            self.transport.set_patience(Patience::Until(deadline));
        } else if std::mem::take(&mut self.may_read) {
            self.transport.set_patience(Patience::Each(timeout));
        } else if self.client.is_served {
            self.phase = Phase::Idle;
            let can_park = matches!(self.transport, Transport::Plain(_));
            let connections = &self.service.connections;
            if connections.rest(self.client.number, can_park) {
                return Err(Broken::Parked);
            }
            self.transport.set_patience(Patience::Each(IDLE));
        } else {
            // The first request's head is awaited from the beginning.
            self.transport.set_patience(Patience::Each(timeout));
        }
        match self
            .transport
            .read(&mut self.memory.buffer[self.unread.end..])
        {
            Ok(count @ 1..) => {
                self.unread.end += count;
                Ok(())
            }
            _ if is_new => Err(Broken::Gone),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(Refusal::Timeout.into()),
            _ => Err(Broken::Disconnected),
        }
    }

    fn write(&mut self, answer: Answer, keep_alive: bool) -> io::Result<()> {
        if let Some(reason) = answer.refusal() {
            self.service.refused(reason, self.client.peer);
        }
        if answer == Answer::Taken && keep_alive {
            self.transport.write_all(TAKEN)?;
        } else {
            self.memory.answer.clear();
            answer.write(keep_alive, self.head_only, &mut self.memory.answer);
            self.transport.write_all(&self.memory.answer)?;
        }
        // TLS keeps what it could not write, and says nothing.
        self.transport.flush()
    }
}
