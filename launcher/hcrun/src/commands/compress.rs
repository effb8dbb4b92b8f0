//! `hcrun compress`: a smaller checkpoint of a trained model, and what that costs.

use std::path::PathBuf;

use hcrun_engine::checkpoint::{self, WriteError};
use hcrun_engine::compress::{self as packing, Settings, restore_arena};
use hcrun_engine::model::Model;

use super::trained::{self, Trained};
use crate::cli::{CompressArgs, Global};
use crate::codes;
use crate::compress::held_out::{self, HeldOut};
use crate::compress::report::{Report, Sizes};
use crate::compress::{evaluation, timing};
use crate::failure::{Failure, Result};
use crate::output::Output;

/// Rows or windows computed at once.
const BATCH: usize = 64;

pub(crate) fn compress(args: &CompressArgs, global: &Global, output: &Output) -> Result<()> {
    let settings = Settings { quantize: args.quantize, prune: args.prune };
    let source = trained::find(&global.runs_dir, &args.run, output)?;
    let trained = &source.model;
    if trained.compression.is_some() {
        return Err(Failure::new(&codes::CHECKPOINT_COMPRESSED, "the checkpoint is compressed already")
            .at(source.path.display().to_string()));
    }
    let out = out(args, &source, &settings);
    refuse_existing(&out)?;

    let spec = trained.model.spec().map_err(|error| internal(&error))?;
    let profile = spec.profile();
    let packed = packing::compress(&profile.segments, &trained.params, &settings).map_err(|error| {
        Failure::new(&codes::WEIGHTS_UNUSABLE, "the model cannot be compressed")
            .at(source.path.display().to_string())
            .caused_by(&error)
    })?;
    let restored = restore_arena(&profile.segments, &packed, profile.arena_elems);

    let held_out = held_out::open(source.run.as_ref(), trained, &args.data, args.rows)?;
    let mut model = Model::new(spec, BATCH);
    let evaluation = evaluation::compare(&mut model, trained, &restored, &held_out)?;
    if let Some(tolerance) = args.tolerance {
        evaluation::judge(evaluation.as_ref(), tolerance)?;
    }
    let forward = timing::compare(&mut model, &trained.model, &trained.params, &restored)?;

    let written =
        checkpoint::write_compressed(&out, &source.path, &trained.meta, &trained.model, &packed, &settings)
            .map_err(|error| unwritten(&error, &out))?;
    let again = checkpoint::load_model(&written.path).map_err(|error| internal(&error))?;
    let Some(compression) = again.compression.filter(|_| again.params == restored) else {
        return Err(Failure::new(&codes::INTERNAL, "what was written does not restore to what was measured")
            .at(written.path.display().to_string()));
    };
    let HeldOut { not_opened, .. } = held_out;
    let sizes =
        Sizes::measure(&source.path, &written.path, &compression).map_err(|error| internal(&error))?;
    let steps = trained.meta.step.0;
    let report =
        Report::new(&source.path, &written.path, steps, &compression, sizes, evaluation, not_opened, forward);
    output.answer(&report, || report.to_text());
    Ok(())
}

/// Beside the checkpoint, where only names of whole steps count as checkpoints of the run.
fn out(args: &CompressArgs, source: &Trained, settings: &Settings) -> PathBuf {
    args.out.clone().unwrap_or_else(|| {
        let mut name = source.path.file_name().unwrap_or_default().to_owned();
        if let Some(bits) = settings.quantize {
            name.push(format!("-{}", bits.name()));
        }
        if let Some(share) = settings.prune {
            name.push(format!("-pruned-{}", f64::from(share.millionths()) / 1e6));
        }
        source.path.with_file_name(name)
    })
}

fn refuse_existing(out: &PathBuf) -> Result<()> {
    let is_free = match std::fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => std::fs::symlink_metadata(out).is_err(),
    };
    if is_free {
        return Ok(());
    }
    Err(Failure::new(&codes::WOULD_OVERWRITE, "the folder to write is already there")
        .at(out.display().to_string())
        .hint("name another folder with --out, or remove this one"))
}

fn unwritten(error: &WriteError, out: &std::path::Path) -> Failure {
    let failure = |code| {
        Failure::new(code, "the compressed checkpoint cannot be written").at(out.display().to_string())
    };
    match error {
        WriteError::DiskFull { bytes, .. } => failure(&codes::DISK_FULL)
            .because(format!("the disk is full: {bytes} bytes are needed"))
            .hint("free some space, or name a folder on another disk with --out"),
        error => failure(&codes::OUTPUT_UNWRITABLE).caused_by(error),
    }
}

fn internal(error: &dyn std::error::Error) -> Failure {
    Failure::new(&codes::INTERNAL, "the model cannot be compressed").caused_by(error)
}
