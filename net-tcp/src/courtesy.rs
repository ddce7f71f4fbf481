//! Whoever waited for an answer has it before the one whose request brought it about.
//!
//! A consumer that waits for a record is further from using it than its producer from hearing that it is stored: it
//! parses, hands over and asks again. And whom the kernel wakes first runs first. So a connection whose request has woken
//! others ([`Courtesy::woken`]) waits until one of them had its [`Turn`] at the socket. (Giving way through the runtime
//! instead calls a second worker each time, which then competes with the clients. Giving the core to the kernel after the
//! turn was tried: nothing end to end.)
//!
//! Nobody waits for a turn that does not come: it is over when the [`Turn`] is dropped, however that happens.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

/// One for all connections of a server.
#[derive(Debug, Default)]
pub(crate) struct Courtesy {
    /// Parked connections that an answer has woken.
    woken: AtomicU64,
    /// How many of them had their turn.
    done: AtomicU64,
    is_waited: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

/// A moment in the life of a [`Courtesy`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    woken: u64,
    done: u64,
}

impl Courtesy {
    pub(crate) fn now(&self) -> Moment {
        Moment { woken: self.woken.load(Relaxed), done: self.done.load(SeqCst) }
    }

    /// Notes that a parked connection is about to be woken.
    pub(crate) fn woken(self: &Arc<Self>) -> Turn {
        self.woken.fetch_add(1, Relaxed);
        Turn(self.clone())
    }

    /// Has the task woken when the first of those who were woken since `moment` had its turn; false if there is none
    /// to wait for.
    pub(crate) fn waits(&self, moment: Moment, waker: &Waker) -> bool {
        if self.woken.load(Relaxed) == moment.woken {
            return false;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(waker.clone());
        // First this, then the look at `done`; the other side goes the other way round, so one of the two is seen.
        self.is_waited.store(true, SeqCst);
        if self.done.load(SeqCst) == moment.done {
            return true;
        }
        waiting.pop();
        self.is_waited.store(!waiting.is_empty(), SeqCst);
        false
    }

    fn done(&self) {
        self.done.fetch_add(1, SeqCst);
        if !self.is_waited.load(SeqCst) {
            return;
        }
        let waiting = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            self.is_waited.store(false, SeqCst);
            std::mem::take(&mut *waiting)
        };
        for waker in waiting {
            waker.wake();
        }
    }
}

/// The turn of a connection that an answer has woken: over when dropped.
#[derive(Debug)]
pub(crate) struct Turn(Arc<Courtesy>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.done();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn task() -> (Arc<Woken>, Waker) {
        let woken = Arc::new(Woken::default());
        (woken.clone(), Waker::from(woken))
    }

    #[test]
    fn waits_for_the_first_turn_of_those_it_woke() {
        let courtesy = Arc::new(Courtesy::default());
        let (woken, waker) = task();
        let moment = courtesy.now();
        let (first, second) = (courtesy.woken(), courtesy.woken());
        assert!(courtesy.waits(moment, &waker));
        assert_eq!(woken.0.load(Relaxed), 0);
        drop(second);
        assert_eq!(woken.0.load(Relaxed), 1);
        drop(first);
        assert_eq!(woken.0.load(Relaxed), 1, "it waits once");
    }

    #[test]
    fn waits_for_nobody_when_nobody_was_woken_or_all_is_over() {
        let courtesy = Arc::new(Courtesy::default());
        let (woken, waker) = task();
        let before = courtesy.woken();
        let moment = courtesy.now();
        assert!(!courtesy.waits(moment, &waker), "woken before its request");
        drop(before);
        let moment = courtesy.now();
        drop(courtesy.woken());
        assert!(!courtesy.waits(moment, &waker), "quicker than the one who woke it");
        assert_eq!(woken.0.load(Relaxed), 0);
        assert!(courtesy.waiting.lock().unwrap().is_empty());
    }
}
