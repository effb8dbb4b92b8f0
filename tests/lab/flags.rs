//! Flags and numbers that make no sense are refused with what to write.

use hcrun_tests::lab;

const RECORDING: &str = "job,name,submit,pools,class,work,estimate,startup,stop,starts,preemptions,first_start,end,state,strategy,fleet\n\
    1,a,0,p=1,normal,10,9,0.5,0.25,1,0,0.1,11.2,done,srsf,p=1x2\n";

#[test]
fn flags_without_effect_are_refused() {
    let lab = lab!();
    lab.write("trace.csv", RECORDING);
    let synthetic = ["--trace", "synthetic:jobs=5", "--cluster", "pool:8"];
    let replay = ["--replay", "trace.csv"];
    let hazard = "pool=hazard:0.5,0.1";
    for (verb, base, flags, said) in [
        ("simulate", &replay[..], &["--cluster", "pool:4"][..], "`--cluster` would have no effect"),
        ("simulate", &replay[..], &["--estimate", "none"][..], "`--estimate` would have no effect"),
        ("simulate", &replay[..], &["--start-overhead", "5"][..], "`--start-overhead` would have no effect"),
        ("simulate", &replay[..], &["--columns", "submit=a"][..], "a recording has columns of its own"),
        ("simulate", &synthetic[..], &["--columns", "submit=a"][..], "`synthetic` has columns of its own"),
        ("simulate", &synthetic[..], &["--spot", hazard, "--spot", hazard][..], "a second history"),
        ("simulate", &synthetic[..], &["--threads", "0"][..], "--threads"),
        ("why", &synthetic[..], &["--seeds", "2", "1"][..], "`--seeds` would have no effect"),
        ("why", &synthetic[..], &["--check", "1"][..], "`--check` would have no effect"),
    ] {
        let ended = lab.hcrun([verb]).args(base).args(flags).args(["--strategy", "srsf"]).fail(2);
        assert!(ended.stderr.contains(said), "{flags:?}: {ended}");
    }
    // What is set for all commands does not hinder one that has no use for it.
    lab.hcrun(["simulate", "--replay", "trace.csv"]).env("HCRUN_CLUSTER", "pool:4").succeed();
    lab.hcrun(["compare", "--replay", "trace.csv", "--strategy", "srsf", "--start-overhead", "5"]).succeed();
}

#[test]
fn numbers_beyond_all_sense_are_refused_with_their_limits() {
    let lab = lab!();
    for (setting, said) in [
        ("jobs=4000000000", "from 1 to 4194304"),
        ("tenants=4000000000", "from 1 to 10000"),
        ("rate=1e300", "from 0.000001 to 10^9"),
        ("median=1e-300", "from 0.000001 to 10^9"),
        ("parameters=99999999999999999", "up to 10^13"),
        ("data_gb=1e9", "from 0 to 10^6"),
    ] {
        let trace = format!("synthetic:{setting}");
        let args = ["simulate", "--trace", &trace, "--cluster", "pool:8", "--strategy", "fifo-skip"];
        let ended = lab.hcrun(args).fail(2);
        assert!(ended.stderr.contains(said), "{ended}");
    }
    // At the limits nothing breaks off.
    for settings in ["rate=0.000001,burst=1e8", "rate=1e9,median=1e9,longest=1e9,slack=1e8", "overhead=1e8"] {
        let trace = format!("synthetic:jobs=30,elastic=0,{settings}");
        let ended = lab
            .hcrun(["simulate", "--trace", &trace, "--cluster", "pool:8", "--strategy", "fifo-skip"])
            .run();
        assert!(
            matches!(ended.code(), Some(0 | 5)) && !ended.stderr.contains("panicked"),
            "{settings}: {ended}"
        );
    }
}

#[test]
fn a_home_that_the_cluster_lacks_is_named_with_its_key() {
    let lab = lab!();
    let args = ["simulate", "--cluster", "pool:8", "--strategy", "fifo-skip", "--trace"];
    let ended = lab.hcrun(args).args(["synthetic:jobs=9,restricted=0.9,home=moon"]).fail(2);
    assert!(ended.stderr.contains("setting `home`") && ended.stderr.contains("moon"), "{ended}");
    assert!(ended.stderr.contains("it has pool"), "{ended}");
    lab.hcrun(args).args(["synthetic:jobs=9,restricted=0.9,home=pool"]).succeed();
}
