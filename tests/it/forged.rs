//! A launcher that lies: it has the zones' authorities, as a real one has, and tells a worker of the public
//! zone whatever it likes.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hcrun::cli::JobArgs;
use hcrun::prepare::{Prepared, prepare};
use hcrun_net::control::{ControlLink, ControlListener, Frame};
use hcrun_net::identity::{Authority, Identity, Peer, PeerName, ThrowAwayAuthority, ZoneRoots};
use hcrun_net::join::JoinServer;
use hcrun_protocol::control::{
    AssignedClass, AssignedDevice, AssignedShard, AssignedWorker, AssignedZone, Assignment, FailureReport,
    ToCoordinator, ToWorker,
};
use hcrun_protocol::manifest::{Sensitivity, ShardManifest};
use hcrun_protocol::{Generation, JobId, Rank, ShardId, SlotId, Span, ZoneId, control_codec};
use hcrun_tests::{Ended, Lab};

/// An assignment with a lie in it.
pub(crate) struct Forgery {
    pub(crate) lie: &'static str,
    pub(crate) assignment: Assignment,
    /// A worker has no means to see through it.
    pub(crate) unnoticeable: bool,
}

/// What became of it.
pub(crate) struct Told {
    /// None for a worker that took its assignment.
    pub(crate) failure: Option<FailureReport>,
    pub(crate) ended: Ended,
}

const JOB: JobId = JobId(0xf0e);
const LIMIT: Duration = Duration::from_secs(20);

/// Every way to make the worker in slot `public-0` hold shard `secret`.
pub(crate) fn all(lab: &Lab) -> Vec<Forgery> {
    let job = lab.path().join("job.toml");
    let honest = prepare(&JobArgs { job, cluster: None, seed: None, set: Vec::new() }).unwrap();
    let forge = |lie, change: &dyn Fn(&mut Assignment, &mut ShardManifest)| {
        let mut assignment = assignment(&honest);
        let mut secret = honest.manifests[&ShardId::new("secret").unwrap()].clone();
        change(&mut assignment, &mut secret);
        assignment.manifests.push(secret);
        for class in &mut assignment.classes {
            class.zones = vec![zone("private"), zone("public")];
        }
        Forgery { lie, assignment, unnoticeable: false }
    };
    let relabelled = forge("the manifest says that the shard is public", &|_, secret| {
        (secret.sensitivity, secret.home) = (Sensitivity::Public, None);
    });
    vec![
        forge("the shard of another zone, as it is", &|_, _| {}),
        forge("its home is the worker's zone", &|_, secret| secret.home = Some(zone("public"))),
        forge("its owner lets the worker's zone hold it", &|_, secret| {
            secret.allowed_zones = vec![zone("public")];
        }),
        forge("it is internal", &|_, secret| secret.sensitivity = Sensitivity::Internal),
        forge("its home is a zone that nobody knows", &|_, secret| secret.home = Some(zone("moon"))),
        forge("the worker is in the private zone", &|assignment, _| {
            assignment.workers[2].zone = zone("private");
        }),
        forge("the worker is another", &|assignment, _| assignment.rank = Rank(0)),
        Forgery { unnoticeable: true, ..relabelled },
    ]
}

/// What slot `public-0` would be told by a launcher that does not lie.
fn assignment(prepared: &Prepared) -> Assignment {
    let (job, plan) = (&prepared.file.job, &prepared.plan);
    let workers = plan.placement.workers.iter().map(|worker| AssignedWorker {
        slot: worker.slot.clone(),
        zone: worker.zone.clone(),
        device: AssignedDevice::Cpu,
        reachable: true,
    });
    let classes = plan.classes.iter().map(|class| AssignedClass {
        zones: class.zones.clone(),
        shards: class
            .shards
            .iter()
            .map(|shard| AssignedShard {
                id: shard.id.clone(),
                samples: shard.samples.training,
                held_out: shard.samples.held_out,
            })
            .collect(),
    });
    let zones = [("private", true, "us"), ("public", false, "cloud")];
    Assignment {
        job: JOB,
        generation: Generation(1),
        job_json: job.canonical_json(),
        job_digest: job.digest(),
        rank: Rank(2),
        workers: workers.collect(),
        manifests: vec![prepared.manifests[&ShardId::new("open").unwrap()].clone()],
        classes: classes.collect(),
        columns: prepared.model.columns.clone(),
        zones: zones
            .map(|(name, private, owner)| AssignedZone { name: zone(name), private, owner: owner.to_owned() })
            .to_vec(),
        statistics_json: String::new(),
        listen_ports: None,
        link: hcrun_protocol::link::LinkSpec::default(),
        silence_limit: Span::from_secs(10),
        checkpoint_zone: zone("private"),
    }
}

/// Starts a real worker, with `public/` as its only data, and has it welcomed with this assignment.
pub(crate) fn tell(lab: &Lab, assignment: &Assignment) -> Told {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(LIMIT, welcome(lab, assignment)).await.expect("a worker that answers")
    })
}

async fn welcome(lab: &Lab, assignment: &Assignment) -> Told {
    let [private, public] =
        ["private", "public"].map(|name| Arc::new(ThrowAwayAuthority::new(zone(name), JOB).unwrap()));
    let roots = Arc::new(ZoneRoots::of([&*private as &dyn Authority, &*public]).unwrap());
    let me = Identity::issue(&*private, PeerName::Coordinator, roots).unwrap();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut listener = ControlListener::bind(&me, any).unwrap();
    let join = JoinServer::bind(&me, any, vec![private, public], listener.local_addr()).unwrap();
    let peer = Peer::slot(SlotId::parse("public-0").unwrap(), zone("public"));
    let bundle = lab.path().join("forged.json");
    // Of the forgery before.
    drop(std::fs::remove_file(&bundle));
    join.ticket(peer, Duration::from_secs(60)).unwrap().write(&bundle).unwrap();

    let worker = lab.hcrun(["worker", "--bundle", "forged.json", "--data-root", "public"]).start();
    let mut link = listener.accept().await.unwrap();
    assert!(matches!(hear(&mut link).await, ToCoordinator::Hello { .. }));
    let message = ToWorker::Welcome(Box::new(assignment.clone()));
    link.send_message(&control_codec::encode(&message).unwrap()).await.unwrap();
    let failure = loop {
        match hear(&mut link).await {
            ToCoordinator::Failed(report) => break Some(report),
            ToCoordinator::Loaded { .. } => break None,
            ToCoordinator::Heartbeat { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    if failure.is_none() {
        worker.signal(hcrun_tests::Signal::KILL);
    }
    // The runtime goes on meanwhile, so that the worker can say goodbye.
    let ended = tokio::task::spawn_blocking(move || worker.end_within(LIMIT)).await.unwrap();
    Told { failure, ended }
}

async fn hear(link: &mut ControlLink) -> ToCoordinator {
    match link.recv().await.unwrap() {
        Frame::Message(message) => control_codec::decode(&message).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn zone(name: &str) -> ZoneId {
    ZoneId::new(name).unwrap()
}
