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
