//! What keeps every agent with these options from starting, whatever is in the files that they name: `run` refuses to
//! start, a running agent keeps its settings, and `enable` and `disable` leave the settings file as it was.

use std::fs;
use std::path::{Path, PathBuf};

use crate::buffer::spool::segments;
use crate::config::error::UsageError;
use crate::config::limits;
use crate::config::opt::Opt;
use crate::config::options::RunOptions;
use crate::config::provenance::Provenance;
use crate::rules::Rules;
use crate::source::{self, Spec};
use crate::state::{self, checkpoint, reject_file};
use crate::sys::host;

/// Checks the options of `run`. Returns the rules that they make.
///
/// # Errors
/// Names the option that can't work, alone or together with another one.
pub fn check(options: &RunOptions, provenance: &Provenance) -> Result<Rules, UsageError> {
    let rules = check_file(options, provenance)?;
    for (option, file) in [
        (Opt::ListenKey, &options.listen_key),
        (Opt::ListenClientCa, &options.listen_client_ca),
    ] {
        if file.is_some() && options.listen_cert.is_none() {
            let what = "is of no use without --listen-cert; fix: give that too";
            return Err(provenance.error(option, what));
        }
    }
    Ok(rules)
}

/// The same for those of the settings file alone. What else an agent has may come from its flags and variables.
///
/// # Errors
/// As of [`check`].
pub fn check_file(options: &RunOptions, provenance: &Provenance) -> Result<Rules, UsageError> {
    limits::check(options, provenance)?;
    distinct(options, provenance)?;
    check_reject_file(options, &provenance.file.path)
        .map_err(|what| provenance.error(Opt::RejectFile, what))?;
    check_own_files(options).map_err(|what| provenance.error(Opt::Source, what))?;
    options.rules.rules(provenance)
}

/// Checks that `--reject-file` is a file, none that settings are in, and one that no source reads: each of its events
/// would be rejected again.
fn check_reject_file(options: &RunOptions, settings: &Path) -> Result<(), String> {
    let Some(file) = options.reject_file.as_ref().filter(|_| !options.dry_run) else {
        return Ok(());
    };
    let path = file.display();
    if fs::metadata(file).is_ok_and(|found| !found.is_file()) {
        return Err(format!(
            "{path} is not a regular file; fix: name a file that can be written to"
        ));
    }
    let listeners = options.listen_files().into_iter();
    let listeners = listeners.filter_map(|(_, file)| file.clone());
    let named = options.webhook.files().chain(listeners);
    let mut named = named.chain([settings.into()]);
    if named.any(|named| reject_file::is_written(file, &named)) {
        return Err(format!(
            "{path} is for settings, or is named in them; fix: name another file"
        ));
    }
    // It may be a link.
    let leads_to = file.canonicalize().unwrap_or_default();
    let names = [file.clone(), reject_file::older(file), leads_to];
    let reads = |spec: &&Spec| {
        if matches!(spec, Spec::File(path) if reject_file::is_written(file, path)) {
            return true;
        }
        let mut names = names.iter();
        names.any(|name| source::reads(spec, &options.exclude_files, name))
    };
    match options.sources.iter().find(reads) {
        Some(spec) => Err(format!(
            "{path} is read by {spec}, so what is rejected would come again; fix: put it into another directory"
        )),
        None => Ok(()),
    }
}

/// Checks that no source reads what the agent itself keeps: each event that is delivered would make another one.
fn check_own_files(options: &RunOptions) -> Result<(), String> {
    let (dir, spool) = (&options.spool.dir.state.state_dir, &options.spool);
    let host = state::file_name(&host::name());
    let mut files = vec![dir.join(format!("{host}.json"))];
    for spec in &options.sources {
        if let Spec::File(path) = spec {
            files.push(dir.join(checkpoint::file_name(&host, path)));
        }
    }
    if spool.spool_bytes > 0 {
        files.push(spool.dir.directory().join(segments::name(1)));
    }
    if options.trail.trail {
        files.push(dir.join(format!("{host}.trail")));
    }
    for spec in &options.sources {
        let reads = |file: &&PathBuf| source::reads(spec, &options.exclude_files, file);
        if let Some(file) = files.iter().find(reads) {
            return Err(format!(
                "{spec}: it reads what the agent itself writes, {}; fix: keep logs and that apart, or give \
                 --exclude-files",
                file.display()
            ));
        }
    }
    Ok(())
}

/// Checks that each source is given only once, and that no two listen at one address.
fn distinct(options: &RunOptions, provenance: &Provenance) -> Result<(), UsageError> {
    let specs = &options.sources;
    let page = options.status_listen.map(Spec::Http);
    for (place, spec) in specs.iter().chain(&page).enumerate() {
        let mut earlier = specs[..place].iter();
        let Some(other) = earlier.find(|other| other.is_same(spec) || other.meets(spec)) else {
            continue;
        };
        let (option, what) = match place < specs.len() {
            true if other.is_same(spec) => {
                let also = match other == spec {
                    true => String::new(),
                    false => format!(", also as {other}"),
                };
                let what = format!("given twice{also}; fix: give it once");
                (Opt::Source, what)
            }
            is_source => {
                let what = format!("{other} listens there; fix: give each its own address");
                (
                    if is_source {
                        Opt::Source
                    } else {
                        Opt::StatusListen
                    },
                    what,
                )
            }
        };
        return Err(provenance.error(option, format!("{spec}: {what}")));
    }
    Ok(())
}
