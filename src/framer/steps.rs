//! What each byte does to the check of a JSON object (RFC 8259): a table, made at compile time.

/// The states, and a list of them.
macro_rules! states {
    ($($(#[$what:meta])* $state:ident,)*) => {
        /// What comes before the next byte, and what may follow.
        #[derive(Debug, Clone, Copy)]
        #[repr(u8)]
        pub(crate) enum State {
            $($(#[$what])* $state,)*
        }

        const ALL_STATES: &[State] = &[$(State::$state,)*];
    };
}

states! {
    /// Nothing of a value that must begin here.
    Value,
    /// `[`: a value or `]`.
    FirstElement,
    /// `{`: a member name or `}`.
    FirstName,
    /// A comma in an object: a member name.
    Name,
    /// A member name: `:`.
    Colon,
    /// A value: `,` or the closing bracket.
    AfterValue,
    /// The string's beginning.
    String,
    /// A backslash.
    Escape,
    /// `\u`, and this many of its digits.
    Hex0,
    Hex1,
    Hex2,
    Hex3,
    T,
    Tr,
    Tru,
    F,
    Fa,
    Fal,
    Fals,
    N,
    Nu,
    Nul,
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

const STATES: usize = ALL_STATES.len();

/// What a byte does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// It is passed over.
    To(State),
    /// The same, and all digits after it.
    Digits(State),
    /// The same, and the rest of the word that it begins, if that is there.
    Word(State),
    /// The same; it is a line break between tokens.
    Break,
    /// A member name's first quote.
    OpenName,
    /// A string value's first quote.
    OpenText,
    /// Part of a string, or its last quote.
    Plain,
    /// Opening and closing brackets.
    Open,
    Close,
    /// Between values.
    Comma,
    /// The number before it has ended: it is looked at again.
    EndOfNumber,
    Error,
}

/// A byte of each kind. All bytes of a kind do the same, whatever the state.
const KINDS: &[u8] = b"\0\n\t {}[]\":,\\/.-+01AabeEfnrtulsx";

/// Room for all kinds; a power of two, so that no lookup needs a bounds check.
pub(crate) const KINDS_MOST: usize = 32;

/// Each byte's kind, as its place in [`KINDS`].
pub(crate) static KIND_OF: [u8; 256] = {
    let mut kind_of = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        kind_of[byte] = match place_of(byte as u8) {
            Some(place) => place,
            None => match place_of(like(byte as u8)) {
                Some(place) => place,
                None => panic!("a byte that is like none of KINDS"),
            },
        };
        byte += 1;
    }
    kind_of
};

const fn place_of(byte: u8) -> Option<u8> {
    let mut place = 0;
    while place < KINDS.len() {
        if KINDS[place] == byte {
            return Some(place as u8);
        }
        place += 1;
    }
    None
}

/// The one of [`KINDS`] that a byte not among them is treated like.
const fn like(byte: u8) -> u8 {
    match byte {
        b'\r' => b'\n',
        b'2'..=b'9' => b'1',
        b'c' | b'd' | b'B'..=b'D' | b'F' => b'A',
        ..0x20 => 0,
        _ => b'x',
    }
}

/// For each state and each kind of byte. One lookup instead of many comparisons.
pub(crate) static STEPS: [[Step; KINDS_MOST]; STATES] = {
    let mut steps = [[Step::Error; KINDS_MOST]; STATES];
    let mut row = 0;
    while row < STATES {
        let mut kind = 0;
        while kind < KINDS.len() {
            steps[ALL_STATES[row] as usize][kind] = step(ALL_STATES[row], KINDS[kind]);
            kind += 1;
        }
        row += 1;
    }
    steps
};

const fn step(state: State, byte: u8) -> Step {
    use State::*;
    use Step::To;
    match (state, byte) {
        (Value | FirstElement | FirstName | Name | Colon | AfterValue, b' ' | b'\t') => To(state),
        (Value | FirstElement | FirstName | Name | Colon | AfterValue, b'\n' | b'\r') => {
            Step::Break
        }
        (Value | FirstElement, b'{' | b'[') => Step::Open,
        (Value | FirstElement, b'"') => Step::OpenText,
        (Value | FirstElement, b't') => Step::Word(T),
        (Value | FirstElement, b'f') => Step::Word(F),
        (Value | FirstElement, b'n') => Step::Word(N),
        (Value | FirstElement, b'-') => To(Minus),
        (Value | FirstElement | Minus, b'0') => To(Zero),
        (Value | FirstElement | Minus | Integer, b'0'..=b'9') => Step::Digits(Integer),
        (Name | FirstName, b'"') => Step::OpenName,
        (Colon, b':') => To(Value),
        (AfterValue | Zero | Integer | Fraction | ExponentDigits, b',') => Step::Comma,
        (FirstElement, b']') | (FirstName, b'}') => Step::Close,
        (AfterValue | Zero | Integer | Fraction | ExponentDigits, b'}' | b']') => Step::Close,
        (String, 0x20..) => Step::Plain,
        (Escape, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => To(String),
        (Escape, b'u') => To(Hex0),
        (Hex0, _) if byte.is_ascii_hexdigit() => To(Hex1),
        (Hex1, _) if byte.is_ascii_hexdigit() => To(Hex2),
        (Hex2, _) if byte.is_ascii_hexdigit() => To(Hex3),
        (Hex3, _) if byte.is_ascii_hexdigit() => To(String),
        (T, b'r') => To(Tr),
        (Tr, b'u') => To(Tru),
        (F, b'a') => To(Fa),
        (Fa, b'l') => To(Fal),
        (Fal, b's') => To(Fals),
        (Tru | Fals, b'e') => To(AfterValue),
        (N, b'u') => To(Nu),
        (Nu, b'l') => To(Nul),
        (Nul, b'l') => To(AfterValue),
        (Zero | Integer, b'.') => To(Point),
        (Point | Fraction, b'0'..=b'9') => Step::Digits(Fraction),
        (Zero | Integer | Fraction, b'e' | b'E') => To(Exponent),
        (Exponent, b'+' | b'-') => To(ExponentSign),
        (Exponent | ExponentSign | ExponentDigits, b'0'..=b'9') => Step::Digits(ExponentDigits),
        (Zero | Integer | Fraction | ExponentDigits, _) => Step::EndOfNumber,
        _ => Step::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_of_a_kind_do_the_same() {
        for &state in ALL_STATES {
            for byte in 0..=255 {
                let kind = KINDS[usize::from(KIND_OF[usize::from(byte)])];
                let does = |byte| format!("{:?}", step(state, byte));
                assert_eq!(does(byte), does(kind), "{byte} in {state:?}");
            }
        }
    }
}
