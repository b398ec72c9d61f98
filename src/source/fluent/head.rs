//! MessagePack's values: how each begins, and where it ends. Bytes in, bytes out; no I/O.

/// Why a value can't be written as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is cut off, nested too deeply, or has the one byte that begins no value.
    Malformed,
    /// Its JSON is longer than it may be.
    TooLarge,
}

/// The beginning of a value: its kind, and what follows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Head {
    /// `nil`.
    Nil,
    /// `true` or `false`.
    Bool(bool),
    /// A number that is not negative.
    Unsigned(u64),
    /// A number of a signed kind.
    Signed(i64),
    /// A number of single precision.
    Float32(f32),
    /// A number of double precision.
    Float64(f64),
    /// A string of this many bytes, said to be UTF-8.
    Str(usize),
    /// A string of this many bytes.
    Bin(usize),
    /// An extension of this type, with this many bytes.
    Ext(i8, usize),
    /// This many values.
    Array(u32),
    /// This many pairs of values.
    Map(u32),
}

impl Head {
    /// Reads the head that `bytes` begins with. Returns it with its own length, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// The byte 0xC1 begins no value.
    pub fn read(bytes: &[u8]) -> Result<Option<(Head, usize)>, Fault> {
        match bytes.first() {
            None => Ok(None),
            Some(0xc1) => Err(Fault::Malformed),
            Some(first) => Ok(Head::read_behind(*first, bytes)),
        }
    }

    fn read_behind(first: u8, bytes: &[u8]) -> Option<(Head, usize)> {
        let length8 = || Some(usize::from(*bytes.get(1)?));
        let length16 = || Some(usize::from(u16::from_be_bytes(array(bytes)?)));
        let count32 = || Some(u32::from_be_bytes(array(bytes)?));
        let length32 = || Some(count32()? as usize);
        let kind = |at: usize| Some(bytes.get(at)?.cast_signed());
        Some(match first {
            0x00..=0x7f => (Head::Unsigned(first.into()), 1),
            0x80..=0x8f => (Head::Map(u32::from(first & 0x0f)), 1),
            0x90..=0x9f => (Head::Array(u32::from(first & 0x0f)), 1),
            0xa0..=0xbf => (Head::Str(usize::from(first & 0x1f)), 1),
            0xc2 | 0xc3 => (Head::Bool(first == 0xc3), 1),
            0xc4 => (Head::Bin(length8()?), 2),
            0xc5 => (Head::Bin(length16()?), 3),
            0xc6 => (Head::Bin(length32()?), 5),
            0xc7 => (Head::Ext(kind(2)?, length8()?), 3),
            0xc8 => (Head::Ext(kind(3)?, length16()?), 4),
            0xc9 => (Head::Ext(kind(5)?, length32()?), 6),
            0xca => (Head::Float32(f32::from_be_bytes(array(bytes)?)), 5),
            0xcb => (Head::Float64(f64::from_be_bytes(array(bytes)?)), 9),
            0xcc => (Head::Unsigned(u8::from_be_bytes(array(bytes)?).into()), 2),
            0xcd => (Head::Unsigned(u16::from_be_bytes(array(bytes)?).into()), 3),
            0xce => (Head::Unsigned(u32::from_be_bytes(array(bytes)?).into()), 5),
            0xcf => (Head::Unsigned(u64::from_be_bytes(array(bytes)?)), 9),
            0xd0 => (Head::Signed(i8::from_be_bytes(array(bytes)?).into()), 2),
            0xd1 => (Head::Signed(i16::from_be_bytes(array(bytes)?).into()), 3),
            0xd2 => (Head::Signed(i32::from_be_bytes(array(bytes)?).into()), 5),
            0xd3 => (Head::Signed(i64::from_be_bytes(array(bytes)?)), 9),
            0xd4..=0xd8 => (Head::Ext(kind(1)?, 1 << (first - 0xd4)), 2),
            0xd9 => (Head::Str(length8()?), 2),
            0xda => (Head::Str(length16()?), 3),
            0xdb => (Head::Str(length32()?), 5),
            0xdc => (Head::Array(u16::from_be_bytes(array(bytes)?).into()), 3),
            0xdd => (Head::Array(count32()?), 5),
            0xde => (Head::Map(u16::from_be_bytes(array(bytes)?).into()), 3),
            0xdf => (Head::Map(count32()?), 5),
            0xe0..=0xff => (Head::Signed(first.cast_signed().into()), 1),
            // `nil`; 0xc1 was refused before.
            0xc0 | 0xc1 => (Head::Nil, 1),
        })
    }

    /// How many bytes of its own follow the head.
    pub fn payload(self) -> usize {
        match self {
            Head::Str(length) | Head::Bin(length) | Head::Ext(_, length) => length,
            _ => 0,
        }
    }

    /// How many values follow that are parts of this one.
    pub fn parts(self) -> u64 {
        match self {
            Head::Array(count) => count.into(),
            Head::Map(count) => 2 * u64::from(count),
            _ => 0,
        }
    }
}

/// The bytes after the first one.
fn array<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.get(1..=N)?.try_into().ok()
}

/// Passes over one value that comes in pieces. It needs no memory, however deeply the value is nested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipper {
    /// Values that are still to come.
    values: u64,
    /// Bytes of a string that have not come yet.
    payload: usize,
}

impl Default for Skipper {
    /// Before the first byte of a value.
    fn default() -> Self {
        Skipper {
            values: 1,
            payload: 0,
        }
    }
}

impl Skipper {
    /// Whether the value has ended.
    pub fn is_done(&self) -> bool {
        self.values == 0 && self.payload == 0
    }

    /// The least number of bytes that must still come.
    pub fn needs(&self) -> usize {
        self.payload
            .saturating_add(usize::try_from(self.values).unwrap_or(usize::MAX))
    }

    /// Passes over as much of the value as `bytes` holds, and returns how many bytes that is. Fewer than all mean that
    /// the value has ended, or that the last ones (8 at most) are needed again with what follows them.
    ///
    /// # Errors
    /// [`Fault::Malformed`]: nothing after that can be understood any more.
    pub fn pass(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let payload = self.payload.min(rest.len());
            self.payload -= payload;
            at += payload;
            if self.payload > 0 || self.values == 0 {
                return Ok(at);
            }
            let Some((head, length)) = Head::read(bytes.get(at..).unwrap_or_default())? else {
                return Ok(at);
            };
            at += length;
            self.payload = head.payload();
            self.values = (self.values - 1).saturating_add(head.parts());
        }
    }
}

/// Splits off the value that `bytes` begins with. `None` if it is malformed or not whole.
pub fn split_value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut skipper = Skipper::default();
    let end = skipper.pass(bytes).ok()?;
    skipper.is_done().then(|| bytes.split_at(end))
}
