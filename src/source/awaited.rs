//! A source that can't be opened yet.

use std::time::Duration;

use super::output::SourceOutput;
use super::reader::Source;
use super::spec::OpenError;
use crate::sys::shutdown::ShutdownSignal;

/// Time between two attempts to open a source.
const RETRY: Duration = Duration::from_secs(1);

pub(super) type Open = dyn Fn() -> Result<Box<dyn Source>, OpenError> + Send;

/// A source whose address, certificate, token or directory is not there yet, and why it can't be opened now.
pub(super) struct Awaited {
    pub(super) open: Box<Open>,
    pub(super) reason: String,
}

impl Source for Awaited {
    fn is_lasting(&self) -> bool {
        false
    }

    fn run(self: Box<Self>, output: SourceOutput, stop: &ShutdownSignal) {
        let mut reason = self.reason;
        loop {
            output.failed(&reason);
            if stop.wait(RETRY) {
                return;
            }
            reason = match (self.open)() {
                Ok(source) => {
                    output.worked();
                    return source.run(output, stop);
                }
                Err(
                    OpenError::Missing(reason)
                    | OpenError::Wrong(reason)
                    | OpenError::InUse(reason),
                ) => reason,
            };
        }
    }
}
