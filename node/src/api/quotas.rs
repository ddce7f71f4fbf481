//! DescribeClientQuotas (48) and AlterClientQuotas (49) (KIP-546).

use super::Call;
use highwater_core::metadata::answer_client_quotas;
use highwater_protocol::messages::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, DescribeClientQuotasRequest,
};

/// Serves DescribeClientQuotas.
pub(super) fn describe(call: Call<'_>, request: &DescribeClientQuotasRequest) {
    let image = call.node.image();
    call.responder.send(&answer_client_quotas(&image, request));
}

/// Serves AlterClientQuotas.
pub(super) fn alter(call: Call<'_>, request: AlterClientQuotasRequest) {
    let (node, responder) = (call.node, call.responder);
    node.controller().submit(
        |controller| controller.plan_alter_client_quotas(&request),
        move |planned: Result<AlterClientQuotasResponse, _>| responder.send_planned(planned),
    );
}
