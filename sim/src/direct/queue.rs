//! What is to happen, in the order of simulated time; what falls on one instant happens in the order it was planned.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Simulated time in nanoseconds since the run began.
pub(crate) type Time = u64;

/// One microsecond.
pub(crate) const MICRO: Time = 1_000;
/// One millisecond.
pub(crate) const MILLI: Time = 1_000_000;
/// One second.
pub(crate) const SECOND: Time = 1_000_000_000;

/// A queue of events. The heap orders small keys; the events lie still in slots.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    heap: BinaryHeap<Reverse<(Time, u64, u32)>>,
    slots: Vec<Option<E>>,
    free: Vec<u32>,
    planned: u64,
}

impl<E> Queue<E> {
    pub(crate) const fn new() -> Self {
        Self { heap: BinaryHeap::new(), slots: Vec::new(), free: Vec::new(), planned: 0 }
    }

    /// Plans an event.
    pub(crate) fn push(&mut self, at: Time, event: E) {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(event);
                slot
            }
            None => {
                self.slots.push(Some(event));
                u32::try_from(self.slots.len() - 1).expect("a run has fewer events under way than 2^32")
            }
        };
        self.planned += 1;
        self.heap.push(Reverse((at, self.planned, slot)));
    }

    /// The next event and its time.
    pub(crate) fn pop(&mut self) -> Option<(Time, E)> {
        let Reverse((at, _, slot)) = self.heap.pop()?;
        self.free.push(slot);
        let event = self.slots[slot as usize].take().expect("a planned event lies in its slot");
        Some((at, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_order_of_time_then_of_planning() {
        let mut queue = Queue::new();
        for (at, name) in [(5, "c"), (1, "a"), (5, "d"), (2, "b")] {
            queue.push(at, name);
        }
        let mut order = Vec::new();
        while let Some((at, name)) = queue.pop() {
            order.push((at, name));
            if name == "b" {
                queue.push(3, "b2");
            }
        }
        assert_eq!(order, [(1, "a"), (2, "b"), (3, "b2"), (5, "c"), (5, "d")]);
    }
}
