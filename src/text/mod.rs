//! Texts from people and for people.

pub mod quantity;
pub mod token;
