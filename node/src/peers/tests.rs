//! Who is told of what comes through the door.

use super::*;

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Heard {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("no test panics under it"))
    }

    fn note(&self, what: String) {
        self.0.lock().expect("no test panics under it").push(what);
    }
}

impl FrameHandler for Heard {
    fn received(&self, from: &PeerIdentity, frame: Frame) {
        self.note(format!("{} from {}", frame.kind.name(), from.id));
    }
}

impl LinkWatcher for Heard {
    fn link(&self, peer: BrokerId, link: LinkEvent) {
        self.note(format!("{link:?} {peer}"));
    }
}

fn peer(id: i32) -> PeerIdentity {
    PeerIdentity { id: BrokerId(id), incarnation: [1; 16], directory_id: [2; 16] }
}

fn open() -> Arc<Peers> {
    let local = LocalPeer { identity: peer(1), cluster_id: None, address: None };
    let runtime = Handle::current();
    Peers::open(alone(), local, runtime.clone(), runtime, 0)
}

fn frame(kind: FrameKind) -> Frame {
    Frame::new(kind, 0, Vec::new())
}

#[tokio::test]
async fn frames_go_to_the_handler_of_their_kind() {
    let peers = open();
    let (quorum, forward) = (Arc::new(Heard::default()), Arc::new(Heard::default()));
    peers.handle(FrameKind::ForwardReply, Arc::downgrade(&forward) as Weak<dyn FrameHandler>);
    peers.handle(FrameKind::Quorum, Arc::downgrade(&quorum) as Weak<dyn FrameHandler>);
    peers.dispatch.received(&peer(2), Class::Control, frame(FrameKind::Quorum));
    peers.dispatch.received(&peer(3), Class::Bulk, frame(FrameKind::ForwardReply));
    assert_eq!(quorum.take(), ["quorum from 2"]);
    assert_eq!(forward.take(), ["forward_reply from 3"]);
}

#[tokio::test]
async fn frames_that_nobody_handles_are_counted() {
    let peers = open();
    let gone = Arc::new(Heard::default());
    peers.handle(FrameKind::Quorum, Arc::downgrade(&gone) as Weak<dyn FrameHandler>);
    drop(gone);
    peers.dispatch.received(&peer(2), Class::Control, frame(FrameKind::Quorum));
    peers.dispatch.received(&peer(2), Class::Bulk, frame(FrameKind::Forward));
    assert_eq!(peers.unhandled(), 2);
}

#[tokio::test]
async fn every_watcher_hears_of_links() {
    let peers = open();
    let watchers = [Arc::new(Heard::default()), Arc::new(Heard::default())];
    for watcher in &watchers {
        peers.watch_links(Arc::downgrade(watcher) as Weak<dyn LinkWatcher>);
    }
    peers.dispatch.link(BrokerId(2), LinkEvent::Reset);
    for watcher in watchers {
        assert_eq!(watcher.take(), ["Reset 2"]);
    }
}

/// Notes what it is told of addresses.
#[derive(Default)]
struct Places(Mutex<Vec<String>>);

impl PeerTransport for Places {
    fn try_send(&self, _to: BrokerId, _class: Class, _frame: Frame) -> Result<(), SendError> {
        Err(SendError::NotConnected)
    }

    fn set_address(&self, peer: BrokerId, address: Option<PeerAddress>) {
        let at = address.map_or_else(|| "nowhere".to_owned(), |address| address.host);
        self.0.lock().expect("no test panics under it").push(format!("{peer} {at}"));
    }

    fn set_cluster_id(&self, _cluster_id: &str) {}

    fn stop(&self) {}
}

#[tokio::test]
async fn the_configuration_knows_better_than_old_metadata_and_news_better_than_both() {
    let places = Arc::new(Places::default());
    let transport = places.clone();
    let local = LocalPeer { identity: peer(1), cluster_id: None, address: None };
    let runtime = Handle::current();
    let peers = Peers::open(Box::new(move |_| transport), local, runtime.clone(), runtime, 0);
    let at = |host: &str| PeerAddress { host: host.to_owned(), port: 1 };
    peers.place(BrokerId(2), at("configured"));
    peers.recall(BrokerId(2), Some(at("old")));
    peers.recall(BrokerId(3), Some(at("old")));
    peers.set_address(BrokerId(2), Some(at("new")));
    peers.set_address(BrokerId(2), None);
    peers.set_address(BrokerId(3), None);
    let told = std::mem::take(&mut *places.0.lock().expect("no test panics under it"));
    assert_eq!(told, ["2 configured", "3 old", "2 new", "2 configured", "3 nowhere"]);
}

#[tokio::test]
async fn a_node_alone_reaches_nobody() {
    let peers = open();
    peers.set_address(BrokerId(2), Some(PeerAddress { host: "127.0.0.1".into(), port: 1 }));
    assert_eq!(peers.send(BrokerId(2), Class::Bulk, frame(FrameKind::Forward)), Err(SendError::UnknownPeer));
}
