//! `hcrun init`: a small job that works as it stands, with comments to learn from.

use std::fs;
use std::io;
use std::path::Path;

use crate::cli::InitArgs;
use crate::codes;
use crate::failure::{Failure, Result};
use crate::job_file::JobFile;
use crate::manifests;
use crate::output::Output;

const FILES: [(&str, &str); 4] = [
    ("job.toml", include_str!("init/job.toml")),
    ("README.md", include_str!("init/README.md")),
    ("data/line.csv", include_str!("../../../../examples/factory/data/line-a.csv")),
    ("data/published.csv", include_str!("../../../../examples/factory/data/public.csv")),
];

pub(crate) fn init(args: &InitArgs, output: &Output) -> Result<()> {
    write(&args.dir)?;
    let job = args.dir.join("job.toml");
    output.answer(&serde_json::json!({ "job": job }), || {
        format!("wrote {dir}\nnext: hcrun run {}", job.display(), dir = args.dir.display())
    });
    Ok(())
}

fn write(directory: &Path) -> Result<()> {
    let place = || directory.display().to_string();
    let is_empty = match fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if !is_empty {
        let what = "something is there already, and it is no empty directory";
        return Err(Failure::new(&codes::WOULD_OVERWRITE, what).at(place()));
    }
    let fail = |error: io::Error| {
        Failure::new(&codes::FILE_UNREADABLE, "cannot write the example").at(place()).caused_by(&error)
    };
    fs::create_dir_all(directory.join("data")).map_err(fail)?;
    for (name, contents) in FILES {
        fs::write(directory.join(name), contents).map_err(fail)?;
    }
    // This machine is the home of what was just written.
    let file = JobFile::read(&directory.join("job.toml"), None, &[])?;
    for shard in &file.job.shards {
        manifests::write(&file, &manifests::index(&file, shard)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::JobArgs;

    #[test]
    fn what_is_written_can_be_planned_and_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("demo");
        write(&target).unwrap();
        let args = JobArgs {
            job: target.clone(),
            cluster: None,
            seed: None,
            set: Vec::new(),
            strategy: None,
            workers: None,
        };
        let plan = crate::prepare::prepare(&args).unwrap().plan;
        assert_eq!(plan.placement.workers.len(), 4);
        assert_eq!(write(&target).unwrap_err().code, &codes::WOULD_OVERWRITE);
        assert_eq!(write(&target.join("job.toml")).unwrap_err().code, &codes::WOULD_OVERWRITE);
    }
}
