//! A trained model made smaller: predictions stay, training does not go on from it, no restricted row is opened
//! unasked.

use hcrun_tests::{Job, Lab, lab};
use serde_json::Value;

use crate::inputs::assert_answer;
use crate::watch::Watch;

const RUN: [&str; 3] = ["run", "job.toml", "--quiet"];

/// 800 rows, 200 of them held out: 0.5 points are one row.
fn tables() -> Lab {
    let lab = lab!();
    let mut job = Job::tables().train("steps = 200");
    job.train = job.train.replace("1e-3", "3e-2");
    job.write(&lab);
    lab.hcrun(RUN).succeed();
    lab
}

/// The answer of `compress latest` with these arguments.
#[track_caller]
fn compress(lab: &Lab, args: &[&str]) -> Value {
    let all = ["compress", "latest", "--json"].iter().chain(args);
    lab.hcrun(all).succeed().json()["data"].clone()
}

#[test]
fn a_compressed_model_predicts_as_well() {
    let lab = tables();
    let evaluated = lab.run().summary()["eval"].clone();
    let both = ["--data", "secret"];
    for (quantize, ratio, points) in [("int8", 3.7, 0.5), ("int4", 7.0, 1.5)] {
        let out = format!("small-{quantize}");
        let args = [&["--quantize", quantize, "--out", &out][..], &both].concat();
        let report = compress(&lab, &args);
        let evaluation = &report["evaluation"];
        assert_eq!(evaluation["rows"], evaluated["samples"], "{report}");
        // The same rows as training held out, so the same result, but for the order of sums.
        let before = evaluation["before"]["accuracy"].as_f64().unwrap();
        assert_eq!(before, evaluated["accuracy"].as_f64().unwrap(), "{report}");
        assert!(evaluation["worse_points"].as_f64().unwrap() <= points, "{report}");
        // 16 x 2 and 2 x 16 weights, in a short block each: a scale for 32.
        let found = report["sizes"]["matrices"]["ratio"].as_f64().unwrap();
        assert!(found >= ratio, "{report}");

        let predicted = |model: &str| lab.hcrun(["predict", model, "open.csv"]).succeed().stdout;
        let (whole, small) = (predicted("latest"), predicted(&out));
        let classes = |text: &str| -> Vec<String> {
            text.lines().map(|line| line.split(',').next().unwrap().to_owned()).collect()
        };
        let pairs: Vec<(String, String)> = classes(&whole).into_iter().zip(classes(&small)).collect();
        assert_eq!(pairs.len(), 401);
        let differ = pairs.iter().filter(|(whole, small)| whole != small).count();
        assert!(differ <= if quantize == "int8" { 4 } else { 20 }, "{quantize}: {differ} rows differ");
        assert_ne!(whole, small, "{quantize}: probabilities of rounded weights");
    }
}

#[test]
fn pruned_weights_are_zero_and_bytes_are_those_on_the_disk() {
    let lab = tables();
    let report = compress(&lab, &["--prune", "0.5"]);
    assert!(report["sizes"]["zeros"].as_u64().unwrap() >= 32, "{report}");
    let out = std::path::PathBuf::from(report["out"].as_str().unwrap());
    assert_eq!(out.file_name().unwrap(), "step-200-pruned-0.5", "beside the checkpoint");
    let bytes: u64 =
        std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(report["sizes"]["checkpoint"]["after"], bytes);
    // The run goes on from its own checkpoint as before.
    lab.hcrun(["resume", "latest", "--quiet", "--set", "train.steps=210"]).succeed();
    assert_eq!(lab.run().summary()["steps"], 210);
}

