//! From a job file to a plan: what `plan` prints is what `run` executes.

use std::collections::BTreeMap;

use hcrun_engine::data::schema::{Schema, SchemaError, common_columns};
use hcrun_engine::data::statistics::Sums;
use hcrun_engine::optimizer::state_names;
use hcrun_engine::spec::{DataShape, ModelSpec};
use hcrun_protocol::ShardId;
use hcrun_protocol::cluster::Cluster;
use hcrun_protocol::job::{Data, Job};
use hcrun_protocol::manifest::{Column, ShardManifest};
use hcrun_protocol::plan::Plan;
use hcrun_scheduling::{Choice, Constraint, Infeasible, Inputs};

use crate::cli::JobArgs;
use crate::codes;
use crate::failure::{Failure, Result};
use crate::job_file::{JobFile, resolved_toml};
use crate::manifests::MANIFESTS;
use crate::run_dir::{RunDir, files, unwritable};
use crate::{cluster_file, manifests};

/// Everything a run starts from.
#[derive(Debug)]
pub struct Prepared {
    pub file: JobFile,
    pub cluster: Cluster,
    pub manifests: BTreeMap<ShardId, ShardManifest>,
    pub model: ModelInputs,
    pub plan: Plan,
    /// What a strategy chose, if it was asked to.
    pub choice: Option<Choice>,
}

/// What follows from the data for the model.
#[derive(Debug)]
pub struct ModelInputs {
    pub spec: ModelSpec,
    /// Columns of the job's tables; empty for text.
    pub columns: Vec<Column>,
    /// None for text.
    pub schema: Option<Schema>,
}

pub fn prepare(args: &JobArgs) -> Result<Prepared> {
    let mut file = JobFile::from_args(args)?;
    let cluster = cluster_file::load(args.cluster.as_deref(), &file.directory())?;
    let manifests = manifests::load(&file, &cluster)?;
    let model =
        model_inputs(&file.job, &manifests).map_err(|failure| failure.at(file.path.display().to_string()))?;
    let choice = match &args.strategy {
        Some(strategy) => Some(choose(&file, &cluster, &manifests, &model, strategy, args.workers)?),
        None => None,
    };
    if let Some(choice) = &choice {
        file.job.workers.clone_from(&choice.workers);
        choice.strategy.clone_into(&mut file.job.policy.strategy);
    }
    let plan = plan(&file, &cluster, &manifests, &model)?;
    Ok(Prepared { file, cluster, manifests, model, plan, choice })
}

pub fn model_inputs(job: &Job, manifests: &BTreeMap<ShardId, ShardManifest>) -> Result<ModelInputs> {
    let (columns, schema, shape) = match &job.data {
        Data::Text { .. } => (Vec::new(), None, DataShape::Text { vocab: 256 }),
        Data::Csv { .. } => {
            // In the order of the job file, so that an error names the first shard that differs.
            let in_order = job.shards.iter().filter_map(|shard| manifests.get(&shard.id));
            let columns = common_columns(in_order).map_err(|error| unfit(&error))?;
            let schema = Schema::new(&job.data, &columns).map_err(|error| unfit(&error))?;
            let shape = DataShape::Table { features: schema.features, outputs: schema.outputs };
            (columns, Some(schema), shape)
        }
    };
    let spec = ModelSpec::new(&job.model, shape).map_err(|error| {
        Failure::new(&codes::JOB_OUT_OF_RANGE, "the model cannot be built").caused_by(&error)
    })?;
    Ok(ModelInputs { spec, columns, schema })
}

fn unfit(error: &SchemaError) -> Failure {
    Failure::new(&codes::DATA_MALFORMED, "the columns do not fit the job").caused_by(error)
}

pub fn plan(
    file: &JobFile,
    cluster: &Cluster,
    manifests: &BTreeMap<ShardId, ShardManifest>,
    model: &ModelInputs,
) -> Result<Plan> {
    with_inputs(file, cluster, manifests, model, hcrun_scheduling::plan)
}

fn choose(
    file: &JobFile,
    cluster: &Cluster,
    manifests: &BTreeMap<ShardId, ShardManifest>,
    model: &ModelInputs,
    strategy: &str,
    workers: Option<usize>,
) -> Result<Choice> {
    let asked = || file.job.workers.values().map(|count| usize::from(*count)).sum();
    let count = workers.unwrap_or_else(asked);
    with_inputs(file, cluster, manifests, model, |inputs| hcrun_scheduling::choose(inputs, strategy, count))
}

