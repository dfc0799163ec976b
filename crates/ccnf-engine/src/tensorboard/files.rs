//! The event files in a folder: what they hold, where they are cut, where they go on.

use super::history::entries;
use super::proto::Event;
use super::record::{Next, Records, frame};
use ccnf_core::{Error, Result};
use prost::Message;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const PREFIX: &str = "events.out.tfevents.";
/// Where other writers name the machine: results do not depend on it, and it keeps their files apart from those written here.
const SUFFIX: &str = ".ccnf";

/// Appends events to a file, each by a single write, so that a reader sees it at once and the file ends with a whole record whenever the
/// process is killed between two.
pub(crate) struct Writer {
    path: PathBuf,
    file: File,
}

impl Writer {
    /// Appends an event of now.
    pub(crate) fn append(&mut self, event: Event) -> Result<()> {
        let bytes = frame(&Event { wall_time: now(), ..event }.encode_to_vec());
        self.file.write_all(&bytes).map_err(|e| Error::io("write", &self.path, e))
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// What comes next in the files.
pub(super) enum Found {
    /// An event with values.
    Event(Event),
    /// The end of the last file.
    End,
    /// Half a record, or something else.
    Damaged,
}

/// The event files of a folder, read in the order of their names, which is that of their age.
pub(super) struct EventFiles {
    folder: PathBuf,
    paths: Vec<PathBuf>,
    /// The file that is read.
    current: usize,
    records: Option<Records<BufReader<File>>>,
    /// The current file begins as an event file.
    headed: bool,
    /// Where what is kept ends: file, bytes.
    kept: (usize, u64),
}

impl EventFiles {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let ours = |p: &PathBuf| {
            p.file_name()
                .and_then(|n| n.to_str())
                .is_some_and(|n| n.starts_with(PREFIX) && n.ends_with(SUFFIX))
        };
        let paths = entries(folder)?.into_iter().filter(ours).collect();
        let folder = folder.to_owned();
        Ok(EventFiles { folder, paths, current: 0, records: None, headed: false, kept: (0, 0) })
    }

    /// The next event with values. Its wall-clock time is left out: it is the one thing that differs between equal runs.
    pub(super) fn next(&mut self) -> Result<Found> {
        while let Some(path) = self.paths.get(self.current) {
            let read = |e| Error::io("read", path, e);
            let records = match &mut self.records {
                Some(r) => r,
                none => none.insert(Records::new(BufReader::new(File::open(path).map_err(read)?))),
            };
            match records.next().map_err(read)? {
                Next::Record(r) => match Event::decode(&r[..]) {
                    Ok(e) if e.summary.is_some() => return Ok(Found::Event(Event { wall_time: 0.0, ..e })),
                    Ok(e) => self.headed |= e.file_version.is_some(),
                    Err(_) => return Ok(Found::Damaged),
                },
                Next::Damaged => return Ok(Found::Damaged),
                Next::End if self.current + 1 == self.paths.len() => break,
                Next::End => {
                    (self.current, self.records, self.headed) = (self.current + 1, None, false);
                }
            }
        }
        Ok(Found::End)
    }

    /// Keeps everything up to the event that was read last.
    pub(super) fn keep(&mut self) {
        self.kept = (self.current, self.records.as_ref().map_or(0, Records::offset));
    }

    /// Goes on after what is kept, whose last event was written at global step `last`. `found` is what comes after it.
    ///
    /// Where that is the end, the last file goes on. Where it has to be cut, a new file is begun, which says that the process starts at
    /// the step after `last`: a TensorBoard that is looking on forgets what it has read from there on. (The Python reader purges at such
    /// a record, the data server whatever is not before a new point of the same name. Both go from file to file in the order of names and
    /// stay at their place in a file that is replaced; the former never leaves one that is deleted.) The new file is there before the
    /// old ones are cut: a process killed in between leaves something that has to be cut, again.
    pub(super) fn go_on(&self, last: Option<i64>, found: &Found) -> Result<Writer> {
        if let (Found::End, Some(path), true) = (found, self.paths.last(), self.headed) {
            return self.open(path.clone());
        }
        let mut writer = self.open(self.new_path())?;
        writer.append(Event::head())?;
        writer.append(Event::start(last.map_or(0, |l| l.saturating_add(1))))?;
        for (i, path) in self.paths.iter().enumerate().skip(self.kept.0) {
            let length = if i == self.kept.0 { self.kept.1 } else { 0 };
            let cut = || -> std::io::Result<()> {
                let file = OpenOptions::new().write(true).open(path)?;
                if file.metadata()?.len() > length { file.set_len(length) } else { Ok(()) }
            };
            cut().map_err(|e| Error::io("shorten", path, e))?;
        }
        Ok(writer)
    }

    fn open(&self, path: PathBuf) -> Result<Writer> {
        std::fs::create_dir_all(&self.folder).map_err(|e| Error::io("create the folder", &self.folder, e))?;
        let file = OpenOptions::new().create(true).append(true).open(&path);
        Ok(Writer { file: file.map_err(|e| Error::io("open", &path, e))?, path })
    }

    /// A name after all others: seconds since 1970, or the last file's plus one.
    fn new_path(&self) -> PathBuf {
        let seconds = |p: &PathBuf| -> Option<u64> {
            p.file_name()?.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()
        };
        let after = self.paths.iter().filter_map(seconds).max().map_or(0, |s| s.saturating_add(1));
        self.folder.join(format!("{PREFIX}{:010}{SUFFIX}", after.max(now() as u64)))
    }
}
