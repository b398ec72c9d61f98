//! A file's name in the log.

use std::path::Path;

use crate::text::escape::shown;

/// Longer paths are cut in the log.
const MAX_LABEL: usize = 400;

/// A file as the log names it.
pub(super) fn label(path: &Path) -> String {
    format!("file:{}", shown(&path.to_string_lossy(), MAX_LABEL))
}
