//! The database of a queue. All SQL is here.
//!
//! A change is one transaction that is on the disk when the call returns. Several processes write: those who submit or
//! cancel, and the one that runs the jobs. Times are microseconds since 1970.

use std::path::PathBuf;
use std::time::Duration;

use hcrun_protocol::time::{Span, Time};
use hcrun_scheduling::job::Class;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::dir::QueueDir;
use super::store_error::{StoreError, unusable};
use crate::codes;
use crate::failure::{Failure, Result};

/// Says that the file is a queue of ours ("hcrq").
const APPLICATION: i32 = 0x6863_7271;
/// Version of the tables. A newer one is refused, an older one brought up.
const VERSION: i32 = 2;
/// Another process writes for milliseconds.
const BUSY: Duration = Duration::from_secs(10);

const TABLES: &str = "
    CREATE TABLE job (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL,
        digest TEXT NOT NULL,
        pools TEXT NOT NULL,
        class TEXT NOT NULL,
        submitted INTEGER NOT NULL,
        estimate INTEGER NOT NULL,
        state TEXT NOT NULL,
        since INTEGER NOT NULL,
        reason TEXT NOT NULL,
        why TEXT,
        cancel INTEGER NOT NULL DEFAULT 0,
        failures INTEGER NOT NULL DEFAULT 0,
        exit_code INTEGER
    );
    CREATE INDEX job_digest ON job (digest);
    CREATE TABLE run (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        job INTEGER NOT NULL REFERENCES job (id),
        launched INTEGER NOT NULL,
        started_because TEXT NOT NULL,
        ready INTEGER,
        asked_to_stop INTEGER,
        stopped_because TEXT,
        ended INTEGER,
        ending TEXT
    );
    CREATE INDEX run_job ON run (job);
    CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
";

/// From version 1: jobs keep what they wait for in full, and none is refused for good.
const FROM_1: &str = "
    ALTER TABLE job ADD COLUMN why TEXT;
    UPDATE job SET state = 'waiting' WHERE state = 'refused';
";

/// Where a job is. Those after `Stopping` are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum JobState {
    Waiting,
    Running,
    /// Writes a checkpoint and gives its devices back.
    Stopping,
    Done,
    Failed,
    Cancelled,
}

/// How a run of a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Done,
    Stopped,
    Failed,
    /// Nobody was there to see.
    Lost,
}

macro_rules! words {
    ($type:ident: $($variant:ident $word:literal),*) => {
        impl $type {
            pub(crate) fn word(self) -> &'static str {
                match self { $($type::$variant => $word),* }
            }
        }
        impl ToSql for $type {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.word().into())
            }
        }
        impl FromSql for $type {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<$type> {
                match value.as_str()? {
                    $($word => Ok($type::$variant),)*
                    _ => Err(FromSqlError::InvalidType),
                }
            }
        }
    };
}

words!(JobState: Waiting "waiting", Running "running", Stopping "stopping", Done "done", Failed "failed",
    Cancelled "cancelled");
words!(Ending: Done "done", Stopped "stopped", Failed "failed", Lost "lost");

impl JobState {
    /// The state and its reason, where there is more to say than the state.
    pub(super) fn because(self, reason: &str) -> String {
        let word = self.word();
        if reason == word { word.to_owned() } else { format!("{word}: {reason}") }
    }

    pub(crate) fn is_final(self) -> bool {
        matches!(self, JobState::Done | JobState::Failed | JobState::Cancelled)
    }
}

/// A job that is to be submitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NewJob {
    pub(super) name: String,
    /// Of its settings: jobs with the same one take as long.
    pub(super) digest: String,
    /// As `private=2;public=1`.
    pub(super) pools: String,
    pub(super) class: Class,
    pub(super) submitted: Time,
    pub(super) estimate: Span,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobRow {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) pools: String,
    pub(crate) class: Class,
    pub(crate) submitted: Time,
    pub(crate) estimate: Span,
    pub(crate) state: JobState,
    pub(crate) since: Time,
    pub(crate) reason: String,
    /// Somebody wants it to end.
    pub(crate) cancel: bool,
    /// Of the infrastructure, one after the other.
    pub(crate) failures: u32,
    pub(crate) exit_code: Option<i32>,
}

