//! One client's connection: requests in, answers out, one after the other.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq;

use super::Service;
use super::answer::{Answer, TAKEN};
use super::decoder::BodyDecoder;
use super::request::{Chunked, HEAD_BYTES, Head, Length, Piece, parse_head};

/// What is read at once: a whole request of the usual kind.
const BUFFER: usize = HEAD_BYTES + (16 << 10);
/// An idle connection is closed after this, if a request has come over it: one that never says anything
/// has as long for its first request as for a whole one.
const IDLE: Duration = Duration::from_secs(300);
/// A refused request's rest is read for so long, so that its client gets to see the answer.
const LINGER: Duration = Duration::from_secs(2);

/// A connection and what has been read of it.
pub(super) struct Connection<'a> {
    stream: &'a TcpStream,
    service: &'a Service,
    parcel: BodyDecoder<'a>,
    buffer: Box<[u8]>,
    /// Bytes of the buffer that are not dealt with.
    unread: std::ops::Range<usize>,
    answer: Vec<u8>,
    /// The request at hand is HEAD: its answer has no text.
    head_only: bool,
    /// How long the next request may be in coming.
    idle: Duration,
    /// The read timeout is that one.
    is_patient: bool,
}

/// Why a request came to no answer.
enum Broken {
    /// The client has gone, or the agent stops.
    Gone,
    /// This answer, then no more.
    Refused(Answer),
}

impl From<Answer> for Broken {
    fn from(answer: Answer) -> Self {
        Broken::Refused(answer)
    }
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Broken::Gone
    }
}

/// What is kept of a head while its body is read.
struct Asked {
    length: Length,
    takes_body: bool,
    keep_alive: bool,
}

impl<'a> Connection<'a> {
    pub(super) fn new(stream: &'a TcpStream, service: &'a Service) -> Self {
        Connection {
            stream,
            service,
            parcel: BodyDecoder::new(&service.budget, service.max_body, service.max_event),
            buffer: vec![0; BUFFER].into(),
            unread: 0..0,
            answer: Vec::new(),
            head_only: false,
            idle: service.timeout,
            is_patient: false,
        }
    }

    /// Serves requests until the client or the agent has had enough.
    pub(super) fn serve(mut self) {
        // Without these a client could hold a thread for ever: then rather not serve it.
        let prepared = self.stream.set_nodelay(true).is_ok()
            && self
                .stream
                .set_write_timeout(Some(self.service.timeout))
                .is_ok();
        if !prepared {
            return;
        }
        let broken = loop {
            match self.request() {
                Ok(true) => {}
                Ok(false) => return,
                Err(broken) => break broken,
            }
        };
        self.parcel.clear();
        if let Broken::Refused(answer) = broken
            && self.write(answer, false).is_ok()
        {
            self.linger();
        }
    }

    /// One request. True if another may follow.
    fn request(&mut self) -> Result<bool, Broken> {
        let mut deadline = None;
        self.head_only = false;
        let asked = loop {
            let bytes = &self.buffer[self.unread.clone()];
            match parse_head(bytes).map_err(Answer::Refused)? {
                Some(head) => {
                    self.head_only = head.method == "HEAD";
                    let (asked, expects) = self.look_at(&head)?;
                    let (length, gzip) = (head.bytes, head.gzip);
                    self.parcel.start(gzip);
                    self.unread.start += length;
                    if expects && self.unread.is_empty() {
                        (&mut &*self.stream).write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
                    }
                    break asked;
                }
                // The time runs from a request's first byte.
                None if bytes.is_empty() => self.read(None)?,
                None => {
                    let deadline =
                        *deadline.get_or_insert_with(|| Instant::now() + self.service.timeout);
                    self.read(Some(deadline))?;
                }
            }
        };
        let deadline = deadline.unwrap_or_else(|| Instant::now() + self.service.timeout);
        match asked.length {
            Length::Known(length) => self.read_known(length, deadline)?,
            Length::Chunked => self.read_chunked(deadline)?,
        }
        let answer = if asked.takes_body {
            self.take()
        } else {
            Answer::Healthy
        };
        self.parcel.clear();
        // What has been read of the next request must be answered.
        let is_unwanted = self.unread.is_empty() && self.service.connections.are_crowded();
        let keep_alive = asked.keep_alive && !is_unwanted && !self.service.stop.is_triggered();
        self.write(answer, keep_alive)?;
        if self.idle != IDLE {
            (self.idle, self.is_patient) = (IDLE, false);
        }
        Ok(keep_alive)
    }

