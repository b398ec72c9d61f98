//! Looks up the webhook's name, only when a connection must be made.
//!
//! ureq asks for the addresses before every request, and with a time limit its own resolver starts a thread each time,
//! even for a request over an existing connection, and for an address that needs no lookup.

use std::fmt::Debug;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, TryRecvError, bounded};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::{Error, Timeout};

use crate::sys::lookup::{Family, LookupError, lookup};
use crate::sys::thread;
use crate::webhook::address_family::AddressFamily;
use crate::webhook::observer::Observer;

/// How many addresses ureq takes.
const MAX_ADDRESSES: usize = 16;
/// Of these, so many get most of the time for connecting.
const STEP: usize = 4;
/// How long the addresses of one family are waited for when the other's are there.
const GRACE: Duration = Duration::from_millis(300);

/// What a name was resolved to, until it is forgotten. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Known(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    addresses: Option<ResolvedSocketAddrs>,
    /// Lookups since the webhook last worked.
    attempts: usize,
    /// The addresses in the order of the first of these lookups.
    order: Vec<SocketAddr>,
}

impl Known {
    /// To be called when there is no connection: the next one uses a new lookup of the name.
    pub fn forget(&self) {
        self.lock().addresses = None;
    }

    /// To be called when there was an answer of a webhook that works.
    pub fn reached(&self) {
        let mut state = self.lock();
        state.attempts = 0;
        state.order.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds addresses.
pub trait Names: Debug + Send + Sync + 'static {
    /// All addresses of a host, the best first, within this time.
    ///
    /// # Errors
    /// There are none, or none was found in time.
    fn find(&self, host: &str, port: u16, limit: NextTimeout) -> Result<Vec<SocketAddr>, Error>;
}

/// Looks up what is not known.
#[derive(Debug)]
pub struct Resolve<N> {
    /// Who is asked.
    pub names: N,
    /// What was found.
    pub known: Known,
    /// Learns of each lookup.
    pub observer: Arc<dyn Observer>,
}

impl<N: Names> Resolver for Resolve<N> {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let mut found = self.empty();
        if let Some(address) = literal(uri) {
            found.push(address);
            return Ok(found);
        }
        if let Some(known) = self.known.lock().addresses.clone() {
            return Ok(known);
        }
        let host = uri.host().unwrap_or_default();
        self.observer.begin("name", host);
        let default_port = if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        };
        let mut all = self
            .names
            .find(host, uri.port_u16().unwrap_or(default_port), timeout)?;
        let addresses = all.iter().map(|address| address.ip().to_string());
        self.observer.end(&addresses.collect::<Vec<_>>().join(", "));
        if all.is_empty() {
            return Err(Error::HostNotFound);
        }
        let mut known = self.known.lock();
        // Some name servers begin with another address each time, which would undo the turns.
        all.sort_by_key(|address| known.order.iter().position(|known| known == address));
        known.order.clone_from(&all);
        let first = first_of(all.len(), known.attempts);
        all.rotate_left(first);
        all.iter()
            .take(MAX_ADDRESSES)
            .for_each(|address| found.push(*address));
        known.attempts += 1;
        known.addresses = Some(found.clone());
        Ok(found)
    }
}

/// With which of `count` addresses an attempt begins, after so many others. Each is soon among the first [`STEP`], and at
/// some time the very first: one that accepts connections and then fails keeps those behind it from being used.
fn first_of(count: usize, attempts: usize) -> usize {
    let round = count.div_ceil(STEP);
    (attempts % round * STEP + attempts / round) % count
}

/// The address in a URI that has one instead of a name.
fn literal(uri: &Uri) -> Option<SocketAddr> {
    let address = DefaultResolver::host_and_port(uri.scheme()?, uri.authority()?)?;
    address.parse().ok()
}

type Found = Result<Vec<SocketAddr>, LookupError>;

/// The host's resolver, asked for each family in a thread, so that a family that is never answered does not hold up the
/// other.
#[derive(Debug)]
pub struct SystemNames {
    families: Vec<Family>,
    /// Lookups that have not ended yet: no second one of the same name is started.
    slow: Mutex<Vec<(Family, String, Receiver<Found>)>>,
}

impl SystemNames {
    /// For these families.
    pub fn new(family: AddressFamily) -> Self {
        let families = match family {
            AddressFamily::Any => vec![Family::V6, Family::V4],
            AddressFamily::Only(family) => vec![family],
        };
        SystemNames {
            families,
            slow: Mutex::default(),
        }
    }

