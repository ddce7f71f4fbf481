//! AlterClientQuotas (KIP-546).

use super::{Controller, Plan, Refusal};
use crate::metadata::records::{QuotaEntity, Record};
use crate::quota::QuotaKind;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    AlterClientQuotasRequest, AlterClientQuotasRequestEntryData, AlterClientQuotasResponse,
    AlterClientQuotasResponseEntryData, EntityData, OpData,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

impl Controller {
    /// Plans changes of client quotas.
    pub fn plan_alter_client_quotas(
        &self,
        request: &AlterClientQuotasRequest,
    ) -> Plan<AlterClientQuotasResponse> {
        let mut records = Vec::new();
        let mut entries = Vec::new();
        let mut seen = BTreeSet::new();
        for entry in &request.entries {
            let mut answer =
                AlterClientQuotasResponseEntryData { entity: entry.entity.clone(), ..Default::default() };
            let planned = check_entity(&entry.entity).and_then(|entity| {
                if !seen.insert(entity.clone()) {
                    return Err(invalid("Ignoring duplicate entity."));
                }
                self.plan_entry(&entity, entry)
            });
            match planned {
                Ok(planned) => records.extend(planned),
                Err(refusal) => {
                    answer.error_code = refusal.code;
                    answer.error_message = Some(refusal.message);
                }
            }
            entries.push(answer);
        }
        if request.validate_only {
            records.clear();
        }
        Plan { records, response: AlterClientQuotasResponse { throttle_time_ms: 0, entries } }
    }

    fn plan_entry(
        &self,
        entity: &QuotaEntity,
        entry: &AlterClientQuotasRequestEntryData,
    ) -> Result<Vec<Record>, Refusal> {
        let mut after = BTreeMap::new();
        for op in &entry.ops {
            // Whatever is not there can be removed, as in Kafka.
            let value = if op.remove { None } else { Some(check_value(entity, op)?) };
            if after.insert(op.key.clone(), value).is_some() {
                return Err(invalid(format!("Duplicate quota key {}", op.key)));
            }
        }
        let before = self.latest.quota(entity);
        let changed = after
            .into_iter()
            .filter(|(key, value)| before.and_then(|before| before.get(key)).copied() != *value);
        Ok(changed.map(|(key, value)| Record::ClientQuota { entity: entity.clone(), key, value }).collect())
    }
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, message)
}

/// The entity with its parts in the order in which it is kept.
fn check_entity(parts: &[EntityData]) -> Result<QuotaEntity, Refusal> {
    if parts.is_empty() {
        return Err(invalid("Invalid empty client quota entity"));
    }
    let mut entity = BTreeMap::new();
    for part in parts {
        if !matches!(part.entity_type.as_str(), "user" | "client-id" | "ip") {
            return Err(invalid(format!("Unhandled client quota entity type: {}", part.entity_type)));
        }
        if part.entity_name.as_deref() == Some("") {
            return Err(invalid(format!("Empty {} not supported", part.entity_type)));
        }
        if entity.insert(part.entity_type.clone(), part.entity_name.clone()).is_some() {
            return Err(invalid(format!(
                "Invalid client quota entity, duplicate entity type {}",
                part.entity_type
            )));
        }
    }
    if let Some(ip) = entity.get("ip") {
        if entity.len() > 1 {
            return Err(invalid(
                "Invalid quota entity combination, IP entity should not be combined with other entity types",
            ));
        }
        if let Some(ip) = ip.as_ref().filter(|ip| ip.parse::<IpAddr>().is_err()) {
            return Err(invalid(format!("{ip} is not a valid IP address; names of hosts are not resolved.")));
        }
    }
    Ok(QuotaEntity(entity.into_iter().collect()))
}

fn check_key(entity: &QuotaEntity, key: &str) -> Result<QuotaKind, Refusal> {
    let is_ip = entity.0.iter().any(|(kind, _)| kind == "ip");
    QuotaKind::from_key(key)
        .filter(|kind| (*kind == QuotaKind::ConnectionCreation) == is_ip)
        .ok_or_else(|| invalid(format!("Invalid configuration key {key}")))
}

fn check_value(entity: &QuotaEntity, op: &OpData) -> Result<f64, Refusal> {
    let kind = check_key(entity, &op.key)?;
    if op.value.is_nan() || op.value <= 0.0 {
        return Err(invalid(format!("Quota {} must be greater than 0", op.key)));
    }
    let (name, max) = match kind {
        QuotaKind::Produce | QuotaKind::Fetch => ("a LONG", i64::MAX as f64),
        QuotaKind::ConnectionCreation => ("an INT", f64::from(i32::MAX)),
        _ => return Ok(op.value),
    };
    if op.value > max {
        return Err(invalid(format!("Proposed value for {} is too large for {name}.", op.key)));
    }
    // What a client computed may be a little off; Kafka's tolerance.
    if op.value.fract() > 1e-6 {
        return Err(invalid(format!("{} cannot be a fractional value.", op.key)));
    }
    Ok(op.value)
}
