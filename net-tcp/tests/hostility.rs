//! Peers that break the rules, on purpose or by accident, and what they can cost.

mod common;
use common::*;
use highwater_net_tcp::*;
use proptest::prelude::*;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

const SHORT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn impossible_lengths_close_at_once() {
    for length in [-1, i32::MIN, i32::MAX, 0x6400_0001] {
        let house = House::open(Limits::default());
        let mut client = house.connect(1 << 16);
        client.send_raw(&[&length.to_be_bytes()[..], &[0; 100]].concat()).await;
        assert!(client.closed().await.is_empty());
        assert_eq!(house.first_close().await, CloseReason::FrameLength(length));
    }
}

#[tokio::test]
async fn headers_that_do_not_parse_close() {
    let bad: [&[u8]; 8] = [
        &[],
        &[0],
        &[0, 3, 0, 1, 0, 0, 0],
        &[0, 3, 0, 1, 0, 0, 0, 1],
        // Client ids of −2 bytes and of more bytes than there are.
        &[0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xfe, b'x', b'x'],
        &[0, 3, 0, 1, 0, 0, 0, 1, 0x7f, 0xff, b'x'],
        // Tagged fields: a count without fields, a field longer than the frame.
        &[0, 3, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 200, 1],
        &[0, 3, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f],
    ];
    for header in bad {
        let house = House::open(Limits::default());
        let mut client = house.connect(1 << 16);
        client.send_raw(&[&(header.len() as i32).to_be_bytes()[..], header].concat()).await;
        assert!(client.closed().await.is_empty());
        assert_eq!(house.first_close().await, CloseReason::Header, "{header:?}");
    }
}

#[tokio::test]
async fn what_is_not_offered_closes_after_the_answers_before_it() {
    for (api_key, api_version) in [(30_000, 0), (-5, 0), (SCRIPT, 0), (SCRIPT, 13), (0, 2), (SCRIPT, -1)] {
        let house = House::open(Limits::default());
        let mut client = house.connect(1 << 16);
        let mut burst = frame(SCRIPT, 1, 1, b"e");
        burst.extend(frame(api_key, api_version, 2, b"e"));
        burst.extend(frame(SCRIPT, 1, 3, b"e"));
        client.send_raw(&burst).await;
        assert_eq!(client.recv().await.0, 1);
        assert!(client.closed().await.is_empty());
        assert_eq!(house.first_close().await, CloseReason::UnsupportedApi { api_key, api_version });
        assert_eq!(house.script.seen(|seen| seen.headers.len()), 1);
    }
}

#[tokio::test]
async fn the_service_closes_in_its_turn() {
    let house = House::open(Limits::default());
    let mut client = house.connect(1 << 16);
    for body in [&b"h"[..], b"c", b"e"] {
        client.send(body).await;
    }
    house.until(|seen| seen.held.len() == 1).await;
    house.release(0, b"before");
    assert_eq!(client.recv().await.1, b"before");
    assert!(client.closed().await.is_empty(), "nothing behind the close is answered");
    assert_eq!(house.first_close().await, CloseReason::Service("malformed body".into()));
}

#[tokio::test]
async fn a_broken_frame_does_not_wait_for_a_service_that_takes_its_time() {
    let house = House::open(Limits::default());
    let mut client = house.connect(1 << 16);
    client.send(b"h").await;
    client.send_raw(&[0xff; 4]).await;
    assert!(client.closed().await.is_empty());
    assert_eq!(house.first_close().await, CloseReason::FrameLength(-1));
}

#[tokio::test]
async fn the_silent_and_the_stalled_are_closed() {
    let house = House::open(Limits { idle_max: SHORT, ..Limits::default() });
    let mut silent = house.connect(1 << 16);
    assert!(silent.closed().await.is_empty());
    assert_eq!(house.first_close().await, CloseReason::Idle);

    let house = House::open(Limits { idle_max: SHORT, ..Limits::default() });
    let mut stalled = house.connect(1 << 16);
    stalled.send_raw(&[0, 0, 0, 100, 0]).await;
    assert!(stalled.closed().await.is_empty());
    assert_eq!(house.first_close().await, CloseReason::FrameStalled);
}

