//! A webhook that takes and keeps everything: reads each body into memory that was touched beforehand, answers 200, and
//! looks at nothing until the run is over. With or without TLS.

use std::io;
use std::mem;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

use crate::events;
use crate::process::Process;
use crate::webhook::{Answer, Webhook};

/// Room for one body; the forwarders post at most 1 MiB.
const ROOM: usize = 1 << 20;

/// A sink that listens until it is dropped.
pub(crate) struct Sink {
    hook: Webhook,
    /// Its certificate in PEM, if it speaks TLS.
    pub(crate) certificate: Option<String>,
    kept: Arc<Mutex<Kept>>,
}

/// One request's body.
pub(crate) struct Arrival {
    pub(crate) body: Vec<u8>,
    /// When its last byte had been read.
    pub(crate) at: Instant,
}

/// What has arrived.
#[derive(Default)]
struct Kept {
    /// How long an answer takes.
    answers_after: Duration,
    arrivals: Vec<Arrival>,
    /// The size of the bodies as lines.
    bytes: u64,
    /// How often each number has arrived, if events are counted instead of kept.
    tally: Vec<u32>,
}

impl Sink {
    /// Listens, with room for this many bytes in bodies of 1 MiB; beyond that it still works, but allocates.
    pub(crate) fn start(bytes: u64) -> io::Result<Self> {
        Self::new(bytes, None, Vec::new())
    }

    /// The same over TLS.
    pub(crate) fn start_tls(bytes: u64) -> io::Result<Self> {
        let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])
            .map_err(io::Error::other)?;
        let key = PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .map_err(io::Error::other)?;
        let tls = Some((Arc::new(config), own.cert.pem()));
        Self::new(bytes, tls, Vec::new())
    }

    /// A sink that keeps no bodies, but counts how often each of these events arrives, in whole lines.
    pub(crate) fn start_counting(events: u64) -> io::Result<Self> {
        Self::new(0, None, vec![0; events as usize])
    }

    fn new(
        bytes: u64,
        tls: Option<(Arc<ServerConfig>, String)>,
        tally: Vec<u32>,
    ) -> io::Result<Self> {
        let mut builder = Webhook::builder().address(free_address()?).forgetful();
        let (tls, certificate) = tls.unzip();
        if let Some(tls) = tls {
            builder = builder.tls(tls);
        }
        let hook = builder.start();
        // Ones, not zeros: memory that was never written is handed out page by page while the clock runs.
        hook.reuse((0..=bytes / ROOM as u64 + 1).map(|_| vec![1; ROOM]));
        let kept = Arc::new(Mutex::new(Kept {
            tally,
            ..Kept::default()
        }));
        let keeper = Arc::clone(&kept);
        hook.answer_by(move |request| {
            let at = Instant::now();
            let mut kept = lock(&keeper);
            let body = &mut request.body;
            // A body may lack its last newline, which it has in the file.
            kept.bytes += body.len() as u64 + u64::from(!body.ends_with(b"\n"));
            if kept.tally.is_empty() {
                let body = mem::take(body);
                kept.arrivals.push(Arrival { body, at });
            } else {
                kept.count(body);
            }
            Answer::ok().after(kept.answers_after)
        });
        Ok(Self {
            hook,
            certificate,
            kept,
        })
    }

    /// Closes its connections between two answers, and refuses new ones.
    pub(crate) fn go_away(&self) {
        self.hook.finish();
    }

    /// Answers each body only after this time.
    pub(crate) fn answer_after(&self, time: Duration) {
        lock(&self.kept).answers_after = time;
    }

    /// Listens again, at the same address.
    pub(crate) fn come_back(&self) {
        self.hook.restart();
    }

    /// The address to post to.
    pub(crate) fn url(&self) -> String {
        self.hook.url()
    }

    /// Waits until this many bytes have arrived, the sender has ended, or nothing more comes.
    pub(crate) fn wait_for(&self, bytes: u64, sender: &Process) {
        const PATIENCE: Duration = Duration::from_secs(5);
        let (mut last, mut since) = (0, Instant::now());
        while last < bytes && since.elapsed() < PATIENCE && sender.is_alive() {
            // Any of three may end this: asked for now and then.
            thread::sleep(Duration::from_millis(1));
            let now = lock(&self.kept).bytes;
            if now > last {
                (last, since) = (now, Instant::now());
            }
        }
    }

    /// Waits until nothing has arrived for two seconds.
    pub(crate) fn wait_until_quiet(&self) {
        let mut last = u64::MAX;
        while mem::replace(&mut last, lock(&self.kept).bytes) != last {
            thread::sleep(Duration::from_secs(2));
        }
    }

    /// Whether every counted event has arrived this often; counts from 0 again.
    pub(crate) fn counted(&self, times: u32) -> bool {
        let mut kept = lock(&self.kept);
        kept.bytes = 0;
        let all = kept.tally.iter().all(|count| *count == times);
        kept.tally.fill(0);
        all
    }

    /// How many lines arrived, where the last one of a body may lack its newline; makes room for the next run.
    pub(crate) fn take_lines(&self) -> u64 {
        let lines = |it: &Arrival| {
            let lines = it.body.split(|byte| *byte == b'\n');
            lines.filter(|line| !line.is_empty()).count() as u64
        };
        self.empty(|arrived| arrived.iter().map(lines).sum())
    }

    /// Passes what arrived, in order, to `look`, and makes room for the next run.
    pub(crate) fn empty<T>(&self, look: impl FnOnce(&[Arrival]) -> T) -> T {
        let mut kept = lock(&self.kept);
        kept.bytes = 0;
        let arrivals = mem::take(&mut kept.arrivals);
        let seen = look(&arrivals);
        self.hook
            .reuse(arrivals.into_iter().map(|arrival| arrival.body));
        seen
    }
}

impl Kept {
    fn count(&mut self, body: &[u8]) {
        for number in events::numbers(body) {
            if let Some(count) = self.tally.get_mut(number as usize) {
                *count += 1;
            }
        }
    }
}

/// An address of loopback that nobody listens at.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().expect("no holder panics")
}
