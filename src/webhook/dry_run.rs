//! `--dry-run`: bodies go to standard output instead of the webhook.

use std::io::{self, Write};
use std::time::Duration;

use crate::delivery::batch::Batch;
use crate::delivery::compression::Packed;
use crate::delivery::outcome::{Cause, DeliveryError, Outcome};
use crate::delivery::step::Terms;
use crate::delivery::target::{Abort, Numbering, Target};
use crate::sys::shutdown::ShutdownSignal;
use crate::telemetry::message::Message;
use crate::webhook::encode::{Encoder, Format};

/// Prints each body as it would be posted, but never compressed.
#[derive(Debug, Clone)]
pub struct DryRun {
    /// Makes the bodies.
    pub encoder: Encoder,
    /// Ends the agent when its output is no longer read.
    pub cut_off: ShutdownSignal,
}

impl Target for DryRun {
    fn prepare(&mut self, events: &Batch, max_bytes: usize) -> Option<Packed> {
        self.encoder.encode(events, max_bytes)
    }

    fn post(&mut self, events: &Batch, _: Option<u64>) -> Outcome {
        let mut out = io::stdout().lock();
        let end: &[u8] = match self.encoder.format() {
            Format::Array => b"\n",
            Format::Ndjson | Format::Single | Format::Hec => b"",
        };
        let mut body = self.encoder.body(events).into_iter();
        let printed = body
            .try_for_each(|piece| out.write_all(&piece))
            .and_then(|()| out.write_all(end))
            .and_then(|()| out.flush());
        match printed {
            Ok(()) => Outcome::Delivered,
            Err(error) => {
                self.cut_off.trigger();
                let error = error.to_string();
                Message::DryRunFailed { error }.log();
                Outcome::Failed(DeliveryError::transient(Cause::Aborted, ""))
            }
        }
    }

    fn time_limit(&self) -> Duration {
        // Whoever reads what is printed may take any time.
        Duration::MAX
    }

    fn terms(&self) -> Terms {
        Terms {
            max_events: self.encoder.format().max_events(),
            overhead: self.encoder.overhead(),
            ..Terms::default()
        }
    }

    fn cut(&self) -> Abort {
        Box::new(|| ())
    }

    fn number(&mut self, numbering: &Numbering) {
        self.encoder.number(numbering);
    }

    fn another(&self) -> Box<dyn Target> {
        Box::new(self.clone())
    }
}
