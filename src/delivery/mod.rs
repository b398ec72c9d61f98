//! From the queue to the webhook: what is sent next, and what becomes of each event.

mod again;
mod ahead;
mod asked;
mod attempt;
pub mod batch;
pub mod body_size;
pub mod chance;
pub mod compression;
mod disabled;
mod doubt;
mod flights;
pub mod machine;
mod next_body;
pub mod outcome;
pub mod pace;
mod parts;
mod posted;
mod react;
pub mod route;
pub mod sender;
pub mod step;
mod suspects;
pub mod target;
#[cfg(test)]
mod tests;
