//! Whether clients should be sent here.

use super::Stage;

/// `Ok` if every partition of a serving node can be used, else the reason for an operator.
pub(super) fn readiness(stage: &Stage) -> Result<(), String> {
    match stage {
        Stage::Starting => Err("starting: logs are being opened".to_owned()),
        Stage::Stopping => Err("shutting down".to_owned()),
        Stage::Serving(node, _) => match (node.halt_reason(), node.registry().counts()) {
            (Some(why), _) => Err(why),
            (None, (_, 0)) => Ok(()),
            (None, (_, offline)) => Err(format!("{offline} partitions are offline; the log says why")),
        },
    }
}
