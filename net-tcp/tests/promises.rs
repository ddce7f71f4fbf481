//! Memory follows the bytes that arrived, not those that were announced. Counted by the allocator, so this file
//! has one test.
#![allow(unsafe_code, reason = "an allocator is unsafe to implement")]

mod common;
use common::*;
use highwater_net_tcp::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static LARGEST: AtomicUsize = AtomicUsize::new(0);

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Relaxed);
        LARGEST.fetch_max(layout.size(), Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[tokio::test]
async fn promised_bytes_cost_nothing() {
    const CLIENTS: usize = 300;
    let house = House::open(Limits::default());
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| house.connect(64)).collect();
    house.until(|seen| seen.connected.len() == CLIENTS).await;
    let before = HELD.load(Relaxed);
    LARGEST.store(0, Relaxed);
    for client in &mut clients {
        client.send_raw(&[&(90_i32 << 20).to_be_bytes()[..], &[0, 3]].concat()).await;
    }
    while house.server.counters().snapshot().bytes_in < 6 * CLIENTS as u64 {
        tokio::task::yield_now().await;
    }
    let per_client = HELD.load(Relaxed).saturating_sub(before) / CLIENTS;
    assert!(per_client <= 16 << 10, "{per_client} bytes for each promise");
    assert!(LARGEST.load(Relaxed) <= 64 << 10, "one allocation of {} bytes", LARGEST.load(Relaxed));

    // A promise half kept costs what arrived, at most twice.
    let mut giver = house.connect(1 << 16);
    giver.send_raw(&(90_i32 << 20).to_be_bytes()).await;
    let before = HELD.load(Relaxed);
    for _ in 0..3 << 4 {
        giver.send_raw(&vec![0; 1 << 16]).await;
    }
    while house.server.counters().snapshot().bytes_in < 3 << 20 {
        tokio::task::yield_now().await;
    }
    let cost = HELD.load(Relaxed).saturating_sub(before);
    assert!(cost <= 7 << 20, "{cost} bytes for 3 MiB received");

    // Silence gives the rest back.
    let mut quiet: Vec<_> = (0..50).map(|_| house.connect(1 << 16)).collect();
    for client in &mut quiet {
        client.send(&[ECHO; 50_000]).await;
        client.recv().await;
    }
    let busy = HELD.load(Relaxed);
    let released = async {
        while HELD.load(Relaxed) + 50 * 40_000 > busy {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), released)
        .await
        .expect("buffers of silent connections");
}
