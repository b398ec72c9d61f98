//! Enums whose values are labels of metrics.

/// Declares an enum: each value with its label.
macro_rules! labelled {
    ($(#[$about:meta])* $set:ident { $($(#[$doc:meta])* $member:ident = $label:literal;)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $set {
            $($(#[$doc])* $member,)*
        }

        impl $set {
            /// All of them, in the order in which they are declared and shown.
            pub const ALL: [$set; [$($label),*].len()] = [$($set::$member,)*];

            /// As a label of metrics.
            pub fn label(self) -> &'static str {
                match self {
                    $($set::$member => $label,)*
                }
            }
        }
    };
}
pub(super) use labelled;
