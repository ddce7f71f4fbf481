//! Many requests under way on one connection: order, batches, answers of every kind.

mod common;
use common::*;
use highwater_net_tcp::*;

#[tokio::test]
async fn answers_leave_in_the_order_of_their_requests() {
    let house = House::open(Limits::default());
    let mut client = house.connect(1 << 16);
    for body in [&b"h0"[..], b"h1", b"e2", b"h3", b"s4", b"e5"] {
        client.send(body).await;
    }
    house.until(|seen| seen.headers.len() == 6).await;
    house.release(2, b"third");
    house.release(1, b"second");
    // Nothing may have come: the first is not answered.
    house.release(0, b"first");
    let mut got = Vec::new();
    for _ in 0..5 {
        got.push(client.recv().await);
    }
    let expected: [(i32, &[u8]); 5] = [(1, b"first"), (2, b"second"), (3, b"e2"), (4, b"third"), (6, b"e5")];
    assert_eq!(got, expected.map(|(id, body)| (id, body.to_vec())));
}

#[tokio::test]
async fn all_that_is_buffered_is_one_batch() {
    let house = House::open(Limits::default());
    let mut client = house.connect(1 << 16);
    let burst: Vec<u8> = (1..=32).flat_map(|id| frame(SCRIPT, 1, id, b"e")).collect();
    client.send_raw(&burst).await;
    for id in 1..=32 {
        assert_eq!(client.recv().await, (id, b"e".to_vec()));
    }
    assert_eq!(house.script.seen(|seen| seen.batches.clone()), [32]);
}

