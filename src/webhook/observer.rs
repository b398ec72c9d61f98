//! The observer of each step of a connection as it is made, for `test`.

use std::fmt::Debug;

/// Learns of steps.
pub trait Observer: Debug + Send + Sync {
    /// A step begins, with this subject if there is one, such as an address.
    fn begin(&self, _name: &'static str, _subject: &str) {}

    /// The step under way has ended like this.
    fn end(&self, _result: &str) {}

    /// Something was seen on the way.
    fn note(&self, _name: &'static str, _what: &str) {}
}

/// Nobody.
#[derive(Debug)]
pub struct Nobody;

impl Observer for Nobody {}
