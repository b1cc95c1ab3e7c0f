//! `quorate check-aof FILE`, also under the name redis-check-aof: reads an append-only file, or all that a manifest names,
//! and tells what is wrong with it and up to where it is well. It can cut off what is not, or what came after a moment.
//! The lines have the form of Redis' tool, for scripts that look at them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use quorate_formats::aof::{Annotation, Error, Item, Manifest, Reader};
use quorate_stdx::UnixMs;

use super::folder::Folder;
use crate::persist::check::check_snapshot;
use crate::process::plain;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// To look.
    Look,
    /// To cut off what is not whole, if whoever is asked agrees.
    Fix,
    /// To cut off what came after so many seconds since the epoch.
    Truncate(i64),
}

/// How a file is.
enum Verdict {
    Valid,
    Invalid,
    /// There is nothing in it.
    Empty,
    /// It was cut off.
    Cut,
}

/// A check of one file, or of all that belong together.
pub struct Check<'a> {
    /// What is to be done.
    pub task: Task,
    /// The time.
    pub now: UnixMs,
    /// Where questions are answered.
    pub answers: &'a mut dyn BufRead,
    /// Where it says what there is to say.
    pub out: &'a mut dyn Write,
}

impl Check<'_> {
    /// Checks what is at `path`; whether it is as it should be.
    ///
    /// # Errors
    /// The output can't be written.
    pub fn run(&mut self, path: &Path) -> io::Result<bool> {
        match is_manifest(path) {
            Ok(true) => self.all(path),
            Ok(false) => {
                writeln!(self.out, "Start checking Old-Style AOF")?;
                let name = path.display().to_string();
                let verdict = self.file(path, &name, true)?;
                self.conclude(&verdict, "AOF", &name)
            }
            Err(error) => {
                writeln!(self.out, "Cannot open file {}: {}", path.display(), plain(&error))?;
                Ok(false)
            }
        }
    }

    /// Checks all files that a manifest names.
    fn all(&mut self, path: &Path) -> io::Result<bool> {
        writeln!(self.out, "Start checking Multi Part AOF")?;
        let manifest = match fs::read(path).map(|bytes| Manifest::parse(&bytes)) {
            Ok(Ok(manifest)) => manifest,
            Ok(Err(error)) => {
                writeln!(self.out, "\n*** FATAL AOF MANIFEST FILE ERROR ***")?;
                writeln!(self.out, "Reading the manifest file, at line {}", error.line)?;
                writeln!(self.out, ">>> '{}'", String::from_utf8_lossy(&error.text).trim_end())?;
                writeln!(self.out, "{}", error.why)?;
                return Ok(false);
            }
            Err(error) => {
                writeln!(self.out, "Cannot open file {}: {}", path.display(), plain(&error))?;
                return Ok(false);
            }
        };
        let folder = Folder::of_manifest(path);
        let last = manifest.parts().count();
        for (index, part) in manifest.parts().enumerate() {
            let (path, name) = (folder.part(part), String::from_utf8_lossy(&part.name).into_owned());
            let is_base = index == 0 && manifest.base.is_some();
            if is_base {
                let form = if begins_with_snapshot(&path) { "RDB" } else { "RESP" };
                writeln!(self.out, "Start to check BASE AOF ({form} format).")?;
            } else if index == usize::from(manifest.base.is_some()) {
                writeln!(self.out, "Start to check INCR files.")?;
            }
            if !path.is_file() {
                writeln!(self.out, "Cannot open file {}: No such file or directory, aborting...", path.display())?;
                return Ok(false);
            }
            let verdict = self.file(&path, &name, index + 1 == last)?;
            if !self.conclude(&verdict, if is_base { "BASE AOF" } else { "INCR AOF" }, &name)? {
                return Ok(false);
            }
        }
        writeln!(self.out, "All AOF files and manifest are valid")?;
        Ok(true)
    }

    /// Says how a file is; whether it is as it should be.
    fn conclude(&mut self, verdict: &Verdict, kind: &str, name: &str) -> io::Result<bool> {
        match verdict {
            Verdict::Valid => writeln!(self.out, "{kind} {name} is valid")?,
            Verdict::Empty => writeln!(self.out, "{kind} {name} is empty")?,
            Verdict::Cut => {}
            Verdict::Invalid => return Ok(false),
        }
        Ok(true)
    }

    /// Checks one file, and does what is to be done about it.
    fn file(&mut self, path: &Path, name: &str, is_last: bool) -> io::Result<Verdict> {
        let size = fs::metadata(path).map_or(0, |metadata| metadata.len());
        if size == 0 {
            return Ok(Verdict::Empty);
        }
        let mut file = match File::open(path) {
            Ok(file) => BufReader::with_capacity(1 << 20, file),
            Err(error) => {
                writeln!(self.out, "Cannot open file {}: {}, aborting...", path.display(), plain(&error))?;
                return Ok(Verdict::Invalid);
            }
        };
        let mut begin = 0;
        if begins_with_snapshot(path) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let Some(end) = check_snapshot(&mut file, &name, self.now, self.out)? else {
                writeln!(self.out, "RDB preamble of AOF file is not sane, aborting.")?;
                return Ok(Verdict::Invalid);
            };
            writeln!(self.out, "RDB preamble is OK, proceeding with AOF tail...")?;
            begin = end;
            file.seek(SeekFrom::Start(begin))?;
        }
        let found = look(file, begin, self.task);
        if let Task::Truncate(moment) = self.task {
            return self.truncate(path, name, is_last, (moment, found.behind_moment, begin));
        }
        if let Some(complaint) = &found.complaint {
            writeln!(self.out, "{}", complaint.replace("{name}", name))?;
        }
        let (upto, line, diff) = (found.valid, found.lines + 1, size - found.valid);
        writeln!(
            self.out,
            "AOF analyzed: filename={name}, size={size}, ok_up_to={upto}, ok_up_to_line={line}, diff={diff}"
        )?;
        if diff == 0 {
            return Ok(Verdict::Valid);
        }
        if self.task != Task::Fix {
            writeln!(self.out, "AOF {name} is not valid. Use the --fix option to try fixing it.")?;
            return Ok(Verdict::Invalid);
        }
        self.fix(path, name, is_last, (size, upto))
    }

    fn fix(&mut self, path: &Path, name: &str, is_last: bool, (size, upto): (u64, u64)) -> io::Result<Verdict> {
        if !is_last {
            writeln!(self.out, "Failed to truncate AOF {name} because it is not the last file")?;
            return Ok(Verdict::Invalid);
        }
        let diff = size - upto;
        writeln!(self.out, "This will shrink the AOF {name} from {size} bytes, with {diff} bytes, to {upto} bytes")?;
        write!(self.out, "Continue? [y/N]: ")?;
        self.out.flush()?;
        let mut answer = String::new();
        (&mut *self.answers).take(16).read_line(&mut answer)?;
        if !answer.trim_start().to_ascii_lowercase().starts_with('y') {
            writeln!(self.out, "Aborting...")?;
            return Ok(Verdict::Invalid);
        }
        if let Err(error) = cut(path, upto) {
            writeln!(self.out, "Failed to truncate AOF {name}: {}", plain(&error))?;
            return Ok(Verdict::Invalid);
        }
        writeln!(self.out, "Successfully truncated AOF {name}")?;
        Ok(Verdict::Cut)
    }

    /// Cuts off what came after a moment: from the first note of a later time on.
    fn truncate(
        &mut self,
        path: &Path,
        name: &str,
        is_last: bool,
        (moment, behind, begin): (i64, Option<u64>, u64),
    ) -> io::Result<Verdict> {
        let Some(at) = behind else {
            writeln!(self.out, "Truncate nothing in AOF {name} to timestamp {moment}")?;
            return Ok(Verdict::Valid);
        };
        if !is_last {
            writeln!(
                self.out,
                "Failed to truncate AOF {name} to timestamp {moment} to offset {at} because it is not the last file."
            )?;
            writeln!(
                self.out,
                "If you insist, please delete all files after this file according to the manifest file and \
                                delete the corresponding records in manifest file manually. Then re-run redis-check-aof."
            )?;
            return Ok(Verdict::Invalid);
        }
        if at == begin {
            writeln!(self.out, "AOF {name} has nothing before timestamp {moment}, aborting...")?;
            return Ok(Verdict::Invalid);
        }
        if let Err(error) = cut(path, at) {
            writeln!(self.out, "Failed to truncate AOF {name} to timestamp {moment}: {}", plain(&error))?;
            return Ok(Verdict::Invalid);
        }
        writeln!(self.out, "Successfully truncated AOF {name} to timestamp {moment}")?;
        Ok(Verdict::Cut)
    }
}

