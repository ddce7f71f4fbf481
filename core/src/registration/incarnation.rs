//! The name of a broker's process, which tells how old the process is at least.
//!
//! Processes of one data directory follow each other, and a registration is remembered there before the broker is let in
//! ([`Input::Remembered`](super::Input::Remembered)). So a process that knew only of an older one when it began, began
//! before: what it asks has been on its way for long. The name has room for that, and is what releases before drew at
//! random as a whole: they take it for such a name, and theirs say nothing here, but for one in 65,536 that begins alike.

use crate::ids::BrokerEpoch;

/// What names that tell something begin with.
const MARK: [u8; 2] = *b"hw";

/// The name of a process that finds `remembered` on its disk. `drawn` is drawn anew by every process (KIP-380).
pub fn incarnation(remembered: Option<BrokerEpoch>, drawn: [u8; 8]) -> [u8; 16] {
    // Epochs are offsets of the metadata log; 48 bits are more than it ever has.
    let told = remembered.map_or(0, |epoch| epoch.0.saturating_add(1)).to_be_bytes();
    let mut name = [0; 16];
    name[..2].copy_from_slice(&MARK);
    name[2..8].copy_from_slice(&told[2..]);
    name[8..].copy_from_slice(&drawn);
    name
}

/// The registration that a process of this name knew of when it began, −1 if none. `None` if the name does not tell.
pub fn remembered_by(incarnation: &[u8; 16]) -> Option<BrokerEpoch> {
    let [mark @ .., a, b, c, d, e, f] = incarnation.first_chunk::<8>()?;
    let told = i64::from_be_bytes([0, 0, *a, *b, *c, *d, *e, *f]);
    (*mark == MARK).then_some(BrokerEpoch(told - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_what_the_process_knew_when_it_began() {
        for remembered in [None, Some(BrokerEpoch(0)), Some(BrokerEpoch(7)), Some(BrokerEpoch((1 << 47) - 2))]
        {
            let name = incarnation(remembered, [9; 8]);
            assert_eq!(remembered_by(&name), Some(remembered.unwrap_or(BrokerEpoch(-1))));
            assert_eq!(name[8..], [9; 8]);
        }
        assert_eq!(remembered_by(&[7; 16]), None, "drawn by a release before");
    }
}
