//! What is placed where, what it sends, and what is refused.
#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy takes for other code")]

use std::collections::BTreeMap;

use hcrun_protocol::cluster::{Backend, Cluster, Pool, Trust, Zone};
use hcrun_protocol::job::{Data, Job, Shard};
use hcrun_protocol::manifest::{Column, ColumnKind, Content, Sensitivity, ShardManifest};
use hcrun_protocol::model::{ModelProfile, Segment};
use hcrun_protocol::plan::{Plan, border};
use hcrun_protocol::{PoolId, ShardId, ZoneId};
use hcrun_scheduling::{Inputs, plan};

const ARENA_ELEMS: usize = 3 * 1024;

struct Case {
    job: Job,
    cluster: Cluster,
    manifests: BTreeMap<ShardId, ShardManifest>,
}

impl Case {
    fn plan(&self) -> Result<Plan, Vec<String>> {
        let elems = ARENA_ELEMS;
        let segment = Segment { name: "w".to_owned(), offset: 0, shape: vec![elems], decay: true };
        let profile = ModelProfile {
            segments: vec![segment],
            arena_elems: elems,
            parameters: elems - 7,
            flops_per_sample: 1.0,
            activation_bytes_per_sample: 1,
        };
        let (job, cluster, manifests) = (&self.job, &self.cluster, &self.manifests);
        let statistics_elems = if matches!(job.data, Data::Csv { .. }) { 3 } else { 0 };
        let inputs = Inputs { job, cluster, manifests, profile: &profile, statistics_elems, state_arenas: 3 };
        plan(&inputs).map_err(|infeasible| infeasible.binding.iter().map(ToString::to_string).collect())
    }

    fn refusal(&self) -> String {
        self.plan().expect_err("the job was placed").join("\n")
    }

    fn shard(&mut self, id: &str, rows: u64, sensitivity: Sensitivity, home: Option<&str>) -> &mut Shard {
        let id = ShardId::new(id).unwrap();
        let home = home.map(|home| ZoneId::new(home).unwrap());
        let columns = ["x", "y"].map(|name| Column { name: name.to_owned(), kind: ColumnKind::Number });
        let manifest = ShardManifest {
            id: id.clone(),
            bytes: 10 * rows,
            sha256: "0".repeat(64),
            sensitivity,
            home: home.clone(),
            allowed_zones: Vec::new(),
            min_contributors: None,
            min_rows: None,
            content: Content::Csv { rows, columns: columns.to_vec() },
        };
        self.manifests.insert(id.clone(), manifest);
        self.job.shards.push(Shard { id, path: None, sensitivity, home, allowed_zones: Vec::new() });
        self.job.shards.last_mut().unwrap()
    }
}

/// A table of 1,000 restricted and 1,000 public rows on two private and two public workers.
fn case() -> Case {
    let job = r#"{
        "name": "demo", "seed": 1,
        "model": { "kind": "mlp", "hidden": [8] },
        "data": { "format": "csv", "held_out": 0.2, "target": "y" },
        "train": { "loss": "mse", "optimizer": "sgd", "learning_rate": 0.1, "batch": 16, "steps": 100,
                   "evaluate_every": 30 },
        "workers": { "private": 2, "public": 2 },
        "shard": []
    }"#;
    let job = serde_json::from_str(job).unwrap();
    let mut case = Case { job, cluster: Cluster::local(), manifests: BTreeMap::new() };
    case.shard("secret", 1_000, Sensitivity::Restricted, Some("private"));
    case.shard("open", 1_000, Sensitivity::Public, None);
    case
}

fn workers(case: &mut Case, counts: &[(&str, u16)]) {
    case.job.workers = counts.iter().map(|(pool, count)| (PoolId::new(*pool).unwrap(), *count)).collect();
}

#[test]
fn a_restricted_shard_is_held_by_its_zone_alone() {
    let plan = case().plan().unwrap();
    let held: Vec<(String, Vec<&str>)> = plan
        .placement
        .workers
        .iter()
        .map(|worker| (worker.slot.to_string(), worker.shards.iter().map(|shard| shard.as_str()).collect()))
        .collect();
    let expected = [
        ("private-0", vec!["secret", "open"]),
        ("private-1", vec!["secret", "open"]),
        ("public-0", vec!["open"]),
        ("public-1", vec!["open"]),
    ];
    assert_eq!(held, expected.map(|(slot, shards)| (slot.to_owned(), shards)));
    let secret = &plan.placement.shards[0];
    assert_eq!(secret.rule, "restricted: home `private` alone");
    assert_eq!(secret.slots.iter().map(ToString::to_string).collect::<Vec<_>>(), ["private-0", "private-1"]);
}