#[tokio::test]
async fn who_waits_for_an_answer_is_not_idle() {
    let house = House::open(Limits { idle_max: SHORT, ..Limits::default() });
    let mut client = house.connect(1 << 16);
    client.send(b"h").await;
    house.until(|seen| seen.held.len() == 1).await;
    tokio::time::sleep(4 * SHORT).await;
    house.release(0, b"at last");
    assert_eq!(client.recv().await.1, b"at last");
    assert!(client.closed().await.is_empty());
    assert_eq!(house.first_close().await, CloseReason::Idle);
}

#[tokio::test]
async fn who_does_not_read_is_closed_and_costs_little() {
    let limits = Limits { write_stall_max: SHORT, reply_bytes_unsent_max: 100_000, ..Limits::default() };
    let house = House::open(limits);
    let mut client = house.connect(1 << 12);
    let burst: Vec<u8> = (1..=50).flat_map(|id| frame(SCRIPT, 1, id, &verb(BYTES, 60_000))).collect();
    client.send_raw(&burst).await;
    assert_eq!(house.first_close().await, CloseReason::WriteStalled);
    assert_eq!(
        house.script.seen(|seen| seen.headers.len()),
        2,
        "no more was asked of the service than the limit lets"
    );
}

#[tokio::test]
async fn a_slow_reader_that_reads_gets_all() {
    let house = House::open(Limits { reply_bytes_unsent_max: 10_000, ..Limits::default() });
    let mut client = house.connect(1 << 12);
    let burst: Vec<u8> = (1..=20).flat_map(|id| frame(SCRIPT, 1, id, &verb(BYTES, 60_000))).collect();
    client.send_raw(&burst).await;
    for id in 1..=20 {
        let (got, body) = client.recv().await;
        assert_eq!((got, body.len()), (id, 60_000));
    }
}

#[tokio::test]
async fn only_so_many_requests_are_taken_at_once() {
    let house = House::open(Limits { requests_in_flight_max: 8, ..Limits::default() });
    let mut client = house.connect(1 << 16);
    let burst: Vec<u8> = (1..=20).flat_map(|id| frame(SCRIPT, 1, id, b"h")).collect();
    client.send_raw(&burst).await;
    house.until(|seen| seen.held.len() == 8).await;
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    for index in 0..20 {
        house.until(|seen| seen.held.len() > index).await;
        assert!(house.script.seen(|seen| seen.held.len()) <= index + 8);
        house.release(index, b"");
        assert_eq!(client.recv().await.0, index as i32 + 1);
    }
}

#[tokio::test]
async fn a_peer_that_vanishes_is_noticed_while_its_request_waits() {
    let house = House::open(Limits::default());
    let mut client = house.connect(1 << 16);
    client.send(b"h").await;
    house.until(|seen| seen.held.len() == 1).await;
    drop(client);
    assert_eq!(house.first_close().await, CloseReason::PeerClosed);
    assert_eq!(house.server.counters().snapshot().connections_open(), 0);
}

#[tokio::test]
async fn an_address_has_only_so_many_connections() {
    let house = House::open(Limits { connections_per_ip_max: 2, ..Limits::default() });
    let mut clients = [house.connect(64), house.connect(64), house.connect(64)];
    assert!(clients[2].closed().await.is_empty());
    let mut other = house.connect_from([10, 0, 0, 2], 64);
    other.send(b"e").await;
    assert_eq!(other.recv().await.1, b"e");
    assert_eq!(house.server.counters().snapshot().connections_refused, 1);
    let [first, mut second, _] = clients;
    second.send(b"e").await;
    assert_eq!(second.recv().await.1, b"e");
    drop(first);
    house.until(|seen| seen.disconnected.len() == 1).await;
    while house.server.counters().snapshot().connections_open() > 2 {
        tokio::task::yield_now().await;
    }
    let mut again = house.connect(64);
    again.send(b"e").await;
    assert_eq!(again.recv().await.1, b"e");
}