#[tokio::test]
async fn a_request_may_arrive_byte_by_byte() {
    let house = House::open(Limits::default());
    let mut client = house.connect(1 << 16);
    for byte in frame(SCRIPT, 1, 5, b"e drip") {
        client.send_raw(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.recv().await, (5, b"e drip".to_vec()));
}

#[tokio::test]
async fn frames_of_every_size_come_through_whole() {
    let house = House::open(Limits::default());
    let mut client = house.connect(1 << 20);
    let sizes = [0, 1, 100, 4080, 4096, 4097, 65_535, 65_536, 1 << 20, 3, 1_500_000, 70_000, 5 << 20, 1];
    for size in sizes {
        let body: Vec<u8> = [ECHO].into_iter().chain((0..size).map(|pos| pattern_at(pos as u64))).collect();
        let (got, _) = tokio::join!(
            async {
                let mut answer = vec![0; 4 + 4 + body.len()];
                use tokio::io::AsyncReadExt;
                let (mut reader, mut writer) = tokio::io::split(&mut client.stream);
                let request = frame(SCRIPT, 1, 1, &body);
                let write = tokio::io::AsyncWriteExt::write_all(&mut writer, &request);
                let (wrote, read) = tokio::join!(write, reader.read_exact(&mut answer));
                wrote.unwrap();
                read.unwrap();
                answer.split_off(8)
            },
            std::future::ready(())
        );
        assert!(got == body, "a body of {} bytes came back different", body.len());
    }
}

#[tokio::test]
async fn large_parts_and_files_follow_the_head() {
    let house = House::open(Limits::default());
    // The peer's buffer is far smaller than the answer: it leaves in many pieces.
    let mut client = house.connect(10_000);
    for len in [0, 1, 4096, 4097, 100_000, 262_144, 300_001, 2_000_000] {
        let id = client.send(&verb(FILE, len)).await;
        let (got, body) = client.recv().await;
        assert_eq!((got, body.len()), (id, len as usize));
        assert!(body.iter().enumerate().all(|(pos, byte)| *byte == pattern_at(pos as u64)), "file of {len}");
        let id = client.send(&verb(BYTES, len)).await;
        assert_eq!(client.recv().await, (id, vec![7; len as usize]));
    }
    // Several in one batch: heads, files and parts in one stream of bytes.
    for len in [5000, 70_000] {
        for kind in [FILE, BYTES, FILE, FILE, ECHO] {
            client.send(&verb(kind, len)).await;
        }
        for kind in [FILE, BYTES, FILE, FILE] {
            let body = client.recv().await.1;
            assert_eq!(body.len(), len as usize);
            assert!(
                body.iter()
                    .enumerate()
                    .all(|(pos, b)| *b == if kind == FILE { pattern_at(pos as u64) } else { 7 })
            );
        }
        assert_eq!(client.recv().await.1, verb(ECHO, len));
    }
}

#[tokio::test]
async fn a_file_shorter_than_promised_costs_the_connection() {
    let house = House::open(Limits::default());
    let mut client = house.connect(1 << 16);
    client.send(&[verb(FILE, 10_000), vec![1]].concat()).await;
    client.closed().await;
    assert_eq!(house.first_close().await, CloseReason::FilePart(std::io::ErrorKind::UnexpectedEof));
}

#[tokio::test]
async fn a_throttled_answer_leaves_at_once_and_mutes() {
    let house = House::open(Limits::default());
    let mut client = house.connect(1 << 16);
    let mut burst = frame(SCRIPT, 1, 1, &verb(THROTTLE, 200));
    burst.extend(frame(SCRIPT, 1, 2, b"e behind"));
    let sent_at = std::time::Instant::now();
    client.send_raw(&burst).await;
    assert_eq!(client.recv().await, (1, vec![]));
    house.until(|seen| seen.headers.len() == 1).await;
    assert_eq!(client.recv().await, (2, b"e behind".to_vec()));
    // The one thing that a clock must show: never earlier than asked.
    assert!(sent_at.elapsed().as_millis() >= 200);
    assert_eq!(house.script.seen(|seen| seen.batches.iter().filter(|n| **n > 0).count()), 2);
    assert_eq!(house.server.counters().snapshot().throttles, 1);
}

#[tokio::test]
async fn late_and_double_answers_are_dropped() {
    let house = House::open(Limits::default());
    let mut client = house.connect(1 << 16);
    client.send(b"h").await;
    client.send(b"h").await;
    house.until(|seen| seen.held.len() == 2).await;
    house.release(0, b"once");
    house.release(0, b"twice");
    house.release(1, b"other");
    house.release(1, b"again");
    assert_eq!(client.recv().await.1, b"once");
    assert_eq!(client.recv().await.1, b"other");
    client.send(b"h").await;
    house.until(|seen| seen.held.len() == 3).await;
    drop(client);
    assert_eq!(house.first_close().await, CloseReason::PeerClosed);
    house.release(2, b"too late");
    assert!(house.script.seen(|seen| seen.held[2].0.is_closed()));
}

#[tokio::test]
async fn answers_may_come_from_other_threads() {
    let house = House::open(Limits::default());
    let mut client = house.connect(1 << 16);
    for _ in 0..100 {
        client.send(b"h").await;
    }
    house.until(|seen| seen.held.len() == 100).await;
    let held = house.script.seen(|seen| std::mem::take(&mut seen.held));
    std::thread::scope(|scope| {
        for chunk in held.chunks(25) {
            scope.spawn(move || {
                for (queue, slot, header, _) in chunk.iter().rev() {
                    queue.reply(*slot, Reply::new(answer(header, b"x")));
                }
            });
        }
    });
    for id in 1..=100 {
        assert_eq!(client.recv().await.0, id);
    }
}

#[tokio::test]
async fn the_header_is_parsed_flexible_or_not() {
    let house = House::open(Limits::default());
    let mut client = house.connect(1 << 16);
    // A null client id; then a flexible header with one tagged field of two bytes.
    client.send_raw(&[0, 0, 0, 11, 0, 3, 0, 1, 0, 0, 0, 7, 0xff, 0xff, ECHO]).await;
    assert_eq!(client.recv().await, (7, vec![ECHO]));
    let flexible = [0, 3, 0, 9, 0, 0, 0, 8, 0, 2, b'm', b'e', 1, 0, 2, 9, 9, ECHO, 1];
    client.send_raw(&[&[0, 0, 0, flexible.len() as u8][..], &flexible].concat()).await;
    assert_eq!(client.recv().await, (8, vec![ECHO, 1]));
    let client_ids =
        house.script.seen(|seen| seen.headers.iter().map(|h| h.client_id.clone()).collect::<Vec<_>>());
    assert_eq!(client_ids, [None, Some("me".into())]);
}

#[tokio::test]
async fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let house = House::open(Limits::default());
    let mut client = house.connect(1 << 16);
    client.send_raw(&frame(18, 99, 77, &[0xff; 9])).await;
    let (id, body) = client.recv().await;
    assert_eq!(id, 77);
    // Error 35, three ranges; Produce is advertised from 0 on.
    assert_eq!(body[..12], [0, 35, 0, 0, 0, 3, 0, 0, 0, 0, 0, 13]);
    assert_eq!(body.len(), 6 + 3 * 6);
    client.send(b"e").await;
    assert_eq!(client.recv().await.1, b"e", "the connection stays usable");
}

