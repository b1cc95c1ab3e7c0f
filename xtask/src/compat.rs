//! `cargo xtask compat`: Redis 7.0.15's own Tcl suite, run against this server.
//!
//! Each file of the suite runs in a fresh copy of the suite's tree, in which `src/redis-server` starts the server under
//! test; what it prints is compared with the names of the tests that the real server passes (`tests/compat`). The suite
//! itself is not part of this repository: apt fetches it. What the suite asks of a server is in its framework, so this
//! knows nothing of Redis but how to start it.

mod files;
mod record;
mod report;
mod score;
mod source;
mod stand;
mod transcript;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use self::record::{Baseline, Exemption, Floor};
use self::report::Row;
pub(crate) use self::report::Total;
use self::stand::{Run, Server, Stand};
use self::transcript::End;
use crate::process;
use crate::workspace::{self, output};

/// Runs Redis 7.0.15's own test suite against our server.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Files such as unit/type/string, or beginnings such as unit/type; all that this server should pass if none.
    files: Vec<String>,
    /// The quorate binary to test, instead of a release build made now.
    #[arg(long, conflicts_with = "real")]
    server: Option<PathBuf>,
    /// Tests Debian's redis-server instead, which shows whether the suite itself is well.
    #[arg(long)]
    real: bool,
    /// Only the files in tests/compat/floor.toml; fails if one of them passes less than its floor.
    #[arg(long, conflicts_with = "files")]
    quick: bool,
    /// Only the files about the cluster, which take long, and are not among those that run if nothing is named.
    #[arg(long, conflicts_with_all = ["files", "quick"])]
    cluster: bool,
    /// Raises the floors of the files that ran to what they passed.
    #[arg(long, conflicts_with = "real")]
    raise_floor: bool,
    /// Records what passed as the baseline of the files that ran.
    #[arg(long, requires = "real")]
    record: bool,
    /// Writes docs/compat.md; with --cluster, docs/compat-cluster.md.
    #[arg(long, conflicts_with_all = ["files", "quick", "real"])]
    write_docs: bool,
    /// Writes all results as JSON.
    #[arg(long, value_name = "OUT")]
    json: Option<PathBuf>,
    /// Files that run at the same time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=4))]
    jobs: u8,
    /// Seconds that a file may take.
    #[arg(long, default_value_t = 600)]
    timeout: u64,
    /// Keeps the directories of each file's servers until the next run, and prints where they are.
    #[arg(long)]
    keep: bool,
}

impl Options {
    /// What continuous integration runs: the quick files against this binary.
    pub(crate) fn quick(server: PathBuf) -> Options {
        Options {
            files: Vec::new(),
            server: Some(server),
            real: false,
            quick: true,
            cluster: false,
            raise_floor: false,
            record: false,
            write_docs: false,
            json: None,
            jobs: 1,
            timeout: 120,
            keep: false,
        }
    }

    fn server(&self) -> Result<Server> {
        if self.real {
            return Ok(Server::Real);
        }
        let binary = match &self.server {
            Some(path) => path.clone(),
            None => {
                output(workspace::cargo().args(["build", "--release", "--package", "quorate-server"]))?;
                workspace::built(&workspace::metadata()?)?.join("release/quorate")
            }
        };
        ensure!(binary.is_file(), "there is no server binary at {}", binary.display());
        Ok(Server::Ours(binary.canonicalize()?))
    }
}

/// What a run came to.
pub(crate) struct Outcome {
    pub(crate) total: Total,
    /// A line for each file that passes fewer tests than it must.
    pub(crate) below_floor: Vec<String>,
}

/// Succeeds if all applicable tests pass; of the quick files, if each passes as many as its floor.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let Outcome { total, below_floor } = measure(options)?;
    for complaint in &below_floor {
        println!("{complaint}");
    }
    let good = below_floor.is_empty() && (options.quick || total.passed == total.applicable);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Fetches what a run needs, so that a machine where this fails can do without.
pub(crate) fn prepare() -> Result<()> {
    workspace::program("tclsh").context("tclsh is not installed (cargo xtask peers)")?;
    source::unpacked().map(drop)
}