#[tokio::test]
async fn beyond_the_total_limit_clients_wait_for_a_place() {
    let house = House::open(Limits { connections_max: 1, ..Limits::default() });
    let mut first = house.connect(64);
    first.send(b"e").await;
    first.recv().await;
    let mut second = house.connect(1 << 10);
    second.send(b"e").await;
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert_eq!(house.script.seen(|seen| seen.connected.len()), 1);
    drop(first);
    assert_eq!(second.recv().await.1, b"e");
}

#[tokio::test]
async fn a_panic_ends_its_connection_alone() {
    let house = House::open(Limits::default());
    let mut bystander = house.connect(1 << 16);
    let mut client = house.connect(1 << 16);
    client.send(b"p").await;
    assert!(client.closed().await.is_empty());
    bystander.send(b"e").await;
    assert_eq!(bystander.recv().await.1, b"e");
    let counted = house.server.counters().snapshot();
    assert_eq!((counted.closed_for(&CloseReason::Panic), counted.connections_open()), (1, 1));
}

#[tokio::test]
async fn shutdown_waits_for_what_was_begun_and_no_longer_than_its_grace() {
    let house = House::open(Limits::default());
    let (mut idle, mut busy, mut stuck) = (house.connect(64), house.connect(1 << 10), house.connect(1 << 10));
    busy.send(b"h").await;
    stuck.send(b"h").await;
    house.until(|seen| seen.held.len() == 2 && seen.connected.len() == 3).await;
    let server = house.server.clone();
    let stopping = tokio::spawn(async move { server.shutdown(Duration::from_millis(300)).await });
    assert!(idle.closed().await.is_empty());
    // Not taken any more.
    busy.send(b"e").await;
    let first_is_busy = house.script.seen(|seen| seen.held[0].0.is_closed());
    assert!(!first_is_busy);
    house.release(0, b"done");
    house.script.seen(|seen| assert_eq!(seen.headers.len(), 2));
    let answered = tokio::select! {
        biased;
        (_, body) = busy.recv() => body,
        (_, body) = stuck.recv() => body,
    };
    assert_eq!(answered, b"done");
    stopping.await.unwrap();
    let counted = house.server.counters().snapshot();
    assert_eq!((counted.closed_for(&CloseReason::Shutdown), counted.connections_open()), (3, 0));
}

#[tokio::test]
async fn real_sockets_serve_a_crowd() {
    let house = House::open(Limits::default());
    let addr = house.listen().await;
    let mut crowd = Vec::new();
    for _ in 0..200 {
        let mut client = dial(addr).await;
        // A promise of 90 MB, two bytes of it kept.
        client.send_raw(&[5, 0x5d, 0x4a, 0x80, 0, 3]).await;
        crowd.push(client);
    }
    let mut client = dial(addr).await;
    for len in [1, 100_000, 3_000_000] {
        client.send(&verb(FILE, len)).await;
        assert_eq!(client.recv().await.1.len(), len as usize);
    }
    drop(crowd);
    let mut abrupt = dial(addr).await;
    abrupt.send_raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(abrupt.closed().await.is_empty());
    client.stream.shutdown().await.unwrap();
    assert!(client.closed().await.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever bytes come, cut wherever: the server answers the valid requests before the first fault and survives.
    #[test]
    fn random_bytes_harm_nobody(
        valid in 0..5_i32,
        garbage in prop::collection::vec(any::<u8>(), 0..600),
        claimed in prop::option::of(0..700_i32),
        cut in 1..64_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let house = House::open(Limits { request_bytes_max: 1 << 16, ..Limits::default() });
            let mut client = house.connect(1 << 16);
            let mut bytes: Vec<u8> = (1..=valid).flat_map(|id| frame(SCRIPT, 1, id, b"e")).collect();
            bytes.extend(claimed.iter().flat_map(|n| n.to_be_bytes()));
            bytes.extend(&garbage);
            for piece in bytes.chunks(cut) {
                // The server may close before all is sent.
                if client.stream.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            for id in 1..=valid {
                assert_eq!(client.recv().await.0, id);
            }
            drop(client);
            house.until(|seen| seen.disconnected.len() == 1).await;
            let mut bystander = house.connect(1 << 10);
            bystander.send(b"e").await;
            assert_eq!(bystander.recv().await.1, b"e");
        });
    }
}