/// One process of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunRow {
    pub(crate) launched: Time,
    pub(crate) started_because: String,
    /// Of its first step.
    pub(crate) ready: Option<Time>,
    pub(crate) asked_to_stop: Option<Time>,
    pub(crate) stopped_because: Option<String>,
    pub(crate) ended: Option<Time>,
    pub(crate) ending: Option<Ending>,
}

#[derive(Debug)]
pub(crate) struct Store {
    connection: Connection,
    path: PathBuf,
}

impl Store {
    /// Opens the database, or makes it.
    pub(crate) fn open(queue: &QueueDir) -> Result<Store> {
        Store::open_within(queue, BUSY)
    }

    /// As [`Self::open`], waiting no longer than `busy` for those who write.
    fn open_within(queue: &QueueDir, busy: Duration) -> Result<Store> {
        let path = queue.database();
        let connection = Connection::open(&path).map_err(|error| unusable(&path, &error.into()))?;
        let mut store = Store { connection, path };
        store.prepare(busy).map_err(|error| unusable(&store.path, &error))?;
        Ok(store)
    }

    fn prepare(&mut self, busy: Duration) -> Result<(), StoreError> {
        self.connection.busy_timeout(busy)?;
        self.connection.pragma_update(None, "foreign_keys", true)?;
        // One write to the disk per change.
        self.connection.pragma_update(None, "journal_mode", "WAL")?;
        self.connection.pragma_update(None, "synchronous", "FULL")?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let number = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        match (number("application_id")?, number("user_version")?) {
            (0, 0)
                if transaction
                    .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?
                    == 0 =>
            {
                transaction.execute_batch(TABLES)?;
                transaction.pragma_update(None, "application_id", APPLICATION)?;
                transaction.pragma_update(None, "user_version", VERSION)?;
                transaction.commit()?;
                Ok(())
            }
            (APPLICATION, VERSION) => Ok(()),
            (APPLICATION, 1) => {
                transaction.execute_batch(FROM_1)?;
                transaction.pragma_update(None, "user_version", VERSION)?;
                transaction.commit()?;
                Ok(())
            }
            (APPLICATION, version) => Err(StoreError::Version(version, VERSION)),
            _ => Err(StoreError::Foreign),
        }
    }

    /// Adds a job. `keep` gets its id and puts what belongs to it in place; if it fails, there is no job. Others wait
    /// meanwhile.
    pub(super) fn submit(&mut self, job: &NewJob, keep: impl FnOnce(i64) -> Result<()>) -> Result<i64> {
        let path = self.path.clone();
        let fail = |error: rusqlite::Error| unusable(&path, &error.into());
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        let insert = "INSERT INTO job (name, digest, pools, class, submitted, estimate, state, since, reason)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'waiting', ?5, 'no `hcrun up` has looked at it yet')";
        let (submitted, estimate) = (micros(job.submitted.0), micros(job.estimate.0));
        let values = params![job.name, job.digest, job.pools, job.class.name(), submitted, estimate];
        transaction.execute(insert, values).map_err(fail)?;
        let id = transaction.last_insert_rowid();
        keep(id)?;
        transaction.commit().map_err(fail)?;
        Ok(id)
    }

    pub(crate) fn jobs(&self) -> Result<Vec<JobRow>> {
        self.select(&format!("SELECT {JOB_COLUMNS} FROM job ORDER BY id"), [], job_row)
    }

    /// Those that are not at their end.
    pub(super) fn unfinished(&self) -> Result<Vec<JobRow>> {
        let states = "state IN ('waiting', 'running', 'stopping')";
        self.select(&format!("SELECT {JOB_COLUMNS} FROM job WHERE {states} ORDER BY id"), [], job_row)
    }

