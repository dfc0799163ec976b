//! Runs as elements of Slurm job arrays.

use crate::folder::SuiteFolder;
use crate::plan::PlannedRun;
use ccnf_core::{Error, ErrorKind, Result, read_file, write_atomic};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Elements of an array: Slurm's own default limit is 1001.
const ELEMENTS: usize = 1000;

/// Submits job arrays with `sbatch`.
#[derive(Debug, Clone)]
pub struct Slurm {
    /// The program, which every node must see at this path.
    pub program: PathBuf,
    /// Processors and threads of a run.
    pub threads: usize,
    /// Elements of an array that run at a time; `None` leaves it to Slurm.
    pub at_a_time: Option<usize>,
    /// More options of `sbatch`, such as `--partition=gpu`.
    pub options: Vec<String>,
}

/// An array that was submitted: a line of `slurm/jobs.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Submitted {
    /// Slurm's job id.
    pub job: String,
    /// The run of every element.
    pub runs: Vec<String>,
}

/// What a submission did.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// The new arrays.
    pub arrays: Vec<Submitted>,
    /// Runs that were left out: an earlier array has them waiting or running.
    pub queued: usize,
}

impl Slurm {
    /// Submits the open `runs` that no earlier array of this suite has in the queue: a lost or preempted one is submitted again, and goes on
    /// where it stopped.
    pub fn submit(&self, folder: &SuiteFolder, runs: &[&PlannedRun]) -> Result<Submission> {
        let queued = self.queued(folder)?;
        let todo: Vec<String> = runs.iter().map(|r| r.id.clone()).filter(|id| !queued.contains(id)).collect();
        let mut submission = Submission { arrays: vec![], queued: runs.len() - todo.len() };
        for part in todo.chunks(ELEMENTS) {
            let array = self.array(folder, part)?;
            let mut all = jobs(folder)?;
            all.push(array.clone());
            let mut text = String::new();
            for job in &all {
                text += &(serde_json::to_string(job)
                    .map_err(|e| Error::new(ErrorKind::Contract, e.to_string()))?
                    + "\n");
            }
            write_atomic(&jobs_file(folder), text.as_bytes())?;
            submission.arrays.push(array);
        }
        Ok(submission)
    }

    fn array(&self, folder: &SuiteFolder, runs: &[String]) -> Result<Submitted> {
        let absolute = |p: &Path| std::path::absolute(p).map_err(|e| Error::io("find", p, e));
        let suite = absolute(folder.path())?;
        let file = |number: usize, end: &str| suite.join(format!("slurm/array-{number}.{end}"));
        // Never one that is there, whatever jobs.jsonl says: elements read their list when they start.
        let number = (1..).find(|n| !file(*n, "txt").exists()).unwrap_or(usize::MAX);
        let [list, script] = ["txt", "sh"].map(|end| file(number, end));
        write_atomic(&list, (runs.join("\n") + "\n").as_bytes())?;
        let logs = suite.join("logs");
        std::fs::create_dir_all(&logs).map_err(|e| Error::io("create", &logs, e))?;
        write_atomic(&script, self.script(&absolute(&self.program)?, &suite, &list).as_bytes())?;
        let throttle = self.at_a_time.map(|n| format!("%{n}")).unwrap_or_default();
        let mut command = Command::new("sbatch");
        command.arg("--parsable").arg(format!("--array=0-{}{throttle}", runs.len() - 1));
        // Slurm replaces what follows a `%`, in the folder's name as well.
        let logs = logs.display().to_string().replace('%', "%%");
        command.arg(format!("--output={logs}/slurm-%A_%a.log"));
        command.args(&self.options).arg(&script);
        // `jobid` or `jobid;cluster`.
        let said = output(command, "sbatch")?;
        let job = said.trim().split(';').next().unwrap_or_default().to_owned();
        if job.is_empty() || !job.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Error::new(
                ErrorKind::Io,
                format!("sbatch answered `{}` and no job id", said.trim()),
            ));
        }
        Ok(Submitted { job, runs: runs.to_vec() })
    }

    /// Every element is one idempotent `ccnf run-one`; Slurm may start it again after a lost node or a preemption.
    fn script(&self, program: &Path, suite: &Path, list: &Path) -> String {
        let [program, suite, list] = [program, suite, list].map(quoted);
        let threads = self.threads;
        format!(
            "#!/bin/bash\n#SBATCH --job-name=ccnf\n#SBATCH --cpus-per-task={threads}\n#SBATCH --requeue\n#SBATCH --open-mode=append\n\
             set -eu\nexport RAYON_NUM_THREADS={threads}\nid=$(sed -n \"$((SLURM_ARRAY_TASK_ID + 1))p\" {list})\n\
             exec {program} run-one \"$id\" --suite {suite}\n"
        )
    }

    /// Runs that earlier arrays have waiting or running. Fails where Slurm does not say: without an answer they would be submitted twice.
    fn queued(&self, folder: &SuiteFolder) -> Result<BTreeSet<String>> {
        let jobs = jobs(folder)?;
        if jobs.is_empty() {
            return Ok(BTreeSet::new());
        }
        let numbers: Vec<&str> = jobs.iter().map(|j| j.job.as_str()).collect();
        let mut command = Command::new("squeue");
        command.args(["--noheader", "--array", "--format=%F %K", "--jobs", &numbers.join(",")]);
        // A user's own filters, such as SQUEUE_STATES, would hide elements.
        for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("SQUEUE_")) {
            command.env_remove(name);
        }
        let found = command.output().map_err(|e| missing("squeue", e))?;
        let [said, complaint] =
            [found.stdout, found.stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
        // A single job that ended some time ago is no longer known, which squeue calls an error; of several it leaves out the unknown.
        if !found.status.success() && !complaint.contains("Invalid job id") {
            let found = format!("squeue failed: {}", complaint.trim());
            return Err(Error::new(ErrorKind::Io, found).help(
                "nothing was submitted, since runs may be in the queue: give the same command again later",
            ));
        }
        Ok(elements(&jobs, &said))
    }
}

