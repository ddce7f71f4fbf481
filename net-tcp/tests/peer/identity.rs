//! Who may speak to whom: clusters, ids, directories, formats.

use crate::common::{Caller, NodePlan, frame, pair, plan};
use highwater_core::ids::BrokerId;
use highwater_core::transport::{
    Class, FORMATS, FormatRange, Hello, HelloAnswer, LinkEvent, LocalPeer, Notice, PeerAddress, PeerIdentity,
    Refusal, SendError,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test]
async fn nodes_of_two_clusters_turn_each_other_away() {
    let one = plan(1).start().await;
    let two = NodePlan { cluster_id: Some("another"), ..plan(2) }.start().await;
    one.knows(&two);
    for node in [&one, &two] {
        node.counts_until("both know that they were refused", |counts| counts.hellos_refused >= 2).await;
        assert_eq!((node.counts().links_open(), node.counts().frames_in), (0, 0));
    }
    let (mut caller, answer) = Caller::hello(&two, &plan(1), Class::Bulk).await;
    assert_eq!(answer, HelloAnswer::Refused(Refusal::ForeignCluster { ours: "another".to_owned() }));
    caller.is_closed().await;
}

#[tokio::test]
async fn a_blank_node_joins_and_is_held_to_its_cluster_from_then_on() {
    let blank = NodePlan { cluster_id: None, ..plan(1) }.start().await;
    let mut two = plan(2).start().await;
    blank.knows(&two);
    blank.counts_until("it is let in", |counts| counts.links_open() == 2).await;
    blank.send(&two, Class::Control, frame("may I?")).expect("they are connected");
    assert_eq!(two.hears_frame().await.2, frame("may I?"));
    let foreign = NodePlan { cluster_id: Some("another"), ..plan(3) };
    let (_, before) = Caller::hello(&blank, &foreign, Class::Control).await;
    assert!(matches!(before, HelloAnswer::Accepted { cluster_id: None, .. }));
    blank.peers.set_cluster_id("cluster");
    let (_, after) = Caller::hello(&blank, &foreign, Class::Control).await;
    assert_eq!(after, HelloAnswer::Refused(Refusal::ForeignCluster { ours: "cluster".to_owned() }));
}

#[tokio::test]
async fn an_id_belongs_to_the_directory_that_is_alive() {
    let (one, two) = pair().await;
    let copy = NodePlan { directory: 77, ..plan(2) };
    let (mut caller, answer) = Caller::hello(&one, &copy, Class::Control).await;
    let in_use = Refusal::IdInUse { id: two.id, directory_id: two.identity.directory_id };
    assert_eq!(answer, HelloAnswer::Refused(in_use));
    caller.is_closed().await;
    assert_eq!(one.counts().links_open(), 4, "and the node that has it goes on");
    // The disk of node 2 is replaced: the old process ends, and one with a blank directory takes its id.
    drop(two);
    one.counts_until("the old one is gone", |counts| counts.links_open() == 0).await;
    let (_caller, answer) = Caller::hello(&one, &copy, Class::Control).await;
    assert!(matches!(answer, HelloAnswer::Accepted { .. }));
}

#[tokio::test]
async fn a_node_does_not_speak_to_one_that_has_its_own_id() {
    let one = plan(1).start().await;
    let twin = NodePlan { directory: 88, ..plan(1) };
    let (_, answer) = Caller::hello(&one, &twin, Class::Control).await;
    let in_use = Refusal::IdInUse { id: one.id, directory_id: one.identity.directory_id };
    assert_eq!(answer, HelloAnswer::Refused(in_use));
}

#[tokio::test]
async fn an_address_that_belongs_to_another_node_now() {
    let (one, two) = (plan(1).start().await, plan(2).start().await);
    one.peers.set_address(BrokerId(3), Some(two.address.clone()));
    for node in [&one, &two] {
        node.counts_until("both are told", |counts| counts.hellos_refused >= 2).await;
    }
    assert_eq!(two.counts().links_open(), 0);
}

#[tokio::test]
async fn the_next_life_of_a_node_takes_the_place_of_the_one_before() {
    let mut one = plan(1).start().await;
    let (mut old, _) = Caller::hello(&one, &plan(2), Class::Control).await;
    one.hears_link(BrokerId(2), LinkEvent::Up).await;
    let (mut new, answer) =
        Caller::hello(&one, &NodePlan { incarnation: 2, ..plan(2) }, Class::Control).await;
    assert!(matches!(answer, HelloAnswer::Accepted { .. }));
    old.is_closed().await;
    one.hears_link(BrokerId(2), LinkEvent::Up).await;
    one.peers.try_send(BrokerId(2), Class::Control, frame("to the living")).expect("it is connected");
    assert_eq!(new.frame().await, Some(frame("to the living")));
}

/// The hello of a release after this one.
fn hello_of(formats: FormatRange, to: BrokerId) -> Hello {
    let identity = PeerIdentity { id: BrokerId(2), incarnation: [1; 16], directory_id: [2; 16] };
    let local = LocalPeer { identity, cluster_id: Some("cluster".to_owned()), address: None };
    Hello { formats, ..local.hello(to, Class::Control) }
}

#[tokio::test]
async fn the_next_release_is_spoken_to_in_this_ones_format() {
    let one = plan(1).start().await;
    let (_caller, answer) =
        Caller::say_hello(&one, &hello_of(FormatRange { min: 1, max: FORMATS.max + 1 }, one.id)).await;
    assert!(matches!(answer, HelloAnswer::Accepted { format, .. } if format == FORMATS.max));
}

#[tokio::test]
async fn a_release_without_a_common_format_is_refused_with_those_that_would_do() {
    let one = plan(1).start().await;
    let beyond = FormatRange { min: FORMATS.max + 1, max: FORMATS.max + 2 };
    let (mut caller, answer) = Caller::say_hello(&one, &hello_of(beyond, one.id)).await;
    assert_eq!(answer, HelloAnswer::Refused(Refusal::UnsupportedFormat { ours: FORMATS }));
    caller.is_closed().await;
}

/// What a caller does with an answer that it does not like: the other side hears of it.
#[tokio::test]
async fn who_accepted_is_told_why_the_caller_does_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let one = plan(1).start().await;
    one.peers.set_address(BrokerId(2), Some(PeerAddress { host: "127.0.0.1".to_owned(), port }));
    let (mut stream, _) = listener.accept().await.expect("node 1 calls");
    let mut bytes = Vec::new();
    while Hello::decode(&bytes).expect("a hello").is_none() {
        bytes.push(stream.read_u8().await.expect("a hello"));
    }
    let from = PeerIdentity { id: BrokerId(9), incarnation: [1; 16], directory_id: [9; 16] };
    let answer = HelloAnswer::Accepted { format: 1, cluster_id: None, from };
    stream.write_all(&answer.encode([])).await.expect("node 1 waits for it");
    let mut caller = Caller { stream };
    assert_eq!(caller.notice().await, Some(Notice::Refused(Refusal::WrongNode { id: BrokerId(9) })));
    caller.is_closed().await;
    let sent = one.peers.try_send(BrokerId(9), Class::Control, frame("?"));
    assert_eq!(sent, Err(SendError::UnknownPeer));
}