/// Runs what the options say and prints a table.
pub(crate) fn measure(options: &Options) -> Result<Outcome> {
    prepare()?;
    let tree = source::unpacked()?;
    let server = options.server()?;
    let floor = record::floor()?;
    let files = match (options.quick, options.cluster) {
        (true, _) => floor.keys().cloned().collect(),
        (_, true) => files::of_cluster(),
        _ => files::choose(&options.files, &tree)?,
    };
    let mut baseline = record::baseline()?;
    let exemptions = record::exemptions(&baseline)?;
    process::watch_signals()?;
    let runs = run_files(options, &tree, &server, &files, |file, run| {
        if options.record && run.transcript.end == End::Finished {
            baseline.insert(file.to_owned(), record::comparable(&run.transcript.passed));
        }
        let row = judge(file, run, &baseline, &exemptions, &server);
        println!("{}", report::line(Some(&row)));
        if !options.files.is_empty() || options.quick || options.cluster {
            print!("{}", report::details(&row, run));
        }
        row
    })?;
    let total = Total::of(&runs);
    if options.record {
        record::write_baseline(&baseline)?;
    }
    if let Some(path) = &options.json {
        report::write_json(path, &server.name(), &runs)?;
    }
    if options.write_docs {
        report::write_docs(&runs, &exemptions, options.cluster)?;
    }
    if options.raise_floor {
        record::write_floor(&raised(floor.clone(), &runs))?;
    }
    println!("{}", report::total_line(&total));
    let below_floor = if options.real { Vec::new() } else { below_floor(&floor, &runs) };
    Ok(Outcome { total, below_floor })
}

impl Server {
    fn name(&self) -> String {
        match self {
            Server::Real => "Redis 7.0.15".to_owned(),
            Server::Ours(path) => path.display().to_string(),
        }
    }
}

/// Runs the files on as many stands as there are jobs; `judge` sees each run as it ends, one at a time.
fn run_files(
    options: &Options,
    tree: &Path,
    server: &Server,
    files: &[String],
    judge: impl FnMut(&str, &Run) -> Row + Send,
) -> Result<Vec<Row>> {
    println!("{}", report::line(None));
    let next = AtomicUsize::new(0);
    let judged = Mutex::new((judge, Vec::<(usize, Row)>::new()));
    let work = || -> Result<()> {
        let stand = Stand::new(tree, server, options.keep)?;
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(index) else { return Ok(()) };
            let run = stand.run(file, Duration::from_secs(options.timeout)).with_context(|| format!("run {file}"))?;
            let mut judged = judged.lock().expect("no judge panics");
            let row = (judged.0)(file, &run);
            judged.1.push((index, row));
        }
    };
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..options.jobs).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            match worker.join() {
                Ok(done) => done?,
                Err(_) => bail!("a worker panicked"),
            }
        }
        Ok(())
    })?;
    let mut rows = judged.into_inner().expect("no judge panics").1;
    rows.sort_by_key(|(index, _)| *index);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn judge(file: &str, run: &Run, baseline: &Baseline, exemptions: &[Exemption], server: &Server) -> Row {
    let expected = baseline.get(file).map(Vec::as_slice).unwrap_or_default();
    // What is not applicable to this server is to the real one.
    let applies = |group: &&Exemption| group.file == file && matches!(server, Server::Ours(_));
    let exempt: Vec<&Exemption> = exemptions.iter().filter(applies).collect();
    let score = score::score(&run.transcript, expected, &exempt);
    Row { file: file.to_owned(), seconds: run.took.as_secs_f64(), score }
}

fn raised(mut floor: Floor, rows: &[Row]) -> Floor {
    for row in rows {
        if let Some(least) = floor.get_mut(&row.file) {
            *least = (*least).max(row.score.passed);
        }
    }
    floor
}

/// A complaint for each file that passes fewer tests than it must.
fn below_floor(floor: &Floor, rows: &[Row]) -> Vec<String> {
    let complaint = |row: &Row| {
        let (least, passed) = (*floor.get(&row.file)?, row.score.passed);
        (passed < least).then(|| format!("{}: {passed} tests pass, below the floor of {least}", row.file))
    };
    rows.iter().filter_map(complaint).collect()
}
