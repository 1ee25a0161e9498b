//! An output that several tasks write, each its own part.

/// A run of numbers whose parts are written by different threads.
///
/// Rust's slices cannot be cut into rectangles; this can, and whoever takes a part says that nobody else has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shared<'a> {
    start: *mut f32,
    length: usize,
    _lent: std::marker::PhantomData<&'a mut [f32]>,
}

#[expect(unsafe_code, reason = "a mutable slice may be sent; parts do not overlap, as `part` asks")]
// SAFETY: it stands for a `&mut [f32]`, which is `Send`.
unsafe impl Send for Shared<'_> {}
#[expect(unsafe_code, reason = "as above")]
// SAFETY: sharing it gives access only through `part`, whose callers promise parts of their own.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(crate) fn new(all: &'a mut [f32]) -> Self {
        Self { start: all.as_mut_ptr(), length: all.len(), _lent: std::marker::PhantomData }
    }

    /// Some numbers.
    ///
    /// # Safety
    /// While the part lives, no other part may overlap it.
    ///
    /// # Panics
    /// Where the part is not inside.
    #[expect(unsafe_code, clippy::mut_from_ref, reason = "that is what the caller promises about")]
    pub(crate) unsafe fn part(&self, first: usize, length: usize) -> &mut [f32] {
        assert!(first <= self.length && length <= self.length - first);
        // SAFETY: inside of the slice that is lent for 'a, and nobody else has it, as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), length) }
    }
}
