//! Files that were asked for: checked before the work, whole or as they were.

use std::fs;
use std::time::Duration;

use hcrun_tests::{Lab, Signal, lab, until};

const TRACE: &str = "synthetic:jobs=20,rate=20";

fn compare(lab: &Lab, more: &[&str]) -> hcrun_tests::Command {
    let args = ["compare", "--trace", TRACE, "--cluster", "pool:8", "--strategy", "fifo-skip,srsf"];
    lab.hcrun(args).args(more)
}

fn names(lab: &Lab) -> Vec<String> {
    let entries = fs::read_dir(lab.path()).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_cannot_be_written_is_said_before_the_work() {
    let lab = lab!();
    lab.write("old.csv", "old");
    for (args, said) in [
        (&["--csv", "no/such/folder.csv"][..], "no/such/folder.csv"),
        (&["--report", "."][..], "is a directory"),
        (&["--csv", "old.csv", "--report", "./old.csv"][..], "cannot be the same file"),
    ] {
        // It would take hours.
        let ended = compare(&lab, args).args(["--seeds", "1000", "--check"]).fail(2);
        assert!(ended.stderr.contains(said) && ended.stderr.contains("HC2030"), "{ended}");
    }
    assert_eq!(names(&lab), ["old.csv"], "nothing else is left behind");
    assert_eq!(fs::read_to_string(lab.path().join("old.csv")).unwrap(), "old");
}

#[test]
fn a_full_disk_is_a_failure() {
    let lab = lab!();
    let ended = compare(&lab, &["--csv", "/dev/full"]).fail(2);
    assert!(
        ended.stderr.contains("cannot write the table") && ended.stderr.contains("No space left"),
        "{ended}"
    );
    assert!(names(&lab).is_empty(), "no report of figures that were not kept");
    let args = format!(
        "{} simulate --trace {TRACE} --cluster pool:8 --strategy srsf --json > /dev/full",
        lab.program()
    );
    let ended = std::process::Command::new("sh").args(["-c", &args]).output().unwrap();
    assert_eq!(ended.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("standard output"));
}

#[test]
fn the_report_stands_alone() {
    let lab = lab!();
    compare(&lab, &["--seeds", "2"]).succeed();
    assert_eq!(names(&lab), ["comparison.csv", "comparison.html"]);
    let html = fs::read_to_string(lab.path().join("comparison.html")).unwrap();
    let outside = html.replace("http://www.w3.org/2000/svg", "");
    for foreign in ["http", "<script", "<link", "src=", "@import", "url("] {
        assert!(!outside.contains(foreign), "{foreign}");
    }
    assert_eq!(html.matches("<svg").count(), 5, "completion, use, queue, a schedule of each");
}

#[test]
fn a_signal_leaves_what_is_complete() {
    let lab = lab!();
    // Simulations that take minutes together, one at a time, the fast ones first.
    let trace = "synthetic:jobs=3000,rate=60";
    let args = ["compare", "--trace", trace, "--cluster", "pool:64", "--strategy", "fifo-skip,sia"];
    let mut command = lab.hcrun(args).args(["--seeds", "500", "--threads", "1", "--json"]).start();
    // Outputs are opened once signals are seen.
    until("the outputs", Duration::from_secs(50), || {
        command.assert_alive();
        (names(&lab).len() == 2).then_some(())
    });
    command.signal(Signal::INT);
    let ended = command.end_within(Duration::from_secs(50));
    assert_eq!(ended.code(), Some(130), "{ended}");
    let document = ended.json();
    assert_eq!((&document["ok"], &document["interrupted"]), (&false.into(), &true.into()));
    assert!(document["notes"][0].as_str().unwrap().contains("of 1000 simulations"), "{document}");
    assert_eq!(names(&lab), ["comparison.csv", "comparison.html"]);
    let csv = fs::read_to_string(lab.path().join("comparison.csv")).unwrap();
    let rows: Vec<&str> = csv.lines().skip(1).collect();
    let left = rows.iter().filter(|row| row.ends_with(",interrupted")).count();
    assert!(rows.len() == 1_000 && left > 0, "{left} of {}", rows.len());
    let html = fs::read_to_string(lab.path().join("comparison.html")).unwrap();
    assert!(html.contains(">interrupted</span>") && html.contains("simulations that were complete"));
}
