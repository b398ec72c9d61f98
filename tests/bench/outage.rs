//! What the agent holds while the webhook is away: more events than the buffer takes go in, none
//! come out.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::process::Process;
use crate::table::target;
use crate::{Setup, events, work};

/// Six buffers full.
const EVENTS: u64 = 400_000;

/// The agent's default for `--buffer-bytes`, in MiB.
const BUFFER: f64 = 64.0;

/// How many MiB it may hold beside the buffer.
const TARGET: f64 = 12.0;

/// Nothing listens on this port, nor could a connection get it by chance.
const AWAY: &str = "http://127.0.0.1:1/services/collector/raw";

/// Prints idle memory, the peak, what of it was not the buffer, and the agent's last word on what
/// became of the events.
pub(crate) fn run(setup: &Setup) -> io::Result<()> {
    let large = |stream| Box::new(BufWriter::with_capacity(64 * 1024, stream)) as Box<dyn Write>;
    let single = |stream| Box::new(OneByOne(stream)) as Box<dyn Write>;
    println!("webhook away      idle MiB  peak MiB  beyond the buffer  target");
    report(setup, "64 KiB a write", large)?;
    report(setup, "an event a write", single)
}

fn report(setup: &Setup, name: &str, feed: fn(UnixStream) -> Box<dyn Write>) -> io::Result<()> {
    let (idle, peak) = fill(setup, feed)?;
    let beyond = peak - BUFFER;
    let target = target(beyond, Some(TARGET));
    println!("{name:<18}{idle:8.1}  {peak:8.1}  {beyond:17.1}  {target}");
    let log = fs::read_to_string(setup.log())?;
    println!("  {}", log.lines().last().unwrap_or("(it logged nothing)"));
    Ok(())
}

/// Feeds the events, and returns the memory before and the peak after.
fn fill(setup: &Setup, feed: fn(UnixStream) -> Box<dyn Write>) -> io::Result<(f64, f64)> {
    let mut command = work::agent(setup, AWAY)?;
    // More events than come, so that the bytes are what fills the buffer.
    command
        .arg(work::listen(setup))
        .args(["--buffer-events", "1000000"]);
    let agent = Process::start(&mut command)?;
    let mut feed = feed(work::connect(setup, &agent)?);
    let idle = agent.memory("VmRSS");
    events::write(0..EVENTS, &mut feed)?;
    feed.flush()?;
    let peak = agent.memory("VmHWM");
    drop(feed);
    agent.terminate();
    agent.wait()?;
    let gone = || io::Error::other("the agent ended during the outage");
    Ok((idle.ok_or_else(gone)?, peak.ok_or_else(gone)?))
}

/// Waits after each write until it was read, so that no read brings more than one event. That makes
/// the smallest pieces an agent may have to keep, and the most overhead.
struct OneByOne(UnixStream);

impl Write for OneByOne {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        const PATIENCE: Duration = Duration::from_secs(10);
        let written = self.0.write(bytes)?;
        let start = Instant::now();
        while self.unread()? > 0 {
            if start.elapsed() > PATIENCE {
                return Err(io::Error::other("the agent does not read"));
            }
            thread::yield_now();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl OneByOne {
    /// What the kernel holds of the bytes written.
    fn unread(&self) -> io::Result<i32> {
        let mut unread = 0;
        // SAFETY: the descriptor is open, and the request writes an int.
        match unsafe { libc::ioctl(self.0.as_raw_fd(), libc::TIOCOUTQ, &raw mut unread) } {
            0 => Ok(unread),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
