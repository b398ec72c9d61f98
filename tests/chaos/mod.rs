//! Faults of every kind at the webhook, on the way there and at the host, and the counts after each of them.
//!
//! After a fault, `received = delivered + dropped + rejected + buffered`, exactly; what the webhook has taken is what
//! was delivered, and nothing was taken twice unless the answer was lost. A short part runs with every test; the long
//! ones are ignored: `make chaos` and `make soak`. [`random`] and [`soak`] judge each request of one sender; [`varied`]
//! also draws the settings, and judges what has become of each event.

mod books;
mod dice;
mod endpoints;
mod fault;
mod host;
mod judge;
mod load;
mod random;
mod rig;
mod scripted;
mod soak;
mod varied;
