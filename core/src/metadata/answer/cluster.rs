//! DescribeCluster (KIP-700, KIP-919).

use super::{Asker, CLUSTER_OPERATIONS};
use crate::ids::BrokerId;
use crate::metadata::image::MetadataImage;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse};

/// The endpoint types of brokers and of controllers; the latter have no listeners of their own here.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// Answers a DescribeCluster request.
pub fn answer_cluster(
    image: &MetadataImage,
    asker: Asker<'_>,
    request: &DescribeClusterRequest,
) -> DescribeClusterResponse {
    let refusal = match request.endpoint_type {
        BROKERS => None,
        CONTROLLERS => Some((
            ErrorCode::MismatchedEndpointType,
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER"
                .to_owned(),
        )),
        other => Some((ErrorCode::UnsupportedEndpointType, format!("Unsupported endpoint type {other}"))),
    };
    if let Some((error_code, message)) = refusal {
        return DescribeClusterResponse {
            error_code,
            error_message: Some(message),
            endpoint_type: BROKERS,
            ..DescribeClusterResponse::default()
        };
    }
    let brokers = image
        .brokers()
        .filter(|(_, registration)| registration.is_active() || request.include_fenced_brokers)
        .filter_map(|(id, registration)| {
            let endpoint = registration.endpoint(asker.listener)?;
            Some(DescribeClusterBroker {
                broker_id: id.0,
                host: endpoint.host.clone(),
                port: i32::from(endpoint.port),
                rack: registration.rack.clone(),
                is_fenced: !registration.is_active(),
            })
        })
        .collect();
    let operations =
        if request.include_cluster_authorized_operations { CLUSTER_OPERATIONS } else { i32::MIN };
    DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: image.cluster_id().unwrap_or_default().to_owned(),
        controller_id: asker.controller.unwrap_or(BrokerId(-1)).0,
        brokers,
        cluster_authorized_operations: operations,
        ..DescribeClusterResponse::default()
    }
}
