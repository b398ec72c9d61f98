//! Every line of the log, as a value: its stable name, its level, its text and its fields come from one place, and so does
//! the operator's page.

#[macro_use]
mod agent;
mod field;
#[macro_use]
mod sources;

use std::fmt;

use ::log::Level;
use serde_json::{Map, Value};

pub(crate) use self::field::MAX_TEXT;
pub use self::field::{
    Attempts, Buffered, BufferedEvents, Events, Field, IfAny, MoreOutages, Peer, Reasons, Requests,
    Rules, Spooled, Within,
};
use crate::text::quantity::{HumanDuration, Size};

/// What the operator's page has on a message; nothing of the program itself uses it.
pub struct Description {
    /// The heading it is below.
    pub section: &'static str,
    /// As [`Message::name`].
    pub name: &'static str,
    /// As [`Message::level`].
    pub level: Level,
    /// The text before its fields are filled in.
    pub text: &'static str,
    /// What it means and, behind `**Fix:**`, what to do: lines of Markdown.
    pub about: &'static [&'static str],
}

/// Defines the enum. Of each message there is what it means and what to do, for the operator's page; the variant with its
/// fields; the name, the level and the text.
macro_rules! messages {
    ($(in $section:literal: $(
        $(#[doc = $doc:literal])+
        $variant:ident { $($field:ident: $type:ty),* } = $name:literal $level:ident $text:literal;
    )+)+) => {
        /// A line of the log.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Message {
            $($(
                $(#[doc = $doc])+
                // The text says what a field is.
                #[allow(missing_docs)]
                $variant { $($field: $type),* },
            )+)+
        }

        impl Message {
            /// Its name, which stays the same from version to version.
            pub fn name(&self) -> &'static str {
                match self {
                    $($(Message::$variant { .. } => $name,)+)+
                }
            }

            /// How much it matters.
            pub fn level(&self) -> Level {
                match self {
                    $($(Message::$variant { .. } => Level::$level,)+)+
                }
            }

            /// The line without time and level.
            pub fn text(&self) -> String {
                match self {
                    $($(Message::$variant { $($field),* } => {
                        let _ = ($($field,)*);
                        format!($text)
                    })+)+
                }
            }

            /// Its fields, for programs: durations in seconds, sizes in bytes.
            pub fn fields(&self) -> Map<String, Value> {
                let map = |fields: &[(&str, &dyn Field)]| {
                    let fields = fields.iter();
                    fields.map(|(name, field)| ((*name).to_owned(), field.json())).collect()
                };
                match self {
                    $($(Message::$variant { $($field),* } => map(&[
                        $((stringify!($field), $field),)*
                    ]),)+)+
                }
            }
        }

        /// All messages, in the order of the pages.
        pub const DESCRIPTIONS: &[Description] = &[$($(Description {
            section: $section,
            name: $name,
            level: Level::$level,
            text: $text,
            about: &[$($doc),+],
        },)+)+];
    };
}

agent_messages! { source_messages }

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

#[cfg(test)]
mod tests;