#[test]
fn a_text_is_continued_by_a_compressed_model() {
    let lab = lab!();
    Job::text().train("steps = 30").write(&lab);
    lab.hcrun(RUN).succeed();
    let report = compress(&lab, &["--quantize", "int4", "--out", "small", "--rows", "20"]);
    let evaluation = &report["evaluation"];
    assert_eq!((&evaluation["rows"], &evaluation["counted"]), (&20.into(), &320.into()), "{report}");
    assert!(evaluation["worse_points"].as_f64().unwrap() <= 1.5, "{report}");
    // More than half of this model is its embedding, which keeps 8 bits.
    assert!(report["sizes"]["matrices"]["ratio"].as_f64().unwrap() >= 4.8, "{report}");
    lab.write("start.txt", "the house was ");
    let answer = lab.hcrun(["predict", "small", "start.txt", "--json"]).succeed().json();
    assert_eq!(answer["data"]["next"].as_array().unwrap().len(), 256);
}

/// Both restricted files lie within reach.
#[test]
fn restricted_rows_are_opened_only_when_they_are_named() {
    let lab = tables();
    let (secret, open) = (lab.path().join("secret.csv"), lab.path().join("open.csv"));
    let watch = Watch::new(&[&secret, &open]);
    let ended = lab.hcrun(["compress", "latest", "--quantize", "int8", "--out", "one"]).succeed();
    for words in ["evaluated on held-out rows of open\n", "not opened: secret (restricted: home `private`"] {
        assert!(ended.stdout.contains(words), "{words}: {ended}");
    }
    assert!(!watch.opened().contains(&secret), "the launcher opened a restricted file");
    // Its owner names it, where it lies.
    let elsewhere = lab.write("elsewhere/secret.csv", std::fs::read(&secret).unwrap());
    let named = format!("secret={}", elsewhere.display());
    let report = compress(&lab, &["--quantize", "int8", "--out", "two", "--data", &named]);
    assert_eq!(report["evaluation"]["shards"], serde_json::json!(["secret", "open"]));
    assert_eq!(report["not_opened"], serde_json::json!([]));
    lab.write("elsewhere/secret.csv", "x,y,label\n1,2,yes\n");
    let ended =
        lab.hcrun(["compress", "latest", "--quantize", "int8", "--out", "three", "--data", &named]).run();
    assert_answer("another file", &ended, 2, "HC2011", &["shard `secret`", "its manifest says"]);
    let ended = lab.hcrun(["compress", "latest", "--quantize", "int8", "--data", "sceret"]).run();
    assert_answer("a name", &ended, 2, "HC2001", &["no shard `sceret`", "secret, open"]);
}

#[test]
fn shards_of_two_homes_are_not_opened_by_one_process() {
    let lab = lab!();
    let mut job = Job::tables().train("steps = 4");
    job.shards[1].home = Some("other".to_owned());
    job.head = job.head.replace("public = 2", "other = 2");
    let zone = |name: &str| {
        format!(
            "[[zone]]\nname = \"{name}\"\ntrust = \"private\"\nowner = \"{name}\"\n\
             [[pool]]\nname = \"{name}\"\nzone = \"{name}\"\nslots = 4\n"
        )
    };
    lab.write("cluster.toml", format!("launcher_zone = \"private\"\n{}{}", zone("private"), zone("other")));
    job.write(&lab);
    lab.hcrun(RUN).succeed();
    let args = ["compress", "latest", "--quantize", "int8", "--data", "secret", "--data", "open"];
    let ended = lab.hcrun(args).run();
    assert_answer(
        "two homes",
        &ended,
        6,
        "HC6007",
        &["`open` is restricted: home `other`", "one zone at a time"],
    );
    // Nothing is opened, and nothing is claimed.
    let ended = lab.hcrun(["compress", "latest", "--quantize", "int8"]).succeed();
    assert!(ended.stdout.contains("not evaluated"), "{ended}");
    assert!(!ended.stdout.contains("accuracy  "), "{ended}");
    let args = ["compress", "latest", "--quantize", "int4", "--tolerance", "1"];
    assert_answer("no rows", &lab.hcrun(args).run(), 2, "HC2032", &["no held-out row may be opened here"]);
}

