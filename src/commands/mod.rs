//! What an administrator does besides running the agent: `enable`, `disable`, `show` and `test`.

pub mod agents;
pub mod control;
pub mod probe;
pub mod show;
pub mod steps;
pub mod terminal;
pub mod token_input;
