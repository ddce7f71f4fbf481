//! Nodes that find, lose and find each other again.

use crate::common::{Heard, MemoryNet, Node, frame, pair, payload, plan};
use bytes::Bytes;
use highwater_core::ids::BrokerId;
use highwater_core::transport::{Class, LinkEvent, SendError};
use std::time::Duration;

#[tokio::test]
async fn frames_arrive_whole_and_say_who_sent_them() {
    let (one, mut two) = pair().await;
    let parts = vec![Bytes::from(vec![7; 3 << 20]), Bytes::new(), Bytes::from_static(b"small")];
    one.send(&two, Class::Bulk, payload(parts.clone())).expect("they are connected");
    assert_eq!(two.hears_frame().await, (one.identity, Class::Bulk, payload(parts)));
    one.send(&two, Class::Control, frame("beat")).expect("they are connected");
    assert_eq!(two.hears_frame().await, (one.identity, Class::Control, frame("beat")));
}

#[tokio::test]
async fn frames_of_a_class_stay_in_order_and_share_flushes() {
    let (one, mut two) = pair().await;
    let before = one.counts().flushes;
    for number in 0..3000 {
        one.send(&two, Class::Control, frame(&number.to_string())).expect("the queue is longer than that");
    }
    for number in 0..3000 {
        assert_eq!(two.hears_frame().await.2, frame(&number.to_string()));
    }
    let flushes = one.counts().flushes - before;
    assert!(flushes < 1000, "3000 frames took {flushes} flushes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_directions_are_busy_at_once() {
    let (mut one, mut two) = pair().await;
    for number in 0..40u8 {
        let parts = || vec![Bytes::from(vec![number; 300_000])];
        one.send(&two, Class::Bulk, payload(parts())).expect("12 MB wait at most");
        two.send(&one, Class::Bulk, payload(parts())).expect("12 MB wait at most");
    }
    for number in 0..40u8 {
        for node in [&mut one, &mut two] {
            let (_, _, heard) = node.hears_frame().await;
            assert_eq!(heard, payload(vec![Bytes::from(vec![number; 300_000])]));
        }
    }
}

#[tokio::test]
async fn a_node_that_nobody_knows_is_answered_on_its_own_connection() {
    let (mut one, mut two) = (plan(1).start().await, plan(2).start().await);
    assert_eq!(two.send(&one, Class::Control, frame("who?")), Err(SendError::UnknownPeer));
    one.knows(&two);
    two.hears_link(one.id, LinkEvent::Up).await;
    two.hears_link(one.id, LinkEvent::Up).await;
    two.send(&one, Class::Control, frame("welcome")).expect("it has called");
    two.send(&one, Class::Bulk, payload(Vec::new())).expect("twice");
    let heard = [one.hears_frame().await.1, one.hears_frame().await.1];
    assert!(heard.contains(&Class::Control) && heard.contains(&Class::Bulk));
    assert_eq!(two.counts().links_dialed, 0);
}

#[tokio::test]
async fn what_is_sent_while_a_connection_is_made_waits_for_it() {
    let (one, mut two) = (plan(1).start().await, plan(2).start().await);
    one.knows(&two);
    // The attempt begins on its own task.
    while one.send(&two, Class::Control, frame("first")) == Err(SendError::NotConnected) {
        tokio::task::yield_now().await;
    }
    assert_eq!(two.hears_frame().await.2, frame("first"));
}

#[tokio::test]
async fn a_process_that_dies_shows_as_a_reset_and_then_as_refused() {
    let mut one = plan(1).start().await;
    let process = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let process = process.expect("a runtime");
    let two = process.spawn(plan(2).start()).await.expect("it starts");
    let (address, id) = (two.socket(), two.id);
    one.knows(&two);
    two.knows(&one);
    one.counts_until("all stand", |counts| counts.links_open() == 4).await;
    // With its tasks gone before it can say anything.
    process.shutdown_background();
    one.hears_link(id, LinkEvent::Reset).await;
    one.hears_link(id, LinkEvent::Refused).await;
    // It comes back: the same node and disk, another process.
    let again = crate::common::NodePlan { incarnation: 2, ..plan(2) };
    let mut two = again.start_at(address).await;
    one.hears_link(id, LinkEvent::Up).await;
    one.counts_until("both connections stand", |counts| counts.links_dialed >= 4).await;
    one.send(&two, Class::Control, frame("welcome back")).expect("they are connected");
    assert_eq!(two.hears_frame().await.2, frame("welcome back"));
}

#[tokio::test]
async fn a_node_moves() {
    let (one, two) = pair().await;
    drop(two);
    let mut two = crate::common::NodePlan { incarnation: 2, ..plan(2) }.start().await;
    one.knows(&two);
    one.counts_until("connected at the new place", |counts| counts.links_dialed == 4).await;
    one.send(&two, Class::Bulk, payload(Vec::new())).expect("they are connected");
    assert_eq!(two.hears_frame().await.2, payload(Vec::new()));
}

/// Two nodes whose attempts last for ever where nothing answers; the first takes such an address for the second's.
fn misled_pair(net: &MemoryNet) -> (Node, Node) {
    let start = |id: i32| {
        let (listener, bound) = net.listen(9000 + id as u16);
        let mut plan = plan(id);
        plan.options.connect_max = Duration::from_secs(3600);
        plan.start_on(net.clone(), listener, bound)
    };
    let (one, two) = (start(1), start(2));
    one.peers.set_address(two.id, Some(net.silence(7000)));
    (one, two)
}

#[tokio::test]
async fn a_silent_address_is_given_up_as_soon_as_there_is_another() {
    let net = MemoryNet::default();
    let (mut one, mut two) = misled_pair(&net);
    while one.send(&two, Class::Control, frame("lost")) != Ok(()) {
        tokio::task::yield_now().await; // until the attempt has begun
    }
    one.knows(&two);
    one.hears_link(two.id, LinkEvent::Up).await;
    one.counts_until("what waited at the old address is lost", |counts| counts.frames_lost == 1).await;
    one.counts_until("both stand", |counts| counts.links_dialed == 2).await;
    one.send(&two, Class::Control, frame("found")).expect("they are connected");
    assert_eq!(two.hears_frame().await.2, frame("found"));
}

#[tokio::test]
async fn a_node_that_calls_from_elsewhere_is_called_there() {
    let net = MemoryNet::default();
    let (mut one, mut two) = misled_pair(&net);
    two.knows(&one);
    two.counts_until("both sides have connected", |counts| counts.links_open() == 4).await;
    for class in Class::ALL {
        one.send(&two, class, frame("there you are")).expect("they are connected");
        assert_eq!(two.hears_frame().await.2, frame("there you are"));
    }
    one.hears_link(two.id, LinkEvent::Up).await;
    assert_eq!(one.counts().links_dialed, 2, "at its new place, each class once");
}

#[tokio::test]
async fn a_peer_that_is_gone_for_good_is_not_called_again() {
    let (one, two) = pair().await;
    one.peers.set_address(two.id, None);
    two.peers.set_address(one.id, None);
    one.counts_until("all are closed", |counts| counts.links_open() == 0).await;
    two.counts_until("all are closed", |counts| counts.links_open() == 0).await;
    assert_eq!(one.send(&two, Class::Control, frame("?")), Err(SendError::UnknownPeer));
    let dialed = one.counts().links_dialed;
    assert_eq!(dialed, 2, "and not since");
}

#[tokio::test]
async fn a_node_speaks_to_itself() {
    let mut one = plan(1).start().await;
    one.peers.set_address(one.id, Some(one.address.clone()));
    for number in 0..100 {
        one.peers.try_send(one.id, Class::Control, frame(&number.to_string())).expect("it is there");
    }
    for number in 0..100 {
        assert_eq!(one.hears_frame().await, (one.identity, Class::Control, frame(&number.to_string())));
    }
    assert_eq!(one.counts().links_open(), 0, "without a connection");
}

#[tokio::test]
async fn a_node_that_stops_says_so_and_is_silent() {
    let (mut one, mut two) = pair().await;
    two.peers.stop();
    one.hears_link(two.id, LinkEvent::Reset).await;
    one.hears_link(two.id, LinkEvent::Refused).await;
    assert_eq!(two.send(&one, Class::Control, frame("?")), Err(SendError::Stopped));
    assert_eq!(two.peers.try_send(two.id, Class::Control, frame("?")), Err(SendError::Stopped));
    two.counts_until("all are closed", |counts| counts.links_open() == 0).await;
    two.forget();
    one.counts_until("all are closed", |counts| counts.links_open() == 0).await;
}

#[tokio::test]
async fn the_same_over_streams_in_memory() {
    let net = MemoryNet::default();
    let start = |id: i32| {
        let (listener, bound) = net.listen(9000 + id as u16);
        plan(id).start_on(net.clone(), listener, bound)
    };
    let (mut one, mut two) = (start(1), start(2));
    one.knows(&two);
    two.knows(&one);
    one.hears_link(BrokerId(2), LinkEvent::Up).await;
    two.counts_until("all stand", |counts| counts.links_open() == 4).await;
    // Larger than the stream takes at once.
    let parts = vec![Bytes::from(vec![1; 200_000]), Bytes::from(vec![2; 3])];
    one.send(&two, Class::Bulk, payload(parts.clone())).expect("they are connected");
    assert_eq!(two.hears_frame().await, (one.identity, Class::Bulk, payload(parts)));
    drop(two);
    one.hears_link(BrokerId(2), LinkEvent::Reset).await;
}

#[tokio::test]
async fn three_nodes_start_in_any_order() {
    let mut one = plan(1).start().await;
    let reserved = plan(3).start().await;
    let (address, named) = (reserved.socket(), reserved.address.clone());
    drop(reserved);
    one.peers.set_address(BrokerId(3), Some(named));
    one.hears_link(BrokerId(3), LinkEvent::Refused).await;
    let mut three = plan(3).start_at(address).await;
    three.knows(&one);
    one.hears_link(BrokerId(3), LinkEvent::Up).await;
    three.counts_until("all stand", |counts| counts.links_open() == 4).await;
    one.send(&three, Class::Control, frame("late")).expect("they are connected");
    assert!(matches!(three.hears_frame().await, (from, _, _) if from == one.identity));
    assert!(matches!(one.hears().await, Heard::Link(..)));
}
