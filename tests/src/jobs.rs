//! Small jobs over made-up data, with manifests as `hcrun shard index` writes them.

use std::fmt::Write;
use std::path::PathBuf;

use crate::Lab;

/// A job to be written; start from [`Job::tables`] or [`Job::text`] and change what the test is about.
#[derive(Debug, Clone)]
pub struct Job {
    /// Top-level lines before the tables.
    pub head: String,
    /// Lines of `[train]`.
    pub train: String,
    /// Lines of `[exchange]`.
    pub exchange: String,
    pub shards: Vec<Shard>,
}

#[derive(Debug, Clone)]
pub struct Shard {
    pub id: String,
    /// None is public.
    pub home: Option<String>,
    pub file: String,
    pub contents: String,
}

impl Job {
    /// A small net over two tables, one restricted to the private zone: two private and two public workers.
    pub fn tables() -> Job {
        let shard = |id: &str, home: Option<&str>, seed: u64| Shard {
            id: id.to_owned(),
            home: home.map(str::to_owned),
            file: format!("{id}.csv"),
            contents: table(400, seed),
        };
        Job {
            head: "name = \"tables\"\n\
                   model = { kind = \"mlp\", hidden = [16] }\n\
                   data = { format = \"csv\", held_out = 0.25, target = \"label\", classes = [\"no\", \"yes\"] }\n\
                   workers = { private = 2, public = 2 }\n"
                .to_owned(),
            train: "loss = \"cross-entropy\"\noptimizer = \"adamw\"\nlearning_rate = 1e-3\nbatch = 16\n".to_owned(),
            exchange: String::new(),
            shards: vec![shard("secret", Some("private"), 1), shard("open", None, 2)],
        }
    }

    /// A small GPT over two texts, one restricted to the private zone: two private and two public workers.
    pub fn text() -> Job {
        let shard = |id: &str, home: Option<&str>, seed: u64| Shard {
            id: id.to_owned(),
            home: home.map(str::to_owned),
            file: format!("{id}.txt"),
            contents: text(16_000, seed),
        };
        Job {
            head: "name = \"text\"\n\
                   model = { kind = \"gpt\", layers = 1, width = 16, heads = 2, context = 16 }\n\
                   data = { format = \"text\", held_out = 0.1 }\n\
                   workers = { private = 2, public = 2 }\n"
                .to_owned(),
            train: "loss = \"cross-entropy\"\noptimizer = \"adamw\"\nlearning_rate = 1e-3\nbatch = 8\n"
                .to_owned(),
            exchange: String::new(),
            shards: vec![shard("secret", Some("private"), 3), shard("open", None, 4)],
        }
    }

    /// Adds lines to `[train]`.
    pub fn train(mut self, lines: &str) -> Job {
        self.train.push_str(lines);
        self.train.push('\n');
        self
    }

    /// Adds lines to `[exchange]`.
    pub fn exchange(mut self, lines: &str) -> Job {
        self.exchange.push_str(lines);
        self.exchange.push('\n');
        self
    }

    pub fn to_toml(&self) -> String {
        let mut toml = format!("{}[train]\n{}[exchange]\n{}", self.head, self.train, self.exchange);
        for Shard { id, home, file, .. } in &self.shards {
            let (sensitivity, home) = match home {
                Some(home) => ("restricted", format!("home = \"{home}\"\n")),
                None => ("public", String::new()),
            };
            write!(
                toml,
                "[[shard]]\nid = \"{id}\"\npath = \"{file}\"\nsensitivity = \"{sensitivity}\"\n{home}"
            )
            .unwrap();
        }
        toml
    }

    /// Writes job file and data, and indexes the shards. Returns the job file.
    #[track_caller]
    pub fn write(&self, lab: &Lab) -> PathBuf {
        for shard in &self.shards {
            lab.write(&shard.file, &shard.contents);
        }
        let path = lab.write("job.toml", self.to_toml());
        lab.hcrun(["shard", "index", "job.toml"]).succeed();
        path
    }
}

/// Rows with two numbers and a label that follows from them.
fn table(rows: usize, seed: u64) -> String {
    let mut draw = draws(seed);
    let mut text = "x,y,label\n".to_owned();
    for _ in 0..rows {
        let (x, y) = (draw() % 2_000, draw() % 2_000);
        let label = if x + y > 2_000 { "yes" } else { "no" };
        writeln!(text, "{}.{:03},{}.{:03},{label}", x / 1_000, x % 1_000, y / 1_000, y % 1_000).unwrap();
    }
    text
}

fn text(bytes: usize, seed: u64) -> String {
    const WORDS: [&str; 8] = ["the ", "house ", "was ", "quiet, ", "and ", "nobody ", "came. ", "again\n"];
    let mut draw = draws(seed);
    let mut text = String::new();
    while text.len() < bytes {
        text.push_str(WORDS[usize::try_from(draw() % 8).unwrap()]);
    }
    text
}

/// Numbers that look random and are the same each time (splitmix64).
fn draws(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
