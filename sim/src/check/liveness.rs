//! Oracles over what must be right again once the faults are over.

use highwater_core::ids::BrokerId;
use highwater_core::metadata::MetadataImage;

/// How many elections of controllers a healed quorum may take to settle.
const ELECTIONS_MAX: i32 = 3;

/// L1: one node is the active controller, and every node takes the same one for it.
pub fn one_active_controller(active: usize, known: &[Option<BrokerId>]) -> Result<(), String> {
    if active == 1 && known.windows(2).all(|pair| pair[0] == pair[1]) {
        return Ok(());
    }
    Err(format!("{active} nodes are the active controller, and nodes take for it {known:?}"))
}

/// L1: a healed quorum does not go on electing.
pub fn few_elections(epoch_before: i32, epoch: i32) -> Result<(), String> {
    if epoch > epoch_before + ELECTIONS_MAX {
        return Err(format!("a healed quorum went from epoch {epoch_before} to {epoch}"));
    }
    Ok(())
}

/// L5: every reassignment is done or given up.
pub fn nothing_is_moving(image: &MetadataImage) -> Result<(), String> {
    for topic in image.topics() {
        for (partition, state) in topic.partitions.iter() {
            if !state.adding.is_empty() || !state.removing.is_empty() {
                return Err(format!("{} {partition} is still being moved: {state:?}", topic.name));
            }
        }
    }
    Ok(())
}

/// O43: with all clients gone nobody waits for an answer, and no more watch for news than live on.
pub fn nobody_waits(what: &str, waiting: usize, watching: usize, watching_max: usize) -> Result<(), String> {
    if waiting > 0 || watching > watching_max {
        return Err(format!("{what}: {waiting} wait, {watching} watch and {watching_max} may"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_controllers_none_and_one_that_is_not_known_are_noticed() {
        let one = Some(BrokerId(1));
        assert!(one_active_controller(1, &[one, one, one]).is_ok());
        assert!(one_active_controller(1, &[one, one, None]).is_err());
        assert!(one_active_controller(0, &[one, one, one]).is_err());
        assert!(one_active_controller(2, &[one, one, one]).is_err());
        assert!(few_elections(4, 7).is_ok());
        assert!(few_elections(4, 8).is_err());
    }

    #[test]
    fn whoever_still_waits_is_noticed() {
        assert!(nobody_waits("orders 0", 0, 2, 2).is_ok());
        assert!(nobody_waits("orders 0", 1, 0, 2).is_err());
        assert!(nobody_waits("orders 0", 0, 3, 2).is_err());
    }
}
