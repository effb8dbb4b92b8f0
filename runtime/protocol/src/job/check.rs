//! The ranges of a job's settings, in the order of the file.

use crate::link::MAX_LANES;

use super::{Algorithm, Data, Job, JobError, Loss, Model};

/// More than this in one tensor or arena overflows nothing but is certainly a typing error.
const MAX_DIMENSION: u32 = 1 << 20;
const MAX_STEPS: u64 = 1 << 40;
const MAX_BATCH: u32 = 1 << 20;
const MAX_SEGMENT_BYTES: u64 = 16 << 20;
const MIN_SEGMENT_BYTES: u64 = 4 << 10;

pub(super) fn check(job: &Job) -> Result<(), JobError> {
    crate::ids::PoolId::new(job.name.clone())
        .map_err(|_| wrong("name", &job.name, "use 1 to 40 lower-case letters, digits and `-`"))?;
    check_model(&job.model)?;
    check_data(job)?;
    check_train(job)?;
    check_exchange(job)?;
    if job.workers.values().all(|count| *count == 0) {
        return Err(wrong("workers", "zero in total", "at least one worker is needed"));
    }
    if job.policy.min_contributors == 0 {
        return Err(wrong("policy.min_contributors", 0, "must be at least 1"));
    }
    check_shards(job)
}

fn check_model(model: &Model) -> Result<(), JobError> {
    let dimension = |key: &str, value: u32| {
        if (1..=MAX_DIMENSION).contains(&value) {
            return Ok(());
        }
        Err(wrong(key, value, &format!("must be between 1 and {MAX_DIMENSION}")))
    };
    match model {
        Model::Gpt { layers, width, heads, context } => {
            dimension("model.layers", *layers)?;
            dimension("model.width", *width)?;
            dimension("model.heads", *heads)?;
            dimension("model.context", *context)?;
            if width % heads != 0 {
                return Err(wrong("model.heads", heads, &format!("must divide model.width = {width}")));
            }
            Ok(())
        }
        Model::Mlp { hidden } => hidden.iter().try_for_each(|width| dimension("model.hidden", *width)),
    }
}

fn check_data(job: &Job) -> Result<(), JobError> {
    let held_out = match &job.data {
        Data::Text { held_out } | Data::Csv { held_out, .. } => *held_out,
    };
    if !(held_out > 0.0 && held_out < 1.0) {
        return Err(wrong("data.held_out", held_out, "must lie between 0 and 1, both excluded"));
    }
    match (&job.model, &job.data, job.train.loss) {
        (Model::Gpt { .. }, Data::Csv { .. }, _) => {
            Err(wrong("data.format", "csv", "a gpt reads format = \"text\""))
        }
        (Model::Mlp { .. }, Data::Text { .. }, _) => {
            Err(wrong("data.format", "text", "an mlp reads format = \"csv\""))
        }
        (Model::Gpt { .. }, _, Loss::Mse) => {
            Err(wrong("train.loss", "mse", "a gpt is trained with \"cross-entropy\""))
        }
        (_, Data::Csv { classes, .. }, Loss::CrossEntropy) if classes.len() < 2 => Err(wrong(
            "data.classes",
            format!("{classes:?}"),
            "cross-entropy needs the target's classes, at least two",
        )),
        (_, Data::Csv { classes, .. }, Loss::Mse) if !classes.is_empty() => {
            Err(wrong("data.classes", format!("{classes:?}"), "mse predicts a number; leave classes out"))
        }
        _ => Ok(()),
    }
}

