//! Which brokers live: what the active controller has heard of each, and until when that is enough.
//!
//! Volatile: nothing of it is logged, and a new controller starts all sessions afresh. A session ends when nothing was
//! heard for `broker.session.timeout.ms`, or much sooner if the operating system of the broker's machine says that no
//! process is there any more (its connections were reset, new ones are refused). A controller that slept itself does
//! not know who was silent, and gives everybody a little time.

use crate::ids::{BrokerEpoch, BrokerId, Offset};
use crate::metadata::image::MetadataImage;
use crate::metadata::records::BrokerState;
use crate::time::Instant;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long silence is borne.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// `broker.session.timeout.ms`
    pub silence_max: Duration,
    /// The same, once connects to the broker's peer address are refused.
    pub refused_silence_max: Duration,
    /// `broker.heartbeat.interval.ms`: how late a deadline may be noticed by a controller that is awake.
    pub heartbeat_interval: Duration,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            silence_max: Duration::from_millis(1800),
            refused_silence_max: Duration::from_millis(600),
            heartbeat_interval: Duration::from_millis(300),
        }
    }
}

/// A session that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Whose.
    pub id: BrokerId,
    /// For how long nothing was heard.
    pub silence: Duration,
    /// Whether connects were refused meanwhile.
    pub is_refused: bool,
}

#[derive(Clone, Copy, Debug)]
struct Session {
    epoch: BrokerEpoch,
    heard: Instant,
    /// The end of the metadata that the broker has applied.
    applied: Offset,
    /// The end of the metadata behind its `Stopping`, which the others must have applied before it may go.
    stops_behind: Option<Offset>,
}

/// The sessions of an active controller; none on any other node.
#[derive(Debug, Default)]
pub struct Sessions {
    limits: SessionLimits,
    is_active: bool,
    brokers: BTreeMap<BrokerId, Session>,
    /// Whose connections were reset, and since when new ones are refused. Known to every node.
    refused: BTreeMap<BrokerId, Instant>,
    reset: BTreeMap<BrokerId, Instant>,
}

