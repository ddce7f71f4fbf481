//! One answer put together from parts that come one by one, from any thread, maybe before all were asked for.

use crate::timers::{Timed, Timers};
use highwater_core::time::Instant;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// An answer that parts are added to.
pub(super) trait Answer: Send + 'static {
    /// What is added.
    type Part: Send;

    /// Takes a part.
    fn add(&mut self, part: Self::Part);

    /// Sends the answer: nothing is added any more.
    fn finish(self);
}

/// An answer of which parts are still to come. It leaves once: with the last part, or when its time is over.
pub(super) struct Gathering<A: Answer> {
    inner: Mutex<Inner<A>>,
}

struct Inner<A: Answer> {
    waiting: usize,
    /// Parts that came before everybody had been asked.
    early: Vec<A::Part>,
    /// Present from the moment everybody was asked until the answer has left.
    open: Option<A>,
}

impl<A: Answer> fmt::Debug for Gathering<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gathering").field("waiting", &self.lock().waiting).finish()
    }
}

impl<A: Answer> Gathering<A> {
    /// Nobody has been asked yet.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { inner: Mutex::new(Inner { waiting: 0, early: Vec::new(), open: None }) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner<A>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more [`Gathering::complete`] will come.
    pub(super) fn expect_one(&self) {
        self.lock().waiting += 1;
    }

    /// Everybody has been asked: the answer leaves as soon as nothing is missing.
    pub(super) fn start(&self, answer: A) {
        self.open(answer);
    }

    /// As [`Gathering::start`], and at `deadline` the answer leaves without the parts that are missing. Those who
    /// will complete it keep it alive; the timer holds it weakly.
    pub(super) fn start_until(self: Arc<Self>, answer: A, deadline: Instant, timers: &Timers) {
        if self.open(answer) {
            let timed: Weak<dyn Timed> = Arc::downgrade(&(self as Arc<dyn Timed>));
            timers.arm(deadline, timed);
        }
    }

    /// Whether the answer waits for somebody.
    fn open(&self, mut answer: A) -> bool {
        let mut inner = self.lock();
        for part in std::mem::take(&mut inner.early) {
            answer.add(part);
        }
        if inner.waiting == 0 {
            drop(inner);
            answer.finish();
            return false;
        }
        inner.open = Some(answer);
        true
    }

    /// One of the parts expected. One that comes after the answer has left is dropped.
    pub(super) fn complete(&self, part: A::Part) {
        let mut inner = self.lock();
        inner.waiting -= 1;
        match &mut inner.open {
            Some(answer) => answer.add(part),
            None => inner.early.push(part),
        }
        if inner.waiting == 0
            && let Some(answer) = inner.open.take()
        {
            drop(inner);
            answer.finish();
        }
    }
}

impl<A: Answer> Timed for Gathering<A> {
    /// The request's own time-out: the answer leaves without the parts that are missing.
    fn due(&self, _at: Instant) {
        let open = self.lock().open.take();
        if let Some(answer) = open {
            answer.finish();
        }
    }
}

/// A list of parts, handed over whole.
pub(super) struct Collected<T> {
    parts: Vec<T>,
    then: Box<dyn FnOnce(Vec<T>) + Send>,
}

impl<T: Send + 'static> Answer for Collected<T> {
    type Part = Vec<T>;

    fn add(&mut self, part: Vec<T>) {
        self.parts.extend(part);
    }

    fn finish(self) {
        (self.then)(self.parts);
    }
}

/// Waits for so many parts beside those that are there already, and calls `then` with all of them. Without any to
/// wait for that is at once.
pub(super) fn collect<T: Send + 'static>(
    missing: usize,
    parts: Vec<T>,
    then: impl FnOnce(Vec<T>) + Send + 'static,
) -> Arc<Gathering<Collected<T>>> {
    let gathering = Gathering::new();
    gathering.lock().waiting = missing;
    gathering.start(Collected { parts, then: Box::new(then) });
    gathering
}

#[cfg(test)]
mod tests {
    use super::*;

    type Told = Arc<Mutex<Option<Vec<i32>>>>;

    fn teller(told: &Told) -> impl FnOnce(Vec<i32>) + Send + 'static + use<> {
        let told = told.clone();
        move |parts| {
            let before = told.lock().unwrap().replace(parts);
            assert_eq!(before, None, "an answer leaves once");
        }
    }

    fn said(told: &Told) -> Option<Vec<i32>> {
        told.lock().unwrap().clone()
    }

    #[test]
    fn the_last_part_finishes() {
        let told = Told::default();
        let gathering = collect(2, vec![0], teller(&told));
        gathering.complete(vec![1, 2]);
        assert_eq!(said(&told), None);
        gathering.complete(vec![3]);
        assert_eq!(said(&told), Some(vec![0, 1, 2, 3]));
    }

    #[test]
    fn nothing_to_wait_for_finishes_at_once() {
        let told = Told::default();
        collect(0, vec![7], teller(&told));
        assert_eq!(said(&told), Some(vec![7]));
    }

    #[test]
    fn parts_may_come_before_everybody_is_asked() {
        let told = Told::default();
        let gathering = Gathering::new();
        gathering.expect_one();
        gathering.complete(vec![1]);
        gathering.expect_one();
        gathering.start(Collected { parts: vec![0], then: Box::new(teller(&told)) });
        assert_eq!(said(&told), None, "one is missing");
        gathering.complete(vec![2]);
        assert_eq!(said(&told), Some(vec![0, 1, 2]));
    }

    #[test]
    fn when_the_time_is_over_what_is_there_is_the_answer() {
        let told = Told::default();
        let gathering = collect(2, Vec::new(), teller(&told));
        gathering.complete(vec![1]);
        gathering.due(Instant::ZERO);
        assert_eq!(said(&told), Some(vec![1]));
        gathering.complete(vec![2]);
        gathering.due(Instant::ZERO);
        assert_eq!(said(&told), Some(vec![1]), "too late");
    }
}
