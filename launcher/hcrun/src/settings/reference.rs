//! The reference pages of both settings files, from their tables of keys.

use super::cluster_keys::CLUSTER;
use super::job_keys::JOB;
use super::schema::{Key, Kind};

/// `docs/job-file.md` as it must read.
pub fn job_page() -> String {
    page(
        "The job file",
        "`job.toml` says what is trained and under which policy. Unknown keys are errors. `--set KEY=VALUE` changes a \
         key for one run, `--seed N` the seed.",
        JOB,
    )
}

/// `docs/cluster-file.md` as it must read.
pub fn cluster_page() -> String {
    page(
        "The cluster file",
        "`cluster.toml` says which zones and pools exist: given by `--cluster FILE`, else beside the job file, else this \
         machine with a private and a public zone, each with a pool of 64 slots and its zone's name.",
        CLUSTER,
    )
}

fn page(title: &str, intro: &str, keys: &[Key]) -> String {
    let mut page = format!(
        "# {title}\n\n{intro} This page is generated from `launcher/hcrun/src/settings`.\n\n\
         | key | value | default | meaning |\n| --- | --- | --- | --- |\n"
    );
    rows(&mut page, "", keys);
    page
}

fn rows(page: &mut String, path: &str, keys: &[Key]) {
    for key in keys {
        let name = format!("{path}{}", key.name);
        let default = match key.default {
            None => "needed".to_owned(),
            Some(default) => format!("`{default}`"),
        };
        let described = key.kind.describe();
        row(page, &name, &described, &default, key.doc);
        match &key.kind {
            Kind::Table(keys) => rows(page, &format!("{name}."), keys),
            Kind::Tables(keys) => rows(page, &format!("{name}[]."), keys),
            Kind::Tagged { tag, doc, variants } => {
                let words: Vec<String> = variants.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                row(page, &format!("{name}.{tag}"), &format!("one of {}", words.join(", ")), "needed", doc);
                for (word, keys) in *variants {
                    rows(page, &format!("{name} ({word})."), keys);
                }
            }
            _ => {}
        }
    }
}

fn row(page: &mut String, name: &str, value: &str, default: &str, doc: &str) {
    *page += &format!("| `{name}` | {} | {default} | {doc} |\n", value.replace('|', "\\|"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_pages_are_the_tables() {
        for (name, wanted) in [("job-file.md", job_page()), ("cluster-file.md", cluster_page())] {
            let path = format!("{}/../../docs/{name}", env!("CARGO_MANIFEST_DIR"));
            if std::env::var_os("HCRUN_BLESS").is_some() {
                std::fs::write(&path, &wanted).unwrap();
            }
            let page = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(page == wanted, "docs/{name} is stale: run with HCRUN_BLESS=1 to write it");
        }
    }
}