    pub(crate) fn job(&self, id: i64) -> Result<JobRow> {
        let rows = self.select(&format!("SELECT {JOB_COLUMNS} FROM job WHERE id = ?1"), [id], job_row)?;
        rows.into_iter().next().ok_or_else(|| {
            Failure::new(&codes::QUEUE_JOB_NOT_FOUND, format!("the queue has no job {id}"))
                .at(self.path.display().to_string())
        })
    }

    pub(crate) fn runs(&self, job: i64) -> Result<Vec<RunRow>> {
        let columns = "launched, started_because, ready, asked_to_stop, stopped_because, ended, ending";
        self.select(&format!("SELECT {columns} FROM run WHERE job = ?1 ORDER BY id"), [job], |row| {
            Ok(RunRow {
                launched: time(row.get(0)?),
                started_because: row.get(1)?,
                ready: row.get::<_, Option<i64>>(2)?.map(time),
                asked_to_stop: row.get::<_, Option<i64>>(3)?.map(time),
                stopped_because: row.get(4)?,
                ended: row.get::<_, Option<i64>>(5)?.map(time),
                ending: row.get(6)?,
            })
        })
    }

    /// The newest job with these settings that was done.
    pub(super) fn done_before(&self, digest: &str) -> Result<Option<i64>> {
        let text = "SELECT max(id) FROM job WHERE digest = ?1 AND state = 'done'";
        let found = self.connection.query_row(text, [digest], |row| row.get::<_, Option<i64>>(0));
        found.map_err(|error| unusable(&self.path, &error.into()))
    }

    pub(super) fn set_state(&self, id: i64, state: JobState, since: Time, reason: &str) -> Result<()> {
        let text = "UPDATE job SET state = ?2, since = ?3, reason = ?4, why = NULL WHERE id = ?1";
        self.execute(text, params![id, state, micros(since.0), reason])
    }

    /// Keeps why jobs wait: in a line, and in full.
    pub(super) fn set_whys(&mut self, whys: &[(i64, String, Option<String>)]) -> Result<()> {
        let path = &self.path;
        let set = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for (id, reason, why) in whys {
                let text = "UPDATE job SET reason = ?2, why = ?3 WHERE id = ?1";
                transaction.execute(text, params![id, reason, why])?;
            }
            transaction.commit()
        };
        set(&mut self.connection).map_err(|error| unusable(path, &error.into()))
    }

    /// Why a job waits, in full, as it was kept last.
    pub(super) fn why(&self, id: i64) -> Result<Option<String>> {
        let found = self.connection.query_row("SELECT why FROM job WHERE id = ?1", [id], |row| row.get(0));
        found.map_err(|error| unusable(&self.path, &error.into()))
    }

    pub(super) fn set_end(
        &self,
        id: i64,
        state: JobState,
        at: Time,
        exit_code: Option<i32>,
        reason: &str,
    ) -> Result<()> {
        let text =
            "UPDATE job SET state = ?2, since = ?3, exit_code = ?4, reason = ?5, why = NULL WHERE id = ?1";
        self.execute(text, params![id, state, micros(at.0), exit_code, reason])
    }

    pub(super) fn set_failures(&self, id: i64, failures: u32) -> Result<()> {
        self.execute("UPDATE job SET failures = ?2 WHERE id = ?1", params![id, failures])
    }

    /// Wants a job to end. One that is at its end already stays as it is.
    pub(crate) fn cancel(&self, id: i64) -> Result<()> {
        let text = "UPDATE job SET cancel = 1 WHERE id = ?1 AND state IN ('waiting', 'running', 'stopping')";
        self.execute(text, [id])
    }

    /// Ends a job that nobody runs.
    pub(crate) fn withdraw(&self, id: i64, at: Time) -> Result<()> {
        self.set_end(id, JobState::Cancelled, at, None, "cancelled")
    }

    /// A job gets a process; the id of its run.
    pub(super) fn launch(&mut self, job: i64, at: Time, because: &str) -> Result<i64> {
        let path = &self.path;
        let insert = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let text = "INSERT INTO run (job, launched, started_because) VALUES (?1, ?2, ?3)";
            transaction.execute(text, params![job, micros(at.0), because])?;
            let run = transaction.last_insert_rowid();
            let text = "UPDATE job SET state = 'running', since = ?2, reason = ?3, why = NULL WHERE id = ?1";
            transaction.execute(text, params![job, micros(at.0), because])?;
            transaction.commit()?;
            Ok(run)
        };
        insert(&mut self.connection).map_err(|error: rusqlite::Error| unusable(path, &error.into()))
    }

    pub(super) fn ask_to_stop(&self, run: i64, at: Time, because: &str) -> Result<()> {
        let text = "UPDATE run SET asked_to_stop = ?2, stopped_because = ?3 WHERE id = ?1";
        self.execute(text, params![run, micros(at.0), because])
    }

    pub(super) fn end_run(&self, run: i64, ready: Option<Time>, at: Time, ending: Ending) -> Result<()> {
        let text = "UPDATE run SET ready = ?2, ended = ?3, ending = ?4 WHERE id = ?1";
        self.execute(text, params![run, ready.map(|ready| micros(ready.0)), micros(at.0), ending])
    }

    /// Runs whose end nobody saw.
    pub(super) fn lose_runs(&self) -> Result<()> {
        self.execute("UPDATE run SET ending = 'lost' WHERE ending IS NULL", [])
    }

    pub(super) fn set(&self, name: &str, value: &str) -> Result<()> {
        let text = "INSERT INTO setting (name, value) VALUES (?1, ?2)
            ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        self.execute(text, [name, value])
    }

    pub(super) fn get(&self, name: &str) -> Result<Option<String>> {
        let text = "SELECT value FROM setting WHERE name = ?1";
        let found = self.connection.query_row(text, [name], |row| row.get(0)).optional();
        found.map_err(|error| unusable(&self.path, &error.into()))
    }

    fn select<T>(
        &self,
        text: &str,
        values: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let rows = || {
            let mut statement = self.connection.prepare(text)?;
            statement.query_map(values, read)?.collect::<rusqlite::Result<Vec<T>>>()
        };
        rows().map_err(|error| unusable(&self.path, &error.into()))
    }

    fn execute(&self, text: &str, values: impl rusqlite::Params) -> Result<()> {
        let run = || self.connection.prepare(text)?.execute(values);
        run().map(drop).map_err(|error| unusable(&self.path, &error.into()))
    }
}

