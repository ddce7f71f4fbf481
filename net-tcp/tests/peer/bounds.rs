//! Nothing grows without end, and nobody waits for the dead.

use crate::common::{Caller, frame, pair, payload, plan};
use bytes::Bytes;
use highwater_core::ids::BrokerId;
use highwater_core::transport::{Class, HelloAnswer, LinkEvent, Refusal, SendError};
use highwater_net_tcp::peer::{PeerOptions, QueueLimits};
use std::time::Duration;

#[tokio::test]
async fn a_peer_that_does_not_read_costs_its_bounds_and_then_its_connection() {
    let mut usual = plan(1);
    let limits = QueueLimits { frames_max: 1000, bytes_max: 4 << 20 };
    usual.options = PeerOptions { bulk_queue: limits, idle_max: Duration::from_millis(400), ..usual.options };
    let mut one = usual.start().await;
    let (caller, _) = Caller::hello(&one, &plan(2), Class::Bulk).await;
    one.hears_link(BrokerId(2), LinkEvent::Up).await;
    let mebibyte = Bytes::from(vec![0; 1 << 20]);
    let mut taken = 0;
    loop {
        match one.peers.try_send(BrokerId(2), Class::Bulk, payload(vec![mebibyte.clone()])) {
            Ok(()) => taken += 1,
            Err(error) => break assert_eq!(error, SendError::QueueFull),
        }
        assert!(taken < 100, "sockets and queue hold less than 100 MiB");
        tokio::task::yield_now().await;
    }
    one.counts_until("nobody waits for it", |counts| counts.links_open() == 0).await;
    assert!(one.counts().frames_lost > 0, "what waited is gone with it");
    drop(caller);
}

#[tokio::test]
async fn a_quiet_connection_stays() {
    let quick = |id| {
        let mut quick = plan(id);
        quick.options = PeerOptions {
            keep_alive: Duration::from_millis(20),
            idle_max: Duration::from_secs(2),
            ..quick.options
        };
        quick
    };
    let (one, mut two) = (quick(1).start().await, quick(2).start().await);
    one.knows(&two);
    two.counts_until("they say that they are alive", |counts| counts.bytes_in > 2000).await;
    assert_eq!(two.counts().links_ended, 0);
    one.send(&two, Class::Control, frame("at last")).expect("they are connected");
    assert_eq!(two.hears_frame().await.2, frame("at last"));
}

#[tokio::test]
async fn a_peer_that_fell_silent_is_given_up() {
    let mut usual = plan(1);
    usual.options = PeerOptions { idle_max: Duration::from_millis(200), ..usual.options };
    let mut one = usual.start().await;
    let (mut caller, _) = Caller::hello(&one, &plan(2), Class::Control).await;
    one.hears_link(BrokerId(2), LinkEvent::Up).await;
    caller.is_closed().await;
    one.counts_until("it is gone", |counts| counts.links_open() == 0).await;
    let sent = one.peers.try_send(BrokerId(2), Class::Control, frame("?"));
    assert_eq!(sent, Err(SendError::UnknownPeer));
}

#[tokio::test]
async fn so_many_connections_and_no_more() {
    let mut usual = plan(1);
    usual.options = PeerOptions { accepted_max: 3, ..usual.options };
    let one = usual.start().await;
    let mut callers = Vec::new();
    for id in 2..5 {
        let (caller, answer) = Caller::hello(&one, &plan(id), Class::Control).await;
        assert!(matches!(answer, HelloAnswer::Accepted { .. }));
        callers.push(caller);
    }
    let (_, answer) = Caller::hello(&one, &plan(9), Class::Control).await;
    assert_eq!(answer, HelloAnswer::Refused(Refusal::Busy));
    callers.pop();
    one.counts_until("a place is free", |counts| counts.links_open() == 2).await;
    let (_caller, answer) = Caller::hello(&one, &plan(9), Class::Control).await;
    assert!(matches!(answer, HelloAnswer::Accepted { .. }));
}

#[tokio::test]
async fn frames_for_a_peer_that_is_down_are_refused_between_attempts() {
    let (one, two) = pair().await;
    let id = two.id;
    drop(two);
    one.counts_until("it is noticed", |counts| counts.dials_failed > 2).await;
    let mut refused = 0;
    while refused == 0 {
        refused +=
            u32::from(one.peers.try_send(id, Class::Control, frame("?")) == Err(SendError::NotConnected));
        tokio::task::yield_now().await;
    }
}
