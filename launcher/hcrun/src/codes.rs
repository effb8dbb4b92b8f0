//! Every stable error code: what it means and what to do. `hcrun explain` and `docs/errors.md` are this table.

/// What the exit code of the command says to a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    TrainingFailed,
    Usage,
    Deadline,
    Preflight,
    Infeasible,
    Refused,
    Internal,
    Infrastructure,
    Interrupted,
    Terminated,
}

impl Exit {
    pub const ALL: [Exit; 10] = [
        Exit::TrainingFailed,
        Exit::Usage,
        Exit::Deadline,
        Exit::Preflight,
        Exit::Infeasible,
        Exit::Refused,
        Exit::Internal,
        Exit::Infrastructure,
        Exit::Interrupted,
        Exit::Terminated,
    ];

    pub fn code(self) -> u8 {
        match self {
            Exit::TrainingFailed => 1,
            Exit::Usage => 2,
            Exit::Deadline => 3,
            Exit::Preflight => 4,
            Exit::Infeasible => 5,
            Exit::Refused => 6,
            Exit::Internal => 7,
            Exit::Infrastructure => 75,
            Exit::Interrupted => 130,
            Exit::Terminated => 143,
        }
    }

    pub fn meaning(self) -> &'static str {
        match self {
            Exit::TrainingFailed => "the training itself failed",
            Exit::Usage => "usage or file error",
            Exit::Deadline => "a deadline passed",
            Exit::Preflight => "a check before the first step failed",
            Exit::Infeasible => "the job cannot be placed",
            Exit::Refused => "refused by policy or security",
            Exit::Internal => "internal error",
            Exit::Infrastructure => "infrastructure; worth a retry",
            Exit::Interrupted => "interrupted (SIGINT)",
            Exit::Terminated => "terminated (SIGTERM)",
        }
    }
}

/// One stable code. A code keeps its meaning for ever; a new meaning gets a new code.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    pub id: &'static str,
    pub exit: Exit,
    pub title: &'static str,
    pub explanation: &'static str,
    /// Also the hint of a failure that has none of its own.
    pub remedy: &'static str,
}

/// The code named `text`, with or without `HC`, in any case.
pub fn find(text: &str) -> Option<&'static Code> {
    let wanted = text.trim().to_ascii_uppercase();
    let wanted = wanted.strip_prefix("HC").unwrap_or(&wanted);
    CODES.iter().copied().find(|code| code.id.strip_prefix("HC") == Some(wanted))
}

/// `docs/errors.md` as it must read.
pub fn to_markdown() -> String {
    let mut page = String::from(
        "# Errors\n\nEvery refusal of `hcrun` ends with a stable code; `hcrun explain CODE` prints the same as this \
         page, which is generated from `launcher/hcrun/src/codes.rs`.\n\n## Exit codes\n\n| exit code | meaning |\n\
         | --- | --- |\n| 0 | done |\n",
    );
    for exit in Exit::ALL {
        page += &format!("| {} | {} |\n", exit.code(), exit.meaning());
    }
    page += "\n## Codes\n";
    for code in CODES {
        page += &format!(
            "\n### {}: {}\n\nExit code {} ({}).\n\n{}\n\nWhat to do: {}.\n",
            code.id,
            code.title,
            code.exit.code(),
            code.exit.meaning(),
            code.explanation,
            code.remedy
        );
    }
    page
}

macro_rules! codes {
    ($($name:ident $id:literal $exit:ident $title:literal, $explanation:literal, $remedy:literal;)*) => {
        $(
            #[doc = $title]
            pub static $name: Code = Code {
                id: $id,
                exit: Exit::$exit,
                title: $title,
                explanation: $explanation,
                remedy: $remedy,
            };
        )*
        /// All codes, in order.
        pub static CODES: &[&Code] = &[$(&$name),*];
    };
}

