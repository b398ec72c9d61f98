//! The least that any forwarder could do: read a file in pieces of 1 MiB, cut at no particular
//! place, and post each as it is over one connection, unlooked at. The agent's cost is told as a
//! multiple of this one's.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;

use crate::sink::ANSWER;

/// Bytes a body.
const PIECE: usize = 1 << 20;

/// Posts all of stdin, a regular file, to the sink at this address.
pub(crate) fn run(address: &str) -> io::Result<()> {
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
        let head = format!(
            "POST /services/collector/raw HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n"
        );
        connection.write_all(head.as_bytes())?;
        connection.write_all(&piece[..length])?;
        connection.read_exact(&mut answer)?;
    }
}
