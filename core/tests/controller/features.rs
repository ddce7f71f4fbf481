//! Levels of features, and what waits for them.

use super::cluster::{End, Trio};
use super::*;
use highwater_core::metadata::peer::BrokerRefusal;

#[test]
fn features_are_updated_together_or_not_at_all() {
    let mut trio = Trio::new(0, &[]);
    let mut registration = trio.registration(1, 1, End::Clean);
    registration.announced.features.push(FeatureRange { name: "metadata.version".into(), min: 7, max: 30 });
    let plan = trio.solo.controller.plan_register_broker(trio.solo.context(), &registration, false);
    trio.solo.commit(plan).expect("nobody has the id");
    let mut update = |name: &str, level, upgrade_type, validate_only| {
        let key = FeatureUpdateKey {
            feature: name.into(),
            max_version_level: level,
            upgrade_type,
            ..Default::default()
        };
        let request =
            UpdateFeaturesRequest { feature_updates: vec![key], validate_only, ..Default::default() };
        let plan = trio.solo.controller.plan_update_features(&request);
        let code = trio.solo.commit(plan).error_code;
        (code, trio.solo.image().level("metadata.version"))
    };
    assert_eq!(update("metadata.version", 31, 1, false), (ErrorCode::InvalidUpdateVersion, 0));
    assert_eq!(update("metadata.version", 30, 1, true), (ErrorCode::None, 0));
    assert_eq!(update("metadata.version", 30, 1, false), (ErrorCode::None, 30));
    assert_eq!(update("metadata.version", 29, 1, false), (ErrorCode::InvalidUpdateVersion, 30));
    assert_eq!(update("metadata.version", 29, 9, false), (ErrorCode::InvalidRequest, 30));
    assert_eq!(update("metadata.version", 29, 2, false), (ErrorCode::None, 29));
    assert_eq!(update("no.such.version", 1, 1, false), (ErrorCode::InvalidUpdateVersion, 29));
    assert_eq!(update("metadata.version", 0, 3, false), (ErrorCode::InvalidUpdateVersion, 29));
}

/// Releases before it cannot read the record. What they do about a failed log is nothing.
#[test]
fn failed_logs_are_written_down_once_every_broker_can_read_it() {
    let mut trio = Trio::with_topic();
    trio.found_at(0);
    let mut old = trio.registration(4, 2, End::Clean);
    old.announced.features.clear();
    let register = |trio: &mut Trio, registration: &Registration| {
        let plan = trio.solo.controller.plan_register_broker(trio.solo.context(), registration, false);
        trio.solo.commit(plan)
    };
    register(&mut trio, &old).expect("no level is finalized that it lacks");
    let before = trio.solo.image().clone();
    assert_eq!(trio.health(1, true), Err(BrokerRefusal::UnsupportedVersion));
    assert_eq!(trio.finalize(1, 1), ErrorCode::InvalidUpdateVersion, "broker 4 could not read it");
    let again = trio.solo.controller.plan_cluster("cluster", &[(FORMAT_FEATURE, FORMAT_NEWEST)]);
    trio.solo.commit(again);
    assert_eq!(
        *trio.solo.image(),
        before,
        "a controller of this release is elected before the others run it"
    );
    let new = trio.registration(4, 3, End::Clean);
    register(&mut trio, &new).expect("nobody holds the id");
    assert_eq!((trio.finalize(1, 1), trio.told().as_str()), (ErrorCode::None, "1 123 -"));
    trio.health(1, true).expect("it is registered");
    assert_eq!(trio.told(), "2 23 -");
    assert_eq!(register(&mut trio, &old), Err(BrokerRefusal::UnsupportedVersion));
    assert_eq!(trio.finalize(0, 3), ErrorCode::InvalidUpdateVersion, "the log has such records");
}

/// Releases before it cannot read a setting of theirs.
#[test]
fn subscriptions_of_metrics_are_written_down_once_every_broker_can_read_them() {
    let mut trio = Trio::new(3, &[]);
    trio.found_at(1);
    let set = |trio: &mut Trio| trio.solo.alter(CLIENT_METRICS, "m", &[("interval.ms", 0, Some("100"))]);
    let mut old = trio.registration(4, 1, End::Clean);
    old.announced.features[0].max = 1;
    let register = |trio: &mut Trio, registration: &Registration| {
        let plan = trio.solo.controller.plan_register_broker(trio.solo.context(), registration, false);
        trio.solo.commit(plan)
    };
    register(&mut trio, &old).expect("it reads level 1");
    let (code, message) = set(&mut trio);
    assert_eq!(code, ErrorCode::UnsupportedVersion);
    let message = message.expect("it says what to do");
    assert!(message.contains("level 2 of highwater.metadata.version"), "{message}");
    assert_eq!(trio.finalize(2, 1), ErrorCode::InvalidUpdateVersion, "broker 4 could not read them");
    let new = trio.registration(4, 2, End::Clean);
    register(&mut trio, &new).expect("nobody holds the id");
    assert_eq!(trio.finalize(2, 1), ErrorCode::None);
    assert_eq!(set(&mut trio), (ErrorCode::None, None));
    assert_eq!(register(&mut trio, &old), Err(BrokerRefusal::UnsupportedVersion));
    for (level, upgrade_type) in [(1, 1), (1, 2), (1, 3), (0, 3)] {
        assert_eq!(trio.finalize(level, upgrade_type), ErrorCode::InvalidUpdateVersion, "no way back");
    }
}
