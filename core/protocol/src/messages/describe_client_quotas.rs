//! DescribeClientQuotas (48): client quotas, read (KIP-546).

use crate::{ErrorCode, Message};

/// Asks for quotas by a filter of entities.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = DescribeClientQuotas, versions = "0-1", flexible = "1+", response = DescribeClientQuotasResponse)]
pub struct DescribeClientQuotasRequest {
    pub components: Vec<ComponentData>,
    pub strict: bool,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ComponentData {
    pub entity_type: String,
    pub match_type: i8,
    #[kafka(nullable = "0+")]
    pub r#match: Option<String>,
}

/// Quotas of the entities that match.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-1", flexible = "1+")]
pub struct DescribeClientQuotasResponse {
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
    #[kafka(nullable = "0+")]
    pub entries: Option<Vec<DescribeClientQuotasResponseEntryData>>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeClientQuotasResponseEntryData {
    pub entity: Vec<EntityData>,
    pub values: Vec<ValueData>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct EntityData {
    pub entity_type: String,
    #[kafka(nullable = "0+")]
    pub entity_name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ValueData {
    pub key: String,
    pub value: f64,
}
