//! Asking who is at an address for which the configuration has no id (`controller.quorum.bootstrap.servers`).
//!
//! The hello of such a question names nobody ([`WHOEVER`]), and the refusal of it names the node that is there, and where
//! those are that this one knows. From then on all of them are dialed as any others: the one that leads the quorum may be
//! none of those that the configuration lists.

use super::call::{CallError, Called};
use super::{Shared, lock};
use crate::client::Dial;
use highwater_core::ids::BrokerId;
use highwater_core::transport::{Class, HelloAnswer, PeerAddress, Refusal, WHOEVER};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Why nobody was found.
#[derive(Debug)]
enum FindError {
    Call(CallError),
    Refused(Refusal),
    /// It takes itself for nobody.
    Nameless,
}

impl fmt::Display for FindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(error) => error.fmt(f),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Nameless => f.write_str("it does not say who it is"),
        }
    }
}

impl<D: Dial> Shared<D> {
    /// Asks until somebody answers, and dials whoever it is.
    pub(super) async fn find(self: Arc<Self>, at: PeerAddress) {
        let (mut pause, mut said) = (Duration::ZERO, None);
        loop {
            let asked = tokio::select! {
                biased;
                () = self.stopped() => return,
                asked = self.who_is(&at) => asked,
            };
            match asked {
                Ok((id, others)) => return self.found(id, at, others),
                Err(error) => {
                    let words = error.to_string();
                    if said.as_ref() != Some(&words) {
                        tracing::info!("nobody is found at {at}: {words}; trying again");
                    }
                    said = Some(words);
                }
            }
            pause = (pause * 2).clamp(self.options.backoff_min, self.options.backoff_max);
            let rest = self.jittered(pause);
            tokio::select! {
                biased;
                () = self.stopped() => return,
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    fn found(self: &Arc<Self>, id: BrokerId, at: PeerAddress, others: Vec<(BrokerId, PeerAddress)>) {
        if id == self.id {
            return tracing::debug!("{at} is this node itself");
        }
        tracing::info!("node {id} is found at {at}");
        self.dial_if_unknown(id, at);
        for (other, its) in others {
            if other != self.id {
                tracing::debug!("node {id} says that node {other} is at {its}");
                self.dial_if_unknown(other, its);
            }
        }
    }

    /// Dials a node, unless another address of it is known already.
    fn dial_if_unknown(self: &Arc<Self>, id: BrokerId, at: PeerAddress) {
        let dialing = {
            let mut roster = lock(&self.roster);
            match roster.is_dialed(id) {
                true => None,
                false => roster.set_address(id, Some(at)),
            }
        };
        if let Some(dialing) = dialing {
            self.dial_both(&dialing);
        }
    }

    async fn who_is(&self, at: &PeerAddress) -> Result<(BrokerId, Vec<(BrokerId, PeerAddress)>), FindError> {
        let hello = self.local().hello(WHOEVER, Class::Control);
        let Called { answer, others, .. } = self.call(at, &hello).await.map_err(FindError::Call)?;
        match answer {
            HelloAnswer::Refused(Refusal::WrongNode { id }) if id != WHOEVER => Ok((id, others)),
            HelloAnswer::Refused(refusal) => Err(FindError::Refused(refusal)),
            HelloAnswer::Accepted { .. } => Err(FindError::Nameless),
        }
    }
}
