//! The connection below TLS, as rustls reads and writes it.

use std::io::{self, IoSlice, Read, Write};
use std::time::Instant;

use ureq::unversioned::transport::{NextTimeout, Transport};

/// Writes several records at once: ureq's own adapter makes a call of each.
#[derive(Debug)]
pub(super) struct Below {
    transport: Box<dyn Transport>,
    timeout: NextTimeout,
    /// When `timeout` began.
    began: Instant,
}

impl Below {
    /// Reads and writes within this time.
    pub(super) fn new(transport: Box<dyn Transport>, timeout: NextTimeout) -> Self {
        Below {
            transport,
            timeout,
            began: Instant::now(),
        }
    }

    /// From now on, reads and writes within this time.
    pub(super) fn set_timeout(&mut self, timeout: NextTimeout) {
        (self.timeout, self.began) = (timeout, Instant::now());
    }

    /// What it is above.
    pub(super) fn transport(&mut self) -> &mut dyn Transport {
        &mut *self.transport
    }

    /// What is left of the time.
    fn left(&self) -> NextTimeout {
        let mut left = self.timeout;
        if !left.after.is_not_happening() {
            left.after = left.after.saturating_sub(self.began.elapsed()).into();
        }
        left
    }
}

impl Read for Below {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.left();
        let result = self.transport.maybe_await_input(left);
        result.map_err(ureq::Error::into_io)?;
        let buffers = self.transport.buffers();
        let read = buffers.input().read(out)?;
        buffers.input_consume(read);
        Ok(read)
    }
}

impl Write for Below {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut output = self.transport.buffers().output();
        let room = output.len();
        for slice in slices {
            output.write(slice)?;
        }
        let written = room - output.len();
        let left = self.left();
        let result = self.transport.transmit_output(written, left);
        result.map_err(ureq::Error::into_io)?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
