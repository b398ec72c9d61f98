//! The webhook: what is posted to it, over what, and what its answers mean.

pub mod address_family;
pub mod answer;
pub mod answering;
pub mod bulk;
pub mod client;
pub mod dry_run;
pub mod encode;
pub mod endpoint;
pub mod error;
pub mod event_time;
pub mod foreign;
pub mod gzip;
pub mod head;
pub mod header;
pub mod no_proxy;
mod numbered;
pub mod observer;
pub mod proxy;
pub mod resolve;
pub mod sign;
pub mod template;
pub mod tls;
pub mod tunnel;
pub mod wire;