codes! {
    TRAINING_FAILED "HC1001" TrainingFailed
        "the training failed on a worker",
        "A worker reported an error of the training itself, for instance a value in the data that cannot be used or \
         a loss that is no longer a number. The error names the worker; details stay in the log of its zone.",
        "read the worker's log with `hcrun logs --slot SLOT` and go on with `hcrun resume` once the cause is gone";
    PARAMETERS_DIFFER "HC1002" TrainingFailed
        "workers no longer hold the same parameters",
        "After each step all workers compare a digest of their parameters. A difference means broken memory, a \
         different build or an error in hcrun; training on would give a model that no worker has.",
        "resume from the last checkpoint; if it happens again on the same node, take that node out";
    LOSS_NOT_FINITE "HC1003" TrainingFailed
        "the loss is not a finite number",
        "The loss became infinite or not a number for several steps in a row, so no update was applied any more.",
        "lower train.learning_rate, set train.clip, or lengthen train.warmup_steps, then resume";

    USAGE "HC2001" Usage
        "the command line cannot be understood",
        "A verb, flag or value on the command line is unknown, missing or malformed.",
        "see `hcrun --help` and `hcrun VERB --help`";
    FILE_UNREADABLE "HC2002" Usage
        "a file cannot be read",
        "A file that the command needs does not exist, is no plain file, is too large, empty, not UTF-8, or may \
         not be read by this user.",
        "check the path; it is taken relative to the current directory, paths of shards relative to the job file";
    FILE_SYNTAX "HC2003" Usage
        "a file is not valid TOML or JSON",
        "The file breaks the grammar of its format at the place shown.",
        "correct the line shown; `hcrun init` writes a job file to compare with";
    JOB_UNKNOWN_KEY "HC2004" Usage
        "a settings file has an unknown key",
        "Every key of a job or cluster file must be known: a misspelt key that is silently ignored would train with \
         its default.",
        "correct or remove the key; docs/job-file.md lists all keys";
    JOB_WRONG_TYPE "HC2005" Usage
        "a setting is missing or has the wrong type",
        "A key that has no default is missing, or its value is not of the type or one of the words that the key takes.",
        "give the key a value of the type shown; docs/job-file.md lists all keys";
    JOB_OUT_OF_RANGE "HC2006" Usage
        "a setting is out of its range",
        "The value has the right type but cannot be used, alone or together with another setting.",
        "change the setting as the message says";
    CLUSTER_INVALID "HC2007" Usage
        "the cluster file contradicts itself",
        "A zone or pool is named twice or not declared, a port range is reversed or too small, or a price has no source.",
        "correct the cluster file at the line shown";
    DATA_MALFORMED "HC2008" Usage
        "a data file cannot be used",
        "A table has rows of unequal length, text in a numeric column, an undeclared category, no target column, or \
         the like. Values of restricted shards are not shown.",
        "correct the data at the line and column shown, or declare the category in the job file, then index it again";
    MANIFEST_MISSING "HC2009" Usage
        "a shard has no manifest",
        "The launcher plans with manifests and never opens a file that is not public, not even on one machine.",
        "run `hcrun shard index JOB` in the shard's home zone and copy manifests/ beside the job file";
    MANIFEST_MALFORMED "HC2010" Usage
        "a manifest cannot be used",
        "The manifest is not the JSON that `hcrun shard index` writes, or belongs to another shard.",
        "run `hcrun shard index JOB` in the shard's home zone again";
    SHARD_CHANGED "HC2011" Usage
        "a data file is missing or differs from its manifest",
        "A worker looked for the file of a shard by its id, and found none, or one whose size or SHA-256 are not those of \
         the manifest the job was planned with.",
        "name the folder with --data-root, restore the file, or run `hcrun shard index JOB` in the shard's home zone if the change is meant";
    RUN_NOT_FOUND "HC2012" Usage
        "there is no such run",
        "The run directory does not exist, or holds no run.",
        "name a directory under --runs-dir, or `latest`";
    RUN_DIRECTORY "HC2013" Usage
        "the run directory cannot be written",
        "A run writes its plan, metrics, logs and checkpoints into a directory of its own; making or writing it failed.",
        "check permissions and free space, or choose another place with --runs-dir";
    RUN_BUSY "HC2014" Usage
        "the run is in use by another process",
        "A live run holds a lock on its directory; only one process may write there.",
        "wait for it, or stop it with `hcrun stop RUN`";
    CHECKPOINT_MISSING "HC2015" Usage
        "there is no checkpoint that can be used",
        "The run has not written a checkpoint yet, or every one of them is damaged; the message says what is wrong \
         with which.",
        "start the job again with `hcrun run`; set train.checkpoint_every for shorter losses";
    CHECKPOINT_NEWER "HC2016" Usage
        "a checkpoint was written by a newer hcrun",
        "Its schema version is above the one this build can read.",
        "use the version of hcrun that wrote it, or a newer one";
    SETTING_FIXED "HC2017" Usage
        "a setting may not change on resume",
        "Steps, intervals, learning rate, worker counts and whether GPUs sum by NCCL may change between a run and its \
         continuation; anything else would make it another training.",
        "leave the key as it was, or start a new run";
    WOULD_OVERWRITE "HC2018" Usage
        "a file is already there",
        "The command does not overwrite what it did not write.",
        "choose another directory, or remove the old one";
    RUN_NOT_LIVE "HC2019" Usage
        "the run is not running",
        "Only a live run can be asked to stop.",
        "see its state with `hcrun status RUN`";
    PREDICT_INPUT "HC2020" Usage
        "the input does not fit the model",
        "The file lacks a column the model was trained with, or has a value that its columns do not take.",
        "give a file with the columns of the training data; the target column may be left out";
    TRACE_MALFORMED "HC2021" Usage
        "a trace cannot be used",
        "The trace is of an unknown format, lacks a column, has one that the format does not know, or has a row that \
         breaks a rule: a negative time, zero devices, a job id that is there twice. The error names the line.",
        "correct the line named, or name the format that the file has (`--trace FORMAT:PATH`)";
    STRATEGY_UNKNOWN "HC2022" Usage
        "there is no such strategy",
        "A strategy was asked for by a name that hcrun does not know.",
        "take one of the names listed; `hcrun simulate --help` says what each does";
    QUEUE_NOT_FOUND "HC2023" Usage
        "there is no such queue",
        "The directory does not exist, holds no queue, or the queue has nothing of what was asked for.",
        "name the queue's directory with --queue; `hcrun submit` and `hcrun up` make one";
    QUEUE_UNUSABLE "HC2024" Usage
        "the queue cannot be used",
        "Its database is damaged, of another program or of a newer hcrun, or its directory cannot be written; the message says \
         which. Nothing in it was changed.",
        "check the path and its permissions; if the database is damaged, take a copy of the directory and start a new \
         queue: jobs are kept in jobs/, their runs with checkpoints in runs/";
    QUEUE_BUSY "HC2025" Usage
        "the queue is run by another process",
        "One `hcrun up` runs a queue; a second would start its jobs twice.",
        "submit to the one that is up, or end it first";
    QUEUE_JOB_NOT_FOUND "HC2026" Usage
        "the queue has no such job",
        "No job of this queue has that id.",
        "`hcrun ps` lists the jobs with their ids";
    QUEUE_JOB_ENDED "HC2027" Usage
        "the job is at its end",
        "A job that is done, failed or cancelled stays so.",
        "submit it again";
    PRICES_MALFORMED "HC2028" Usage
        "a file of prices cannot be used",
        "The file of prices is not valid TOML, or an entry lacks a date or a source, or has a value out of range. The \
         error names line and key.",
        "correct the entry; examples/scheduling/prices.toml shows the form";
    PRICES_STALE "HC2029" Usage
        "prices are old or have no source",
        "Entries of the file of prices are older than the limit, dated in the future, or do not say where they come \
         from.",
        "look each of them up again, and write its new date and source";
    OUTPUT_UNWRITABLE "HC2030" Usage
        "an output cannot be written",
        "A file that the command was asked for, or its standard output, cannot be opened, or not all of it could be \
         written. An old file is as it was.",
        "name a file in a directory that exists and may be written, on a disk with room";
    CHECKPOINT_COMPRESSED "HC2031" Usage
        "a compressed checkpoint cannot be trained on",
        "Its weights are rounded or cut and it has no state of the optimizer, so neither training nor another \
         compression goes on from it. `hcrun predict` uses it as it is.",
        "use the checkpoint that it was made of: `hcrun resume RUN`, `hcrun compress RUN`";
    COMPRESSION_TOLERANCE "HC2032" Usage
        "the compressed model is worse than allowed",
        "On held-out rows its accuracy fell, or its error rose, by more than --tolerance allows, or there were no rows \
         to tell. Nothing was written.",
        "try --quantize int8, a smaller share to --prune, or a larger --tolerance";
    WEIGHTS_UNUSABLE "HC2033" Usage
        "the model has weights that are no numbers",
        "A weight is infinite or not a number, as after a training that diverged; rounding it would hide that.",
        "train again with a smaller train.learning_rate or with train.clip, and compress that";

    JOIN_DEADLINE "HC3001" Deadline
        "not all workers joined in time",
        "The slots named did not join before the deadline, so nothing was started.",
        "look at the workers' own messages; with --wait-for-workers each needs its join command run once";
    STOP_DEADLINE "HC3002" Deadline
        "the run did not stop in time",
        "The run was asked to stop but did not finish its checkpoint before the deadline.",
        "look at it with `hcrun status RUN`; a second Ctrl-C in its terminal kills it";

    LINK_FAILED "HC4001" Preflight
        "two workers cannot reach each other",
        "Before the first step each link is probed by UDP; the message names the pair, the port and the direction \
         that failed. Often a firewall drops UDP.",
        "open the UDP port shown in the direction shown, or set `reachable = false` on the pool that cannot be dialled";
    PORT_IN_USE "HC4002" Preflight
        "no port is free",
        "Every UDP port of the range is taken by another process, or this user may not bind it.",
        "free a port, or widen listen_ports of the pool";
    ADDRESS_UNUSABLE "HC4003" Preflight
        "the address cannot be bound",
        "The address given with --listen is not one of this machine.",
        "give an address that `ip addr` shows";
    DOCTOR_FAILED "HC4004" Preflight
        "this machine cannot run workers as it is",
        "At least one check of `hcrun doctor` failed; the list says which and why.",
        "do what the failed checks say and run `hcrun doctor` again";
    LAUNCHER_UNREACHABLE "HC4005" Preflight
        "the launcher cannot be reached",
        "The worker got no answer from the address in its join bundle: the run is over, its address is not one that this \
         host can reach, or UDP does not pass.",
        "check that the run still waits, that `--listen` of the launcher is an address this host reaches, and that UDP \
         passes both ways";

    NO_PLACEMENT "HC5001" Infeasible
        "the job cannot be placed",
        "No assignment of workers and shards satisfies the job, the cluster and the rules of residency; the binding \
         constraints are listed. Nothing was started.",
        "lift one of the constraints listed";
    SIMULATION_STUCK "HC5002" Infeasible
        "a simulation does not come to its end",
        "Jobs are left that the strategy never starts, although no event is to come any more.",
        "look at the first job named: what it asks for may not fit beside what the strategy keeps";

    MANIFEST_CONTRADICTS "HC6001" Refused
        "the job file contradicts a manifest",
        "The manifest was written in the shard's home and binds: a job may be stricter than it, never laxer. Here \
         the sensitivity is lower, the home is another, or more zones are allowed.",
        "correct the job file, or have the shard's home write a new manifest";
    ASSIGNMENT_REFUSED "HC6002" Refused
        "a worker refused a shard that it must not hold",
        "A worker checks each assignment against the manifest and the zone its certificate proves.",
        "check the manifests and the launcher; this is never a retry";
    JOIN_REFUSED "HC6003" Refused
        "a worker was refused",
        "The join token is unknown, used or expired, the certificate is not of the zone it claims, or the slot is \
         already taken.",
        "make a new join bundle; if nobody used the old one, find out who did";
    VERSION_DIFFERS "HC6004" Refused
        "launcher and worker are different builds",
        "Protocol version and build must be equal on both sides; the message shows them.",
        "install the same hcrun on both";
    JOB_DIFFERS "HC6005" Refused
        "the worker holds another job",
        "The digest of the settings differs between coordinator and worker; the keys that differ are named.",
        "use one job file for all";
    SECRET_EXPOSED "HC6006" Refused
        "a file with secrets can be read by others",
        "Join bundles and keys must belong to this user and be readable by nobody else.",
        "run `chmod 600 FILE`";
    SHARDS_APART "HC6007" Refused
        "no zone may hold these shards together",
        "Each of the shards named may be opened in some zone, but there is none that may hold all of them, so no \
         process may either.",
        "name the shards of one zone at a time";

    INTERNAL "HC7001" Internal
        "an error inside hcrun",
        "An invariant of hcrun itself was broken. Nothing you did should make this possible.",
        "report it with the message and the run directory (it holds no data rows)";

    WORKER_DIED "HC8001" Infrastructure
        "a worker died",
        "The process or its link ended without notice. All workers were stopped; the last checkpoint is kept.",
        "see `hcrun logs --slot SLOT` for the cause, then `hcrun resume RUN`";
    WORKER_STALLED "HC8002" Infrastructure
        "a worker stalled",
        "The process lives but made no progress for longer than it ever needed between two signs of it, or it was started and did not join.",
        "look at the load of its node, then `hcrun resume RUN`";
    DISK_FULL "HC8003" Infrastructure
        "the disk is full",
        "A checkpoint could not be written; the one before it is untouched.",
        "free space, then `hcrun resume RUN`";
    LINK_LOST "HC8004" Infrastructure
        "a link between workers broke",
        "Packets stopped arriving between the two workers named. All workers were stopped; the last checkpoint is kept.",
        "check the network between the two nodes, then `hcrun resume RUN`";
    START_FAILED "HC8005" Infrastructure
        "a worker process cannot be started",
        "The operating system refused to start the process.",
        "check limits on processes and memory with `hcrun doctor`, then try again";
    COORDINATOR_LOST "HC8006" Infrastructure
        "the coordinator is gone",
        "A worker lost its control link to the coordinator and stopped, or the launcher was itself stopped or starved of CPU for longer than its workers wait.",
        "see the launcher's messages; `hcrun resume RUN` goes on from the last checkpoint";
    QUEUE_LOCKED "HC8007" Infrastructure
        "the queue's database is locked",
        "Another process, such as a copy that is being made or a program that looks into it, has kept the database locked for \
         longer than a command waits. Nothing was changed.",
        "find it with `fuser DIR/queue.db`, let it end, and give the command again";
    GPU_FAILED "HC8008" Infrastructure
        "a GPU cannot be used, or failed",
        "The pool's `device` says that its workers compute on GPUs. The worker named could not open its own, found no machine \
         code or memory for the model, could not sum with the other GPUs of its node by NCCL, or the GPU stopped answering; \
         the driver's or NCCL's words are shown. All workers were stopped; the last checkpoint is kept.",
        "run `hcrun doctor` on that node; for memory, lower train.batch or raise train.accumulation; for NCCL, \
         `exchange.nccl = false`; `device = \"cpu\"` in the pool trains without GPUs";

    INTERRUPTED "HC9001" Interrupted
        "interrupted",
        "Ctrl-C stopped the run; after the first one a checkpoint was written, the second one kills.",
        "go on with `hcrun resume RUN`";
    TERMINATED "HC9002" Terminated
        "terminated",
        "SIGTERM stopped the run.",
        "go on with `hcrun resume RUN`";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_grouped_by_exit_code() {
        for (index, code) in CODES.iter().enumerate() {
            assert!(CODES[..index].iter().all(|other| other.id < code.id), "{} is out of order", code.id);
            let group = match code.exit {
                Exit::Infrastructure => '8',
                Exit::Interrupted | Exit::Terminated => '9',
                exit => char::from_digit(exit.code().into(), 10).unwrap(),
            };
            assert_eq!(code.id.chars().nth(2), Some(group), "{}", code.id);
            assert!(!code.remedy.ends_with('.') && code.explanation.ends_with('.'), "{}", code.id);
        }
    }

    #[test]
    fn the_page_of_errors_is_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
        if std::env::var_os("HCRUN_BLESS").is_some() {
            std::fs::write(path, to_markdown()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap();
        assert!(page == to_markdown(), "docs/errors.md is stale: run with HCRUN_BLESS=1 to write it");
    }

    #[test]
    fn codes_are_found_as_people_write_them() {
        assert_eq!(find("hc2004"), Some(&JOB_UNKNOWN_KEY));
        assert_eq!(find(" 2004"), Some(&JOB_UNKNOWN_KEY));
        assert_eq!(find("HC0000"), None);
    }
}
