//! The suite's source: Debian's source package of Redis 7.0.15, fetched with apt from the mirror that this machine
//! already uses.
//!
//! apt runs with source lists, indexes and a cache of its own below `target/compat/apt`; no file of the system changes,
//! and no mirror is named here. Other Debian releases ship other versions, so a mirror of bookworm is needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::workspace::{self, output};

const VERSION: &str = "7.0.15";
const SUITES: &[&str] = &["bookworm", "bookworm-security"];

/// The unpacked source package, fetched first if need be.
pub(super) fn unpacked() -> Result<PathBuf> {
    let place = workspace::scratch("compat")?;
    let tree = place.join(format!("redis-{VERSION}"));
    if !tree.join("runtest").exists() {
        eprintln!("fetching the source of Redis {VERSION} with apt");
        let description = fetch(&place.join("apt"))?;
        // Unpacked elsewhere and renamed, so that a tree under its final name is always whole.
        let partial = tempfile::tempdir_in(&place)?;
        let unpacked = partial.path().join("tree");
        output(Command::new("dpkg-source").args(["--no-check", "-x"]).args([&description, &unpacked]))
            .context("unpack the source package (dpkg-source is in Debian's package dpkg-dev)")?;
        fs::rename(&unpacked, &tree)?;
    }
    Ok(tree)
}

/// Downloads the package's files; the path of its `.dsc`.
fn fetch(place: &Path) -> Result<PathBuf> {
    let lists = source_lists(Path::new("/etc/apt"))?;
    let options = lists.install(place)?;
    output(Command::new("apt-get").args(&options).arg("update")).context("read the package indexes")?;
    let files = place.join("files");
    fs::create_dir_all(&files)?;
    output(Command::new("apt-get").args(&options).args(["source", "--download-only", "redis"]).current_dir(&files))
        .context("download the source package")?;
    let names = fs::read_dir(&files)?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut descriptions: Vec<PathBuf> =
        names.filter(|path| path.extension().is_some_and(|ext| ext == "dsc")).collect();
    descriptions.sort();
    let newest = descriptions.pop().context("apt-get source left no .dsc file")?;
    let name = newest.file_name().unwrap_or_default().to_string_lossy();
    ensure!(name.starts_with(&format!("redis_{VERSION}-")), "the mirror has {name}, not version {VERSION}");
    Ok(newest)
}

/// The machine's own lists, turned into lists of sources of the suites that matter here.
#[derive(Debug, Default, PartialEq)]
struct Lists {
    /// One-line style, `sources.list`.
    lines: String,
    /// Stanza style, `*.sources`.
    stanzas: String,
}

impl Lists {
    /// Writes the lists below `place`; the options that make apt use them and nothing of the system's.
    fn install(&self, place: &Path) -> Result<Vec<String>> {
        for directory in ["lists/partial", "cache/archives/partial", "parts"] {
            fs::create_dir_all(place.join(directory))?;
        }
        fs::write(place.join("parts/suite.list"), &self.lines)?;
        fs::write(place.join("parts/suite.sources"), &self.stanzas)?;
        let set = |name: &str, path: &str| ["-o".to_owned(), format!("{name}={}", place.join(path).display())];
        let mut options: Vec<String> = ["-q", "-o", "Dir::Etc::sourcelist=-"].map(str::to_owned).to_vec();
        options.extend(set("Dir::Etc::sourceparts", "parts"));
        options.extend(set("Dir::State::lists", "lists"));
        options.extend(set("Dir::Cache", "cache"));
        // apt's own user may not be allowed to write below a home directory.
        options.extend(["-o".to_owned(), "APT::Sandbox::User=root".to_owned()]);
        Ok(options)
    }
}

