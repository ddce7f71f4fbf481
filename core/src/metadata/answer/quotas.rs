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
            return invalid("Invalid empty entity type.".to_owned());
        }
        if !matches!(kind, "user" | "client-id" | "ip") {
            let message = format!("Unsupported entity type {kind}");
            return Err((ErrorCode::UnsupportedVersion, message));
        }
        match (component.match_type, &component.r#match) {
            (EXACT, None) => {
                return invalid(
                    "Request specified MATCH_TYPE_EXACT, but set match string to null.".to_owned(),
                );
            }
            (DEFAULT | SPECIFIED, Some(_)) => {
                let asked = if component.match_type == DEFAULT { "DEFAULT" } else { "SPECIFIED" };
                return invalid(format!(
                    "Request specified MATCH_TYPE_{asked}, but also specified a match string."
                ));
            }
            (EXACT | DEFAULT | SPECIFIED, _) => {}
            (other, _) => return invalid(format!("Unknown match type {other}")),
        }
    }
    if seen.contains("ip") && seen.len() > 1 {
        let message = "Invalid entity filter component combination. IP filter component should not be used with \
                       user or clientId filter component.";
        return invalid(message.to_owned());
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
