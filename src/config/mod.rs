//! What was asked for: flag over environment over settings file over default, and the settings file itself.

pub mod failure;
pub mod file;
pub mod given;
pub mod limits;
pub mod options;
pub mod text;