    /// Begins a lookup, or finds one that has been running for long.
    fn ask(&self, family: Family, host: &str, port: u16) -> io::Result<Lookup> {
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        slow.retain(|(_, _, answer)| {
            answer.is_empty() && answer.try_recv() != Err(TryRecvError::Disconnected)
        });
        let known = slow
            .iter()
            .find(|(other, name, _)| (*other, &**name) == (family, host));
        if let Some((_, _, answer)) = known {
            return Ok(Lookup {
                family,
                answer: answer.clone(),
                is_slow: true,
            });
        }
        let (tell, answer) = bounded(1);
        let name = host.to_owned();
        thread::spawn("lookup", move || {
            // Perhaps nobody waits for it any more.
            let _ = tell.send(lookup(&name, port, family));
        })?;
        Ok(Lookup {
            family,
            answer,
            is_slow: false,
        })
    }
}

/// A lookup that was started.
struct Lookup {
    family: Family,
    answer: Receiver<Found>,
    /// It was started by an earlier attempt.
    is_slow: bool,
}

impl Names for SystemNames {
    fn find(&self, host: &str, port: u16, limit: NextTimeout) -> Result<Vec<SocketAddr>, Error> {
        let begin = Instant::now();
        let mut until = begin.checked_add(*limit.after);
        let lookups = self
            .families
            .iter()
            .map(|family| self.ask(*family, host, port));
        let mut lookups = lookups.collect::<io::Result<Vec<_>>>()?;
        let (mut found, mut error) = ([Vec::new(), Vec::new()], None::<LookupError>);
        while !lookups.is_empty() {
            let mut select = Select::new();
            for lookup in &lookups {
                select.recv(&lookup.answer);
            }
            let ready = match until {
                Some(until) => select.ready_deadline(until),
                None => Ok(select.ready()),
            };
            let Ok(place) = ready else {
                break;
            };
            let lookup = lookups.swap_remove(place);
            match lookup.answer.try_recv() {
                Ok(Ok(addresses)) => found[usize::from(lookup.family == Family::V4)] = addresses,
                Ok(Err(new)) if error.as_ref().is_none_or(|old| !old.is_temporary) => {
                    error = Some(new)
                }
                _ => {}
            }
            if found.iter().any(|addresses| !addresses.is_empty()) {
                let is_slow = lookups.iter().all(|lookup| lookup.is_slow);
                let grace = if is_slow { Duration::ZERO } else { GRACE };
                let enough = Instant::now() + grace;
                until = Some(until.map_or(enough, |until| until.min(enough)));
            }
        }
        let is_late = !lookups.is_empty();
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = lookups.into_iter().filter(|lookup| !lookup.is_slow);
        slow.extend(fresh.map(|lookup| (lookup.family, host.to_owned(), lookup.answer)));
        let [v6, v4] = found;
        match (v6.is_empty() && v4.is_empty(), error) {
            (false, _) => Ok(in_turns(v6, v4)),
            (true, _) if is_late => Err(Error::Timeout(Timeout::Resolve)),
            (true, Some(error)) => Err(Error::Io(io::Error::other(error))),
            (true, None) => Err(Error::HostNotFound),
        }
    }
}