#[tokio::test]
async fn a_client_in_lockstep_is_served_awake_and_let_go() {
    use std::time::Duration;
    let limits = Limits {
        lockstep_wait_max: Duration::from_millis(20),
        lockstep_connections_max: 1,
        idle_max: Duration::from_millis(300),
        ..Limits::default()
    };
    let house = House::open(limits);
    let mut client = house.connect(1 << 16);
    for id in 1..=200 {
        client.send(b"e").await;
        assert_eq!(client.recv().await, (id, b"e".to_vec()));
    }
    // Whoever stays awake must still see the clock.
    assert!(matches!(house.first_close().await, CloseReason::Idle));
}

/// Over a real socket, which is asked itself while its task stays awake: requests whole and in pieces, one that is no small
/// one, and the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lockstep_client_may_send_in_pieces_and_leave() {
    let limits = Limits {
        lockstep_wait_max: std::time::Duration::from_millis(20),
        lockstep_connections_max: 1,
        ..Limits::default()
    };
    let house = House::open(limits);
    let mut client = dial(house.listen().await).await;
    client.stream.set_nodelay(true).unwrap();
    for id in 1..=300 {
        let len = [1, 50, 4000, 9000][if id % 40 == 0 { 3 } else { id as usize % 3 }];
        let body = vec![ECHO; len];
        let bytes = frame(SCRIPT, 1, id, &body);
        let (first, second) = bytes.split_at(if id % 5 == 0 { bytes.len() / 2 } else { bytes.len() });
        client.send_raw(first).await;
        if !second.is_empty() {
            tokio::task::yield_now().await;
            client.send_raw(second).await;
        }
        assert_eq!(client.recv().await, (id, body));
    }
    drop(client);
    assert!(matches!(house.first_close().await, CloseReason::PeerClosed));
}

/// A consumer waits for what a producer brings: it is told before the producer is.
#[tokio::test]
async fn whoever_waited_is_answered_before_the_one_who_brought_it() {
    let house = House::open(Limits::default());
    let (mut waits, mut brings) = (house.connect(1 << 16), house.connect(1 << 16));
    waits.send(b"h").await;
    house.until(|seen| seen.held.len() == 1).await;
    brings.send(b"r").await;
    let (told, mut order) = tokio::sync::mpsc::unbounded_channel();
    for (mut client, name) in [(brings, "brought it"), (waits, "waited")] {
        let told = told.clone();
        tokio::spawn(async move {
            client.recv().await;
            told.send(name).unwrap();
        });
    }
    assert_eq!((order.recv().await, order.recv().await), (Some("waited"), Some("brought it")));
}
