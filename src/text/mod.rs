//! Texts from people and for people.

pub mod escape;
pub mod quantity;
pub mod secret;
pub mod token;