fn source_lists(etc: &Path) -> Result<Lists> {
    let mut lists = Lists::default();
    let parts =
        fs::read_dir(etc.join("sources.list.d")).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<PathBuf> = parts.chain([etc.join("sources.list")]).collect();
    paths.sort();
    for path in paths {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("list") => lists.lines.extend(text.lines().filter_map(source_line)),
            Some("sources") => lists.stanzas.extend(text.split("\n\n").filter_map(source_stanza)),
            _ => {}
        }
    }
    if lists == Lists::default() {
        bail!("no list below {} names a mirror of Debian's suites {SUITES:?}", etc.display());
    }
    Ok(lists)
}

/// `deb [options] uri suite component...` as the line for sources, if its suite matters.
fn source_line(line: &str) -> Option<String> {
    let rest = line.trim().strip_prefix("deb")?;
    let rest = rest.strip_prefix("-src").unwrap_or(rest).strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(inside) => inside.split_once(']').map(|(options, rest)| (format!("[{options}] "), rest))?,
        None => (String::new(), rest),
    };
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    SUITES.contains(&suite).then(|| format!("deb-src {options}{uri} {suite} main\n"))
}

/// A stanza as one for sources, if one of its suites matters. Other fields (keys, trust) stay as they are.
fn source_stanza(stanza: &str) -> Option<String> {
    let field = |name: &str| {
        let has_name = |line: &&str| line.split_once(':').is_some_and(|(key, _)| key.eq_ignore_ascii_case(name));
        stanza.lines().find(has_name).and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
    };
    if field("Enabled").is_some_and(|value| value.eq_ignore_ascii_case("no")) {
        return None;
    }
    let suites: Vec<&str> = field("Suites")?.split_whitespace().filter(|suite| SUITES.contains(suite)).collect();
    if suites.is_empty() {
        return None;
    }
    let replaced = ["types", "suites", "components"];
    let is_kept = |line: &&str| {
        let key = line.split_once(':').map_or("", |(key, _)| key).to_ascii_lowercase();
        !line.starts_with('#') && !line.trim().is_empty() && !replaced.contains(&key.as_str())
    };
    let kept: String = stanza.lines().filter(is_kept).flat_map(|line| [line, "\n"]).collect();
    Some(format!("Types: deb-src\nSuites: {}\nComponents: main\n{kept}\n", suites.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_binaries_becomes_one_for_sources() {
        let line = "deb [signed-by=/k.gpg arch=amd64] http://mirror.example/debian bookworm main contrib";
        assert_eq!(
            source_line(line).unwrap(),
            "deb-src [signed-by=/k.gpg arch=amd64] http://mirror.example/debian bookworm main\n"
        );
        let line = "deb-src http://mirror.example/security bookworm-security main";
        assert_eq!(source_line(line).unwrap(), "deb-src http://mirror.example/security bookworm-security main\n");
        assert_eq!(source_line("deb http://mirror.example/debian trixie main"), None);
        assert_eq!(source_line("# deb http://mirror.example/debian bookworm main"), None);
        assert_eq!(source_line("deb"), None);
    }

    #[test]
    fn a_stanza_keeps_its_mirror_and_its_key() {
        let stanza = "Types: deb\n# a comment\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n\
            Components: main contrib\nSigned-By: /k.gpg";
        assert_eq!(
            source_stanza(stanza).unwrap(),
            "Types: deb-src\nSuites: bookworm\nComponents: main\nURIs: http://mirror.example/debian\nSigned-By: /k.gpg\n\n"
        );
        assert_eq!(source_stanza(&stanza.replace("bookworm", "sid")), None);
        assert_eq!(source_stanza(&format!("Enabled: no\n{stanza}")), None);
    }

    #[test]
    fn a_machine_without_such_a_mirror_is_told_so() {
        let etc = tempfile::tempdir().unwrap();
        fs::write(etc.path().join("sources.list"), "deb http://mirror.example/ubuntu noble main\n").unwrap();
        assert!(source_lists(etc.path()).unwrap_err().to_string().contains("bookworm"));
        fs::write(etc.path().join("sources.list"), "deb http://mirror.example/debian bookworm main\n").unwrap();
        assert!(source_lists(etc.path()).unwrap().lines.contains("deb-src http://mirror.example/debian"));
    }
}
