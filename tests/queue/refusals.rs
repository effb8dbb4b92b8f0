//! What a queue does not take, and says why.

use hcrun_tests::until;

use crate::scene::{LIMIT, Scene};

#[test]
fn what_can_never_run_is_refused_with_the_largest_that_could() {
    let scene = Scene::new();
    let refused = scene.lab.hcrun(["submit", "job.toml", "--set", "workers.private=5"]).fail(5);
    assert!(refused.stderr.contains("5 workers are asked of pool `private`, which has 2 slots"), "{refused}");
    assert!(refused.stderr.contains("at most 2 workers"), "{refused}");
    scene.lab.hcrun(["ps"]).fail(2);
}

/// Taken for a larger cluster than the queue comes up with: it waits for the right one, and runs there.
#[test]
fn what_does_not_fit_the_cluster_waits_for_another() {
    let scene = Scene::new();
    let small = std::fs::read_to_string(scene.lab.path().join("cluster.toml")).unwrap();
    scene.lab.write("large.toml", small.replace("slots = 2", "slots = 4"));
    let id = scene.submit(&["--cluster", "large.toml", "--set", "workers.private=3"]);
    let fits = scene.submit(&["--cluster", "large.toml"]);
    let cancelled = scene.submit(&["--cluster", "large.toml", "--set", "workers.private=4"]);
    let mut up = scene.up(&[]);
    scene.wait_state(&mut up, fits, "done");
    let job = scene.job(id);
    let why =
        "it cannot run on this cluster under fifo-skip: it asks for 3 devices of pool `private`, which has 2";
    assert_eq!((&job["state"], &job["reason"]), (&"waiting".into(), &why.into()));
    // Nobody waits for ever for what cannot come.
    scene.lab.hcrun(["cancel", &cancelled.to_string()]).succeed();
    up.signal(hcrun_tests::Signal::TERM);
    assert!(up.end_within(LIMIT).status.success());
    scene.up_until_idle("fifo-skip");
    assert_eq!(scene.job(id)["state"], "waiting");
    let ended = scene.lab.hcrun(["up", "--cluster", "large.toml", "--until-idle"]).start().end_within(LIMIT);
    assert!(ended.status.success(), "{ended}");
    assert_eq!(scene.job(id)["state"], "done");
    assert_eq!(scene.job(cancelled)["state"], "cancelled");

    // Now that it has a cluster, no job is checked against another.
    let refused = scene.lab.hcrun(["submit", "job.toml", "--cluster", "cluster.toml"]).fail(2);
    assert!(refused.stderr.contains("the queue is run on another cluster"), "{refused}");
    scene.submit(&["--cluster", "large.toml"]);
}

#[test]
fn a_second_process_is_refused_and_told_of_the_first() {
    let scene = Scene::new();
    let id = scene.submit_steps(100_000_000, &[]);
    let mut up = scene.up(&[]);
    scene.wait_state(&mut up, id, "running");
    let pid = std::fs::read_to_string(scene.lab.path().join("queue/lock")).unwrap();
    let second = scene.lab.hcrun(["up", "--cluster", "cluster.toml"]).fail(2);
    assert!(second.stderr.contains(&format!("process {pid} holds it")), "{second}");
    assert!(second.stderr.contains("HC2025"), "{second}");
    up.assert_alive();
    assert_eq!(scene.job(id)["state"], "running");
}

#[test]
fn a_damaged_database_is_an_error_that_says_so() {
    let scene = Scene::new();
    scene.submit(&[]);
    for file in ["queue.db-wal", "queue.db-shm"] {
        let _ = std::fs::remove_file(scene.lab.path().join("queue").join(file));
    }
    scene.lab.write("queue/queue.db", "no database at all".repeat(1_000));
    for args in [&["up"][..], &["ps"], &["submit", "job.toml"], &["cancel", "1"], &["record", "--out", "x"]] {
        let refused = scene.lab.hcrun(args).fail(2);
        assert!(refused.stderr.contains("file is not a database"), "{args:?}: {refused}");
        assert!(refused.stderr.contains("HC2024"), "{args:?}: {refused}");
        assert!(refused.stderr.contains("database is damaged"), "{args:?}: {refused}");
    }
}

#[test]
fn unknown_names_are_refused() {
    let scene = Scene::new();
    let refused = scene.lab.hcrun(["up", "--strategy", "srft"]).fail(2);
    assert!(refused.stderr.contains("did you mean `srtf`?"), "{refused}");
    scene.lab.hcrun(["submit", "job.toml", "--priority", "vip"]).fail(2);
    let id = scene.submit(&[]);
    let refused = scene.lab.hcrun(["cancel", &(id + 1).to_string()]).fail(2);
    assert!(refused.stderr.contains("HC2026"), "{refused}");
    let refused = scene.lab.hcrun(["cancel", "99999999999999999999"]).fail(2);
    assert!(refused.stderr.contains("is not the id of a job of this queue"), "{refused}");
    scene.lab.hcrun(["submit", "job.toml", "--estimate", "0"]).fail(2);
    scene.lab.hcrun(["record", "--out", "x.csv"]).fail(2);
}

/// The socket is there for its owner alone.
#[test]
fn others_cannot_talk_to_it() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new();
    let mut up = scene.up(&[]);
    let socket = scene.lab.path().join("queue/control.sock");
    let mode = |path: &std::path::Path| std::fs::metadata(path).map(|data| data.permissions().mode() & 0o777);
    until("the socket", LIMIT, || {
        up.assert_alive();
        mode(&socket).is_ok_and(|mode| mode == 0o600).then_some(())
    });
    assert_eq!(mode(&scene.lab.path().join("queue")).unwrap(), 0o700);
    up.signal(hcrun_tests::Signal::TERM);
    assert!(up.end_within(LIMIT).status.success());
    assert!(!socket.exists());
}
