//! DescribeClientQuotas (KIP-546).

use crate::metadata::image::MetadataImage;
use crate::metadata::records::QuotaEntity;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    ComponentData, DescribeClientQuotasRequest, DescribeClientQuotasResponse,
    DescribeClientQuotasResponseEntryData, EntityData, ValueData,
};
use std::collections::BTreeSet;

/// Answers a DescribeClientQuotas request.
pub fn answer_client_quotas(
    image: &MetadataImage,
    request: &DescribeClientQuotasRequest,
) -> DescribeClientQuotasResponse {
    if let Err((error_code, message)) = check(&request.components) {
        return DescribeClientQuotasResponse {
            error_code,
            error_message: Some(message),
            entries: None,
            ..DescribeClientQuotasResponse::default()
        };
    }
    let entries = image
        .quotas()
        .filter(|(entity, _)| matches_all(entity, &request.components, request.strict))
        .map(|(entity, values)| DescribeClientQuotasResponseEntryData {
            entity: entity
                .0
                .iter()
                .map(|(kind, name)| EntityData { entity_type: kind.clone(), entity_name: name.clone() })
                .collect(),
            values: values.iter().map(|(key, value)| ValueData { key: key.clone(), value: *value }).collect(),
        })
        .collect();
    DescribeClientQuotasResponse { entries: Some(entries), ..DescribeClientQuotasResponse::default() }
}

/// How a component is matched: by name, the default, or any of its type.
const EXACT: i8 = 0;
const DEFAULT: i8 = 1;
const SPECIFIED: i8 = 2;

fn check(components: &[ComponentData]) -> Result<(), (ErrorCode, String)> {
    let invalid = |message: String| Err((ErrorCode::InvalidRequest, message));
    let mut seen = BTreeSet::new();
    for component in components {
        let kind = component.entity_type.as_str();
        if !seen.insert(kind) {
            return invalid(format!("Entity type {kind} cannot appear more than once in the filter."));
        }
        if kind.is_empty() {
            return invalid("Unexpected empty filter component entity type".to_owned());
        }
        if !matches!(kind, "user" | "client-id" | "ip") {
            let message = format!("Custom entity type '{kind}' not supported");
            return Err((ErrorCode::UnsupportedVersion, message));
        }
        match (component.match_type, &component.r#match) {
            (EXACT, None) => {
                return invalid("Request specified MATCH_TYPE_EXACT, but null match string".to_owned());
            }
            (DEFAULT | SPECIFIED, Some(_)) => {
                return invalid("Request specified a match string for a match type without one".to_owned());
            }
            (EXACT | DEFAULT | SPECIFIED, _) => {}
            (other, _) => return invalid(format!("Unknown match type {other}")),
        }
    }
    if seen.contains("ip") && seen.len() > 1 {
        return invalid("Invalid entity filter component combination: ip with user or client-id".to_owned());
    }
    Ok(())
}

fn matches_all(entity: &QuotaEntity, components: &[ComponentData], strict: bool) -> bool {
    if strict && entity.0.len() != components.len() {
        return false;
    }
    components.iter().all(|component| {
        entity.0.iter().any(|(kind, name)| {
            kind == &component.entity_type
                && match component.match_type {
                    EXACT => name.is_some() && *name == component.r#match,
                    DEFAULT => name.is_none(),
                    _ => true,
                }
        })
    })
}
