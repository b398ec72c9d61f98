//! What keeps every agent with these options from starting, whatever is in the files that they name: `run` refuses to
//! start, a running agent keeps its settings, and `enable` and `disable` leave the settings file as it was.

use std::fs;

use crate::config::error::UsageError;
use crate::config::limits;
use crate::config::opt::Opt;
use crate::config::options::RunOptions;
use crate::config::provenance::Provenance;
use crate::rules::Rules;
use crate::source::Spec;

/// Checks the options of `run`. Returns the rules that they make.
///
/// # Errors
/// Names the option that can't work, alone or together with another one.
pub fn check(options: &RunOptions, provenance: &Provenance) -> Result<Rules, UsageError> {
    limits::check(options, provenance)?;
    distinct(options, provenance)?;
    for (option, file) in [
        (Opt::ListenKey, &options.listen_key),
        (Opt::ListenClientCa, &options.listen_client_ca),
    ] {
        if file.is_some() && options.listen_cert.is_none() {
            let what = "is of no use without --listen-cert; fix: give that too";
            return Err(provenance.error(option, what));
        }
    }
    let rejects = options.reject_file.as_ref().filter(|_| !options.dry_run);
    let is_no_file = |path: &&_| fs::metadata(path).is_ok_and(|found| !found.is_file());
    if let Some(path) = rejects.filter(is_no_file) {
        let path = path.display();
        let what = format!("{path} is not a regular file; fix: name a file that can be written to");
        return Err(provenance.error(Opt::RejectFile, what));
    }
    options.rules.rules(provenance)
}

/// Checks that each source is given only once, and that no two listen at one address.
fn distinct(options: &RunOptions, provenance: &Provenance) -> Result<(), UsageError> {
    let specs = &options.sources;
    let page = options.status_listen.map(Spec::Http);
    for (place, spec) in specs.iter().chain(&page).enumerate() {
        let mut earlier = specs[..place].iter();
        let Some(other) = earlier.find(|other| *other == spec || other.meets(spec)) else {
            continue;
        };
        let (option, what) = match place < specs.len() {
            true if other == spec => (Opt::Source, "given twice; fix: give it once".into()),
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