impl Sessions {
    /// No sessions yet.
    pub fn new(limits: SessionLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Other limits from now on.
    pub fn configure(&mut self, limits: SessionLimits) {
        self.limits = limits;
    }

    /// This node has become the active controller: every broker that is not fenced has been heard of just now, but
    /// for those whose machines refuse connections already, and for the controller before, if it was its silence that
    /// made this one: it has no more time left than a dead process has. If it lives, it hears of its successor at once.
    pub fn begin(&mut self, now: Instant, image: &MetadataImage, silent: Option<BrokerId>) {
        self.is_active = true;
        self.brokers.clear();
        for (id, registration) in image.brokers() {
            if registration.state == BrokerState::Fenced {
                continue;
            }
            // At most so long ago that the session ends now: it was not this controller's to end before.
            let earliest = now - self.limits.refused_silence_max;
            let heard = match self.refused.get(&id) {
                Some(since) => now.min(*since).max(earliest),
                None if silent == Some(id) => {
                    now - (self.limits.silence_max - self.limits.refused_silence_max)
                }
                None => now,
            };
            let stops = registration.state == BrokerState::Stopping;
            let session = Session {
                epoch: registration.epoch,
                heard,
                applied: Offset::ZERO,
                stops_behind: stops.then(|| image.offset()),
            };
            self.brokers.insert(id, session);
        }
    }

    /// This node is the active controller no more.
    pub fn end(&mut self) {
        self.is_active = false;
        self.brokers.clear();
    }

    /// Whether this node is the active controller.
    pub const fn is_active(&self) -> bool {
        self.is_active
    }

    /// A broker was heard in this life, and has applied the metadata up to there.
    pub fn heard(&mut self, now: Instant, id: BrokerId, epoch: BrokerEpoch, applied: Offset) {
        self.refused.remove(&id);
        self.reset.remove(&id);
        if !self.is_active {
            return;
        }
        let session =
            self.brokers.entry(id).or_insert(Session { epoch, heard: now, applied, stops_behind: None });
        if session.epoch < epoch {
            *session = Session { epoch, heard: now, applied, stops_behind: None };
        } else if session.epoch == epoch {
            session.heard = session.heard.max(now);
            session.applied = session.applied.max(applied);
        }
    }

    /// A broker stops: it may, once all others have applied the metadata up to there.
    pub fn stops_behind(&mut self, id: BrokerId, offset: Offset) {
        if let Some(session) = self.brokers.get_mut(&id) {
            session.stops_behind.get_or_insert(offset);
        }
    }

    /// Whether a broker that wants to stop may: all other active brokers know who leads instead.
    pub fn may_stop(&self, id: BrokerId, image: &MetadataImage) -> bool {
        let Some(behind) = self.brokers.get(&id).and_then(|session| session.stops_behind) else {
            return false;
        };
        image.offset() >= behind
            && image
                .brokers()
                .filter(|(other, registration)| *other != id && registration.is_active())
                .all(|(other, _)| self.brokers.get(&other).is_some_and(|session| session.applied >= behind))
    }

    /// A connection to a broker's peer address stands.
    pub fn link_up(&mut self, id: BrokerId) {
        self.refused.remove(&id);
        self.reset.remove(&id);
    }

    /// A connection to a broker's peer address was reset.
    pub fn link_reset(&mut self, now: Instant, id: BrokerId) {
        self.reset.entry(id).or_insert(now);
    }

    /// A connect to a broker's peer address was refused. Together with a reset this says that the process is gone;
    /// alone it may be one that has not begun to listen.
    pub fn link_refused(&mut self, id: BrokerId) {
        if let Some(since) = self.reset.get(&id) {
            self.refused.entry(id).or_insert(*since);
        }
    }

    /// Whether something was heard lately of the process that is registered under this id.
    pub fn is_alive(&self, now: Instant, id: BrokerId) -> bool {
        self.brokers.get(&id).is_some_and(|session| now < self.deadline(id, session))
    }

    /// Takes the sessions that have ended. None if the controller itself has slept past the deadlines: whoever lives
    /// is heard within moments.
    pub fn expired(&mut self, now: Instant) -> Vec<Expired> {
        let due: Vec<BrokerId> = self
            .brokers
            .iter()
            .filter(|(id, session)| self.deadline(**id, session) <= now)
            .map(|(id, _)| *id)
            .collect();
        let first = due.iter().filter_map(|id| Some(self.deadline(*id, self.brokers.get(id)?))).min();
        if first.is_some_and(|first| now.since(first) > self.limits.heartbeat_interval * 2) {
            for session in self.brokers.values_mut() {
                session.heard = session.heard.max(now - self.limits.refused_silence_max / 2);
            }
            return Vec::new();
        }
        let mut expired = Vec::new();
        for id in due {
            let Some(session) = self.brokers.remove(&id) else { continue };
            let (silence, is_refused) = (now.since(session.heard), self.refused.contains_key(&id));
            expired.push(Expired { id, silence, is_refused });
        }
        expired
    }

    /// When the next session ends if nothing more is heard.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.brokers.iter().map(|(id, session)| self.deadline(*id, session)).min()
    }

