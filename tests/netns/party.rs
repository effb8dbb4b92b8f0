//! A launcher that waits, and the workers that join it.

use std::path::PathBuf;
use std::time::Duration;

use hcrun_tests::netns::Network;
use hcrun_tests::{Command, Ended, Job, Lab, Run, Started, until};

/// Two private and two public workers.
pub(crate) struct Party {
    pub(crate) lab: Lab,
    pub(crate) network: Option<Network>,
    pub(crate) launcher: Started,
    pub(crate) run: Run,
}

pub(crate) const SLOTS: [&str; 4] = ["private-0", "private-1", "public-0", "public-1"];

const CLUSTER: &str = r#"
[[zone]]
name = "private"
trust = "private"
owner = "us"
[[zone]]
name = "public"
trust = "public"
owner = "cloud"
[[pool]]
name = "private"
zone = "private"
slots = 2
{private}
[[pool]]
name = "public"
zone = "public"
slots = 2
{public}
"#;

const PATIENCE: Duration = Duration::from_secs(40);

impl Party {
    /// `private` and `public` are lines of the two pools, which are manual unless these say otherwise. The
    /// launcher is on a host of the network, or on loopback without one.
    #[track_caller]
    pub(crate) fn wait(lab: Lab, network: Option<Network>, job: &Job, private: &str, public: &str) -> Party {
        job.write(&lab);
        let lines = |lines: &str| {
            let backend = if lines.contains("backend") { "" } else { "backend = \"manual\"\n" };
            format!("{backend}{lines}")
        };
        let cluster = CLUSTER.replace("{private}", &lines(private)).replace("{public}", &lines(public));
        lab.write("cluster.toml", cluster);
        for (folder, files) in [("private", &["secret", "open"][..]), ("public", &["open"])] {
            for file in files {
                let name = format!("{file}.csv");
                let contents = std::fs::read(lab.path().join(&name)).unwrap();
                lab.write(&format!("{folder}/{name}"), contents);
            }
        }
        let address = network.as_ref().map_or("127.0.0.1".to_owned(), |network| network.address(LAUNCHER));
        let args = ["run", "job.toml", "--wait-for-workers", "--listen", &address];
        let command = match &network {
            Some(network) => network.hcrun(&lab, LAUNCHER, args),
            None => lab.hcrun(args),
        };
        let mut launcher = command.start();
        let run = launcher.run();
        until("the instructions", PATIENCE, || {
            launcher.assert_alive();
            launcher.stderr().contains("hcrun worker --bundle public-1.json").then_some(())
        });
        Party { lab, network, launcher, run }
    }

    /// The slot's bundle as somebody copies it to another host.
    pub(crate) fn bundle(&self, slot: &str) -> PathBuf {
        let copy = self.lab.path().join(format!("{slot}.json"));
        std::fs::copy(self.run.file(&format!("bundles/{slot}.json")), &copy).unwrap();
        copy
    }

    /// The worker of a slot on a host, with the files that its zone may hold.
    pub(crate) fn worker(&self, slot: &str, host: &str) -> Command {
        let (pool, _) = slot.split_once('-').unwrap();
        self.worker_with(slot, host, pool)
    }

    /// The same with any data root.
    pub(crate) fn worker_with(&self, slot: &str, host: &str, data_root: &str) -> Command {
        let bundle = self.bundle(slot);
        let args = ["worker", "--bundle", bundle.to_str().unwrap(), "--data-root", data_root];
        match &self.network {
            Some(network) => network.hcrun(&self.lab, host, args),
            None => self.lab.hcrun(args),
        }
    }

    /// Starts all workers: the private ones on the second host, the public ones on the last two.
    pub(crate) fn join(&self) -> Vec<Started> {
        let hosts = ["a", "a", "b", if self.has("c") { "c" } else { "b" }];
        SLOTS.into_iter().zip(hosts).map(|(slot, host)| self.worker(slot, host).start()).collect()
    }

    fn has(&self, host: &str) -> bool {
        self.network.as_ref().is_some_and(|network| network.has(host))
    }

    /// The ends of launcher and workers.
    #[track_caller]
    pub(crate) fn end(self, workers: Vec<Started>) -> (Ended, Vec<Ended>, Run, Lab) {
        let launcher = self.launcher.end_within(PATIENCE);
        let workers = workers.into_iter().map(|worker| worker.end_within(PATIENCE)).collect();
        (launcher, workers, self.run, self.lab)
    }
}

/// Where the launcher is.
pub(crate) const LAUNCHER: &str = "l";
