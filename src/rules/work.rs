//! Counts the bytes that masking looks at, in tests: a client must not be able to send an event whose cost grows faster
//! than its length.

#[cfg(test)]
thread_local! {
    static LOOKED_AT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// So many bytes were looked at, or moved.
#[inline(always)]
pub(super) fn looked_at(_bytes: usize) {
    #[cfg(test)]
    LOOKED_AT.set(LOOKED_AT.get() + _bytes);
}

/// How many bytes this thread has looked at since this was called last.
#[cfg(test)]
pub(super) fn taken() -> usize {
    LOOKED_AT.take()
}
