//! Orders of the coordinator, in the only sequence in which they make sense.

use std::io::ErrorKind;
use std::mem::ManuallyDrop;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hcrun_engine::trainer::Trainer;
use hcrun_kernels::any_buffers::AnyBuffers;
use hcrun_net::BindError;
use hcrun_net::group::{FormSpec, Group, LaneListener, LaneSettings, Member};
use hcrun_net::join::JoinBundle;
use hcrun_protocol::control::{Activity, Assignment, LinkReport, MemberAddress, NodeGroups, ToCoordinator};
use hcrun_protocol::member::{Command, End};
use hcrun_protocol::{Generation, Rank, Step};

use super::prepare::{PrepareError, Prepared, prepare};
use super::{Leaving, WorkerError, WorkerSettings};
use crate::node::{NodeGroup, Offered};
use crate::session::{Order, Session};
use crate::train::{TrainFailure, Training};

/// For all links of a generation to stand and be probed.
const FORM_WITHIN: Duration = Duration::from_secs(10);

/// What peers may send ahead when buckets are tiny; see `FormSpec::staging_bytes`.
const MAX_STAGING_BYTES: usize = 16 << 20;
const MIN_STAGING_BYTES: usize = 1 << 20;

pub(super) fn work(
    settings: &WorkerSettings,
    bundle: &JoinBundle,
    session: &Session,
    leaving: &Leaving,
    nccl_is_local: bool,
) -> Result<(), WorkerError> {
    let assignment = match session.order()? {
        Order::Command(Command::Load(assignment)) => assignment,
        other => return Err(unexpected(&other)),
    };
    let progress = session.progress();
    progress.enter(Activity::Preparing);
    let slot = bundle.slot.to_string();
    let prepared =
        prepare(&assignment, (&slot, &bundle.zone), &bundle.coordinator_zone, &settings.locations, progress)?;
    session.state_limit().set(prepared.arena_elems);
    let offered = if nccl_is_local { Offered::new(&prepared.job, &assignment) } else { None };

    let lane_settings = LaneSettings {
        lanes: usize::from(prepared.job.exchange.lanes),
        silence: assignment.silence_limit.into(),
        link: assignment.link,
        emulation: None,
    };
    let (lane, lanes) = listen(settings, bundle, session, &assignment, &lane_settings)?;
    let aborter = lane.aborter();
    leaving.abort_by(move |cause| aborter.abort(cause));
    let (samples, held_out) = (prepared.samples, prepared.held_out);
    tracing::info!(
        rank = assignment.rank.0,
        workers = assignment.workers.len(),
        ?lanes,
        samples,
        held_out,
        "loaded"
    );
    let node_group = offered.as_ref().map(Offered::offer);
    session.say(ToCoordinator::Loaded { lanes, samples, held_out, node_group });

    let (generation, members, nodes) = match session.order()? {
        Order::Command(Command::Form { generation, members, nodes }) => (generation, members, nodes),
        other => return Err(unexpected(&other)),
    };
    let spec = form_spec(&assignment, &prepared, generation, &members);
    let group: Arc<Group<AnyBuffers>> = Arc::new(lane.form(spec)?);
    let ended = among_others(session, &assignment, &group, (offered, &nodes), prepared, leaving);
    match &ended {
        Ok(()) => {
            leaving.release();
            // The node's thread has let go of it: this closes the links.
            drop(group);
        }
        // Before the links close: peers would name this worker as lost.
        Err(error) => error.tell(session, bundle),
    }
    ended
}

/// What a worker does while its links stand.
fn among_others(
    session: &Session,
    assignment: &Assignment,
    group: &Arc<Group<AnyBuffers>>,
    (offered, nodes): (Option<Offered>, &NodeGroups),
    mut prepared: Prepared,
    leaving: &Leaving,
) -> Result<(), WorkerError> {
    // Groups that reach over a border are refused here.
    prepared.exchange = prepared.exchange.with_node_groups(&nodes.groups).map_err(PrepareError::from)?;
    let node = match offered {
        Some(offered) => offered.join(assignment.rank, nodes)?,
        None if nodes.groups.iter().any(|ranks| ranks.contains(&assignment.rank)) => {
            return Err(End::Protocol { what: "a node group without an offer".to_owned() }.into());
        }
        None => None,
    };
    if let Some(node) = &node {
        leaving.abort_by(node.aborter());
    }
    tracing::info!(links = group.link_reports().len(), "linked to the other workers");
    session.say(ToCoordinator::Linked { links: link_reports(group) });
    let (start, state) = match session.order()? {
        Order::Start { step, state } => (step, state),
        other => return Err(unexpected(&other)),
    };
    train(session, assignment, (group, node), prepared, start, state)?;
    Ok(wait_for_release(session)?)
}

