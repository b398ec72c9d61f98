//! Texts from people and for people.

pub mod certificate;
pub mod choice;
pub mod envelope;
pub mod escape;
pub mod hex;
pub mod path;
pub mod pem;
pub mod quantity;
pub mod ranges;
pub mod secret;
pub mod small_file;
pub mod token;
