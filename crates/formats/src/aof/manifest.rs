//! The manifest: a line a file, `file <name> seq <number> type <b|h|i>`, in which a base comes first, what is to be
//! removed second, and increments last, in the order in which they are to be read.
//!
//! Its content is replaced as a whole, so that it never speaks of a state that there was not.

use quorate_resp::split_words;

/// The longest line, its end included, bytes.
const LINE: usize = 1023;

/// One of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name, without a folder.
    pub name: Vec<u8>,
    /// Its number among those of its kind; from 1 on.
    pub seq: u64,
}

/// Which files there are; see the module's text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The dataset at one moment.
    pub base: Option<Part>,
    /// What was done since, in order.
    pub increments: Vec<Part>,
    /// What is not needed any more, and is to be removed.
    pub history: Vec<Part>,
    /// The highest number that a base has had.
    last_base: u64,
    /// The highest number that an increment has had.
    last_increment: u64,
}

/// What is wrong with a manifest, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct ManifestError {
    /// The line's number, from 1 on; 0 if there is none.
    pub line: usize,
    /// The line.
    pub text: Vec<u8>,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// The first line that is none of a manifest's.
    pub fn parse(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        let mut manifest = Manifest::default();
        if bytes.is_empty() {
            return Err(ManifestError { line: 0, text: Vec::new(), why: "Found an empty AOF manifest" });
        }
        for (index, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
            if line.starts_with(b"#") {
                continue;
            }
            manifest.take(line).map_err(|why| ManifestError { line: index + 1, text: line.to_vec(), why })?;
        }
        Ok(manifest)
    }

    fn take(&mut self, line: &[u8]) -> Result<(), &'static str> {
        const INVALID: &str = "Invalid AOF manifest file format";
        if !line.ends_with(b"\n") || line.len() > LINE {
            return Err("The AOF manifest file contains too long line");
        }
        let words = split_words(line).filter(|words| words.len() >= 6 && words.len().is_multiple_of(2));
        let (mut name, mut seq, mut kind) = (None, 0, None);
        for pair in words.ok_or(INVALID)?.chunks(2) {
            let value = &pair[1];
            match pair[0].to_ascii_lowercase().as_slice() {
                b"file" => {
                    if value.is_empty() || value == b"." || value == b".." || value.contains(&b'/') {
                        return Err("File can't be a path, just a filename");
                    }
                    name = Some(value.clone());
                }
                b"seq" => seq = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(0),
                b"type" => kind = value.first().copied(),
                // What others will have to say of a file.
                _ => {}
            }
        }
        let (Some(name), Some(kind), 1..) = (name, kind, seq) else { return Err(INVALID) };
        let part = Part { name, seq };
        match kind {
            b'b' if self.base.is_some() => return Err("Found duplicate base file information"),
            b'b' => {
                self.last_base = seq;
                self.base = Some(part);
            }
            b'i' if seq <= self.last_increment => return Err("Found a non-monotonic sequence number"),
            b'i' => {
                self.last_increment = seq;
                self.increments.push(part);
            }
            b'h' => self.history.push(part),
            _ => return Err("Unknown AOF file type"),
        }
        Ok(())
    }

    /// The manifest's text.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let base = self.base.iter().map(|part| (part, 'b'));
        let rest = self.history.iter().map(|part| (part, 'h')).chain(self.increments.iter().map(|part| (part, 'i')));
        for (part, kind) in base.chain(rest) {
            text.extend_from_slice(b"file ");
            push_name(&mut text, &part.name);
            text.extend_from_slice(format!(" seq {} type {kind}\n", part.seq).as_bytes());
        }
        text
    }

    /// The files that make up the dataset, in the order in which they are to be read.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.base.iter().chain(&self.increments)
    }

    /// A base that is a file from before there were manifests.
    pub fn of_old_file(name: &[u8]) -> Manifest {
        let base = Part { name: name.to_vec(), seq: 1 };
        Manifest { base: Some(base), last_base: 1, ..Manifest::default() }
    }

    /// The file that the next base will be; `prefix` is `appendfilename`.
    pub fn next_base(&self, prefix: &[u8], is_snapshot: bool) -> Part {
        let seq = self.last_base + 1;
        let end = if is_snapshot { "rdb" } else { "aof" };
        Part { name: [prefix, format!(".{seq}.base.{end}").as_bytes()].concat(), seq }
    }

    /// The file that the next increment will be.
    pub fn next_increment(&self, prefix: &[u8]) -> Part {
        let seq = self.last_increment + 1;
        Part { name: [prefix, format!(".{seq}.incr.aof").as_bytes()].concat(), seq }
    }

    /// From now on there is one more increment.
    pub fn add_increment(&mut self, part: Part) {
        self.last_increment = part.seq;
        self.increments.push(part);
    }

    /// From now on `part` is the base, and of the increments only the last `kept` are behind it.
    pub fn rebase(&mut self, part: Part, kept: usize) {
        self.last_base = part.seq;
        self.history.extend(self.base.replace(part));
        let gone = self.increments.len().saturating_sub(kept);
        self.history.extend(self.increments.drain(..gone));
    }
}

