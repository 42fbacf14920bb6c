//! One run from its arguments to its files: connect, observe, calibrate, run scenarios, judge, tell.
//!
//! Wrong arguments and a cluster that cannot be used are found before anything is changed. However a run ends, what
//! the scenarios did to the cluster is undone, and what was seen is written.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cluster::reading::Reading;
use crate::cluster::secrets::Search;
use crate::cluster::survey::survey;
use crate::cluster::{Cluster, Fixture, evidence, settings, switches};
use crate::conclude::judge;
use crate::facts::{self, FACTS, Facts, SAMPLES, ScenarioFacts};
use crate::judge::verdict::{Outcome, Verdict};
use crate::load::calibration::calibrate;
use crate::load::context::Context;
use crate::load::corpus;
use crate::observe::board::Board;
use crate::observe::clock::Clock;
use crate::observe::{self, progress, rows};
use crate::report::{self, agreement};
use crate::scenarios::mutation::{MUTATIONS, Mutation};
use crate::scenarios::{Entry, Recorded, faults, restore_cluster};
use crate::{cli, conclude};

/// The exit code of an interrupted run: 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;

/// Runs and returns the exit code that follows from the verdict.
///
/// # Errors
/// The arguments or the cluster cannot be used: nothing was changed; or the run's files cannot be written.
pub async fn run(arguments: &cli::Run) -> Result<u8> {
    for name in &arguments.fault {
        cli::known("fault", name, faults::names())?;
    }
    let scenarios = cli::select(&arguments.scenario, arguments.suite.as_deref(), &arguments.fault)?;
    let mutation = arguments.mutation.as_deref().map(mutation).transpose()?;
    let cluster = Cluster::read(&arguments.cluster)?;
    let (folder, seed) = (arguments.corpus.clone(), arguments.seed);
    let (documents, corpus) = tokio::task::spawn_blocking(move || corpus::load(&folder, seed)).await??;
    let fixture = Fixture::connect(cluster).await?;
    rows::check_commit_times(&fixture.postgres).await?;
    // A run that was killed may have left a fixed number of workers, and no HPA to read.
    switches::pause(&fixture, None).await?;
    if let Some(mutation) = mutation {
        eprintln!("mutation {}: {}", mutation.name, mutation.about());
        mutation.apply(&fixture).await?;
    }
    let (autoscaling, settings) = settings::autoscaling(&fixture).await?;
    let folder = &arguments.run_dir;
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let clock = Clock::start();
    let context = Context {
        board: Arc::new(Board::default()),
        clock,
        seed,
        // Ids of two runs on one cluster never meet: runs do not begin in the same millisecond.
        run: format!("e2e-{:x}", (clock.began_unix() * 1000.0) as u64),
        documents: Arc::new(documents),
        folder: folder.clone(),
        autoscaling,
        settings,
        calibration: Reading::default(),
        faults: arguments.fault.clone(),
        hours: arguments.hours,
        later: mutation.map_or(0.0, |mutation| mutation.later()),
        fixture,
    };
    let mut facts = Facts {
        run: facts::Run {
            id: context.run.clone(),
            seed,
            began_unix: clock.began_unix(),
            seconds: 0.0,
            // Nodes of others are no containers of this host.
            installed: context.fixture.cluster.nodes.is_empty(),
            cluster: context.fixture.cluster.name.clone(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            asked: scenarios.iter().map(|scenario| scenario.name.to_owned()).collect(),
            corpus,
            mutation: mutation.map(|mutation| mutation.name.to_owned()),
        },
        ..Facts::default()
    };
    let documents = context.documents.len();
    context.say(&format!("run {}, seed {seed}, {documents} documents", context.run));
    let ended = carry_out(&context, &scenarios, arguments.capacity, &mut facts).await;
    if let Some(mutation) = mutation {
        mutation.revert(&context.fixture).await?;
    }
    ended?;
    conclude(&context, facts).await
}

fn mutation(name: &str) -> Result<&'static Mutation> {
    cli::known("mutation", name, MUTATIONS.iter().map(|mutation| mutation.name))?;
    let found = MUTATIONS.iter().find(|mutation| mutation.name == name);
    found.context("a mutation that is known is in the list")
}

/// Runs the scenarios with the observer beside them, until the last or a signal.
async fn carry_out(context: &Context, scenarios: &[Entry], capacity: Option<f64>, facts: &mut Facts) -> Result<()> {
    let stop = CancellationToken::new();
    let _stops_in_any_case = stop.clone().drop_guard();
    let (board, clock) = (context.board.clone(), context.clock);
    let samples = context.folder.join(SAMPLES);
    let observer = tokio::spawn(observe::observe(context.fixture.clone(), board.clone(), clock, samples, stop.clone()));
    let lines = tokio::spawn(progress::report(board, clock, stop.clone()));
    let mut terminated = signal(SignalKind::terminate()).context("watching for SIGTERM")?;
    let mut playing: Option<Box<dyn Recorded>> = None;
    facts.began = survey(&context.fixture.kube).await.into();
    facts.interrupted = tokio::select! {
        () = all(context, scenarios, capacity, facts, &mut playing) => false,
        _ = tokio::signal::ctrl_c() => true,
        _ = terminated.recv() => true,
    };
    if facts.interrupted {
        context.say("interrupted: the load stops, the cluster is restored, what was seen is written");
        if let (Some(last), Some(scenario)) = (facts.scenarios.last_mut(), playing) {
            last.ended = clock.now();
            last.error = Some("the run was interrupted".to_owned());
            last.detail = scenario.facts()?;
        }
    }
    restore_cluster(context).await;
    facts.ended = survey(&context.fixture.kube).await.into();
    facts.run.seconds = clock.now();
    stop.cancel();
    lines.await.context("the progress lines")?;
    observer.await.context("the observer")?
}