fn check_train(job: &Job) -> Result<(), JobError> {
    let train = &job.train;
    let positive = |key: &str, value: f64| {
        if value.is_finite() && value > 0.0 {
            return Ok(());
        }
        Err(wrong(key, value, "must be a positive number"))
    };
    let fraction = |key: &str, value: f64| {
        if (0.0..1.0).contains(&value) {
            return Ok(());
        }
        Err(wrong(key, value, "must be at least 0 and below 1"))
    };
    let not_negative = |key: &str, value: f64| {
        if value.is_finite() && value >= 0.0 {
            return Ok(());
        }
        Err(wrong(key, value, "must be a number that is not negative"))
    };
    positive("train.learning_rate", train.learning_rate)?;
    not_negative("train.final_learning_rate", train.final_learning_rate)?;
    not_negative("train.weight_decay", train.weight_decay)?;
    fraction("train.momentum", train.momentum)?;
    fraction("train.betas", train.betas[0])?;
    fraction("train.betas", train.betas[1])?;
    positive("train.epsilon", train.epsilon)?;
    not_negative("train.clip", train.clip)?;
    if !(1..=MAX_BATCH).contains(&train.batch) {
        return Err(wrong("train.batch", train.batch, &format!("must be between 1 and {MAX_BATCH}")));
    }
    if !(1..=train.batch).contains(&train.accumulation) {
        let rule = format!("must be between 1 and train.batch = {}", train.batch);
        return Err(wrong("train.accumulation", train.accumulation, &rule));
    }
    if !(1..=MAX_STEPS).contains(&train.steps) {
        return Err(wrong("train.steps", train.steps, "must be at least 1"));
    }
    if train.warmup_steps > train.steps {
        let rule = format!("must be at most train.steps = {}", train.steps);
        return Err(wrong("train.warmup_steps", train.warmup_steps, &rule));
    }
    Ok(())
}

fn check_exchange(job: &Job) -> Result<(), JobError> {
    let exchange = &job.exchange;
    let segment = exchange.segment_bytes.0;
    if !(MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&segment) || !segment.is_multiple_of(4096) {
        let rule = "must be a multiple of 4KiB between 4KiB and 16MiB";
        return Err(wrong("exchange.segment_bytes", exchange.segment_bytes, rule));
    }
    if !(4 << 10..=1 << 30).contains(&exchange.bucket_bytes.0) {
        return Err(wrong("exchange.bucket_bytes", exchange.bucket_bytes, "must be between 4KiB and 1GiB"));
    }
    if !(2..=600).contains(&exchange.detect_within_s) {
        let rule = "must be between 2 and 600 seconds";
        return Err(wrong("exchange.detect_within_s", exchange.detect_within_s, rule));
    }
    if !(1..=MAX_LANES).contains(&usize::from(exchange.lanes)) {
        return Err(wrong("exchange.lanes", exchange.lanes, "must be between 1 and 16"));
    }
    if exchange.algorithm == Algorithm::Ring && exchange.codec.is_lossy() {
        let rule = "a ring would round every partial sum: use \"zoned\" or \"direct\"";
        return Err(wrong("exchange.codec", exchange.codec, rule));
    }
    let pools = job.workers.values().filter(|count| **count > 0).count();
    if exchange.algorithm != Algorithm::Zoned && pools > 1 {
        let rule = "only \"zoned\" may be used by more than one pool: the others send single gradients";
        return Err(wrong("exchange.algorithm", format!("{:?}", exchange.algorithm), rule));
    }
    Ok(())
}

fn check_shards(job: &Job) -> Result<(), JobError> {
    if job.shards.is_empty() {
        return Err(wrong("shard", "empty", "at least one [[shard]] is needed"));
    }
    for (index, shard) in job.shards.iter().enumerate() {
        let key = format!("shard[{index}]");
        if job.shards[..index].iter().any(|other| other.id == shard.id) {
            return Err(wrong(&format!("{key}.id"), &shard.id, "is used by an earlier shard"));
        }
        if shard.home.is_none() && shard.sensitivity != crate::manifest::Sensitivity::Public {
            let rule = "every shard that is not public names its home zone";
            return Err(wrong(&format!("{key}.home"), "missing", rule));
        }
    }
    Ok(())
}

fn wrong(key: &str, got: impl ToString, rule: &str) -> JobError {
    JobError { key: key.to_owned(), got: got.to_string(), rule: rule.to_owned() }
}
