//! What a group may be set to: each setting by itself, within the broker's bounds, and in relation to others.

use crate::config::{BROKER, ConfigMap, GROUP, Layers};

/// The families of settings in which a session must outlive a heartbeat.
const FAMILIES: [&str; 3] = ["consumer", "share", "streams"];

/// Checks all settings of a group, as Kafka's `GroupConfig` does.
pub(super) fn validate(layers: &Layers<'_>, settings: &ConfigMap) -> Result<(), String> {
    for (name, value) in settings {
        let definition = GROUP.lookup(name).map_err(|error| error.to_string())?;
        definition.validate(value).map_err(|error| error.0)?;
        if let Ok(value) = value.trim().parse() {
            check_bounds(layers, name, value)?;
        }
    }
    FAMILIES.into_iter().try_for_each(|family| check_session(layers, settings, family))
}

/// The bounds of `consumer.session.timeout.ms` are the broker's `group.consumer.min.session.timeout.ms` and `max`.
fn check_bounds(layers: &Layers<'_>, name: &str, value: i64) -> Result<(), String> {
    let bound = |which: &str| {
        let (family, setting) = match name {
            "streams.num.standby.replicas" => ("streams", "standby.replicas"),
            _ => name.split_once('.')?,
        };
        let bound = format!("group.{family}.{which}.{setting}");
        let limit = layers.broker(BROKER.definition(&bound)?).text?.parse::<i64>().ok()?;
        Some((bound, limit))
    };
    if let Some((bound, limit)) = bound("min")
        && value < limit
    {
        return Err(format!("{name} must be greater than or equal to {bound}"));
    }
    match bound("max") {
        Some((bound, limit)) if value > limit => Err(format!("{name} must be less than or equal to {bound}")),
        _ => Ok(()),
    }
}

fn check_session(layers: &Layers<'_>, settings: &ConfigMap, family: &str) -> Result<(), String> {
    let [session, heartbeat] =
        ["session.timeout.ms", "heartbeat.interval.ms"].map(|name| format!("{family}.{name}"));
    // A broker's own settings are its operator's business: a group is not refused what it did not ask for.
    if !settings.contains_key(&session) && !settings.contains_key(&heartbeat) {
        return Ok(());
    }
    let value = |name| layers.group(settings, GROUP.definition(name)?).text?.parse::<i64>().ok();
    match (value(&session), value(&heartbeat)) {
        (Some(timeout), Some(interval)) if timeout <= interval => {
            Err(format!("{session} must be greater than {heartbeat}"))
        }
        _ => Ok(()),
    }
}