/// A name as it stands in a line: in quotes if it is made of more than ordinary signs.
fn push_name(text: &mut Vec<u8>, name: &[u8]) {
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\');
    if !name.is_empty() && name.iter().all(is_plain) {
        text.extend_from_slice(name);
        return;
    }
    text.push(b'"');
    for &byte in name {
        match byte {
            b'"' | b'\\' => text.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => text.push(byte),
            _ => text.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
    text.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> (usize, &'static str) {
        let error = Manifest::parse(text.as_bytes()).unwrap_err();
        (error.line, error.why)
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let mut manifest = Manifest::default();
        let prefix = b"a \"file\"\n";
        manifest.rebase(manifest.next_base(prefix, true), 0);
        for _ in 0..3 {
            manifest.add_increment(manifest.next_increment(prefix));
        }
        manifest.rebase(manifest.next_base(prefix, false), 1);
        assert_eq!((manifest.base.as_ref().unwrap().seq, manifest.increments[0].seq), (2, 3));
        assert_eq!(manifest.history.len(), 3);
        let again = Manifest::parse(&manifest.to_bytes()).unwrap();
        assert_eq!(again, manifest);
        assert_eq!(again.next_increment(b"x").name, b"x.4.incr.aof");
        assert_eq!(again.next_base(b"x", true).name, b"x.3.base.rdb");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        assert_eq!(wrong(""), (0, "Found an empty AOF manifest"));
        assert_eq!(wrong("\n"), (1, "Invalid AOF manifest file format"));
        assert_eq!(wrong("file a seq 1 type b"), (1, "The AOF manifest file contains too long line"));
        assert_eq!(wrong("file a seq 1 type b\nfile b seq 2 type b\n"), (2, "Found duplicate base file information"));
        assert_eq!(wrong("file a seq 2 type i\nfile b seq 2 type i\n"), (2, "Found a non-monotonic sequence number"));
        assert_eq!(wrong("file a seq 1 type x\n"), (1, "Unknown AOF file type"));
        assert_eq!(wrong("file a seq 0 type i\n"), (1, "Invalid AOF manifest file format"));
        assert_eq!(wrong("file a seq 1 type\n"), (1, "Invalid AOF manifest file format"));
        assert_eq!(wrong("file ../a seq 1 type i\n"), (1, "File can't be a path, just a filename"));
        let long = format!("file {} seq 1 type i\n", "a".repeat(2000));
        assert_eq!(wrong(&long), (1, "The AOF manifest file contains too long line"));
    }

    #[test]
    fn remarks_and_what_we_do_not_know_are_passed_over() {
        let text = b"# a remark\nfile a seq 1 type b startoffset 7\n";
        let manifest = Manifest::parse(text).unwrap();
        assert_eq!(manifest.parts().map(|part| part.name.clone()).collect::<Vec<_>>(), [b"a".to_vec()]);
    }
}
