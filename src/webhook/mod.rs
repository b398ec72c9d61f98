//! The webhook: what is posted to it, over what, and what its answers mean.

pub mod answer;
pub mod bulk;
pub mod client;
pub mod destination;
pub mod encode;
pub mod endpoint;
pub mod event_time;
pub mod gzip;
pub mod header;
pub mod last_words;
pub mod no_proxy;
pub mod proxy;
pub mod resolve;
pub mod shape;
pub mod tls;
pub mod token;
pub mod trouble;
pub mod tunnel;
