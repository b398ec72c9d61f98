//! Options for what leaves the host: a running agent follows their changes in the settings file.

use clap::Args;

use crate::config::error::UsageError;
use crate::config::opt::Opt;
use crate::config::provenance::{Origin, Provenance};
use crate::rules::Rules;
use crate::rules::filter::{Action, Conditions, Filter};
use crate::rules::redact::Redactor;
use crate::text::choice::choose;
use crate::webhook::header::SEPARATOR;

/// Options on what leaves the host.
#[derive(Debug, Args)]
// The help shows these comments: Records[0] is not a link.
#[allow(rustdoc::broken_intra_doc_links)]
pub struct RulesOptions {
    /// Rule for events that are not sent, such as api.name=Head*; repeatable
    ///
    /// Several in one value are separated by |. A rule is MEMBER=PATTERN, with * and ?, MEMBER!=PATTERN, MEMBER>=NUMBER or
    /// MEMBER<NUMBER, or several of them with commas, which must all hold; * alone means every event. Dots separate the
    /// names of nested members, and a number is an element of an array: Records[0].api.name. Nothing holds for a member
    /// that an event does not have. The first of all --include and --exclude rules that matches decides, in the order of
    /// the command line; from variables and the settings file, those of --include come first. Excluded events are counted
    /// by rule.
    #[arg(long, value_name = "RULE", value_delimiter = SEPARATOR)]
    pub exclude: Vec<Conditions>,

    /// Rule for events that are sent despite later --exclude rules, such as http_status>=400; repeatable
    #[arg(long, value_name = "RULE", value_delimiter = SEPARATOR)]
    pub include: Vec<Conditions>,

    /// Mask secrets in events: signatures, tokens, cookies and encryption keys of S3
    ///
    /// They are replaced by REDACTED, or by as many * if they are shorter: parameters of URLs anywhere in an event, members
    /// that are headers, and JSON in a string of JSON. Access key ids stay.
    #[arg(long, value_name = "s3", value_parser = parse_redact)]
    pub redact: Option<String>,

    /// Name of a member to mask too, anywhere in an event; repeatable
    ///
    /// Several in one value are separated by commas. Case does not matter, - and _ are the same, and HTTP_ may be before
    /// it. Numbers become 0, true and false null.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = parse_field)]
    pub redact_field: Vec<String>,
}

fn parse_redact(text: &str) -> Result<String, String> {
    choose(text, &[("s3", "s3")]).map(Into::into)
}

fn parse_field(text: &str) -> Result<String, String> {
    Redactor::check(text)?;
    Ok(text.to_owned())
}

impl RulesOptions {
    /// The options whose changes a running agent follows.
    pub const ALL: [Opt; 4] = [Opt::Exclude, Opt::Include, Opt::Redact, Opt::RedactField];

    /// The rules that these options define.
    ///
    /// # Errors
    /// Names the option whose rules can't work together.
    pub fn rules(&self, provenance: &Provenance) -> Result<Rules, UsageError> {
        let place = |option: Opt| {
            let places = provenance.matches.indices_of(option.id());
            let is_flag = provenance.origin(option) == Origin::Flag;
            // Rules that are not on the command line have no order.
            let places = places.filter(|_| is_flag).into_iter().flatten();
            places.map(Some).chain(std::iter::repeat(None))
        };
        let include = self.include.iter().zip(place(Opt::Include));
        let include = include.map(|(rule, place)| (place, Action::Include, rule));
        let exclude = self.exclude.iter().zip(place(Opt::Exclude));
        let exclude = exclude.map(|(rule, place)| (place, Action::Exclude, rule));
        let mut rules: Vec<_> = include.chain(exclude).collect();
        if rules.iter().all(|(place, ..)| place.is_some()) {
            rules.sort_by_key(|(place, ..)| *place);
        }
        let rules = rules
            .into_iter()
            .map(|(_, action, rule)| (action, rule.clone()));
        let filter = Filter::new(rules).map_err(|(action, what)| match action {
            Action::Include => provenance.error(Opt::Include, what),
            Action::Exclude => provenance.error(Opt::Exclude, what),
        })?;
        let fields = self.redact_field.iter().map(String::as_str);
        let redactor = Redactor::new(self.redact.is_some(), fields);
        let masked = self.redact.iter().chain(&self.redact_field).cloned();
        Ok(Rules::new(filter, redactor, masked.collect()))
    }
}