fn with_inputs<T>(
    file: &JobFile,
    cluster: &Cluster,
    manifests: &BTreeMap<ShardId, ShardManifest>,
    model: &ModelInputs,
    ask: impl FnOnce(&Inputs<'_>) -> Result<T, Infeasible>,
) -> Result<T> {
    let profile = model.spec.profile();
    let state_arenas = 1 + state_names(file.job.train.optimizer).len();
    let statistics_elems = model.schema.as_ref().map_or(0, Sums::elems);
    let inputs =
        Inputs { job: &file.job, cluster, manifests, profile: &profile, statistics_elems, state_arenas };
    ask(&inputs).map_err(|infeasible| no_placement(file, &infeasible))
}

fn no_placement(file: &JobFile, infeasible: &Infeasible) -> Failure {
    let name = &file.job.name;
    let laxer = |constraint: &Constraint| matches!(constraint, Constraint::BelowFloor(_));
    let mut failure = if infeasible.binding.iter().any(laxer) {
        Failure::new(
            &codes::MANIFEST_CONTRADICTS,
            format!("job `{name}` is laxer than the owner of a shard lets it be"),
        )
    } else {
        Failure::new(&codes::NO_PLACEMENT, format!("job `{name}` cannot be placed"))
    };
    let key = infeasible.binding.iter().find_map(|constraint| constraint.job_key());
    failure = failure.at(key.map_or_else(|| file.path.display().to_string(), |key| file.find(&key)));
    let mut remedies: Vec<String> = Vec::new();
    for constraint in &infeasible.binding {
        failure = failure.because(constraint.to_string());
        let remedy = constraint.remedy();
        if !remedies.contains(&remedy) {
            remedies.push(remedy);
        }
    }
    failure.hint(remedies.join("; and "))
}

impl Prepared {
    /// Keeps all that the run started from in its directory, so that [`prepare_run`] finds it there.
    pub fn save(&self, run: &RunDir) -> Result<()> {
        let mut job = self.file.job.clone();
        for shard in &mut job.shards {
            if let Some(path) = &shard.path {
                let path = self.file.directory().join(path);
                let path = std::path::absolute(&path).unwrap_or(path);
                shard.path = Some(path.to_string_lossy().into_owned());
            }
        }
        run.write(files::JOB, resolved_toml(&job).as_bytes())?;
        let cluster =
            toml::to_string(&self.cluster).expect("a cluster has string keys: it was read from TOML");
        run.write(files::CLUSTER, cluster.as_bytes())?;
        let manifests = run.file(MANIFESTS);
        std::fs::create_dir_all(&manifests).map_err(|error| unwritable(&manifests, &error))?;
        for (id, manifest) in &self.manifests {
            let text = serde_json::to_vec(manifest).expect("a manifest has string keys only");
            run.write(&format!("{MANIFESTS}/{id}.json"), &text)?;
        }
        let plan = serde_json::to_vec_pretty(&self.plan).expect("a plan has string keys only");
        run.write(files::PLAN, &plan)
    }
}

/// What a run started from, with changes laid over it: for `resume`.
pub fn prepare_run(run: &RunDir, set: &[String]) -> Result<Prepared> {
    prepare(&JobArgs {
        job: run.file(files::JOB),
        cluster: None,
        seed: None,
        set: set.to_vec(),
        strategy: None,
        workers: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(example: &str) -> JobArgs {
        let job = format!("{}/../../examples/{example}/job.toml", env!("CARGO_MANIFEST_DIR"));
        JobArgs { job: job.into(), cluster: None, seed: None, set: Vec::new(), strategy: None, workers: None }
    }

    #[test]
    fn a_run_directory_prepares_the_same_plan_again() {
        let runs = tempfile::tempdir().unwrap();
        let run = RunDir::create(runs.path(), "hospital", 1).unwrap();
        let prepared = prepare(&args("hospital")).unwrap();
        prepared.save(&run).unwrap();
        let again = prepare_run(&run, &[]).unwrap();
        assert_eq!((&again.plan, &again.cluster), (&prepared.plan, &prepared.cluster));
        assert_eq!(again.file.job.digest(), prepared.file.job.digest());
        let shard = &again.file.job.shards[0];
        assert!(crate::manifests::data_path(&again.file, shard).unwrap().is_file());
    }
}