/// The addresses of both families in turns, beginning with the family that this host has a route to.
fn in_turns(v6: Vec<SocketAddr>, v4: Vec<SocketAddr>) -> Vec<SocketAddr> {
    // This sends nothing.
    let has_route = |address: &SocketAddr| {
        UdpSocket::bind("[::]:0")
            .and_then(|socket| socket.connect(address))
            .is_ok()
    };
    let (first, second) = match v6.first().is_some_and(has_route) {
        true => (v6, v4),
        false => (v4, v6),
    };
    let mut all = Vec::with_capacity(first.len() + second.len());
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    loop {
        let length = all.len();
        all.extend(first.next());
        all.extend(second.next());
        if all.len() == length {
            return all;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;
    use crate::webhook::observer::Nobody;

    #[test]
    fn an_address_needs_no_looking_up() {
        let of = |uri: &'static str| literal(&Uri::from_static(uri)).map(|found| found.to_string());
        assert_eq!(of("http://192.0.2.7/x").as_deref(), Some("192.0.2.7:80"));
        assert_eq!(
            of("https://[2001:db8::7]/").as_deref(),
            Some("[2001:db8::7]:443")
        );
        assert_eq!(
            of("https://192.0.2.7:8088/").as_deref(),
            Some("192.0.2.7:8088")
        );
        assert_eq!(of("https://hec.example.com:8088/"), None);
    }

    fn addresses(v6: u16, v4: u8) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        let v6 = (0..v6).map(|n| SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, n], 80)));
        let v4 = (0..v4).map(|n| SocketAddr::from(([127, 0, 0, n], 80)));
        (v6.collect(), v4.collect())
    }

    #[test]
    fn families_take_turns() {
        for (count6, count4) in [(0, 0), (0, 3), (3, 0), (2, 5), (5, 2)] {
            let (v6, v4) = addresses(count6, count4);
            let all = in_turns(v6.clone(), v4.clone());
            assert_eq!(all.len(), v6.len() + v4.len());
            let both = 2 * v6.len().min(v4.len());
            let is_mixed = all[..both]
                .windows(2)
                .all(|pair| pair[0].is_ipv4() != pair[1].is_ipv4());
            assert!(is_mixed, "{all:?}");
        }
    }

    /// A name server with so many addresses, which begins as many further on at each lookup.
    #[derive(Debug)]
    struct Turning {
        count: usize,
        step: usize,
        lookups: AtomicUsize,
    }

    impl Names for Turning {
        fn find(&self, _: &str, port: u16, _: NextTimeout) -> Result<Vec<SocketAddr>, Error> {
            let first = self.lookups.fetch_add(1, Relaxed) * self.step;
            let all = (first..first + self.count).map(|place| place % self.count);
            Ok(all
                .map(|n| SocketAddr::from(([127, 0, 1, n as u8], port)))
                .collect())
        }
    }

    /// The addresses of so many attempts that fail.
    fn attempts(count: usize, step: usize, attempts: usize) -> Vec<Vec<SocketAddr>> {
        let known = Known::default();
        let resolve = Resolve {
            names: Turning {
                count,
                step,
                lookups: AtomicUsize::new(0),
            },
            known: known.clone(),
            observer: Arc::new(Nobody),
        };
        let uri = Uri::from_static("https://hec.example.com/");
        let ask = || {
            known.forget();
            let found = resolve.resolve(&uri, &Config::default(), NextTimeout::default());
            found.unwrap().to_vec()
        };
        let first = ask();
        let length = count.min(MAX_ADDRESSES);
        assert_eq!((first[0].port(), first.len()), (443, length));
        known.reached();
        (0..attempts).map(|_| ask()).collect()
    }

    fn distinct<'a>(addresses: impl Iterator<Item = &'a SocketAddr>) -> usize {
        addresses.collect::<HashSet<_>>().len()
    }

    #[test]
    fn of_however_many_addresses_each_is_among_the_first_soon_and_the_very_first_at_some_time() {
        for count in 1..60_usize {
            let round = count.div_ceil(STEP);
            // Some name servers begin with another one each time.
            for step in [0, 1, count - 1] {
                let all = attempts(count, step, round * STEP);
                let soon = all[..round]
                    .iter()
                    .flat_map(|found| found.iter().take(STEP));
                assert_eq!(distinct(soon), count, "{count} {step}: {all:?}");
                let first = all.iter().map(|found| &found[0]);
                assert_eq!(distinct(first), count, "{count} {step}: {all:?}");
            }
        }
    }

    #[test]
    fn a_lookup_that_is_not_answered_is_not_begun_again_and_keeps_nothing_back() {
        let names = SystemNames::new(AddressFamily::Any);
        // As if an earlier attempt had started it.
        let (_never, answer) = bounded(1);
        names
            .slow
            .lock()
            .unwrap()
            .push((Family::V6, "127.0.0.1".into(), answer));
        let find = || names.find("127.0.0.1", 80, NextTimeout::default());
        for _ in 0..3 {
            assert_eq!(find().unwrap(), ["127.0.0.1:80".parse().unwrap()]);
            assert_eq!(names.slow.lock().unwrap().len(), 1);
        }
        drop(_never);
        assert!(find().is_ok());
        assert_eq!(names.slow.lock().unwrap().len(), 0);
        let only = SystemNames::new("6".parse().unwrap());
        let error = only
            .find("127.0.0.1", 80, NextTimeout::default())
            .unwrap_err();
        let Error::Io(error) = error else {
            panic!("{error}")
        };
        assert!(error.get_ref().unwrap().is::<LookupError>());
    }
}