/// A launcher elsewhere reads checkpoints, losses and statistics: a border like any other.
#[test]
fn a_single_zone_keeps_its_floors_towards_a_launcher_elsewhere() {
    let mut case = case();
    workers(&mut case, &[("private", 1)]);
    assert!(case.plan().is_ok());
    case.cluster.launcher_zone = Some(ZoneId::new("public").unwrap());
    assert!(case.refusal().contains("zone `private` has 1 of the 2 workers"), "{}", case.refusal());
    workers(&mut case, &[("private", 2)]);
    assert!(case.plan().is_ok());
    case.job.policy.min_rows = 500;
    assert!(case.refusal().contains("zone `private` has 400 held-out rows"), "{}", case.refusal());
    // What everybody may read needs no floor.
    case.job.shards.remove(0);
    workers(&mut case, &[("private", 1)]);
    assert!(case.plan().is_ok());
}

#[test]
fn load_is_evened_and_the_whole_batch_is_dealt() {
    let plan = case().plan().unwrap();
    assert_eq!(plan.samples_per_step.iter().sum::<f64>(), 16.0);
    assert!(
        plan.samples_per_step.iter().all(|samples| (3.5..=4.5).contains(samples)),
        "{:?}",
        plan.samples_per_step
    );
    assert_eq!(plan.classes.iter().map(|class| class.samples.training).collect::<Vec<_>>(), [800, 800]);
}

/// Written out by hand: the formula of the plan must be what a reader of the design expects.
#[test]
fn bytes_are_frames_of_zone_sums() {
    let plan = case().plan().unwrap();
    let private = ZoneId::new("private").unwrap();
    let public = ZoneId::new("public").unwrap();
    for border in [border(&private, &public), border(&public, &private)] {
        let step = &plan.bytes_per_step[&border];
        // Each owner sends its half of the arena once, in one frame or two: header and f32 elements.
        let payload = 4 * ARENA_ELEMS as u64;
        assert!([1, 2, 3].map(|frames| payload + 64 * frames).contains(&step["gradient-sum"]), "{step:?}");
        assert_eq!(step["metrics"] % 8, 0);
        assert_eq!(step.len(), 2, "only gradient sums and metrics cross at a step: {step:?}");
        // Steps 30, 60, 90 and 100.
        assert_eq!(plan.evaluations, 4);
        let total = &plan.total_bytes[&border];
        assert_eq!(total["gradient-sum"], 100 * step["gradient-sum"]);
        assert_eq!(
            total["metrics"],
            100 * step["metrics"] + 4 * plan.bytes_per_evaluation[&border]["metrics"]
        );
        assert_eq!(total["statistics"], plan.statistics_bytes[&border]["statistics"]);
    }
}

#[test]
fn one_zone_sends_nothing_over_a_border() {
    let mut case = case();
    workers(&mut case, &[("private", 1)]);
    let plan = case.plan().unwrap();
    assert!(plan.total_bytes.is_empty());
}

#[test]
fn the_same_inputs_give_the_same_plan() {
    assert_eq!(case().plan().unwrap(), case().plan().unwrap());
}

#[test]
fn a_shard_that_no_worker_may_hold_is_refused() {
    let mut case = case();
    workers(&mut case, &[("public", 2)]);
    assert_eq!(
        case.refusal(),
        "no worker may hold shard `secret` (restricted: home `private` alone): there are no workers in zone `private`"
    );
}

#[test]
fn counts_of_workers_are_checked_together() {
    let mut case = case();
    workers(&mut case, &[("private", 0)]);
    assert_eq!(case.refusal(), "zero workers are asked for");
    workers(&mut case, &[("moon", 2), ("private", 65)]);
    assert_eq!(
        case.refusal(),
        "workers are asked of pool `moon`, which the cluster does not have: its pools are `private`, `public`\n65 \
         workers are asked of pool `private`, which has 64 slots"
    );
}

#[test]
fn a_lone_worker_never_sends_its_gradient_over_a_border() {
    let mut case = case();
    workers(&mut case, &[("private", 2), ("public", 1)]);
    assert_eq!(
        case.refusal(),
        "zone `public` has 1 of the 2 workers whose gradients must be summed before they cross a border \
         (policy.min_contributors)"
    );
    case.job.policy.min_contributors = 1;
    owner(&mut case).min_contributors = Some(1);
    let plan = case.plan().unwrap();
    assert!(plan.warnings[0].contains("min_contributors is 1"), "{:?}", plan.warnings);
}

