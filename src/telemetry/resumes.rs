//! Whether the next start reads again what is not delivered of a source.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// May change at run time; clones share it.
#[derive(Debug, Clone)]
pub struct Resumes(Arc<AtomicBool>);

impl From<bool> for Resumes {
    fn from(resumes: bool) -> Self {
        Resumes(Arc::new(resumes.into()))
    }
}

impl Resumes {
    /// It does, or does not, from now on.
    pub fn set(&self, resumes: bool) {
        self.0.store(resumes, Relaxed);
    }

    /// Whether it does now.
    pub fn get(&self) -> bool {
        self.0.load(Relaxed)
    }
}
