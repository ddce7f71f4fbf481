//! DescribeConfigs (32), AlterConfigs (33), IncrementalAlterConfigs (44), ListConfigResources (74).

use super::Call;
use highwater_core::config::ConfigMap;
use highwater_core::metadata::{answer_config_resources, answer_configs};
use highwater_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse, ListConfigResourcesRequest,
};

/// Serves DescribeConfigs: every setting with its source, synonyms and documentation.
pub(super) fn describe(call: Call<'_>, request: DescribeConfigsRequest) {
    let image = call.node.image();
    let asker = call.node.asker(call.listener());
    let response = answer_configs(&image, asker, &ConfigMap::new(), &request);
    call.responder.send(&response);
}

/// Serves AlterConfigs: replaces all settings of a resource.
pub(super) fn alter(call: Call<'_>, request: AlterConfigsRequest) {
    let (node, responder) = (call.node, call.responder);
    node.controller().submit(
        |controller| controller.plan_alter_configs(node.plan_context(), &request),
        move |planned: Result<AlterConfigsResponse, _>| responder.send_planned(planned),
    );
}

/// Serves IncrementalAlterConfigs: changes single settings (KIP-339).
pub(super) fn alter_incrementally(call: Call<'_>, request: IncrementalAlterConfigsRequest) {
    let (node, responder) = (call.node, call.responder);
    node.controller().submit(
        |controller| controller.plan_incremental_alter_configs(node.plan_context(), &request),
        move |planned: Result<IncrementalAlterConfigsResponse, _>| responder.send_planned(planned),
    );
}

/// Serves ListConfigResources (KIP-1142).
pub(super) fn list_resources(call: Call<'_>, request: &ListConfigResourcesRequest) {
    let image = call.node.image();
    let response = answer_config_resources(&image, request, call.responder.version());
    call.responder.send(&response);
}
