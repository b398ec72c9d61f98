//! A scripted HTTP proxy for CONNECT.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A proxy that connects everybody to one server, whatever name is asked for, or to none. Its threads last as long as
/// the process.
pub(crate) struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Connects to this server.
    pub(crate) fn to(server: SocketAddr) -> Self {
        Self::start(Some(server), "HTTP/1.1 200 Connection established\r\n\r\n")
    }

    /// Answers with this and closes.
    pub(crate) fn answering(answer: &'static str) -> Self {
        Self::start(None, answer)
    }

    fn start(server: Option<SocketAddr>, answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            heads: Arc::default(),
        };
        let heads = Arc::clone(&proxy.heads);
        thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                let heads = Arc::clone(&heads);
                // Errors only end the connection.
                thread::spawn(move || serve(socket, server, answer, &heads));
            }
        });
        proxy
    }

    /// `HOST:PORT`
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// The heads of all requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn serve(
    client: TcpStream,
    server: Option<SocketAddr>,
    answer: &str,
    heads: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    heads.lock().unwrap().push(head);
    let mut client = client;
    client.write_all(answer.as_bytes())?;
    let Some(server) = server else {
        return Ok(());
    };
    let server = TcpStream::connect(server)?;
    let (up, down) = (server.try_clone()?, client.try_clone()?);
    let upward = thread::spawn(move || carry(reader, up));
    carry(server, down);
    let _ = upward.join();
    Ok(())
}

fn carry(mut from: impl Read, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}
