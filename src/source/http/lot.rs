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

/// At most this many threads wait, for an item or for a place for it: most clients come at the same time.
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
    /// With this many threads, one of them will soon wait for an item.
    enough: usize,
}

struct Parked<T> {
    items: HashMap<u64, (Instant, T)>,
    /// All threads.
    threads: usize,
    /// Those that wait for an item, or have one and no place for it yet.
    idle: usize,
    /// Those that have one and no place for it yet.
    holders: usize,
    looked: Instant,
}

impl<T> Parked<T> {
    /// How many threads wait for an item.
    fn waiting(&self) -> usize {
        self.idle - self.holders
    }
}

impl<T: AsFd> Lot<T> {
    /// Nothing yet. At most `busy` items have a place at a time.
    ///
    /// # Errors
    /// No descriptors or memory left.
    pub fn new(busy: usize, patience: Duration, stop: &ShutdownSignal) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.add(stop, SHUTDOWN, Interest::Read)?;
        Ok(Lot {
            epoll,
            parked: Mutex::new(Parked {
                items: HashMap::new(),
                threads: 0,
                idle: 0,
                holders: 0,
                looked: Instant::now(),
            }),
            patience,
            enough: busy.saturating_add(THREADS),
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

    /// There is one more thread.
    pub fn begin(&self) {
        self.lock().threads += 1;
    }

    /// A thread ends by itself.
    pub fn end(&self) {
        self.lock().threads -= 1;
    }

    /// Waits for one that has something to read, be it only its end. The caller then has to say when it is
    /// [placed](Self::placed). `None` if the thread has to end: nothing is parked, or enough others wait. If it had
    /// better not wait, one other is enough.
    pub fn next(&self, may_wait: bool, stop: &ShutdownSignal) -> Option<T> {
        let mut parked = self.lock();
        if parked.idle >= THREADS || !may_wait && parked.waiting() > 0 {
            parked.threads -= 1;
            return None;
        }
        parked.idle += 1;
        while !parked.items.is_empty() {
            self.end_expired(&mut parked);
            drop(parked);
            let ready = self.epoll.wait_for_one(LOOK);
            if !ready.as_ref().is_ok_and(|ready| *ready != Some(SHUTDOWN)) {
                std::thread::sleep(LAST);
            }
            parked = self.lock();
            let Ok(Some(number)) = ready else {
                if parked.waiting() > 1 && !stop.is_triggered() {
                    break;
                }
                continue;
            };
            if let Some((_, item)) = parked.items.remove(&number) {
                parked.holders += 1;
                return Some(item);
            }
        }
        parked.idle -= 1;
        parked.threads -= 1;
        None
    }

    /// The thread has found a place for its item, or there is none. True if another thread is needed to wait for the next
    /// one.
    ///
    /// A thread whose item has no place yet is one of those that wait, or there would be one for each such item. And those
    /// that have lost their items' places come back, be it late on a busy host.
    pub fn placed(&self) -> bool {
        let mut parked = self.lock();
        parked.idle -= 1;
        parked.holders -= 1;
        parked.waiting() == 0 && parked.threads < self.enough
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

    /// One with this many threads, and two places.
    fn lot(threads: usize, patience: Duration, stop: &ShutdownSignal) -> Lot<UnixStream> {
        let lot = Lot::new(2, patience, stop).unwrap();
        (0..threads).for_each(|_| lot.begin());
        lot
    }

    #[test]
    fn what_has_something_to_read_is_served_and_may_wait_again() {
        let stop = ShutdownSignal::new().unwrap();
        let lot = lot(2, LONG, &stop);
        assert!(lot.next(true, &stop).is_none(), "nothing waits");
        let (mut clients, sockets): (Vec<_>, Vec<_>) =
            (0..3).map(|_| UnixStream::pair().unwrap()).unzip();
        for (number, socket) in (0..).zip(sockets) {
            assert!(lot.park(number, socket));
        }
        for number in [1, 1, 0, 2] {
            clients[number].write_all(b"x").unwrap();
            let item = lot.next(true, &stop).unwrap();
            assert_eq!(std::io::Read::read(&mut &item, &mut [0; 9]).unwrap(), 1);
            assert!(lot.placed(), "no other thread waits");
            if number == 1 {
                assert!(lot.park(1, item));
            }
        }
        clients.remove(1);
        stop.trigger();
        assert!(lot.next(true, &stop).is_some(), "the end");
        assert!(lot.next(true, &stop).is_none());
    }

    #[test]
    fn only_as_many_threads_wait_as_are_needed() {
        let stop = ShutdownSignal::new().unwrap();
        let lot = lot(THREADS + 4, LONG, &stop);
        let (clients, sockets): (Vec<_>, Vec<_>) = (0..=THREADS + 2)
            .map(|_| UnixStream::pair().unwrap())
            .unzip();
        drop(clients);
        for (number, socket) in (0..).zip(sockets) {
            assert!(lot.park(number, socket));
        }
        let next = |may_wait| lot.next(may_wait, &stop).is_some();
        assert!((0..THREADS).all(|_| next(false)), "none of them waits");
        assert!(!next(true), "enough have an item and no place for it");
        assert!(!lot.placed(), "another one is soon back");
        assert!(next(true), "it is");
        assert!(!next(true), "that was enough");
        assert!(!lot.placed(), "there are as many as can be needed");
        lot.end();
        assert!(lot.placed(), "not any more");
    }

    #[test]
    fn what_waits_for_too_long_is_ended() {
        let stop = ShutdownSignal::new().unwrap();
        let lot = lot(1, Duration::ZERO, &stop);
        let (_client, socket) = UnixStream::pair().unwrap();
        assert!(lot.park(7, socket));
        lot.lock().looked -= LOOK;
        let item = lot.next(true, &stop).unwrap();
        assert_eq!(std::io::Read::read(&mut &item, &mut [0]).unwrap(), 0);
        assert!(lot.next(true, &stop).is_none());
    }
}