const JOB_COLUMNS: &str =
    "id, name, pools, class, submitted, estimate, state, since, reason, cancel, failures, exit_code";

fn job_row(row: &Row<'_>) -> rusqlite::Result<JobRow> {
    let class: String = row.get(3)?;
    let unknown = || rusqlite::Error::InvalidColumnType(3, "class".to_owned(), rusqlite::types::Type::Text);
    Ok(JobRow {
        id: row.get(0)?,
        name: row.get(1)?,
        pools: row.get(2)?,
        class: Class::parse(&class).ok_or_else(unknown)?,
        submitted: time(row.get(4)?),
        estimate: Span(time(row.get(5)?).0),
        state: row.get(6)?,
        since: time(row.get(7)?),
        reason: row.get(8)?,
        cancel: row.get(9)?,
        failures: row.get(10)?,
        exit_code: row.get(11)?,
    })
}

/// SQLite's integers have a sign; no time reaches that far.
fn micros(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

fn time(micros: i64) -> Time {
    Time(u64::try_from(micros).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> (tempfile::TempDir, QueueDir) {
        let root = tempfile::tempdir().unwrap();
        let queue = QueueDir::make(root.path()).unwrap();
        (root, queue)
    }

    fn job() -> NewJob {
        NewJob {
            name: "demo".to_owned(),
            digest: "d".to_owned(),
            pools: "private=2".to_owned(),
            class: Class::Guaranteed,
            submitted: Time(5_000_000),
            estimate: Span(7),
        }
    }

    #[test]
    fn what_is_written_is_there_for_another_process() {
        let (_root, queue) = queue();
        let mut store = Store::open(&queue).unwrap();
        let id = store.submit(&job(), |_| Ok(())).unwrap();
        let run = store.launch(id, Time(6), "next").unwrap();
        store.ask_to_stop(run, Time(8), "overtaken").unwrap();
        store.end_run(run, Some(Time(7)), Time(9), Ending::Stopped).unwrap();
        store.set_end(id, JobState::Failed, Time(10), Some(75), "it failed").unwrap();
        store.cancel(id).unwrap();
        let again = Store::open(&queue).unwrap();
        let row = again.job(id).unwrap();
        assert_eq!((row.state, row.exit_code, row.class), (JobState::Failed, Some(75), Class::Guaranteed));
        assert!(!row.cancel, "a job at its end stays as it is");
        assert!(again.unfinished().unwrap().is_empty());
        let runs = again.runs(id).unwrap();
        assert_eq!((runs[0].ready, runs[0].ended), (Some(Time(7)), Some(Time(9))));
        assert_eq!(runs[0].ending, Some(Ending::Stopped));
    }

    #[test]
    fn a_job_whose_files_cannot_be_kept_is_not_there() {
        let (_root, queue) = queue();
        let mut store = Store::open(&queue).unwrap();
        let refused = store.submit(&job(), |_| Err(Failure::new(&codes::DISK_FULL, "full")));
        assert!(refused.is_err());
        assert!(store.jobs().unwrap().is_empty());
        assert_eq!(store.job(1).unwrap_err().code, &codes::QUEUE_JOB_NOT_FOUND);
    }

    #[test]
    fn a_queue_of_the_version_before_is_taken_on_and_forgets_its_refusals() {
        let (_root, queue) = queue();
        let id = Store::open(&queue).unwrap().submit(&job(), |_| Ok(())).unwrap();
        let connection = Connection::open(queue.database()).unwrap();
        connection
            .execute_batch("ALTER TABLE job DROP COLUMN why; UPDATE job SET state = 'refused'")
            .unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        for _ in 0..2 {
            let mut store = Store::open(&queue).unwrap();
            assert_eq!(store.job(id).unwrap().state, JobState::Waiting);
            store.set_whys(&[(id, "line".to_owned(), Some("{}".to_owned()))]).unwrap();
            assert_eq!(store.why(id).unwrap().as_deref(), Some("{}"));
        }
    }

    #[test]
    fn who_finds_the_database_locked_waits_and_then_says_so() {
        let (_root, queue) = queue();
        drop(Store::open(&queue).unwrap());
        let other = Connection::open(queue.database()).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let failure = Store::open_within(&queue, Duration::from_millis(1)).unwrap_err();
        assert_eq!(failure.code, &codes::QUEUE_LOCKED, "{failure}");
        assert!(failure.to_string().contains("database is locked"), "{failure}");
        other.execute_batch("ROLLBACK").unwrap();
        assert!(Store::open(&queue).is_ok());
    }

    #[test]
    fn a_file_that_is_no_queue_is_refused_and_left_alone() {
        let (_root, queue) = queue();
        std::fs::write(queue.database(), "this is no database, however long it is ".repeat(50)).unwrap();
        let failure = Store::open(&queue).unwrap_err();
        assert_eq!(failure.code, &codes::QUEUE_UNUSABLE);
        assert!(failure.to_string().contains("file is not a database"), "{failure}");

        std::fs::remove_file(queue.database()).unwrap();
        Connection::open(queue.database()).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
        let failure = Store::open(&queue).unwrap_err();
        assert!(failure.to_string().contains("of another program"), "{failure}");

        std::fs::remove_file(queue.database()).unwrap();
        drop(Store::open(&queue).unwrap());
        let connection = Connection::open(queue.database()).unwrap();
        connection.pragma_update(None, "user_version", VERSION + 1).unwrap();
        let failure = Store::open(&queue).unwrap_err();
        assert!(failure.to_string().contains("it is of version 3, this hcrun knows version 2"), "{failure}");

        connection.pragma_update(None, "user_version", VERSION).unwrap();
        connection.execute_batch("DROP TABLE job").unwrap();
        let failure = Store::open(&queue).unwrap().jobs().unwrap_err();
        assert!(failure.to_string().contains("no such table: job"), "{failure}");
    }
}