fn train(
    session: &Session,
    assignment: &Assignment,
    (group, node): (&Arc<Group<AnyBuffers>>, Option<NodeGroup>),
    prepared: Prepared,
    start: Step,
    state: Vec<(String, Vec<f32>)>,
) -> Result<(), WorkerError> {
    let Prepared { job, zones, exchange, batches, mut trainer, device, floors, .. } = prepared;
    if !state.is_empty() {
        trainer.restore(&state).map_err(TrainFailure::from)?;
    }
    drop(state);
    let me = assignment.rank;
    let in_checkpoint_zone = |rank: Rank| zones[rank.index()] == assignment.checkpoint_zone;
    let first = (0..zones.len()).map(Rank::from_index).find(|rank| in_checkpoint_zone(*rank));
    let mut training = Training {
        job: &job,
        job_id: assignment.job,
        generation: group.generation(),
        me,
        zones: &zones,
        exchange: &exchange,
        batches: &batches,
        group,
        node: node.as_ref(),
        session,
        trainer: &mut *trainer,
        hands_state: in_checkpoint_zone(me),
        speaks: first == Some(me),
        floors,
    };
    tracing::info!(step = start.0, "training");
    let finished = training.run(start)?;
    let sent = training.sent();
    let (steps, stopped, samples) = (finished.steps, finished.stopped, finished.samples);
    if let Some(node) = node {
        node.finish();
    }
    tracing::info!(steps, stopped, samples, "finished");
    if let Some(device) = &*device {
        tracing::info!(memory = %device.memory_use(), "allocated");
    }
    drop((ManuallyDrop::into_inner(trainer), ManuallyDrop::into_inner(device)));
    session.say(ToCoordinator::Finished { steps, stopped, sent, samples });
    session.progress().enter(Activity::Waiting);
    Ok(())
}

fn wait_for_release(session: &Session) -> Result<(), End> {
    loop {
        match session.order()? {
            Order::Command(Command::Release) => return Ok(()),
            // A stop that crossed the end of the training.
            Order::Command(Command::Stop) => {}
            other => return Err(End::Protocol { what: format!("{other:?} after the training") }),
        }
    }
}

fn unexpected(order: &Order) -> WorkerError {
    End::Protocol { what: format!("{order:?} out of order") }.into()
}

fn form_spec(
    assignment: &Assignment,
    prepared: &Prepared,
    generation: Generation,
    addresses: &[MemberAddress],
) -> FormSpec {
    let member = |(index, worker): (usize, &hcrun_protocol::control::AssignedWorker)| {
        let rank = Rank::from_index(index);
        let known = addresses.iter().find(|member| member.rank == rank);
        let lanes = known.map(|member| member.lanes.clone()).unwrap_or_default();
        let (slot, zone) = (worker.slot.clone(), worker.zone.clone());
        Member { rank, slot, zone, lanes, reachable: worker.reachable }
    };
    let segment_bytes = usize::try_from(prepared.job.exchange.segment_bytes.0).unwrap_or(usize::MAX);
    FormSpec {
        job: assignment.job,
        generation,
        me: assignment.rank,
        members: assignment.workers.iter().enumerate().map(member).collect(),
        deadline: FORM_WITHIN,
        // No peer finishes a step before everyone has taken part in it: two steps' gradients and parameters
        // would always fit. Less makes a peer wait, never fail.
        staging_bytes: (prepared.arena_elems * size_of::<f32>() * 5)
            .clamp(MIN_STAGING_BYTES, MAX_STAGING_BYTES),
        segment_bytes,
    }
}

fn link_reports(group: &Group<AnyBuffers>) -> Vec<LinkReport> {
    let report = |link: &hcrun_net::group::LinkReport| LinkReport {
        peer: link.peer,
        round_trip: link.round_trip,
        mtu: link.mtu,
        skew_micros: link.skew_micros,
    };
    group.link_reports().iter().map(report).collect()
}

/// Binds the lanes, and says where the others reach them.
fn listen(
    settings: &WorkerSettings,
    bundle: &JoinBundle,
    session: &Session,
    assignment: &Assignment,
    lane_settings: &LaneSettings,
) -> Result<(LaneListener, Vec<SocketAddr>), WorkerError> {
    let bind = |ip| {
        let bound = LaneListener::bind(session.identity(), ip, assignment.listen_ports, lane_settings);
        bound.map(|lanes| {
            let addresses = lanes.addresses().to_vec();
            (lanes, addresses)
        })
    };
    let local = || local_address(bundle.join_address);
    match settings.address {
        None => Ok(bind(local()?)?),
        Some(outside) => match bind(outside) {
            // The address is not this host's: a translator stands before it, and keeps the port.
            Err(BindError::Bind { source, .. }) if source.kind() == ErrorKind::AddrNotAvailable => {
                let (lanes, bound) = bind(local()?)?;
                let outside = bound.into_iter().map(|bound| SocketAddr::new(outside, bound.port()));
                Ok((lanes, outside.collect()))
            }
            bound => Ok(bound?),
        },
    }
}

/// The address from which this host reaches the coordinator: others reach it there too, without a NAT.
fn local_address(coordinator: SocketAddr) -> Result<IpAddr, WorkerError> {
    let local = || -> std::io::Result<IpAddr> {
        let any: SocketAddr = match coordinator {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0u16; 8], 0).into(),
        };
        let socket = std::net::UdpSocket::bind(any)?;
        // Connecting a UDP socket sends nothing; the kernel picks the route.
        socket.connect(coordinator)?;
        Ok(socket.local_addr()?.ip())
    };
    local().map_err(WorkerError::Harden)
}
