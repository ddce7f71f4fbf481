//! Puts the answers of several coordinators together into one.

use std::sync::{Arc, Mutex, PoisonError};

/// Collects parts and calls `finish` with all of them once the last one is there.
pub(super) struct Gather<T> {
    inner: Arc<Mutex<Inner<T>>>,
}

struct Inner<T> {
    missing: usize,
    parts: Vec<T>,
    finish: Option<Box<dyn FnOnce(Vec<T>) + Send>>,
}

/// One part that is still to come.
pub(super) struct Part<T> {
    inner: Arc<Mutex<Inner<T>>>,
}

impl<T> Gather<T> {
    /// Waits for so many parts beside those that are there already. Without any to wait for it finishes at once.
    pub(super) fn new(missing: usize, parts: Vec<T>, finish: impl FnOnce(Vec<T>) + Send + 'static) -> Self {
        if missing == 0 {
            finish(parts);
            return Self { inner: Arc::new(Mutex::new(Inner { missing, parts: Vec::new(), finish: None })) };
        }
        let inner = Inner { missing, parts, finish: Some(Box::new(finish)) };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// The right to add one part.
    pub(super) fn part(&self) -> Part<T> {
        Part { inner: self.inner.clone() }
    }
}

impl<T> Part<T> {
    /// Adds what belongs to this part.
    pub(super) fn add(self, found: Vec<T>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.parts.extend(found);
        inner.missing -= 1;
        if inner.missing > 0 {
            return;
        }
        let (parts, finish) = (std::mem::take(&mut inner.parts), inner.finish.take());
        drop(inner);
        if let Some(finish) = finish {
            finish(parts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_finishes() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = told.clone();
        let gather = Gather::new(2, vec![0], move |parts| *tell.lock().unwrap() = parts);
        gather.part().add(vec![1, 2]);
        assert!(told.lock().unwrap().is_empty());
        gather.part().add(vec![3]);
        assert_eq!(*told.lock().unwrap(), [0, 1, 2, 3]);
    }

    #[test]
    fn nothing_to_wait_for_finishes_at_once() {
        let told = Arc::new(Mutex::new(None));
        let tell = told.clone();
        Gather::new(0, vec!['a'], move |parts| *tell.lock().unwrap() = Some(parts));
        assert_eq!(*told.lock().unwrap(), Some(vec!['a']));
    }
}
