//! Any of the simulated clients.

use super::consumer::Consumer;
use super::contact::Contact;
use super::env::Env;
use super::member::Member;
use super::message::Response;
use super::network::Place;
use super::operator::Operator;
use super::producer::Producer;

/// A client of a run.
#[derive(Debug)]
pub(crate) enum Client {
    Producer(Producer),
    Consumer(Consumer),
    Member(Member),
    Operator(Operator),
}

impl Client {
    pub(crate) const fn contact(&mut self) -> &mut Contact {
        match self {
            Self::Producer(client) => client.contact(),
            Self::Consumer(client) => client.contact(),
            Self::Member(client) => client.contact(),
            Self::Operator(client) => client.contact(),
        }
    }

    /// The client looks at its clock.
    pub(crate) fn awake(&mut self, env: &mut Env) {
        match self {
            Self::Producer(client) => client.awake(env),
            Self::Consumer(client) => client.awake(env),
            Self::Member(client) => client.awake(env),
            Self::Operator(client) => client.awake(env),
        }
    }

    /// An answer arrives.
    pub(crate) fn answered(&mut self, env: &mut Env, id: u64, response: Response) {
        match self {
            Self::Producer(client) => client.answered(env, id, response),
            Self::Consumer(client) => client.answered(env, id, response),
            Self::Member(client) => client.answered(env, id, response),
            Self::Operator(client) => client.answered(env, id, response),
        }
    }

    /// A connection to a node broke, with every request on it.
    pub(crate) fn reset(&mut self, env: &mut Env, node: Place) {
        match self {
            Self::Producer(client) => client.reset(env, node),
            Self::Consumer(client) => client.reset(node),
            Self::Member(client) => client.reset(node),
            Self::Operator(client) => client.reset(node),
        }
    }

    /// Faults are over: begin nothing new, finish what was begun.
    pub(crate) const fn settle_down(&mut self) {
        match self {
            Self::Producer(client) => client.stop(),
            Self::Operator(client) => client.stop(),
            Self::Member(client) => client.settle_down(),
            Self::Consumer(_) => {}
        }
    }
}
