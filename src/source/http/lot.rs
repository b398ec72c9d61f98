//! Connections without a thread, because there are many that wait for their next request: a few threads wait for all.

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::sys::epoll::{Epoll, Interest};
use crate::sys::shutdown::ShutdownSignal;

/// At most this many threads wait: most clients come at the same time.
const THREADS: usize = 64;
/// How often expired items are looked for; a thread that finds nothing else to do meanwhile ends.
const LOOK: Duration = Duration::from_secs(10);
/// How long to wait at shutdown between two looks for the last requests, which come from the kernel one by one.
const LAST: Duration = Duration::from_millis(1);
/// The token of the shutdown signal.
const SHUTDOWN: u64 = u64::MAX;

/// What waits, by number.
pub struct Lot<T> {
    epoll: Epoll,
    parked: Mutex<Parked<T>>,
    /// What has waited for this long has expired.
    patience: Duration,
}

struct Parked<T> {
    items: HashMap<u64, (Instant, T)>,
    /// Threads that wait for an item.
    threads: usize,
    looked: Instant,
}

impl<T: AsFd> Lot<T> {
    /// Nothing yet.
    ///
    /// # Errors
    /// No descriptors or memory left.
    pub fn new(patience: Duration, stop: &ShutdownSignal) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.add(stop, SHUTDOWN, Interest::Read)?;
        Ok(Lot {
            epoll,
            parked: Mutex::new(Parked {
                items: HashMap::new(),
                threads: 0,
                looked: Instant::now(),
            }),
            patience,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Parked<T>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets this wait until there is something to read. The caller then has to ask what is [next](Self::next). False if
    /// it can't be waited for.
    pub fn park(&self, number: u64, item: T) -> bool {
        let mut parked = self.lock();
        // Known already, if it is not the first time.
        let watched = self.epoll.modify(&item, number, Interest::ReadOnce);
        let watched = watched.or_else(|_| self.epoll.add(&item, number, Interest::ReadOnce));
        if watched.is_ok() {
            parked.items.insert(number, (Instant::now(), item));
        }
        watched.is_ok()
    }

    /// Waits for one that has something to read, be it only its end. Also says whether no other thread waits, so that
    /// another one is needed. `None` if there is nothing to do for this thread.
    pub fn next(&self, stop: &ShutdownSignal) -> Option<(T, bool)> {
        let mut parked = self.lock();
        if parked.threads >= THREADS {
            return None;
        }
        parked.threads += 1;
        while !parked.items.is_empty() {
            self.end_expired(&mut parked);
            drop(parked);
            let ready = self.epoll.wait_for_one(LOOK);
            if !ready.as_ref().is_ok_and(|ready| *ready != Some(SHUTDOWN)) {
                std::thread::sleep(LAST);
            }
            parked = self.lock();
            let Ok(Some(number)) = ready else {
                if parked.threads > 1 && !stop.is_triggered() {
                    break;
                }
                continue;
            };
            if let Some((_, item)) = parked.items.remove(&number) {
                parked.threads -= 1;
                return Some((item, parked.threads == 0));
            }
        }
        parked.threads -= 1;
        None
    }

    /// What has expired is given the end of its stream to read.
    fn end_expired(&self, parked: &mut Parked<T>) {
        if parked.looked.elapsed() < LOOK {
            return;
        }
        parked.looked = Instant::now();
        for (since, item) in parked.items.values() {
            if since.elapsed() >= self.patience {
                let _ = SockRef::from(item).shutdown(Shutdown::Both);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_has_something_to_read_is_served_and_may_wait_again() {
        let stop = ShutdownSignal::new().unwrap();
        let lot = Lot::new(LONG, &stop).unwrap();
        assert!(lot.next(&stop).is_none(), "nothing waits");
        let (mut clients, sockets): (Vec<_>, Vec<_>) =
            (0..3).map(|_| UnixStream::pair().unwrap()).unzip();
        for (number, socket) in (0..).zip(sockets) {
            assert!(lot.park(number, socket));
        }
        for number in [1, 1, 0, 2] {
            clients[number].write_all(b"x").unwrap();
            let (item, is_last) = lot.next(&stop).unwrap();
            assert_eq!(std::io::Read::read(&mut &item, &mut [0; 9]).unwrap(), 1);
            assert!(is_last, "no other thread waits");
            if number == 1 {
                assert!(lot.park(1, item));
            }
        }
        clients.remove(1);
        stop.trigger();
        assert!(lot.next(&stop).is_some(), "the end");
        assert!(lot.next(&stop).is_none());
    }

    #[test]
    fn what_waits_for_too_long_is_ended() {
        let stop = ShutdownSignal::new().unwrap();
        let lot = Lot::new(Duration::ZERO, &stop).unwrap();
        let (_client, socket) = UnixStream::pair().unwrap();
        assert!(lot.park(7, socket));
        lot.lock().looked -= LOOK;
        let (item, _) = lot.next(&stop).unwrap();
        assert_eq!(std::io::Read::read(&mut &item, &mut [0]).unwrap(), 0);
        assert!(lot.next(&stop).is_none());
    }
}
