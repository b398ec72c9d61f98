//! The tests' own tools are tested first, with a client that is just a socket: a webhook that answers well where it
//! should fail would let every other test pass.

mod agent;
mod tls;
mod webhook;
