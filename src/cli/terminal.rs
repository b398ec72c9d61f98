//! What commands print: in colours and columns, and harmless for a terminal.

use std::io::{self, ErrorKind, Write as _};

use crate::config::error::CommandError;
use crate::text::escape;

/// Longer texts are cut: they may come from whoever could write to the state directory.
const LONGEST: usize = 300;
/// Cells wider than this don't push the next column away.
const WIDEST: usize = 56;

/// Colours, if they are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Paint(pub bool);

impl Paint {
    /// Something is as it should be: green.
    pub fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// Something is not as it should be: red.
    pub fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        match self.0 {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// A text from anywhere, made harmless so that a terminal only shows it, as one line.
pub fn shown(text: &str) -> String {
    escape::shown(text, LONGEST)
}

/// Writes a line to standard error, whether or not anybody reads it.
pub fn note(text: &str) {
    let text = escape::shown(text, usize::MAX);
    let _ = writeln!(io::stderr(), "s3-audit-webhook: {text}");
}

/// Writes a line with a name before it to standard output, whether or not anybody reads it.
pub fn show(name: &str, what: &str) {
    let what = escape::shown(what, usize::MAX);
    let _ = writeln!(io::stdout(), "{name:<9} {what}");
}

/// Writes to standard output. False if its reader has ended, which is no error.
///
/// # Errors
/// It can't be written to.
pub fn print(mut out: impl io::Write, text: &str) -> Result<bool, CommandError> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CommandError::Failed(format!("standard output: {error}"))),
    }
}

/// Rows whose cells are aligned in columns.
pub fn columns(rows: &[[&str; 3]]) -> String {
    let rows: Vec<_> = rows.iter().map(|row| row.map(shown)).collect();
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or_default().min(WIDEST)
    };
    let (first, second) = (width(0), width(1));
    let lines = rows.iter().map(|[name, value, origin]| {
        let line = format!("{name:first$}  {value:second$}  {origin}");
        format!("{}\n", line.trim_end())
    });
    lines.collect()
}
