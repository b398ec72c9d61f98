//! The webhook of stories, chaos, benches, and of scripts (`tests/demo/receiver.rs`): an HTTP/1.1 server on a real
//! socket, plain or TLS, that answers as it is told, well or badly, and remembers every request. One thread accepts, and
//! each connection has another one.

mod answer;
mod connection;
mod request;
mod shared;

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustls::ServerConfig;

pub(crate) use answer::Answer;
pub(crate) use request::Request;

use connection::accept;
use shared::{Choice, Shared, State};

/// How long a wait for requests or for a free port may take before the test has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A webhook that runs until it is stopped or dropped.
pub(crate) struct Webhook {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Mutex<Option<Acceptor>>,
}

/// How to start a webhook; see [`Webhook::builder`].
pub(crate) struct Builder {
    address: Option<SocketAddr>,
    tls: Option<Arc<ServerConfig>>,
    forgetful: bool,
}

impl Builder {
    /// Speaks TLS. The default address is then 127.0.0.1, since that is what certificates are made for.
    pub(crate) fn tls(mut self, config: Arc<ServerConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// Listens on this address. If it is in use, it is tried again for a while.
    pub(crate) fn address(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// Keeps no request, so that it can run for days.
    pub(crate) fn forgetful(mut self) -> Self {
        self.forgetful = true;
        self
    }

    /// Binds the address and begins to answer.
    #[track_caller]
    pub(crate) fn start(self) -> Webhook {
        let ip = if self.tls.is_some() {
            Ipv4Addr::LOCALHOST
        } else {
            own_loopback()
        };
        let listener = bind(self.address.unwrap_or_else(|| (ip, 0).into()));
        let webhook = Webhook {
            address: listener.local_addr().unwrap(),
            shared: Arc::new(Shared {
                tls: self.tls,
                forgetful: self.forgetful,
                state: Mutex::default(),
                changed: Condvar::new(),
            }),
            acceptor: Mutex::default(),
        };
        webhook.accept_on(listener);
        webhook
    }
}

impl Webhook {
    /// A plain HTTP webhook that answers every request with [`Answer::ok`]. It has its own loopback address, so that
    /// nothing else can get its port while it is stopped.
    pub(crate) fn start() -> Self {
        Self::builder().start()
    }

    /// For a webhook with TLS or at a given address.
    pub(crate) fn builder() -> Builder {
        Builder {
            address: None,
            tls: None,
            forgetful: false,
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS/services/collector/raw`, or `https`.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.shared.tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}/services/collector/raw", self.address)
    }

    /// The next requests get these answers, in order, whatever connection they come over; later ones get what
    /// [`Webhook::always`] or [`Webhook::answer_by`] says.
    pub(crate) fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared.lock().script.extend(answers);
    }

    /// The answer to every request that no script answers.
    pub(crate) fn always(&self, answer: Answer) {
        self.shared.lock().otherwise = Choice::Answer(answer);
    }

    /// Decides by its content how to answer each request that no script answers. The body has been read by then, so an
    /// answer that would cut the reading short comes after it. The body may be taken.
    pub(crate) fn answer_by(
        &self,
        decide: impl Fn(&mut Request) -> Answer + Send + Sync + 'static,
    ) {
        self.shared.lock().otherwise = Choice::By(Arc::new(decide));
    }

    /// Reads the next bodies into the memory of these.
    pub(crate) fn reuse(&self, bodies: impl IntoIterator<Item = Vec<u8>>) {
        self.shared.lock().spare.extend(bodies);
    }

    /// From now on requests are read and remembered but not answered before [`Webhook::release`].
    pub(crate) fn hold(&self) {
        self.shared.lock().held = true;
    }

    /// Answers the held requests, and holds no more.
    pub(crate) fn release(&self) {
        self.shared.lock().held = false;
        self.shared.changed.notify_all();
    }

    /// Every request whose body was read (as far as its answer needed it), whether answered or not, in order.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    /// How many these are.
    pub(crate) fn request_count(&self) -> usize {
        self.shared.lock().requests.len()
    }

    /// The lines of every body that was answered with 2xx, in order, without their newlines.
    pub(crate) fn delivered_events(&self) -> Vec<Vec<u8>> {
        self.shared.lock().delivered_events()
    }

    /// How many these are.
    pub(crate) fn event_count(&self) -> usize {
        self.shared.lock().count_delivered_events()
    }

    /// How many connections have been accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// Takes all that comes from now on: not what is still under way from an agent that has ended.
    pub(crate) fn serve_what_comes(&self) {
        self.accept_all();
        self.wait_until_closed();
        self.always(Answer::ok());
    }

    /// Waits until every connection is closed, and clients can see it: what comes next needs a new one.
    #[track_caller]
    pub(crate) fn wait_until_closed(&self) {
        drop(self.wait("no connection", |state| state.open.is_empty()));
        let SocketAddr::V4(address) = self.address else {
            return;
        };
        // As the kernel lists sockets: its own address, the other one, and the state, of which 01 is established. On a
        // busy host the end takes a moment to arrive.
        let [ip, port] = [
            u32::from_ne_bytes(address.ip().octets()),
            address.port().into(),
        ];
        let client = format!(" {ip:08X}:{port:04X} 01 ");
        let began = Instant::now();
        while fs::read_to_string("/proc/net/tcp")
            .unwrap()
            .contains(&client)
        {
            assert!(began.elapsed() < PATIENCE, "clients see no end");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until all connections that clients have made so far were accepted. They are accepted in order, so it is
    /// enough to make one more and see it end.
    pub(crate) fn accept_all(&self) {
        let mut last = TcpStream::connect(self.address).unwrap();
        last.set_read_timeout(Some(PATIENCE)).unwrap();
        last.shutdown(Shutdown::Write).unwrap();
        match last.read_to_end(&mut Vec::new()) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => {
                panic!("the webhook accepts nothing: {error}")
            }
            _ => {}
        }
    }

    /// Waits until there were at least `count` requests, and returns all of them.
    #[track_caller]
    pub(crate) fn wait_for_requests(&self, count: usize) -> Vec<Request> {
        self.wait(&format!("{count} requests"), |state| {
            state.requests.len() >= count
        })
        .requests
        .clone()
    }

    /// Waits until at least `count` events were delivered, and returns all of them.
    #[track_caller]
    pub(crate) fn wait_for_events(&self, count: usize) -> Vec<Vec<u8>> {
        self.wait(&format!("{count} delivered events"), |state| {
            state.count_delivered_events() >= count
        })
        .delivered_events()
    }

    #[track_caller]
    fn wait(&self, what: &str, condition: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let state = self.shared.lock();
        let (state, timeout) = self
            .shared
            .changed
            .wait_timeout_while(state, PATIENCE, |state| !condition(state))
            .unwrap();
        if timeout.timed_out() {
            // Unlocked first: a panic with the lock held would poison it for the webhook's own threads.
            let (requests, events) = (state.requests.clone(), state.count_delivered_events());
            drop(state);
            panic!(
                "not within {PATIENCE:?}: {what}; {events} events were delivered; requests: {requests:#?}"
            );
        }
        state
    }

    /// Closes the listener and every connection, and returns when the port is free and the threads have ended. What was
    /// remembered remains.
    pub(crate) fn stop(&self) {
        let Some(acceptor) = self.acceptor.lock().unwrap().take() else {
            return;
        };
        {
            let mut state = self.shared.lock();
            state.stopping = true;
            for socket in state.open.values() {
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
        self.shared.changed.notify_all();
        let _ = acceptor.listener.shutdown(Shutdown::Both);
        let _ = acceptor.thread.join();
    }

    /// Stops between two answers: what [`Webhook::answer_by`] has seen is answered.
    pub(crate) fn finish(&self) {
        let mut state = self.shared.lock();
        state.finishing = true;
        let is_answering = |state: &mut State| state.answering > 0;
        drop(self.shared.changed.wait_while(state, is_answering).unwrap());
        self.stop();
    }

    /// Listens again on the same address after a [`Webhook::stop`].
    #[track_caller]
    pub(crate) fn restart(&self) {
        self.stop();
        let mut state = self.shared.lock();
        (state.stopping, state.finishing) = (false, false);
        drop(state);
        self.accept_on(bind(self.address));
    }

    fn accept_on(&self, listener: TcpListener) {
        let shared = Arc::clone(&self.shared);
        *self.acceptor.lock().unwrap() = Some(Acceptor {
            listener: OwnedFd::from(listener.try_clone().unwrap()).into(),
            thread: thread::spawn(move || accept(&shared, listener)),
        });
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The accepting thread, and its listener, disguised as a stream because a stream can be shut down: that ends the
/// thread's accept(), and takes effect at once. Closing alone would not, while another test is between the fork and the
/// exec of a child, which has a copy of every descriptor for that long.
struct Acceptor {
    listener: TcpStream,
    thread: JoinHandle<()>,
}

/// Binds the address, and tries again for a while if it is in use.
#[track_caller]
pub(super) fn bind(address: SocketAddr) -> TcpListener {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpListener::bind(address) {
            Ok(listener) => return listener,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                // Nothing tells when it is free.
                thread::sleep(Duration::from_millis(10));
            }
            Err(error) => panic!("cannot listen on {address}: {error}"),
        }
    }
}

/// An address that no other webhook of this process has: all of 127.0.0.0/8 is loopback.
pub(crate) fn own_loopback() -> Ipv4Addr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    Ipv4Addr::new(127, 77, high, low)
}
