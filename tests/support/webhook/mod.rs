//! The webhook of stories, chaos, benches, and of scripts (`tests/demo/receiver.rs`): an HTTP/1.1 server on a real
//! socket, plain or TLS, that answers as it is told, well or badly, and remembers every request. One thread accepts, and
//! each connection has another one.

mod answer;
mod request;

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub(crate) use answer::Answer;
pub(crate) use request::Request;

use answer::Then;

/// How long a wait for requests or for a free port may take before the test has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// The first byte of a TLS connection.
const TLS_HANDSHAKE: u8 = 0x16;

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

/// What the test and the webhook's threads share.
struct Shared {
    tls: Option<Arc<ServerConfig>>,
    forgetful: bool,
    state: Mutex<State>,
    /// Notified whenever a wait may be over: a request came or was answered, the hold was released, the webhook stops.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stopping: bool,
    /// No more requests are answered.
    finishing: bool,
    /// How many requests are being answered.
    answering: usize,
    held: bool,
    script: VecDeque<Answer>,
    otherwise: Choice,
    requests: Vec<Request>,
    /// Memory for bodies.
    spare: Vec<Vec<u8>>,
    connections: usize,
    /// The connections that are open, so that they can be shut down from outside their threads.
    open: HashMap<usize, TcpStream>,
}

/// How requests are answered: all in the same way, or by their content.
#[derive(Clone)]
enum Choice {
    Answer(Answer),
    By(Arc<dyn Fn(&mut Request) -> Answer + Send + Sync>),
}

impl Default for Choice {
    fn default() -> Self {
        Self::Answer(Answer::ok())
    }
}

impl State {
    fn delivered(&self) -> impl Iterator<Item = &Request> {
        self.requests.iter().filter(|request| request.delivered())
    }

    fn delivered_events(&self) -> Vec<Vec<u8>> {
        self.delivered().flat_map(Request::events).collect()
    }

    fn count_delivered_events(&self) -> usize {
        self.delivered().map(Request::event_count).sum()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The number of a new connection; `None` if the webhook stops.
    fn open(&self, socket: &TcpStream) -> Option<usize> {
        let mut state = self.lock();
        if state.stopping {
            return None;
        }
        state.connections += 1;
        let number = state.connections;
        state.open.insert(number, socket.try_clone().unwrap());
        Some(number)
    }

    /// How the request whose head has just arrived is to be answered.
    fn choose(&self) -> Choice {
        let mut state = self.lock();
        state
            .script
            .pop_front()
            .map_or_else(|| state.otherwise.clone(), Choice::Answer)
    }

    /// An error if no more requests are answered.
    fn begin_answer(&self) -> io::Result<Answering<'_>> {
        let mut state = self.lock();
        if state.finishing {
            return Err(io::Error::other("the webhook stops"));
        }
        state.answering += 1;
        Ok(Answering(self))
    }

    fn remember(&self, request: Request) -> Exchange<'_> {
        let mut state = self.lock();
        if self.forgetful {
            if request.body.capacity() > 0 {
                state.spare.push(request.body);
            }
            return Exchange {
                shared: self,
                request: None,
            };
        }
        state.requests.push(request);
        self.changed.notify_all();
        Exchange {
            shared: self,
            request: Some(state.requests.len() - 1),
        }
    }

    /// Waits while `condition` holds, for `limit` at most; an error if the webhook stops meanwhile.
    fn wait_while(&self, limit: Duration, condition: impl Fn(&State) -> bool) -> io::Result<()> {
        let still = |state: &mut State| condition(state) && !state.stopping;
        let (state, _) = self
            .changed
            .wait_timeout_while(self.lock(), limit, still)
            .unwrap();
        if state.stopping {
            Err(io::Error::other("the webhook stops"))
        } else {
            Ok(())
        }
    }
}

/// An answer is being made or sent; see [`Webhook::finish`].
struct Answering<'a>(&'a Shared);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.lock().answering -= 1;
        self.0.changed.notify_all();
    }
}

/// One request that is being answered.
struct Exchange<'a> {
    shared: &'a Shared,
    request: Option<usize>,
}

impl Exchange<'_> {
    fn mark(&self, status: u16) {
        self.set_answered(Some(status));
    }

    fn unmark(&self) {
        self.set_answered(None);
    }

    fn set_answered(&self, status: Option<u16>) {
        if let Some(request) = self.request {
            self.shared.lock().requests[request].answered = status;
            self.shared.changed.notify_all();
        }
    }

    fn pause(&self, time: Duration) -> io::Result<()> {
        self.shared.wait_while(time, |_| true)
    }
}

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

fn accept(shared: &Arc<Shared>, listener: TcpListener) {
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
