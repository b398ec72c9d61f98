//! Events on disk.

pub mod dir;
pub mod position;
pub mod reader;
pub mod record;
pub mod segments;
pub mod writer;

#[cfg(test)]
mod tests;
