//! Work that may block on a device: on threads of its own in a real node, on tasks in the simulator.
//!
//! A [`Worker`] does a turn, says how long it would rest, and is woken early by its [`Bell`]. Whether a turn runs
//! on a thread or a task makes no difference to it, so the same workers run in both.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A job that is done in turns.
pub trait Worker: Send + Sync + 'static {
    /// Does what there is to do, and tells how long to rest if nobody rings; `None` rests until somebody does.
    fn turn(&self) -> Option<Duration>;
}

/// Wakes one worker. A ring that nobody waits for is remembered.
#[derive(Clone, Default)]
pub struct Bell {
    inner: Arc<imp::Bell>,
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bell")
    }
}

impl Bell {
    /// A bell that has not rung.
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes the worker, now or when it next rests.
    pub fn ring(&self) {
        self.inner.ring();
    }
}

/// A running worker.
pub struct Running {
    inner: imp::Running,
    bell: Bell,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Running")
    }
}

/// Does `work` for each of `items`, of which several may wait for a device at once. Returns when all is done.
pub fn for_each<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    imp::for_each(items, &work);
}

/// Starts a worker. `name` is what an operator sees in a list of threads (15 bytes at most).
pub fn start(name: &str, worker: Arc<dyn Worker>, bell: &Bell) -> Running {
    Running { inner: imp::start(name, worker, bell), bell: bell.clone() }
}

impl Running {
    /// Ends the worker after its present turn. A real thread is waited for.
    pub fn stop(self) {
        self.inner.stop(&self.bell);
    }
}

#[cfg(not(madsim))]
mod imp {
    use super::Worker;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Arc, Condvar, Mutex, PoisonError};
    use std::thread::{self, JoinHandle};
    use std::time::Duration;

    /// Threads that wait for a device side by side.
    const SIDE_BY_SIDE_MAX: usize = 16;

    pub(super) fn for_each<T: Sync>(items: &[T], work: &(impl Fn(&T) + Sync)) {
        let next = AtomicUsize::new(0);
        let take = || {
            while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                work(item);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..SIDE_BY_SIDE_MAX.min(items.len()) {
                scope.spawn(take);
            }
            take();
        });
    }

    #[derive(Default)]
    pub(super) struct Bell {
        has_rung: Mutex<bool>,
        rung: Condvar,
    }

    impl Bell {
        pub(super) fn ring(&self) {
            *self.has_rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.rung.notify_one();
        }

        fn rest(&self, at_most: Option<Duration>) {
            let mut has_rung = self.has_rung.lock().unwrap_or_else(PoisonError::into_inner);
            if !*has_rung {
                has_rung = match at_most {
                    Some(rest) => {
                        self.rung.wait_timeout(has_rung, rest).unwrap_or_else(PoisonError::into_inner).0
                    }
                    None => self.rung.wait(has_rung).unwrap_or_else(PoisonError::into_inner),
                };
            }
            *has_rung = false;
        }
    }

    pub(super) struct Running {
        stopping: Arc<AtomicBool>,
        thread: JoinHandle<()>,
    }

    pub(super) fn start(name: &str, worker: Arc<dyn Worker>, bell: &super::Bell) -> Running {
        let stopping = Arc::new(AtomicBool::new(false));
        let (stop, bell) = (stopping.clone(), bell.inner.clone());
        let body = move || {
            while !stop.load(Ordering::Acquire) {
                let rest = worker.turn();
                bell.rest(rest);
            }
        };
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(body)
            .expect("the operating system gives a node its few threads at the start");
        Running { stopping, thread }
    }

    impl Running {
        pub(super) fn stop(self, bell: &super::Bell) {
            self.stopping.store(true, Ordering::Release);
            bell.ring();
            // A panic in a worker was printed by its own thread; there is nothing to add here.
            let _ = self.thread.join();
        }
    }
}

#[cfg(madsim)]
mod imp {
    use super::Worker;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;

    pub(super) fn for_each<T>(items: &[T], work: &impl Fn(&T)) {
        items.iter().for_each(work);
    }

    /// A thread that is rung for does not run at once; what others do meanwhile is what the simulator is for.
    const SCHEDULING_DELAYS: [Duration; 5] = [
        Duration::from_millis(12),
        Duration::from_millis(1),
        Duration::from_millis(4),
        Duration::from_millis(1),
        Duration::from_millis(1),
    ];

    #[derive(Default)]
    pub(super) struct Bell {
        rung: Notify,
    }

    impl Bell {
        pub(super) fn ring(&self) {
            self.rung.notify_one();
        }
    }

    pub(super) struct Running {
        task: JoinHandle<()>,
    }

    pub(super) fn start(_name: &str, worker: Arc<dyn Worker>, bell: &super::Bell) -> Running {
        let bell = bell.inner.clone();
        let task = tokio::spawn(async move {
            for turn in 0usize.. {
                tokio::time::sleep(SCHEDULING_DELAYS[turn % SCHEDULING_DELAYS.len()]).await;
                let Some(rest) = worker.turn() else {
                    bell.rung.notified().await;
                    continue;
                };
                tokio::select! {
                    biased;
                    () = bell.rung.notified() => {}
                    () = tokio::time::sleep(rest) => {}
                }
            }
        });
        Running { task }
    }

    impl Running {
        pub(super) fn stop(self, _bell: &super::Bell) {
            self.task.abort();
        }
    }
}
