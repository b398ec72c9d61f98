//! `stdin`: standard input, to its end. A regular file there lasts; anything else is live.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use super::output::SourceOutput;
use super::reader::Source;
use super::spec::OpenError;
use super::stream;
use crate::sys::descriptors;
use crate::sys::shortage;
use crate::sys::shutdown::ShutdownSignal;
use crate::telemetry::message::Message;

/// Whether nothing will ever come from it, because it is /dev/null.
pub fn is_null() -> bool {
    // The kernel's number for it, see devices.txt.
    let is_it =
        |found: Metadata| found.file_type().is_char_device() && found.rdev() == libc::makedev(1, 3);
    metadata().is_ok_and(is_it)
}

/// Whether it is a regular file, which keeps its events.
pub fn is_file() -> bool {
    metadata().is_ok_and(|found| found.is_file())
}

fn metadata() -> io::Result<Metadata> {
    File::from(io::stdin().as_fd().try_clone_to_owned()?).metadata()
}

/// Standard input.
pub(super) struct Stdin {
    /// A descriptor of its own: the standard library's handle reads ahead.
    input: File,
    is_file: bool,
}

impl Stdin {
    pub(super) fn open() -> Result<Self, OpenError> {
        let failed = |error| {
            let what = format!("standard input can't be read: {error}");
            match shortage::fix(&error) {
                Some(fix) => OpenError::InUse(format!("{what}; fix: {fix}")),
                None => OpenError::Wrong(what),
            }
        };
        let input = File::from(io::stdin().as_fd().try_clone_to_owned().map_err(failed)?);
        let kind = input.metadata().map_err(failed)?.file_type();
        if kind.is_dir() {
            return Err(OpenError::Wrong(
                "standard input is a directory; fix: redirect a file or a pipe to it".into(),
            ));
        }
        Ok(Stdin {
            input,
            is_file: kind.is_file(),
        })
    }
}

impl Source for Stdin {
    fn is_lasting(&self) -> bool {
        self.is_file
    }

    fn run(self: Box<Self>, mut output: SourceOutput, stop: &ShutdownSignal) {
        let Stdin { mut input, is_file } = *self;
        let mut framer = output.framer();
        match stream::read(&mut input, &mut framer, &mut output, stop, is_file) {
            Ok(stream::End::Stopped { is_all }) => {
                // From now on writes to a pipe fail: nobody would read what is written while the rest is sent.
                let is_all = match descriptors::leave_stdin(input) {
                    Some(mut pipe) => {
                        stream::read_written(&mut pipe, &mut framer, &mut output).unwrap_or(false)
                    }
                    None => is_all,
                };
                if !is_all {
                    output.cut_off();
                }
                output.take_cut_off(&mut framer);
            }
            Ok(stream::End::Closed) => output.take_last(&mut framer),
            Err(error) => {
                let error = error.to_string();
                Message::StdinFailed { error }.log();
                output.ended_early();
                output.take_last(&mut framer);
            }
        }
    }
}