fn cut(path: &Path, upto: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(upto)?;
    file.sync_all()
}

/// What there is in a file.
struct Found {
    /// Where what is whole ends, and the lines up to there.
    valid: u64,
    lines: u64,
    /// What is wrong behind it; `{name}` stands for the file's name.
    complaint: Option<String>,
    /// Where the first note of a time after the moment is that was asked for.
    behind_moment: Option<u64>,
}

/// Reads requests to the end, or to where there are none.
fn look(input: impl BufRead, begin: u64, task: Task) -> Found {
    let mut reader = Reader::new(input, begin);
    let mut found = Found { valid: begin, lines: 0, complaint: None, behind_moment: None };
    let (mut lines, mut transaction) = (0, None);
    loop {
        let at = reader.position();
        match reader.next() {
            Ok(Some(Item::Annotation(said))) => {
                lines += 1;
                if let (Annotation::Time(time), Task::Truncate(moment)) = (said, task)
                    && time > moment
                {
                    found.behind_moment = Some(at);
                    return found;
                }
            }
            Ok(Some(Item::Request(request))) => {
                lines += 1 + 2 * request.words().len() as u64;
                if request.is("multi") {
                    if transaction.replace(at).is_some() {
                        found.complaint = Some(format!("0x{at:16x}: Unexpected MULTI in AOF {{name}}"));
                        return found;
                    }
                } else if request.is("exec") && transaction.take().is_none() {
                    found.complaint = Some(format!("0x{at:16x}: Unexpected EXEC in AOF {{name}}"));
                    return found;
                }
            }
            Ok(None) => {
                if transaction.is_some() {
                    found.complaint = Some(format!("0x{at:16x}: Reached EOF before reading EXEC for MULTI"));
                }
                return found;
            }
            Err(error) => {
                found.complaint = Some(match error {
                    Error::Truncated { at } => format!("0x{at:16x}: Reached EOF within what begins here"),
                    Error::Malformed { at, expected } => {
                        format!("AOF {{name}} format error\n0x{at:16x}: Expected {expected}")
                    }
                    Error::Io { at, source } => format!("0x{at:16x}: {}", plain(&source)),
                });
                return found;
            }
        }
        if transaction.is_none() {
            (found.valid, found.lines) = (reader.position(), lines);
        }
    }
}

