//! QUIC links between processes: identities, control links, joining, and the shell around rounds.
//!
//! Everything here is about bytes and who sent them; nothing knows what is trained. Every connection is
//! TLS 1.3 with certificates on both sides. A peer is a [`identity::Peer`]: its zone is the authority that
//! validated its chain. What a peer sends is bounded before anything is allocated for it.
//!
//! # All-reducing
//!
//! Two workers, here two threads, form a group and add up their vectors:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use hcrun_kernels::host_buffers::HostBuffers;
//! use hcrun_net::collective::{Communicator, Options};
//! use hcrun_net::group::{FormSpec, LaneListener, LaneSettings, Member};
//! use hcrun_net::identity::{Authority, Identity, PeerName, ThrowAwayAuthority, ZoneRoots};
//! use hcrun_protocol::link::LinkSpec;
//! use hcrun_protocol::{Generation, JobId, Rank, SlotId, ZoneId};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Who the workers are.
//! let (job, zone) = (JobId(1), ZoneId::new("lab")?);
//! let authority = ThrowAwayAuthority::new(zone.clone(), job)?;
//! let roots = Arc::new(ZoneRoots::of([&authority as &dyn Authority])?);
//!
//! // Where they listen: ports that are free.
//! let (mut listeners, mut members) = (Vec::new(), Vec::new());
//! for index in 0..2 {
//!     let slot = SlotId::parse(&format!("lab-{index}"))?;
//!     let identity = Identity::issue(&authority, PeerName::Slot(slot.clone()), roots.clone())?;
//!     let listener = LaneListener::bind(&identity, [127, 0, 0, 1].into(), None, &LaneSettings::default())?;
//!     let (rank, lanes, zone) = (Rank(index), listener.addresses().to_vec(), zone.clone());
//!     members.push(Member { rank, slot, zone, lanes, reachable: true });
//!     listeners.push(listener);
//! }
//!
//! // What each of them does.
//! let work = |me: Rank, listener: LaneListener| {
//!     let group = listener
//!         .form(FormSpec {
//!             job,
//!             generation: Generation(1),
//!             me,
//!             members: members.clone(),
//!             deadline: Duration::from_secs(10),
//!             staging_bytes: 4 << 20,
//!             segment_bytes: 256 << 10,
//!         })
//!         .expect("all links stand");
//!     let communicator = Communicator::new(group, &LinkSpec::default()).expect("all agree");
//!     let own = HostBuffers::new(vec![f32::from(me.0) + 1.0; 1_000]);
//!     let pending = communicator.all_reduce(own, &Options::default()).expect("f32 can be summed");
//!     pending.wait().expect("nobody was lost").into_vec::<f32>().expect("f32 went in")
//! };
//! let sums = std::thread::scope(|scope| {
//!     let workers: Vec<_> = (0..)
//!         .zip(listeners)
//!         .map(|(rank, listener)| scope.spawn(move || work(Rank(rank), listener)))
//!         .collect();
//!     workers.into_iter().map(|worker| worker.join().expect("no panic")).collect::<Vec<_>>()
//! });
//! assert!(sums.iter().all(|sum| *sum == vec![3.0; 1_000]));
//! # Ok(())
//! # }
//! ```
//!
//! The folder `examples` has this and more: `all_reduce` explains the steps, `tags` has several collectives
//! in flight at once, `handle_a_loss` goes on when a worker is lost.

pub mod collective;
mod congestion;
pub mod control;
mod endpoint;
pub mod group;
pub mod identity;
pub mod join;
mod loss;
pub mod socket;
#[cfg(test)]
mod testing;

pub use endpoint::BindError;
pub use loss::{CloseCode, LinkLoss};
