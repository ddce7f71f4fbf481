//! Corrupt logs and the replicas that take their place.
//!
//! A corrupt log is one of whose records the device holds something else than was written; found when it is opened.
//! The controller is told, and takes the replica out of ISR and ELR if another complete one is left. Once that is
//! committed nobody counts on this log any more: its directory is set aside under another name, never removed, and an
//! empty replica fetches from its leader. Only then the controller hears that the replica may join the ISR again.
//!
//! A log whose writes or syncs fail is not mended here: then it is the device that is wrong, and a copy would lie on the
//! same. Its replica stays out of the ISR until the process starts anew, as a failed log directory of Kafka's does.

use crate::node::Node;
use crate::partitions::{OpenedSum, RolesSum};
use crate::registry::Entry;
use highwater_core::ids::{BrokerId, TopicPartition};
use highwater_core::metadata::{MetadataImage, PartitionState};

impl Node {
    /// Makes those corrupt replicas anew that nobody counts on any more.
    pub(crate) fn mend_replicas(&self, image: &MetadataImage) {
        for id in self.registry().corrupt() {
            if let Some(leader) = self.leader_instead(image, id) {
                self.mend(image, id, leader);
            }
        }
    }

    /// Who leads a partition whose replica here is committed as failed and is not among the complete ones.
    fn leader_instead(&self, image: &MetadataImage, id: TopicPartition) -> Option<BrokerId> {
        let state = image.partition(id)?;
        let me = self.id();
        let counts = |state: &PartitionState| state.isr.contains(&me) || state.elr.contains(&me);
        let is_out = self.is_present(image)
            && image.is_failed(id, me)
            && state.replicas.contains(&me)
            && !counts(state);
        state.leader.filter(|leader| is_out && *leader != me)
    }

    fn mend(&self, image: &MetadataImage, id: TopicPartition, leader: BrokerId) {
        let Some(topic) = image.topic_by_id(id.topic_id) else { return };
        let partition = id.partition.0;
        match self.data_dir().set_aside(&topic.name, id) {
            Ok(dir) => tracing::warn!(
                topic = %topic.name,
                partition,
                leader = leader.0,
                set_aside = %dir.display(),
                "a corrupt log is set aside and its replica fetched anew; look into the disk, then remove the directory"
            ),
            Err(error) => {
                tracing::error!(
                    topic = %topic.name,
                    partition,
                    %error,
                    "a corrupt log is not set aside: its replica stays offline; look into the disk, remove what was set \
                     aside before, and start the node again"
                );
                let why = error.to_string().into();
                return self.registry().insert(&topic.name, id, Entry::Offline(why));
            }
        }
        self.forget_snapshot(id);
        let config = self.topic_config(image, topic);
        self.open_replica(topic, id, &config, &mut OpenedSum::default());
        let Some(replica) = self.registry().get(id) else { return };
        let mut roles = RolesSum::default();
        if let Some(state) = image.partition(id) {
            self.take_role(&replica, state, &mut roles);
        }
        roles.tell();
        self.membership().log_mended(id);
    }
}