/// Who writes the job cannot lower what the owner of its data has set, or left at the defaults.
#[test]
fn floors_below_the_owners_are_refused_where_sums_leave() {
    let mut case = case();
    let policy = case.job.policy.clone();
    (case.job.policy.min_contributors, case.job.policy.min_rows) = (1, 29);
    let text = |key, floor, job| {
        format!(
            "sums with shard `secret` may leave a zone at {key} of at least {floor}, as its manifest says, but \
             the job has policy.{key} = {job}"
        )
    };
    assert_eq!(case.refusal(), text("min_contributors", 2, 1));
    owner(&mut case).min_contributors = Some(1);
    assert_eq!(case.refusal(), text("min_rows", 30, 29));
    owner(&mut case).min_rows = Some(29);
    assert!(case.plan().is_ok());

    case.job.policy = policy;
    owner(&mut case).min_rows = Some(31);
    assert_eq!(case.refusal(), text("min_rows", 31, 30));
    // Inside its zone nothing leaves, and what is public has no floor.
    workers(&mut case, &[("private", 1)]);
    assert!(case.plan().is_ok());
    workers(&mut case, &[("private", 2), ("public", 2)]);
    case.job.shards.remove(0);
    assert!(case.plan().is_ok());
}

fn owner(case: &mut Case) -> &mut ShardManifest {
    case.manifests.get_mut(&ShardId::new("secret").unwrap()).unwrap()
}

#[test]
fn each_step_needs_enough_contributors() {
    let mut case = case();
    case.job.train.batch = 3;
    let refusal = case.refusal();
    assert!(refusal.contains("hold samples, but gradients of at least 2 must be summed"), "{refusal}");
}

#[test]
fn sums_over_few_rows_do_not_cross() {
    let mut case = case();
    case.job.shards.pop();
    case.shard("few", 100, Sensitivity::Restricted, Some("private"));
    case.shard("open-too", 100, Sensitivity::Public, None);
    case.job.shards.remove(0);
    // The public shard's rows are dealt to all four: 10 held-out rows are read in zone `public`.
    assert_eq!(
        case.refusal(),
        "zone `public` has 10 held-out rows, but sums over fewer than 30 may not cross a border (policy.min_rows)"
    );
}

#[test]
fn nothing_can_be_trained_or_evaluated_without_samples() {
    let mut tiny = case();
    tiny.job.shards.truncate(1);
    workers(&mut tiny, &[("private", 4)]);
    for (rows, expected) in [
        (3, "there are 2 training samples for 4 workers"),
        (
            0,
            "there are 0 training samples for 4 workers\nnothing is held out: 0 samples at data.held_out = 0.2 leave \
             none to evaluate on",
        ),
    ] {
        let columns = Vec::new();
        let manifest = tiny.manifests.values_mut().find(|manifest| manifest.id.as_str() == "secret").unwrap();
        manifest.content = Content::Csv { rows, columns };
        assert_eq!(tiny.refusal(), expected);
    }
}

#[test]
fn hidden_workers_are_linked_inside_their_zone_only() {
    let mut case = case();
    case.cluster.pools[0].reachable = false;
    case.plan().unwrap();
    case.cluster.pools[1].reachable = false;
    assert_eq!(case.refusal(), "private-0 and public-0 cannot reach each other: neither pool is `reachable`");
}

#[test]
fn residency_that_makes_no_sense_is_refused() {
    let mut case = case();
    case.shard("lost", 100, Sensitivity::Restricted, Some("public"));
    assert!(case.refusal().contains("its home `public` is a public zone"));
}

#[test]
fn a_public_zone_without_movable_data_is_warned_about() {
    let mut case = case();
    case.job.shards.truncate(1);
    let plan = case.plan().unwrap();
    assert_eq!(
        plan.warnings,
        ["no shard may be held in zone `public`: its 2 workers get no samples and only take part in sums"]
    );
}

#[test]
fn internal_shards_stay_with_their_owner() {
    let mut case = case();
    let zone = |name: &str, trust, owner: &str| Zone::new(ZoneId::new(name).unwrap(), trust, owner);
    let pool = |name: &str| Pool {
        name: PoolId::new(name).unwrap(),
        zone: ZoneId::new(name).unwrap(),
        ..case.cluster.pools[0].clone()
    };
    case.cluster = Cluster {
        zones: vec![
            zone("here", Trust::Private, "us"),
            zone("there", Trust::Public, "us"),
            zone("them", Trust::Private, "them"),
        ],
        pools: vec![pool("here"), pool("there"), pool("them")],
        launcher_zone: None,
        prices: None,
        network: hcrun_protocol::cluster::Network::default(),
    };
    assert_eq!(case.cluster.pools[0].backend, Backend::Local);
    case.job.shards.clear();
    case.shard("ours", 1_000, Sensitivity::Internal, Some("here"));
    workers(&mut case, &[("them", 2), ("there", 2), ("here", 2)]);
    let plan = case.plan().unwrap();
    // Ranks follow the cluster file, not the alphabet of the job's pools.
    let slots: Vec<String> = plan.placement.workers.iter().map(|worker| worker.slot.to_string()).collect();
    assert_eq!(slots, ["here-0", "here-1", "there-0", "there-1", "them-0", "them-1"]);
    assert_eq!(plan.placement.shards[0].slots.len(), 4);
}
