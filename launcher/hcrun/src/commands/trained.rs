//! The trained model that a command line names: of a run, or in the folder of a checkpoint.

use std::path::{Path, PathBuf};

use hcrun_engine::checkpoint::{self, LoadError, TrainedModel};

use super::resume::newest_checkpoint;
use crate::codes::{self, Code};
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::run_dir::{RunDir, files};

pub(super) struct Trained {
    pub(super) model: TrainedModel,
    /// The checkpoint's folder.
    pub(super) path: PathBuf,
    /// Where the checkpoint lies in a run directory.
    pub(super) run: Option<RunDir>,
}

/// A run is named as everywhere, a checkpoint by its folder.
pub(super) fn find(runs_dir: &Path, name: &str, output: &Output) -> Result<Trained> {
    let Some(path) = checkpoint_folder(runs_dir, name) else {
        let run = RunDir::open(runs_dir, name)?;
        let found = newest_checkpoint(&run, output)?;
        let checkpoint::Checkpoint { meta, model, params, .. } = found.checkpoint;
        let model = TrainedModel { meta, model, params, compression: None };
        return Ok(Trained { model, path: found.path, run: Some(run) });
    };
    let model = checkpoint::load_model(&path).map_err(|error| unusable(&path, &error))?;
    let run = path.parent().and_then(Path::parent).map(|run| RunDir { path: run.to_owned() });
    Ok(Trained { model, path, run: run.filter(|run| run.file(files::JOB).is_file()) })
}

/// Training does not go on from a compressed checkpoint.
pub(super) fn refuse_compressed(runs_dir: &Path, name: &str) -> Result<()> {
    let Some(path) = checkpoint_folder(runs_dir, name) else { return Ok(()) };
    match checkpoint::load(&path) {
        Err(error @ LoadError::Compressed { .. }) => Err(unusable(&path, &error)),
        _ => Ok(()),
    }
}

pub(super) fn code(error: &LoadError) -> &'static Code {
    match error {
        LoadError::Newer { .. } => &codes::CHECKPOINT_NEWER,
        LoadError::Compressed { .. } => &codes::CHECKPOINT_COMPRESSED,
        _ => &codes::CHECKPOINT_MISSING,
    }
}

fn unusable(path: &Path, error: &LoadError) -> Failure {
    let failure = Failure::new(code(error), "the checkpoint cannot be used")
        .at(path.display().to_string())
        .caused_by(error);
    match error {
        LoadError::Newer { .. } | LoadError::Compressed { .. } => failure,
        _ => failure
            .hint("copy the folder again from where it was whole, or make it again with `hcrun compress`"),
    }
}

fn checkpoint_folder(runs_dir: &Path, name: &str) -> Option<PathBuf> {
    let folder = [runs_dir.join(name), PathBuf::from(name)].into_iter().find(|path| path.is_dir())?;
    let folder = std::fs::canonicalize(&folder).unwrap_or(folder);
    checkpoint::is_checkpoint(&folder).then_some(folder)
}
