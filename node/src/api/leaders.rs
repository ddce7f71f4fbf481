//! ElectLeaders (43), AlterPartitionReassignments (45) and ListPartitionReassignments (46): who leads and who holds
//! partitions.

use super::Call;
use highwater_core::metadata::answer_reassignments;
use highwater_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ElectLeadersRequest,
    ElectLeadersResponse, ListPartitionReassignmentsRequest,
};

/// Serves ElectLeaders.
pub(super) fn elect(call: Call<'_>, mut request: ElectLeadersRequest) {
    if call.responder.version() == 0 {
        // Version 0 knows preferred leaders only.
        request.election_type = 0;
    }
    let (node, responder) = (call.node, call.responder);
    node.controller().submit(
        |controller| controller.plan_elect_leaders(node.plan_context(), &request),
        move |planned: Result<ElectLeadersResponse, _>| responder.send_planned(planned),
    );
}

/// Serves AlterPartitionReassignments.
pub(super) fn reassign(call: Call<'_>, request: AlterPartitionReassignmentsRequest) {
    let (node, responder) = (call.node, call.responder);
    node.controller().submit(
        |controller| controller.plan_alter_reassignments(node.plan_context(), &request),
        move |planned: Result<AlterPartitionReassignmentsResponse, _>| responder.send_planned(planned),
    );
}

/// Serves ListPartitionReassignments.
pub(super) fn list_reassignments(call: Call<'_>, request: &ListPartitionReassignmentsRequest) {
    call.responder.send(&answer_reassignments(&call.node.image(), request));
}
