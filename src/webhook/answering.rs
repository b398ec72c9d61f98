//! A connection on which ureq reads heads that it understands, whatever the webhook sends. See [`Head`].

use std::io::{self, ErrorKind};
use std::time::Instant;

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

use crate::webhook::head::Head;
use crate::webhook::wire::Wire;

/// How much ureq may leave unread, in bytes, when it wants more: a line with a chunk's size, or of the trailer. It waits
/// for a line's end however long that takes, and looks at all of the line again each time.
const LONGEST_LINE: usize = 64 << 10;

/// Makes ureq understand answers. Must be the last of a chain.
#[derive(Debug)]
pub struct Answers {
    /// Learns of each request.
    pub wire: Wire,
    /// The webhook is reached through a proxy.
    pub has_proxy: bool,
}

impl Connector<Box<dyn Transport>> for Answers {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        inner: Option<Box<dyn Transport>>,
    ) -> Result<Option<Self::Out>, Error> {
        // ureq connects to the proxy itself as if there were none. Over that, CONNECT and TLS will be spoken.
        let is_to_proxy = self.has_proxy && details.config.proxy().is_none();
        Ok(inner.map(|inner| match is_to_proxy {
            true => inner,
            false => {
                self.wire.set_unwanted(false);
                Box::new(Answering {
                    inner,
                    wire: self.wire.clone(),
                    head: Some(Head::default()),
                    input: Vec::new(),
                    read: 0,
                    can_use_input: false,
                })
            }
        }))
    }
}

/// A connection on which ureq reads heads that it understands.
#[derive(Debug)]
struct Answering {
    inner: Box<dyn Transport>,
    wire: Wire,
    /// None while what follows the head is read.
    head: Option<Head>,
    /// What ureq reads from; it has read the first `read` bytes.
    input: Vec<u8>,
    read: usize,
    can_use_input: bool,
}

impl Answering {
    /// Reads a head to its end, including those of interim answers before it. Returns false if it is cut off.
    fn read_head(&mut self, mut timeout: NextTimeout) -> Result<bool, Error> {
        let end = Instant::now().checked_add(*timeout.after);
        let head = self.head.get_or_insert_default();
        loop {
            let is_open = self.inner.maybe_await_input(timeout)?;
            let buffers = self.inner.buffers();
            let read = head.read(buffers.input());
            let (used, is_whole) =
                read.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            buffers.input_consume(used);
            match (is_whole, head.status()) {
                (true, 100 | 102..200) => *head = Head::default(),
                (true, _) => break,
                // An answer that is only a status line.
                (false, 200..) if !is_open && !head.has_more() => break,
                (false, _) if !is_open => return Ok(false),
                (false, _) => {}
            }
            if let Some(end) = end.filter(|_| !timeout.after.is_not_happening()) {
                timeout.after = end.saturating_duration_since(Instant::now()).into();
            }
        }
        self.input.extend(head.rewritten());
        self.head = None;
        Ok(true)
    }
}

impl Transport for Answering {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.head.get_or_insert_default();
        let output = &self.inner.buffers().output()[..amount];
        match self.wire.gathers(output) {
            true => Ok(()),
            false => self.inner.transmit_output(amount, timeout),
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        if self.head.is_some() {
            return self.read_head(timeout);
        }
        self.input.drain(..self.read);
        self.read = 0;
        if self.input.len() > LONGEST_LINE {
            return Err(Error::Io(ErrorKind::InvalidData.into()));
        }
        let is_open = self.inner.maybe_await_input(timeout)?;
        let buffers = self.inner.buffers();
        self.input.extend_from_slice(buffers.input());
        let length = buffers.input().len();
        buffers.input_consume(length);
        Ok(is_open)
    }

    fn is_open(&mut self) -> bool {
        let has_answered = self.head.is_none() && self.input().is_empty();
        has_answered && self.wire.is_idle(&mut *self.inner)
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

impl Buffers for Answering {
    fn output(&mut self) -> &mut [u8] {
        self.inner.buffers().output()
    }

    fn input(&self) -> &[u8] {
        &self.input[self.read..]
    }

    /// Nothing above this reads from a socket.
    fn input_append_buf(&mut self) -> &mut [u8] {
        &mut []
    }

    fn input_appended(&mut self, _: usize) {}

    fn input_consume(&mut self, amount: usize) {
        self.can_use_input = amount > 0;
        self.read = self.input.len().min(self.read + amount);
        if self.read == self.input.len() {
            self.input.clear();
            self.read = 0;
        }
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        self.inner.buffers().tmp_and_output()
    }

    fn can_use_input(&self) -> bool {
        self.can_use_input && !self.input().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use ureq::unversioned::transport::LazyBuffers;

    use super::*;

    const PIECE: usize = 16 << 10;

    /// Sends a head, and then as much as its buffer takes of this text, again and again.
    #[derive(Debug)]
    struct Endless {
        buffers: LazyBuffers,
        text: &'static str,
        is_head: bool,
    }

    impl Transport for Endless {
        fn buffers(&mut self) -> &mut dyn Buffers {
            &mut self.buffers
        }

        fn transmit_output(&mut self, _: usize, _: NextTimeout) -> Result<(), Error> {
            Ok(())
        }

        fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
            let mut text = match std::mem::take(&mut self.is_head) {
                true => "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
                false => self.text.repeat(PIECE),
            };
            text.truncate(PIECE);
            self.buffers.input_append_buf()[..text.len()].copy_from_slice(text.as_bytes());
            self.buffers.input_appended(text.len());
            Ok(true)
        }

        fn is_open(&mut self) -> bool {
            true
        }
    }

    #[test]
    fn what_never_ends_takes_no_memory_for_long() {
        // One line, as of a chunk's size; and many, as of a trailer, each piece of which ends within a line.
        for (text, is_cut_off) in [("x", true), ("x\r\n", false)] {
            let mut answering = Answering {
                inner: Box::new(Endless {
                    buffers: LazyBuffers::new(PIECE, PIECE),
                    text,
                    is_head: true,
                }),
                wire: Wire::default(),
                head: Some(Head::default()),
                input: Vec::new(),
                read: 0,
                can_use_input: false,
            };
            let mut result = Ok(true);
            for _ in 0..100 {
                result = answering.await_input(NextTimeout::default());
                assert!(answering.input.len() <= LONGEST_LINE + PIECE);
                // As ureq reads it.
                let input = answering.input();
                let lines = memchr::memrchr(b'\n', input).map_or(0, |end| end + 1);
                answering.input_consume(lines);
            }
            assert_eq!(result.is_err(), is_cut_off, "{text:?}");
        }
    }
}