/// Whether a file is a manifest: its first line that is no remark is one of a manifest's.
fn is_manifest(path: &Path) -> io::Result<bool> {
    let mut head = Vec::new();
    File::open(path)?.take(64 << 10).read_to_end(&mut head)?;
    let first = head.split(|&byte| byte == b'\n').find(|line| !line.starts_with(b"#"));
    Ok(first.is_some_and(|line| line.starts_with(b"file")))
}

fn begins_with_snapshot(path: &Path) -> bool {
    let mut head = [0; 5];
    File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok() && head == *b"REDIS"
}

/// What the arguments of `check-aof` ask for.
pub fn arguments(words: &[Vec<u8>]) -> Option<(Task, PathBuf)> {
    let path = |word: &Vec<u8>| PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(word));
    match words {
        [file] => Some((Task::Look, path(file))),
        [option, file] if option == b"--fix" => Some((Task::Fix, path(file))),
        [option, moment, file] if option == b"--truncate-to-timestamp" => {
            let moment = std::str::from_utf8(moment).ok()?.parse().ok()?;
            Some((Task::Truncate(moment), path(file)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[u8] = b"*3\r\n$3\r\nset\r\n$3\r\nfoo\r\n$5\r\nhello\r\n";
    const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
    const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

    struct Stand {
        folder: tempfile::TempDir,
    }

    impl Stand {
        fn new(files: &[(&str, &[u8])]) -> Stand {
            let folder = tempfile::tempdir().unwrap();
            for (name, bytes) in files {
                fs::write(folder.path().join(name), bytes).unwrap();
            }
            Stand { folder }
        }

        fn check(&self, name: &str, task: Task, answer: &str) -> (bool, String) {
            let (mut answers, mut out) = (answer.as_bytes(), Vec::new());
            let mut check = Check { task, now: UnixMs(0), answers: &mut answers, out: &mut out };
            let is_fine = check.run(&self.folder.path().join(name)).unwrap();
            (is_fine, String::from_utf8(out).unwrap())
        }

        fn length(&self, name: &str) -> u64 {
            fs::metadata(self.folder.path().join(name)).unwrap().len()
        }
    }

    #[test]
    fn a_file_is_well_up_to_where_its_last_whole_request_or_transaction_ends() {
        let open = [WHOLE, MULTI, WHOLE].concat();
        let closed = [WHOLE, MULTI, WHOLE, EXEC, &WHOLE[..20]].concat();
        for (bytes, upto, line) in [
            (&WHOLE[..20], 0, 1),
            (&open, 33, 8),
            (&closed, closed.len() - 20, 1 + 7 + 3 + 7 + 3),
            (&[WHOLE, b"!!!"].concat(), 33, 8),
            (&[WHOLE, EXEC].concat(), 33, 8),
        ] {
            let stand = Stand::new(&[("a", bytes)]);
            let (is_fine, said) = stand.check("a", Task::Look, "");
            assert!(!is_fine && said.contains("is not valid. Use the --fix option"), "{said}");
            assert!(said.contains(&format!("ok_up_to={upto}, ok_up_to_line={line}, ")), "{said}");
            assert!(!stand.check("a", Task::Fix, "n\n").0);
            assert_eq!(stand.length("a"), bytes.len() as u64);
            let (is_fine, said) = stand.check("a", Task::Fix, "y\n");
            assert!(is_fine && said.contains("Successfully truncated AOF"), "{said}");
            assert_eq!(stand.length("a"), upto as u64);
        }
        let (is_fine, said) = Stand::new(&[("a", WHOLE)]).check("a", Task::Look, "");
        assert!(is_fine && said.contains("ok_up_to=33, ok_up_to_line=8, diff=0") && said.ends_with("is valid\n"));
    }

    #[test]
    fn of_several_files_only_the_last_is_cut() {
        let manifest = b"file b seq 1 type b\nfile i seq 1 type i\n";
        let stand = Stand::new(&[("m.manifest", manifest), ("b", &WHOLE[..9]), ("i", WHOLE)]);
        let (is_fine, said) = stand.check("m.manifest", Task::Fix, "y\n");
        assert!(!is_fine && said.contains("because it is not the last file"), "{said}");
        let stand = Stand::new(&[("m.manifest", manifest), ("b", WHOLE), ("i", &WHOLE[..9])]);
        let (is_fine, said) = stand.check("m.manifest", Task::Fix, "y\n");
        assert!(is_fine && said.ends_with("All AOF files and manifest are valid\n"), "{said}");
        assert_eq!(stand.length("i"), 0);
    }

    #[test]
    fn what_came_after_a_moment_is_cut_off() {
        let bytes = [b"#TS:100\r\n", WHOLE, b"#TS:200\r\n", WHOLE].concat();
        let stand = Stand::new(&[("a", &bytes)]);
        assert!(stand.check("a", Task::Truncate(200), "").1.contains("Truncate nothing"));
        assert!(stand.check("a", Task::Truncate(50), "").1.contains("has nothing before timestamp 50, aborting..."));
        assert!(stand.check("a", Task::Truncate(150), "").1.contains("Successfully truncated AOF"));
        assert_eq!(stand.length("a"), 42);
    }
}
