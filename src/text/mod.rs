//! Texts from people and for people.

pub mod envelope;
pub mod escape;
pub mod quantity;
pub mod secret;
pub mod token;
