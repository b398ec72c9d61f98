//! An HTTP client that is just a socket: it sends what it is told, right or wrong.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::wait::PATIENCE;

/// An HTTP client that sends what it is told and returns what it gets.
pub(crate) struct Client<S: Read + Write> {
    /// What comes from the server.
    pub(crate) stream: BufReader<S>,
}

impl Client<TcpStream> {
    /// Connects to a server.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        // So that a server that never answers fails a test, and does not hang it.
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self::over(socket)
    }
}

impl<S: Read + Write> Client<S> {
    /// Talks over an existing connection.
    pub(crate) fn over(stream: S) -> Self {
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)?;
        self.stream.get_mut().flush()
    }

    /// Sends a request without waiting for its answer.
    pub(crate) fn send_post(&mut self, body: &str) -> io::Result<()> {
        let length = body.len();
        self.send(
            format!("POST /raw HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")
                .as_bytes(),
        )
    }

    /// The status and the body of the next answer.
    pub(crate) fn read_answer(&mut self) -> io::Result<(u16, String)> {
        let status_line = self.read_line()?;
        let status = status_line
            .split(' ')
            .nth(1)
            .ok_or(io::ErrorKind::InvalidData)?;
        let status = status.parse().map_err(io::Error::other)?;
        let mut length = 0;
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// Posts a body and returns the answer's status and body.
    pub(crate) fn post(&mut self, body: &str) -> io::Result<(u16, String)> {
        self.send_post(body)?;
        self.read_answer()
    }

    fn read_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Everything that comes until the connection is closed.
    pub(crate) fn read_to_end(&mut self) -> io::Result<String> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest)?;
        Ok(String::from_utf8_lossy(&rest).into_owned())
    }
}
