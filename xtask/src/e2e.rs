//! `cargo xtask e2e`: from source or from a bundle to a verified cluster, with a verdict and its evidence.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use bundle::cluster::{Record, install};
use bundle::release::Release;
use bundle::{cluster, corpus};
use serde_json::json;
use support::command::Cmd;
use support::{interrupt, progress};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::session::{Session, Source, SourceArgs};
use crate::{Unusable, scenarios, up};

/// Start a cluster, load it with real documents, and judge the result.
///
/// Without flags everything is built first. The core suite runs on a new cluster of one node, which is deleted at the
/// end, or on the cluster that `up` made, which stays. The verdict is Pass, Fail or Inconclusive, and determines the
/// exit code. Inconclusive means that samples are missing. The results are in target/e2e/<run>/, or without a checkout
/// in slipway-e2e/<run>/: report.html, report.md, verdict.json, figures.json, junit.xml, samples.jsonl and run.json.
/// After a failure the cluster's logs, events and objects are there, too.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keep the cluster at the end.
    #[arg(long)]
    keep: bool,

    /// Run only this scenario. Can be given several times.
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,

    /// Run every scenario of this suite.
    #[arg(long, value_name = "NAME", default_value = "core")]
    suite: String,

    /// Play only these faults of the suite `faults`, and no other scenario; more than one with a comma between.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    fault: Vec<String>,

    /// How long the scenario `soak` lasts, in hours. Default: 1.
    #[arg(long, value_name = "N", value_parser = positive)]
    hours: Option<f64>,

    /// List the suites and scenarios, and do nothing else.
    #[arg(long)]
    list: bool,

    /// Folder with the documents: .html, .htm, .md and .txt files. Default: documents of the pinned Go modules.
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,

    /// Seed of the arrival times and the choice of documents. Default: the current time, which the report shows.
    #[arg(long)]
    seed: Option<u64>,

    /// Size the loads for a host that carries so many documents a second, and not by what is measured: with the same
    /// seed, the same load again.
    #[arg(long, value_name = "PER_SECOND", value_parser = positive)]
    capacity: Option<f64>,

    /// Break the cluster on purpose in this way, to see that the run fails. docs/mutations.md lists the ways.
    #[arg(long, value_name = "NAME")]
    mutation: Option<String>,

    /// Judge the cluster of this context, into which `install` put the bundle. It is neither made nor deleted.
    #[arg(long = "cluster", value_name = "CONTEXT", conflicts_with_all = ["keep", "nodes", "hpa_sync"])]
    #[arg(requires = "bundle")]
    context: Option<String>,

    #[command(flatten)]
    cluster: up::ClusterArgs,

    #[command(flatten)]
    source: SourceArgs,
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    (number.is_finite() && number > 0.0).then_some(number).ok_or_else(|| "not above 0".to_owned())
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let session = Session::of(&args.source.build)?;
    let source = session.source(&args.source)?;
    let suites = source.suites(&session);
    let known = scenarios::load(&suites)?;
    if args.list {
        for (name, scenario) in &known {
            println!("{:8} {name:16} {}", scenario.suite, scenario.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    scenarios::check(&known, &args.scenario, &args.suite).map_err(Unusable)?;
    scenarios::check_faults(&suites, &args.fault).map_err(Unusable)?;
    scenarios::check_mutation(&suites, args.mutation.as_deref()).map_err(Unusable)?;
    if let Some(dir) = &args.corpus {
        corpus::check(dir).map_err(Unusable)?;
    }
    session.check(&source)?;
    let run = Run::begin(&session, args)?;
    progress::note(&format!("run {}, seed {}", run.dir.display(), run.seed));
    session.print_adaptations();
    run.go(&session, source).inspect_err(|_| {
        if !interrupt::requested() {
            eprintln!("evidence: {}", run.dir.display());
        }
    })
}

/// One run and its folder.
struct Run {
    args: Args,
    dir: PathBuf,
    seed: u64,
    started_at: String,
    clock: Instant,
}

impl Run {
    fn begin(session: &Session, args: Args) -> Result<Self> {
        let now = OffsetDateTime::from(SystemTime::now());
        let id = now.format(format_description!("[year][month][day]T[hour][minute][second]Z"))?;
        let dir = session.results()?.join(id);
        std::fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seed = args.seed.unwrap_or(since_epoch.as_secs());
        let started_at = now.format(&time::format_description::well_known::Rfc3339)?;
        Ok(Self { args, dir, seed, started_at, clock: Instant::now() })
    }

    fn go(&self, session: &Session, source: Source) -> Result<ExitCode> {
        if let (Some(context), Source::Bundle(release)) = (&self.args.context, &source) {
            let record = install::installed(&session.workspace, context).map_err(Unusable)?;
            self.write_run_json(session, release, &record)?;
            return self.judge(&install::cluster_file(&session.workspace, context), release);
        }
        let engine = session.engine(&self.args.source.build, &source)?;
        let release = source.release(session, &engine, &self.dir.join("build"))?;
        let wanted = self.args.cluster.wanted(self.args.keep);
        let promised = cluster::is_kept(&engine, &session.workspace)?;
        let made = up::make(session, &engine, &release, wanted, &self.dir.join("cluster"));
        let judged = made.and_then(|record| {
            self.write_run_json(session, &release, &record)?;
            self.judge(&session.workspace.cluster_file(), &release)
        });
        // A cluster whose creation was interrupted is useless.
        let complete = || cluster::is_kept(&engine, &session.workspace).unwrap_or(true);
        if !(promised || self.args.keep) || (interrupt::requested() && !complete()) {
            up::take_down(session, &engine);
        }
        judged
    }

    /// Loads and judges the cluster that this file describes.
    fn judge(&self, cluster: &Path, release: &Release) -> Result<ExitCode> {
        let mut driver = Cmd::new(&release.driver)
            .arg("run")
            .arg("--cluster")
            .arg(cluster)
            .arg("--run-dir")
            .arg(&self.dir)
            .arg("--corpus")
            .arg(self.args.corpus.as_ref().unwrap_or(&release.corpus))
            .args(["--seed", &self.seed.to_string()]);
        if self.args.scenario.is_empty() && self.args.fault.is_empty() {
            driver = driver.args(["--suite", &self.args.suite]);
        }
        for name in &self.args.scenario {
            driver = driver.args(["--scenario", name]);
        }
        for name in &self.args.fault {
            driver = driver.args(["--fault", name]);
        }
        if let Some(hours) = self.args.hours {
            driver = driver.args(["--hours", &hours.to_string()]);
        }
        if let Some(capacity) = self.args.capacity {
            driver = driver.args(["--capacity", &capacity.to_string()]);
        }
        if let Some(name) = &self.args.mutation {
            driver = driver.args(["--mutation", name]);
        }
        let status = driver.passthrough().context("load and judge the cluster")?;
        interrupt::check()?;
        let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(crate::FAILED);
        eprintln!("report: {}", self.dir.join("report.html").display());
        Ok(ExitCode::from(code))
    }

    /// Writes the facts that are known before the first load, for the report.
    fn write_run_json(&self, session: &Session, release: &Release, record: &Record) -> Result<()> {
        let mut run = json!({
            "run": self.dir.file_name().and_then(|name| name.to_str()),
            "started_at": self.started_at,
            "seed": self.seed,
            "host": session.host,
            "adaptations": session.host.adaptations(),
            "nodes": record.nodes,
            "stages": progress::stages(),
            "seconds_to_ready": self.clock.elapsed().as_secs_f64(),
        });
        if let (Some(run), Some(facts)) = (run.as_object_mut(), release.facts.as_object()) {
            run.extend(facts.clone());
        }
        let path = self.dir.join("run.json");
        std::fs::write(&path, serde_json::to_string_pretty(&run)?).with_context(|| format!("write {}", path.display()))
    }
}
