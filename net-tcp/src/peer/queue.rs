//! What waits for one connection: bounded by frames and bytes, filled by anyone, emptied by the connection's task.

use super::link::LinkEnd;
use super::{QueueLimits, lock};
use highwater_core::transport::{Frame, SendError};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Mutex;
use std::task::{Poll, Waker};

#[derive(Debug)]
pub(super) struct SendQueue {
    limits: QueueLimits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    bytes: u64,
    end: Option<LinkEnd>,
    waker: Option<Waker>,
}

impl SendQueue {
    pub(super) fn new(limits: QueueLimits) -> Self {
        Self { limits, state: Mutex::default() }
    }

    /// Queues a frame, or says why not.
    pub(super) fn push(&self, frame: Frame) -> Result<(), SendError> {
        let waker = {
            let mut state = lock(&self.state);
            if state.end.is_some() {
                return Err(SendError::NotConnected);
            }
            let bytes = frame.wire_bytes();
            let is_over = state.frames.len() >= self.limits.frames_max
                || state.bytes.saturating_add(bytes) > self.limits.bytes_max;
            if is_over && !state.frames.is_empty() {
                return Err(SendError::QueueFull);
            }
            state.bytes += bytes;
            state.frames.push_back(frame);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Takes frames of about `bytes_max` bytes, at least one if there is any, and tells whether the connection is to
    /// end.
    pub(super) fn take(&self, bytes_max: u64, into: &mut Vec<Frame>) -> Option<LinkEnd> {
        let mut state = lock(&self.state);
        let mut taken = 0;
        while taken < bytes_max
            && let Some(frame) = state.frames.pop_front()
        {
            taken += frame.wire_bytes();
            into.push(frame);
        }
        state.bytes -= taken;
        state.end.clone()
    }

    /// Leaves a waker for the next frame or the end; false if there is something to take already. A full writer
    /// (`wants_frames` false) is woken for the end only.
    pub(super) fn park(&self, waker: &Waker, wants_frames: bool) -> bool {
        let mut state = lock(&self.state);
        if state.end.is_some() || (wants_frames && !state.frames.is_empty()) {
            return false;
        }
        match &mut state.waker {
            Some(known) if known.will_wake(waker) => {}
            slot => *slot = Some(waker.clone()),
        }
        true
    }

    /// Takes no more frames; whoever empties the queue ends for this reason. The first reason stays.
    pub(super) fn close(&self, end: LinkEnd) {
        let waker = {
            let mut state = lock(&self.state);
            state.end.get_or_insert(end);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Throws away what waits; how many frames it was.
    pub(super) fn clear(&self) -> usize {
        let frames = {
            let mut state = lock(&self.state);
            state.bytes = 0;
            std::mem::take(&mut state.frames)
        };
        frames.len()
    }

    /// Waits for frames and takes them; false once the queue is closed.
    pub(super) async fn wait(&self, into: &mut Vec<Frame>) -> bool {
        poll_fn(|cx| {
            loop {
                if self.take(u64::MAX, into).is_some() {
                    return Poll::Ready(false);
                }
                if !into.is_empty() {
                    return Poll::Ready(true);
                }
                if self.park(cx.waker(), true) {
                    return Poll::Pending;
                }
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_core::transport::FrameKind;

    fn frame(bytes: usize) -> Frame {
        Frame::new(FrameKind::Quorum, 0, vec![0; bytes])
    }

    #[test]
    fn a_queue_is_full_by_frames_or_by_bytes_and_never_for_the_first() {
        let queue = SendQueue::new(QueueLimits { frames_max: 3, bytes_max: 1000 });
        assert_eq!(queue.push(frame(5000)), Ok(()), "one that is larger than the queue, alone");
        assert_eq!(queue.push(frame(1)), Err(SendError::QueueFull));
        let mut taken = Vec::new();
        assert_eq!(queue.take(1, &mut taken), None);
        assert_eq!(taken.len(), 1, "at least one");
        for _ in 0..3 {
            assert_eq!(queue.push(frame(100)), Ok(()));
        }
        assert_eq!(queue.push(frame(1)), Err(SendError::QueueFull), "the fourth frame");
        assert_eq!(queue.clear(), 3);
        assert_eq!(queue.push(frame(900)), Ok(()), "its bytes were given back");
        assert_eq!(queue.push(frame(900)), Err(SendError::QueueFull));
    }

    #[test]
    fn frames_leave_in_order_and_by_size() {
        let queue = SendQueue::new(QueueLimits { frames_max: 10, bytes_max: 1 << 20 });
        for bytes in [100, 200, 300] {
            queue.push(frame(bytes)).expect("there is room");
        }
        let mut taken = Vec::new();
        queue.take(150, &mut taken);
        let lengths: Vec<_> = taken.iter().map(|frame| frame.header.len()).collect();
        assert_eq!(lengths, [100, 200]);
    }

    #[test]
    fn the_first_reason_to_close_stays() {
        let queue = SendQueue::new(QueueLimits { frames_max: 10, bytes_max: 100 });
        queue.close(LinkEnd::Superseded);
        queue.close(LinkEnd::Stopped);
        assert_eq!(queue.take(1, &mut Vec::new()), Some(LinkEnd::Superseded));
        assert_eq!(queue.push(frame(1)), Err(SendError::NotConnected));
        assert!(!queue.park(Waker::noop(), false), "its end is to be heard of");
    }
}
