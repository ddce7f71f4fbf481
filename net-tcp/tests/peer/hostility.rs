//! Callers that are no node, or one that has gone mad. Nothing they do harms the others.

use crate::common::{Caller, content, frame, pair, plan};
use bytes::Bytes;
use highwater_core::ids::BrokerId;
use highwater_core::transport::{Class, Format, FrameKind, HelloAnswer, LinkEvent, Notice, Refusal};
use highwater_net_tcp::peer::PeerOptions;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// What a node that was accepted sends, and what it hears back.
async fn says(class: Class, bytes: &[u8]) -> Option<Notice> {
    let one = plan(1).start().await;
    let (mut caller, answer) = Caller::hello(&one, &plan(2), class).await;
    assert!(matches!(answer, HelloAnswer::Accepted { .. }));
    // The node may have closed before all is said.
    let _ = caller.stream.write_all(bytes).await;
    let notice = caller.notice().await;
    one.counts_until("it is closed", |counts| counts.links_open() == 0).await;
    assert_eq!((one.counts().frames_corrupt, one.counts().frames_in), (1, 0));
    notice
}

#[tokio::test]
async fn a_peer_that_sends_no_frames_is_told_and_closed() {
    let malformed = Some(Notice::Refused(Refusal::Malformed));
    let long = i32::try_from(Class::Control.frame_bytes_max() + 1).expect("far below 2 GiB");
    assert_eq!(says(Class::Control, &long.to_be_bytes()).await, malformed, "longer than its class allows");
    assert_eq!(says(Class::Bulk, &(-1i32).to_be_bytes()).await, malformed, "a negative length");
    assert_eq!(says(Class::Bulk, &[0, 0, 0, 2, 1, 0]).await, malformed, "cut short");
    assert_eq!(says(Class::Control, b"\0\0\0\x08\xc8\0\0\0\0\0\0\0").await, malformed, "a kind of nobody");
    let mut damaged = Format::V1.encode(&frame("hello")).to_vec();
    damaged[11] ^= 1;
    assert_eq!(says(Class::Bulk, &damaged).await, malformed, "lengths that do not add up");
}

#[tokio::test]
async fn the_longest_frame_of_a_class_is_taken_and_one_byte_more_is_not_sent() {
    let (one, mut two) = pair().await;
    let around = content(&crate::common::payload(vec![Bytes::new()])).len();
    let part = |bytes: usize| crate::common::payload(vec![Bytes::from(vec![5; bytes])]);
    let most = Class::Control.frame_bytes_max() - around;
    let too_large = one.send(&two, Class::Control, part(most + 1));
    assert_eq!(too_large, Err(highwater_core::transport::SendError::TooLarge));
    one.send(&two, Class::Control, part(most)).expect("it is just within");
    assert_eq!(two.hears_frame().await.2.payload[0].len(), most);
}

#[tokio::test]
async fn who_is_no_node_is_closed_at_its_first_bytes() {
    let one = plan(1).start().await;
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], &[0, 0, 0, 0x20, 0, 18, 0, 3], &[0x16, 3, 1, 2, 0]] {
        let mut caller = Caller::connect(&one).await;
        caller.say(bytes).await;
        caller.is_closed().await;
    }
    assert_eq!(one.counts().hellos_refused, 3);
}

#[tokio::test]
async fn silent_callers_do_not_keep_peers_out() {
    let mut usual = plan(1);
    usual.options =
        PeerOptions { hellos_waiting_max: 2, hello_max: Duration::from_millis(300), ..usual.options };
    let one = usual.start().await;
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(Caller::connect(&one).await);
    }
    for caller in &mut silent {
        caller.is_closed().await;
    }
    assert_eq!(one.counts().hellos_refused, 2, "two had a place, and wasted it");
    let two = plan(2).start().await;
    two.knows(&one);
    one.counts_until("a peer comes in", |counts| counts.links_open() == 2).await;
}

#[tokio::test]
async fn a_mad_peer_does_not_disturb_the_others() {
    let (one, mut two) = pair().await;
    for _ in 0..20 {
        let (mut caller, answer) = Caller::hello(&two, &plan(3), Class::Bulk).await;
        assert!(matches!(answer, HelloAnswer::Accepted { .. }));
        caller.say(&[0xff; 64]).await;
    }
    one.send(&two, Class::Control, frame("still here")).expect("they are connected");
    loop {
        let (from, _, heard) = two.hears_frame().await;
        if from == one.identity {
            assert_eq!(heard, frame("still here"));
            break;
        }
    }
}

#[tokio::test]
async fn a_frame_of_the_transport_itself_from_a_later_release_is_passed_over() {
    let mut one = plan(1).start().await;
    let (mut caller, _) = Caller::hello(&one, &plan(2), Class::Control).await;
    let later = highwater_core::transport::Frame::new(FrameKind::Link, 0, vec![99, 1, 2, 3]);
    caller.say(&Format::V1.encode(&later)).await;
    caller.say(&Format::V1.encode(&frame("and on"))).await;
    assert_eq!(one.hears_frame().await.2, frame("and on"));
}

#[tokio::test]
async fn a_frame_in_pieces_is_one_frame() {
    let mut one = plan(1).start().await;
    let (mut caller, _) = Caller::hello(&one, &plan(2), Class::Control).await;
    one.hears_link(BrokerId(2), LinkEvent::Up).await;
    for byte in Format::V1.encode(&frame("in pieces")) {
        caller.say(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(one.hears_frame().await.2, frame("in pieces"));
    one.peers.stop();
    assert_eq!(caller.notice().await, Some(Notice::Stopping));
    caller.is_closed().await;
}
