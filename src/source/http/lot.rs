//! Connections without a thread, because there are many that wait for their next request: a few threads wait for all.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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

/// What a thread has to do.
#[derive(Debug)]
pub enum Next<T> {
    /// There is something to read.
    Serve {
        /// What can be read from.
        item: T,
        /// No other thread waits, so another one is needed.
        is_last: bool,
    },
    /// These have expired.
    Close(Vec<(u64, T)>),
    /// Nothing.
    End,
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

    /// Lets this wait until there is something to read. The caller then has to ask what is [next](Self::next). Gives it
    /// back if it can't be waited for.
    pub fn park(&self, number: u64, item: T) -> Option<T> {
        let mut parked = self.lock();
        // Known already, if it is not the first time.
        let watched = self.epoll.modify(&item, number, Interest::ReadOnce);
        let watched = watched.or_else(|_| self.epoll.add(&item, number, Interest::ReadOnce));
        if watched.is_err() {
            return Some(item);
        }
        parked.items.insert(number, (Instant::now(), item));
        None
    }

    /// Waits for something to do.
    pub fn next(&self, stop: &ShutdownSignal) -> Next<T> {
        let mut parked = self.lock();
        if parked.threads >= THREADS {
            return Next::End;
        }
        parked.threads += 1;
        loop {
            if parked.items.is_empty() {
                break;
            }
            let expired = self.expired(&mut parked);
            if !expired.is_empty() {
                parked.threads -= 1;
                return Next::Close(expired);
            }
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
                let is_last = parked.threads == 0;
                return Next::Serve { item, is_last };
            }
        }
        parked.threads -= 1;
        Next::End
    }

    fn expired(&self, parked: &mut Parked<T>) -> Vec<(u64, T)> {
        if parked.looked.elapsed() < LOOK {
            return Vec::new();
        }
        parked.looked = Instant::now();
        let expired = parked
            .items
            .extract_if(|_, (since, _)| since.elapsed() >= self.patience);
        expired.map(|(number, (_, item))| (number, item)).collect()
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
        assert!(matches!(lot.next(&stop), Next::End), "nothing waits");
        let (mut clients, sockets): (Vec<_>, Vec<_>) =
            (0..3).map(|_| UnixStream::pair().unwrap()).unzip();
        for (number, socket) in (0..).zip(sockets) {
            assert!(lot.park(number, socket).is_none());
        }
        for number in [1, 1, 0, 2] {
            clients[number].write_all(b"x").unwrap();
            let Next::Serve { item, is_last } = lot.next(&stop) else {
                panic!("{number} is ready");
            };
            assert_eq!(std::io::Read::read(&mut &item, &mut [0; 9]).unwrap(), 1);
            assert!(is_last, "no other thread waits");
            if number == 1 {
                assert!(lot.park(1, item).is_none());
            }
        }
        clients.remove(1);
        stop.trigger();
        assert!(matches!(lot.next(&stop), Next::Serve { .. }), "the end");
        assert!(matches!(lot.next(&stop), Next::End));
    }

    #[test]
    fn what_waits_for_too_long_is_closed() {
        let stop = ShutdownSignal::new().unwrap();
        let lot = Lot::new(Duration::ZERO, &stop).unwrap();
        let (_client, socket) = UnixStream::pair().unwrap();
        assert!(lot.park(7, socket).is_none());
        lot.lock().looked -= LOOK;
        let Next::Close(expired) = lot.next(&stop) else {
            panic!("it has expired");
        };
        assert_eq!(expired.len(), 1);
        assert!(matches!(lot.next(&stop), Next::End));
    }
}
