//! TCP: listening, and what the kernel knows about a connection.

use std::io;
use std::mem::{offset_of, size_of};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;

use socket2::{Domain, Socket, Type};

/// Clients that may wait to be accepted. With the standard library's 128, silent clients could fill the queue, and the
/// last ones of a burst would retry after a second, when some have given up.
pub const BACKLOG: i32 = 4096;

/// Listens at an address, at `::` for IPv4 too, whatever the host's setting; accepting a client never waits.
///
/// # Errors
/// The address is in use, or is not this host's.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // So that a restart need not wait for what the previous agent's connections have left.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The beginning of Linux's `struct tcp_info`. libc's version lacks the fields at its end.
#[repr(C)]
struct Info {
    bytes: [u8; 8],
    words: [u32; 24],
    rates: [u64; 2],
    acked: u64,
}

/// How many bytes the peer's kernel has acknowledged since the connection was made. `None` if that is unknown.
pub fn bytes_acked(stream: &TcpStream) -> Option<u64> {
    let mut info = Info {
        bytes: [0; 8],
        words: [0; 24],
        rates: [0; 2],
        acked: 0,
    };
    let mut length = size_of::<Info>() as libc::socklen_t;
    // SAFETY: the descriptor is open while `stream` is borrowed, and the kernel writes at most `length` bytes into
    // `info`, for which all bytes are valid values.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    let is_known = length as usize >= offset_of!(Info, acked) + size_of::<u64>();
    (result == 0 && is_known).then_some(info.acked)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn what_arrives_is_acknowledged_and_what_is_refused_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let before = bytes_acked(&client).unwrap();
        client.write_all(&[7; 1000]).unwrap();
        server.read_exact(&mut [0; 1000]).unwrap();
        server.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        assert_eq!(bytes_acked(&client), Some(before + 1000));
        drop(server);
        client.write_all(&[7; 1000]).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
        assert_eq!(bytes_acked(&client), Some(before + 1000));
    }
}