    fn deadline(&self, id: BrokerId, session: &Session) -> Instant {
        let refused = self.refused.contains_key(&id);
        session.heard + if refused { self.limits.refused_silence_max } else { self.limits.silence_max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::records::{BrokerRegistration, Record};

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn image(brokers: &[(i32, BrokerState)]) -> MetadataImage {
        let records: Vec<_> = brokers
            .iter()
            .map(|(id, state)| Record::RegisterBroker {
                id: BrokerId(*id),
                registration: BrokerRegistration {
                    incarnation: [0; 16],
                    epoch: BrokerEpoch(1),
                    endpoints: Vec::new(),
                    rack: None,
                    state: *state,
                    directory_id: [0; 16],
                    features: Vec::new(),
                },
            })
            .collect();
        MetadataImage::default().replayed(&records)
    }

    fn active(brokers: &[i32]) -> (Sessions, MetadataImage) {
        let brokers: Vec<_> = brokers.iter().map(|id| (*id, BrokerState::Active)).collect();
        let image = image(&brokers);
        let mut sessions = Sessions::new(SessionLimits::default());
        sessions.begin(at(1000), &image, None);
        (sessions, image)
    }

    fn beat(sessions: &mut Sessions, ms: u64, id: i32) {
        sessions.heard(at(ms), BrokerId(id), BrokerEpoch(1), Offset(5));
    }

    fn expired(sessions: &mut Sessions, ms: u64) -> Vec<i32> {
        sessions.expired(at(ms)).iter().map(|expired| expired.id.0).collect()
    }

    #[test]
    fn silence_ends_a_session_and_heartbeats_carry_it_on() {
        let (mut sessions, _) = active(&[1, 2]);
        assert_eq!(sessions.next_timeout(), Some(at(2800)), "all start afresh");
        beat(&mut sessions, 2000, 1);
        assert_eq!(expired(&mut sessions, 2799), []);
        assert_eq!(expired(&mut sessions, 2800), [2]);
        assert!(sessions.is_alive(at(2800), BrokerId(1)) && !sessions.is_alive(at(2800), BrokerId(2)));
        assert_eq!(sessions.next_timeout(), Some(at(3800)));
        assert_eq!(expired(&mut sessions, 2900), [], "a session ends once");
    }

    #[test]
    fn a_pause_of_three_quarters_of_a_second_ends_nothing() {
        let (mut sessions, _) = active(&[1]);
        for start in (1000..20_000).step_by(1050) {
            beat(&mut sessions, start, 1);
            assert_eq!(expired(&mut sessions, start + 1050), []);
        }
    }

    #[test]
    fn a_machine_that_refuses_connections_shortens_the_session() {
        let (mut sessions, _) = active(&[1, 2]);
        beat(&mut sessions, 2000, 1);
        sessions.link_refused(BrokerId(1));
        assert_eq!(sessions.next_timeout(), Some(at(2800)), "a refusal alone says nothing");
        sessions.link_reset(at(2100), BrokerId(1));
        sessions.link_refused(BrokerId(1));
        assert_eq!(sessions.next_timeout(), Some(at(2600)));
        beat(&mut sessions, 2500, 1);
        assert_eq!(sessions.next_timeout(), Some(at(2800)), "whoever speaks lives");
        sessions.link_reset(at(2510), BrokerId(1));
        sessions.link_refused(BrokerId(1));
        sessions.link_up(BrokerId(1));
        assert_eq!(expired(&mut sessions, 2800), [2], "and whoever accepts connections does, too");
    }

    #[test]
    fn a_new_controller_knows_who_was_gone_before_it() {
        let (mut sessions, image) = active(&[1, 2]);
        sessions.end();
        assert_eq!(sessions.next_timeout(), None);
        sessions.link_reset(at(5000), BrokerId(2));
        sessions.link_refused(BrokerId(2));
        sessions.begin(at(5500), &image, None);
        assert_eq!(expired(&mut sessions, 5650), [2]);
        assert_eq!(sessions.next_timeout(), Some(at(7300)));
    }

    #[test]
    fn a_controller_made_by_silence_does_not_wait_for_the_same_silence_again() {
        let (mut sessions, image) = active(&[1, 2]);
        sessions.end();
        sessions.begin(at(5000), &image, Some(BrokerId(2)));
        assert_eq!(sessions.next_timeout(), Some(at(5600)));
        beat(&mut sessions, 5500, 2);
        assert_eq!(sessions.next_timeout(), Some(at(6800)), "it was only slow");
        sessions.begin(at(6000), &image, Some(BrokerId(2)));
        assert_eq!(expired(&mut sessions, 6600), [2]);
    }

    #[test]
    fn a_controller_that_slept_blames_nobody() {
        let (mut sessions, _) = active(&[1, 2]);
        assert_eq!(expired(&mut sessions, 60_000), []);
        beat(&mut sessions, 60_100, 1);
        let next = sessions.next_timeout().expect("2 is still silent");
        assert!(next > at(60_000) && next < at(62_000), "{next:?}");
        assert_eq!(sessions.expired(next).len(), 1);
    }

    #[test]
    fn an_older_life_does_not_keep_a_newer_one_alive() {
        let (mut sessions, _) = active(&[1]);
        sessions.heard(at(2000), BrokerId(1), BrokerEpoch(7), Offset(9));
        beat(&mut sessions, 3000, 1);
        assert_eq!(sessions.next_timeout(), Some(at(3800)));
    }

    #[test]
    fn a_broker_may_stop_when_the_others_know_its_successors() {
        let (mut sessions, _) = active(&[1, 2, 3]);
        let image = image(&[(1, BrokerState::Stopping), (2, BrokerState::Active), (3, BrokerState::Fenced)]);
        assert!(!sessions.may_stop(BrokerId(1), &image), "it has not asked");
        sessions.stops_behind(BrokerId(1), Offset(3));
        assert!(!sessions.may_stop(BrokerId(1), &image));
        sessions.heard(at(2000), BrokerId(2), BrokerEpoch(1), Offset(2));
        assert!(!sessions.may_stop(BrokerId(1), &image), "2 is behind");
        sessions.heard(at(2000), BrokerId(2), BrokerEpoch(1), Offset(3));
        assert!(sessions.may_stop(BrokerId(1), &image), "fenced brokers do not count");
    }
}
