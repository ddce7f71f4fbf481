//! The short lock around a machine and its log, and the rule that nobody holds two of them.
//!
//! A cell's lock is held for one batch of inputs and the storage effects that follow, never across an await
//! and never together with another cell's: whatever concerns another cell is an effect, delivered after
//! unlocking. Debug and simulation builds assert it; a release build pays nothing.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard};

/// A cell's lock.
pub struct CellLock<T> {
    inner: Mutex<T>,
}

/// A held cell. Cannot live across an await: it is not `Send`.
#[derive(Debug)]
pub struct Held<'a, T> {
    guard: MutexGuard<'a, T>,
    _mark: mark::Mark,
}

/// A step of this cell's machine panicked, so its state cannot be trusted any more. The cell is offline; the
/// rest of the node is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellBroken;

impl fmt::Display for CellBroken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a step of this partition panicked earlier; it stays offline until the node restarts")
    }
}

impl std::error::Error for CellBroken {}

impl<T> CellLock<T> {
    /// A lock around `value`.
    pub const fn new(value: T) -> Self {
        Self { inner: Mutex::new(value) }
    }

    /// Waits for the cell.
    ///
    /// # Errors
    /// [`CellBroken`] once a holder has panicked.
    pub fn lock(&self) -> Result<Held<'_, T>, CellBroken> {
        let mark = mark::Mark::take();
        let guard = self.inner.lock().map_err(|_| CellBroken)?;
        Ok(Held { guard, _mark: mark })
    }
}

impl<T> fmt::Debug for CellLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CellLock")
    }
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

#[cfg(debug_assertions)]
mod mark {
    use std::cell::Cell;

    thread_local! {
        /// Whether this thread holds a cell. Not state of a node: it is empty between any two steps.
        static HELD: Cell<bool> = const { Cell::new(false) };
    }

    /// Proof that this thread holds exactly one cell.
    #[derive(Debug)]
    pub(super) struct Mark(());

    impl Mark {
        pub(super) fn take() -> Self {
            assert!(!HELD.replace(true), "a thread may hold one cell at a time");
            Self(())
        }
    }

    impl Drop for Mark {
        fn drop(&mut self) {
            HELD.set(false);
        }
    }
}

#[cfg(not(debug_assertions))]
mod mark {
    /// Nothing, in a release build.
    #[derive(Debug)]
    pub(super) struct Mark;

    impl Mark {
        pub(super) const fn take() -> Self {
            Self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panicked_step_takes_the_cell_offline_and_nothing_else() {
        let cell = CellLock::new(1);
        let other = CellLock::new(2);
        let step = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _held = cell.lock();
            panic!("a broken invariant");
        }));
        assert!(step.is_err());
        assert_eq!(cell.lock().map(|c| *c), Err(CellBroken));
        assert_eq!(other.lock().map(|c| *c), Ok(2));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "one cell at a time")]
    fn two_cells_at_once_are_a_programming_error() {
        let (a, b) = (CellLock::new(1), CellLock::new(2));
        let _first = a.lock();
        let _second = b.lock();
    }
}
