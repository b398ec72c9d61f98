//! The settings file and the files that it names, as the agent reads them.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::config::options::{RunOptions, WebhookOptions};
use crate::text::small_file;

/// The settings file and the files that it names, each with its content.
pub(super) type Contents = Vec<(PathBuf, Result<Vec<u8>, ErrorKind>)>;

/// The current contents of the settings file and the files that it names.
pub(super) fn contents(options: &RunOptions) -> Contents {
    let config = Some(options.config.config.clone());
    read(config.into_iter().chain(options.webhook.files()))
}

/// Whether this error says that the file is missing or can't be read, and not what is wrong with its content.
pub(super) fn lacks(error: &str, path: &Path) -> bool {
    let what = format!("{} can't be read", path.display());
    error.contains(&what) && !error.contains(small_file::NOT_UTF8)
}

/// Whether an error of the webhook's settings is one of a file that they name: the settings themselves are right.
pub(super) fn is_of_file(error: &str, webhook: &WebhookOptions) -> bool {
    let mut files = webhook.files();
    files.any(|path| error.contains(&format!(": {}", path.display())))
}

/// What is in these files.
pub(super) fn read(files: impl Iterator<Item = PathBuf>) -> Contents {
    files
        .map(|path| {
            let content = small_file::read(&path).map_err(|error| error.kind());
            (path, content)
        })
        .collect()
}