    fn look_at(&self, head: &Head<'_>) -> Result<(Asked, bool), Answer> {
        if let Some(token) = &self.service.token {
            let given = head.authorization.ok_or(Answer::NoToken)?;
            if !bool::from(given.ct_eq(token.reveal().as_bytes())) {
                return Err(Answer::WrongToken);
            }
        }
        let takes_body = match head.method {
            "POST" | "PUT" => true,
            "GET" | "HEAD" => false,
            _ => return Err(Answer::OtherMethod),
        };
        if let Length::Known(length) = head.length
            && length > self.service.max_body as u64
        {
            // Nobody knows how many events it has.
            self.service.refuse(Answer::TooLarge, 1);
            return Err(Answer::TooLarge);
        }
        let asked = Asked {
            length: head.length,
            takes_body,
            keep_alive: head.keep_alive,
        };
        Ok((asked, head.expects_continue))
    }

    fn read_known(&mut self, length: u64, deadline: Instant) -> Result<(), Broken> {
        let mut left = length;
        while left > 0 {
            if self.unread.is_empty() {
                self.read(Some(deadline))?;
            }
            let count =
                usize::try_from(left).map_or(self.unread.len(), |left| left.min(self.unread.len()));
            self.feed(count)?;
            left -= count as u64;
        }
        Ok(())
    }

    fn read_chunked(&mut self, deadline: Instant) -> Result<(), Broken> {
        let mut chunked = Chunked::default();
        loop {
            if self.unread.is_empty() {
                self.read(Some(deadline))?;
            }
            match chunked
                .next(&self.buffer[self.unread.clone()])
                .map_err(Answer::Refused)?
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
        self.parcel
            .feed(&self.buffer[start..start + count])
            .map_err(|answer| {
                // As many as were found so far, and what was being read.
                self.service.refuse(answer, self.parcel.events() + 1);
                answer.into()
            })
    }

    /// The body is complete: into the buffer with it, or not.
    fn take(&mut self) -> Answer {
        let finished = match self.parcel.finish() {
            Ok(()) if !self.service.output.could_take(&self.parcel.chunk) => Err(Answer::TooLarge),
            finished => finished,
        };
        match finished {
            Ok(()) if self.service.output.take_whole(&mut self.parcel.chunk) => Answer::Taken,
            Ok(()) => Answer::Busy,
            Err(answer) => {
                // Where nothing was found in it, the body was still one event to its client.
                self.service.refuse(answer, self.parcel.events().max(1));
                answer
            }
        }
    }

    /// Reads more, behind what is unread. Without a deadline: a new request, whenever it comes.
    fn read(&mut self, deadline: Option<Instant>) -> Result<(), Broken> {
        if self.unread.is_empty() {
            self.unread = 0..0;
        } else if self.unread.end == self.buffer.len() {
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        match deadline {
            None if !self.is_patient => {
                self.stream.set_read_timeout(Some(self.idle))?;
                self.is_patient = true;
            }
            None => {}
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(Answer::TooSlow.into());
                }
                self.stream.set_read_timeout(Some(left))?;
                self.is_patient = false;
            }
        }
        loop {
            match (&mut &*self.stream).read(&mut self.buffer[self.unread.end..]) {
                Ok(0) => return Err(Broken::Gone),
                Ok(count) => {
                    self.unread.end += count;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && deadline.is_some() => {
                    return Err(Answer::TooSlow.into());
                }
                Err(_) => return Err(Broken::Gone),
            }
        }
    }

    fn write(&mut self, answer: Answer, keep_alive: bool) -> io::Result<()> {
        let mut stream = self.stream;
        if answer == Answer::Taken && keep_alive {
            return stream.write_all(TAKEN);
        }
        self.answer.clear();
        answer.write(keep_alive, self.head_only, &mut self.answer);
        stream.write_all(&self.answer)
    }

    /// Closing with unread bytes resets the connection, and the answer with it.
    fn linger(&mut self) {
        let deadline = Instant::now() + LINGER;
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        // What was read already would leave no room to read into.
        self.unread = 0..0;
        while self.read(Some(deadline)).is_ok() {
            self.unread = 0..0;
        }
    }
}