/// Calibrates where a scenario loads, and plays the scenarios. `playing` is the one that is played.
async fn all(
    context: &Context,
    scenarios: &[Entry],
    capacity: Option<f64>,
    facts: &mut Facts,
    playing: &mut Option<Box<dyn Recorded>>,
) {
    let mut context = context.clone();
    if scenarios.iter().any(|scenario| scenario.loads) {
        context.calibration = calibrate(&context, capacity).await.into();
        facts.calibration = Some(context.calibration.clone());
    }
    for entry in scenarios {
        facts.scenarios.push(ScenarioFacts {
            name: entry.name.to_owned(),
            began: context.clock.now(),
            ..ScenarioFacts::default()
        });
        let ended = play(&context, entry, playing).await;
        let Some(one) = facts.scenarios.last_mut() else {
            return;
        };
        one.ended = context.clock.now();
        let found = playing.take().map(|scenario| scenario.facts()).transpose();
        match found {
            Ok(found) => one.detail = found.unwrap_or_default(),
            Err(error) => one.error = Some(format!("{error:#}")),
        }
        if let Err(error) = ended {
            context.say(&format!("{} did not come to its end: {error:#}", one.name));
            one.error = Some(format!("{error:#}"));
        }
        context.board.enter("");
        restore_cluster(&context).await;
    }
}

async fn play(context: &Context, entry: &Entry, playing: &mut Option<Box<dyn Recorded>>) -> Result<()> {
    playing.insert(entry.begin()?).run(context).await
}

/// Judges, writes everything, and collects evidence where the run did not pass.
async fn conclude(context: &Context, mut facts: Facts) -> Result<u8> {
    let samples = context.board.samples();
    write(&context.folder, &facts)?;
    let verdict = judge(&facts, &samples);
    if verdict.outcome != Outcome::Pass && !facts.interrupted {
        let files = evidence::collect(&context.fixture, &context.folder).await?;
        let folder = context.folder.display();
        context.say(&format!("{files} files of logs, events and objects in {folder}"));
    }
    report::write(&context.folder, &facts, &samples, &verdict)?;
    // The search is the last: whatever the run wrote is there.
    facts.secrets = Some(search(context).into());
    write(&context.folder, &facts)?;
    let verdict = judge(&facts, &samples);
    eprint!("{}", report::write(&context.folder, &facts, &samples, &verdict)?);
    Ok(exit_code(&facts, &verdict))
}

fn write(folder: &Path, facts: &Facts) -> Result<()> {
    let path = folder.join(FACTS);
    let text = serde_json::to_string(facts).context("writing the facts")?;
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}

/// Searches the files of the run for secrets of its cluster.
fn search(context: &Context) -> Result<Search> {
    let mut searcher = context.fixture.cluster.secrets.searcher()?;
    searcher.folder(&context.folder)?;
    Ok(searcher.finish())
}

fn exit_code(facts: &Facts, verdict: &Verdict) -> u8 {
    match facts.interrupted {
        true => INTERRUPTED,
        false => verdict.outcome.exit_code(),
    }
}

/// Makes verdict and report again from a run's folder, and returns the exit code of its verdict.
///
/// # Errors
/// There is no such run, or its files cannot be written.
pub fn report_again(folder: &Path) -> Result<u8> {
    let (facts, samples) = facts::read(folder)?;
    let verdict = conclude::judge(&facts, &samples);
    eprint!("{}", report::write(folder, &facts, &samples, &verdict)?);
    Ok(exit_code(&facts, &verdict))
}

/// Compares the runs in two folders, figure by figure, and returns 0 where all agree, else 1.
///
/// # Errors
/// A folder has no run; the seeds differ, which are then two loads; or no load is in both.
pub fn agree(folders: [&Path; 2]) -> Result<u8> {
    let [one, other] = [facts::read(folders[0])?, facts::read(folders[1])?];
    let seeds = [one.0.run.seed, other.0.run.seed];
    ensure!(
        seeds[0] == seeds[1],
        "{} has seed {} and {} has seed {}: two loads, which need not agree; run one again with --seed {}",
        folders[0].display(),
        seeds[0],
        folders[1].display(),
        seeds[1],
        seeds[0]
    );
    let [one, other] = [report::figures_of(&one.0, &one.1), report::figures_of(&other.0, &other.1)];
    let rows = agreement::of_figures([&one, &other]);
    ensure!(!rows.is_empty(), "the two runs have no load in common: run the same scenarios");
    for row in &rows {
        println!("{}", row.line());
    }
    let differ = rows.iter().filter(|row| !row.agrees()).count();
    println!("{} of {} figures agree", rows.len() - differ, rows.len());
    Ok(u8::from(differ > 0))
}
