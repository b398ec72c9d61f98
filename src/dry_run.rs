//! `--dry-run`: bodies go to standard output instead of the webhook.

use std::io::{self, Write};

use crate::answer::Verdict;
use crate::batch::Body;
use crate::sender::{Cut, Target};
use crate::stop::Stop;
use crate::trouble::Trouble;

/// Prints each body as it would be posted.
#[derive(Debug)]
pub struct DryRun {
    /// Ends the agent when nobody reads what is printed any more.
    pub cut_off: Stop,
}

impl Target for DryRun {
    fn post(&mut self, body: &Body<'_>) -> Verdict {
        let mut out = io::stdout().lock();
        let printed = body
            .slices()
            .iter()
            .try_for_each(|lines| out.write_all(lines))
            .and_then(|()| out.flush());
        match printed {
            Ok(()) => Verdict::Delivered,
            Err(error) => {
                self.cut_off.give();
                Verdict::Retry(Trouble::passing(format!("standard output: {error}")))
            }
        }
    }

    fn cut(&self) -> Cut {
        Box::new(|| ())
    }
}
