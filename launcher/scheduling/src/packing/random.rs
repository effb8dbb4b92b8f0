//! Any node that has room, any device of it that has.

use hcrun_protocol::prng::Prng;

use super::{Cluster, Devices, Placement, Policy, Request, WHOLE};

#[derive(Debug)]
pub struct Random(pub Prng);

impl Policy for Random {
    fn choose(&mut self, cluster: &Cluster, request: &Request) -> Option<Placement> {
        let open: Vec<_> = cluster.rooms().filter(|(_, room)| room.fits(request)).collect();
        let (node, room) = *self.any(&open)?;
        let devices = if request.devices == 1 && request.milli < WHOLE {
            let enough = |device: &usize| room.devices()[*device] >= request.milli;
            let open: Vec<usize> = (0..room.devices().len()).filter(enough).collect();
            Devices::one(*self.any(&open)?)
        } else {
            room.tightest(request)?
        };
        Some(Placement { node, devices })
    }
}

impl Random {
    fn any<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() {
            return None;
        }
        of.get(usize::try_from(self.0.below(of.len() as u64)).ok()?)
    }
}