#[test]
fn what_cannot_be_done_with_a_compressed_model_is_refused() {
    let lab = tables();
    compress(&lab, &["--quantize", "int8", "--out", "small"]);
    let ended = lab.hcrun(["resume", "small"]).run();
    assert_answer("resume", &ended, 2, "HC2031", &["is compressed", "hcrun resume RUN"]);
    let ended = lab.hcrun(["compress", "small", "--quantize", "int4"]).run();
    assert_answer("again", &ended, 2, "HC2031", &["compressed already"]);
    for out in ["small", "runs/latest/checkpoints/step-200"] {
        let ended = lab.hcrun(["compress", "latest", "--quantize", "int8", "--out", out]).run();
        assert_answer(out, &ended, 2, "HC2018", &["already there", "--out"]);
    }
    // A checkpoint by its folder knows its run; a copy of it elsewhere does not.
    let step = ["compress", "runs/latest/checkpoints/step-200", "--quantize", "int8", "--out", "by-folder"];
    let ended = lab.hcrun(step).succeed();
    assert!(ended.stdout.contains("evaluated on held-out rows of open"), "{ended}");
    std::fs::rename(lab.run().file("checkpoints/step-200"), lab.path().join("moved")).unwrap();
    let ended = lab.hcrun(["compress", "moved", "--prune", "0.9", "--out", "from-moved"]).succeed();
    assert!(ended.stdout.contains("not opened: any shard (the checkpoint is in no run directory"), "{ended}");

    // In the place of a run's only checkpoint.
    std::fs::rename(lab.path().join("small"), lab.run().file("checkpoints/step-200")).unwrap();
    for args in [&["resume", "latest", "--set", "train.steps=300"][..], &["predict", "latest", "open.csv"]] {
        assert_answer("in its place", &lab.hcrun(args).run(), 2, "HC2031", &["step-200 is compressed"]);
    }
}

#[test]
fn a_worse_model_than_is_tolerated_is_not_kept() {
    let lab = tables();
    let args = ["compress", "latest", "--prune", "0.97", "--out", "worse", "--tolerance", "0.5"];
    let ended = lab.hcrun(args).run();
    assert_answer("worse", &ended, 2, "HC2032", &["points less accuracy", "and 0.5 are allowed"]);
    assert!(!lab.path().join("worse").exists());
    compress(&lab, &["--quantize", "int8", "--out", "good", "--tolerance", "1"]);
    assert!(lab.path().join("good").is_dir());
    for (args, word) in [(&["--prune", "1"][..], "above 0 and below 1"), (&[], "--quantize")] {
        let ended = lab.hcrun([&["compress", "latest"], args].concat()).fail(2);
        assert!(ended.stderr.contains(word), "{ended}");
    }
}

#[test]
fn a_damaged_compressed_checkpoint_is_named() {
    let lab = tables();
    compress(&lab, &["--quantize", "int4", "--prune", "0.5", "--out", "small"]);
    let predict = || lab.hcrun(["predict", "small", "open.csv"]).run();
    let file = lab.path().join("small/model.safetensors");
    let whole = std::fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    std::fs::write(&file, flipped).unwrap();
    assert_answer("flipped", &predict(), 2, "HC2015", &["model.safetensors is damaged: its SHA-256 is"]);
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    assert_answer("cut", &predict(), 2, "HC2015", &["model.safetensors has", "were written"]);
    std::fs::write(&file, &whole).unwrap();
    std::fs::write(lab.path().join("small/MANIFEST.json"), "{}").unwrap();
    assert_answer("foreign", &predict(), 2, "HC2015", &["MANIFEST.json makes no sense"]);
    std::fs::remove_file(lab.path().join("small/MANIFEST.json")).unwrap();
    assert_answer("no manifest", &predict(), 2, "HC2015", &["has no MANIFEST.json"]);
}
