//! The one shape of every state machine: a closed input enum in, effects out.

use crate::time::{Instant, Now};

/// A sans-IO state machine, driven by a shell that owns clock, disk and network.
///
/// The shell's whole contract: hand inputs in, carry the effects out (storage effects of one machine in the
/// order emitted, others in any order), call [`Machine::handle_timeout`] when [`Machine::next_timeout`] is due.
pub trait Machine {
    /// What the machine can hear. Closed: everything that happens to it is a variant.
    type Input;
    /// What the machine can ask for.
    type Effect;

    /// Takes one input and pushes what follows from it.
    fn handle(&mut self, now: Now, input: Self::Input, out: &mut Outbox<Self::Effect>);

    /// Takes the passing of [`Machine::next_timeout`]. Early and late calls are harmless.
    fn handle_timeout(&mut self, now: Now, out: &mut Outbox<Self::Effect>);

    /// When the machine next wants [`Machine::handle_timeout`]; `None` if it waits for inputs only.
    fn next_timeout(&self) -> Option<Instant>;

    /// Panics if the machine's state contradicts itself. Cheap enough for every step in the simulator.
    fn assert_invariants(&self);
}

/// Where a machine puts its effects. Owned by the shell and reused, so that a step allocates nothing.
#[derive(Debug)]
pub struct Outbox<E> {
    effects: Vec<E>,
}

impl<E> Default for Outbox<E> {
    fn default() -> Self {
        Self { effects: Vec::new() }
    }
}

impl<E> Outbox<E> {
    /// An empty outbox.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an effect behind those already there.
    pub fn push(&mut self, effect: E) {
        self.effects.push(effect);
    }

    /// Takes all effects in the order emitted and leaves the capacity behind.
    pub fn drain(&mut self) -> std::vec::Drain<'_, E> {
        self.effects.drain(..)
    }

    /// The effects that wait, in the order emitted.
    pub fn as_slice(&self) -> &[E] {
        &self.effects
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.effects.is_empty()
    }
}
