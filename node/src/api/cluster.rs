//! DescribeCluster (60): the brokers and who they are.

use super::Call;
use highwater_core::metadata::answer_cluster;
use highwater_protocol::messages::DescribeClusterRequest;

/// Serves a request.
pub(super) fn describe(call: Call<'_>, request: &DescribeClusterRequest) {
    let image = call.node.image();
    let response = answer_cluster(&image, call.node.asker(call.listener()), request);
    call.responder.send(&response);
}
