//! DescribeCluster (60): the brokers and who they are. UnregisterBroker (64): one that is gone for good. UpdateFeatures
//! (57): what all of them can do.

use super::Call;
use highwater_core::ids::BrokerId;
use highwater_core::metadata::answer_cluster;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    DescribeClusterRequest, UnregisterBrokerRequest, UnregisterBrokerResponse, UpdateFeaturesRequest,
    UpdateFeaturesResponse,
};

/// Serves DescribeCluster.
pub(super) fn describe(call: Call<'_>, request: &DescribeClusterRequest) {
    let image = call.node.image();
    let response = answer_cluster(&image, call.node.asker(call.listener()), request);
    call.responder.send(&response);
}

/// Serves UnregisterBroker.
pub(super) fn unregister_broker(call: Call<'_>, request: &UnregisterBrokerRequest) {
    let (node, responder) = (call.node, call.responder);
    let id = BrokerId(request.broker_id);
    node.controller().submit(
        |controller| controller.plan_unregister_broker(node.plan_context(), id),
        move |planned| {
            let response = planned.map(|planned| match planned {
                Ok(()) => UnregisterBrokerResponse::default(),
                Err(_) => UnregisterBrokerResponse {
                    error_code: ErrorCode::BrokerIdNotRegistered,
                    error_message: Some(format!("Broker ID {id} is not currently registered")),
                    ..Default::default()
                },
            });
            responder.send_planned(response);
        },
    );
}

/// Serves UpdateFeatures.
pub(super) fn update_features(call: Call<'_>, mut request: UpdateFeaturesRequest) {
    if call.responder.version() == 0 {
        // Version 0 says it with a flag of its own; 1 is an upgrade, 3 an unsafe downgrade.
        for update in &mut request.feature_updates {
            update.upgrade_type = if update.allow_downgrade { 3 } else { 1 };
        }
    }
    let (node, responder) = (call.node, call.responder);
    node.controller().submit(
        |controller| controller.plan_update_features(&request),
        move |planned: Result<UpdateFeaturesResponse, _>| responder.send_planned(planned),
    );
}
