//! The least that any forwarder could do: read a file in pieces of 1 MiB, cut at no particular
//! place, and post each as it is over one connection, unlooked at. The agent's cost is told as a
//! multiple of this one's. With gzip it compresses each piece before, with the library that the agent has.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::sink::ANSWER;

/// Bytes a body.
const PIECE: usize = 1 << 20;

/// Posts all of stdin, a regular file, to the sink at this address, compressed or not.
pub(crate) fn run(address: &str, gzip: bool) -> io::Result<()> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_nodelay(true)?;
    // Not through the standard library's stdin, whose buffer would be one more copy.
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut piece = vec![0; PIECE];
    let mut answer = [0; ANSWER.len()];
    loop {
        let length = input.read(&mut piece)?;
        if length == 0 {
            return Ok(());
        }
        let mut body = &piece[..length];
        let compressed;
        if gzip {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::new(1));
            encoder.write_all(body)?;
            compressed = encoder.finish()?;
            body = &compressed;
        }
        let head = format!(
            "POST /services/collector/raw HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        connection.write_all(head.as_bytes())?;
        connection.write_all(body)?;
        connection.read_exact(&mut answer)?;
    }
}