/// The runs of `jobs` that squeue's lines of array and index name.
fn elements(jobs: &[Submitted], lines: &str) -> BTreeSet<String> {
    let run = |line: &str| {
        let (array, index) = line.trim().split_once(' ')?;
        let job = jobs.iter().find(|j| j.job == array)?;
        job.runs.get(index.trim().parse::<usize>().ok()?).cloned()
    };
    lines.lines().filter_map(run).collect()
}

fn jobs_file(folder: &SuiteFolder) -> PathBuf {
    folder.file("slurm/jobs.jsonl")
}

/// The arrays that were submitted for a suite so far.
fn jobs(folder: &SuiteFolder) -> Result<Vec<Submitted>> {
    let path = jobs_file(folder);
    if !path.exists() {
        return Ok(vec![]);
    }
    let text = String::from_utf8_lossy(&read_file(&path)?).into_owned();
    let damaged = |e: serde_json::Error| {
        Error::new(ErrorKind::Checkpoint, format!("`{}` is damaged: {e}", path.display())).help(
            "remove it: runs that are still in the queue may then be submitted twice, which does no harm",
        )
    };
    text.lines().map(|l| serde_json::from_str(l).map_err(damaged)).collect()
}

fn missing(program: &str, e: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot start `{program}`: {e}"))
        .help("run this where Slurm's commands are, or use --executor list")
}

fn output(mut command: Command, program: &str) -> Result<String> {
    let found = command.output().map_err(|e| missing(program, e))?;
    if !found.status.success() {
        let said = String::from_utf8_lossy(&found.stderr).trim().to_owned();
        return Err(Error::new(ErrorKind::Io, format!("{program} failed: {said}"))
            .help("its options are passed on with --sbatch OPTION"));
    }
    Ok(String::from_utf8_lossy(&found.stdout).into_owned())
}

/// A path as one word of a shell.
pub(crate) fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_picks_the_run_of_its_element_whatever_the_paths_hold() {
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join("it's here");
        std::fs::create_dir(&odd).unwrap();
        let list = odd.join("list.txt");
        std::fs::write(&list, "aaa\nbbb\nccc\n").unwrap();
        let slurm =
            Slurm { program: PathBuf::from("/bin/echo"), threads: 2, at_a_time: None, options: vec![] };
        let script = odd.join("job.sh");
        std::fs::write(&script, slurm.script(Path::new("/bin/echo"), &odd, &list)).unwrap();
        let out = Command::new("bash").arg(&script).env("SLURM_ARRAY_TASK_ID", "1").output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert_eq!(said.trim(), format!("run-one bbb --suite {}", odd.display()));
    }

    #[test]
    fn submitted_arrays_are_remembered_and_a_damaged_list_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let folder = SuiteFolder::at(dir.path());
        assert_eq!(jobs(&folder).unwrap(), []);
        let one = Submitted { job: "12".into(), runs: vec!["a".into()] };
        write_atomic(&jobs_file(&folder), (serde_json::to_string(&one).unwrap() + "\n").as_bytes()).unwrap();
        assert_eq!(jobs(&folder).unwrap(), [one]);
        std::fs::write(jobs_file(&folder), "{").unwrap();
        assert!(jobs(&folder).unwrap_err().to_string().contains("jobs.jsonl` is damaged"));
    }

    #[test]
    fn the_queue_is_read_by_array_and_index_and_other_lines_mean_nothing() {
        let job = |job: &str, runs: &[&str]| Submitted {
            job: job.into(),
            runs: runs.iter().map(|r| (*r).to_owned()).collect(),
        };
        let jobs = [job("12", &["a", "b"]), job("13", &["b", "c"])];
        let queued = |lines: &str| elements(&jobs, lines).into_iter().collect::<Vec<_>>();
        assert_eq!(queued("12 0\n13 1\n"), ["a", "c"]);
        assert_eq!(queued("13 0\n  12 1 \n"), ["b"]);
        assert!(queued("14 0\n12 2\n12 N/A\n\nslurm: x\n").is_empty());
    }
}
