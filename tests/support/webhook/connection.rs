//! The webhook's threads: one accepts, and each connection has another one.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::{ServerConnection, StreamOwned};

use super::Request;
use super::answer::Then;
use super::shared::{Choice, Shared};

/// The first byte of a TLS connection.
const TLS_HANDSHAKE: u8 = 0x16;

/// A connection, plain or TLS.
trait Connection: Read + Write {
    /// Tells the client that nothing more will come, if the protocol has a word for it.
    fn say_goodbye(&mut self);
}

impl Connection for TcpStream {
    fn say_goodbye(&mut self) {}
}

impl Connection for StreamOwned<ServerConnection, TcpStream> {
    fn say_goodbye(&mut self) {
        self.conn.send_close_notify();
        let _ = self.flush();
    }
}

pub(super) fn accept(shared: &Arc<Shared>, listener: TcpListener) {
    let mut threads = Vec::new();
    while let Ok((socket, _)) = listener.accept() {
        let Some(number) = shared.open(&socket) else {
            break;
        };
        let shared = Arc::clone(shared);
        threads.push(thread::spawn(move || serve(&shared, socket, number)));
    }
    for thread in threads {
        let _ = thread.join();
    }
}

fn serve(shared: &Shared, socket: TcpStream, number: usize) {
    // An answer in small pieces must be sent as such.
    let _ = socket.set_nodelay(true);
    // Errors only end the connection: clients that go away are what many tests are about.
    let _ = match &shared.tls {
        None => converse(shared, socket, number),
        Some(config) => ServerConnection::new(Arc::clone(config))
            .map_err(io::Error::other)
            .and_then(|session| converse(shared, StreamOwned::new(session, socket), number)),
    };
    shared.lock().open.remove(&number);
    shared.changed.notify_all();
}

fn converse(shared: &Shared, connection: impl Connection, number: usize) -> io::Result<()> {
    let mut connection = BufReader::with_capacity(64 << 10, connection);
    if connection.fill_buf()?.first() == Some(&TLS_HANDSHAKE) {
        // As most servers answer to TLS on a port for plain HTTP.
        let refusal = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
        return connection.get_mut().write_all(refusal);
    }
    while let Some(mut request) = Request::read_head(&mut connection, number)? {
        let choice = shared.choose();
        let limit = match &choice {
            Choice::Answer(answer) => answer.body_limit(),
            Choice::By(_) => usize::MAX,
        };
        if limit > 0 && request.header("Expect").is_some() {
            // As curl asks for it before large bodies.
            let writer = connection.get_mut();
            writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            writer.flush()?;
        }
        request.body = shared.lock().spare.pop().unwrap_or_default();
        request.body.clear();
        if let Err(error) = request.read_body(&mut connection, limit) {
            shared.remember(request);
            return Err(error);
        }
        let answering = shared.begin_answer()?;
        let answer = match choice {
            Choice::Answer(answer) => answer,
            Choice::By(decide) => decide(&mut request),
        };
        let exchange = shared.remember(request);
        shared.wait_while(Duration::MAX, |state| state.held)?;
        answer
            .send(connection.get_mut(), &exchange)
            .inspect_err(|_| exchange.unmark())?;
        drop(answering);
        match answer.then() {
            Then::KeepAlive => {}
            Then::Close => {
                connection.get_mut().say_goodbye();
                return Ok(());
            }
            Then::CloseSilently => return Ok(()),
            Then::Reset => {
                reset_on_close(&shared.lock().open[&number]);
                return Ok(());
            }
            Then::Spoil => {
                // Past the session, to the socket itself.
                let record = [&b"\x17\x03\x03\x00\x20"[..], &[b'x'; 32]].concat();
                return (&shared.lock().open[&number]).write_all(&record);
            }
            Then::Hang => shared.wait_while(Duration::MAX, |_| true)?,
        }
    }
    Ok(())
}

/// Makes the socket's close a reset: the standard library has no stable way to set SO_LINGER.
fn reset_on_close(socket: &TcpStream) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the descriptor is open for as long as `socket` is borrowed, and the pointer and the size are `linger`'s.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of_val(&linger) as libc::socklen_t,
        )
    };
    assert_eq!(set, 0, "SO_LINGER: {}", io::Error::last_os_error());
}
