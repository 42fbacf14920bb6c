//! One run from its arguments to its files: connect, observe, run scenarios, judge, tell.
//!
//! Everything that may be wrong with the arguments or the cluster is found before anything is changed.
//! However a run ends, the latency on the way to S3 is taken away and what was seen is written.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::cli;
use crate::clock::Clock;
use crate::facts::{self, FACTS, Facts, SAMPLES};
use crate::fixture::{Cluster, Fixture};
use crate::judge::judge;
use crate::observe::sample::Reading;
use crate::progress::say;
use crate::scenarios::{self, Context, Scenario};
use crate::survey::survey;
use crate::verdict::{Outcome, Verdict};
use crate::{agreement, corpus, evidence, observe, progress, report};

/// The exit code of an interrupted run: 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;

/// Runs and returns the exit code that follows from the verdict.
///
/// # Errors
/// The arguments or the cluster are wrong: nothing was changed; or the run's files cannot be written.
pub async fn run(arguments: &cli::Run) -> Result<u8> {
    let scenarios = cli::select(&arguments.scenario, arguments.suite.as_deref())?;
    let cluster = Cluster::read(&arguments.cluster)?;
    let (folder, seed) = (arguments.corpus.clone(), arguments.seed);
    let (documents, corpus) = tokio::task::spawn_blocking(move || corpus::load(&folder, seed)).await??;
    let fixture = Fixture::connect(cluster).await?;
    let folder = &arguments.run_dir;
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let clock = Clock::start();
    let context = Context {
        cores: cores(&fixture.kube).await?,
        board: Arc::new(Board::default()),
        clock,
        seed,
        // Ids of two runs on one cluster never meet: runs do not begin in the same millisecond.
        run: format!("e2e-{:x}", (clock.began_unix() * 1000.0) as u64),
        documents: Arc::new(documents),
        folder: folder.clone(),
        fixture,
    };
    let mut facts = Facts {
        run: facts::Run {
            id: context.run.clone(),
            seed,
            began_unix: clock.began_unix(),
            seconds: 0.0,
            cluster: context.fixture.cluster.name.clone(),
            cores: context.cores,
            asked: scenarios
                .iter()
                .map(|scenario| scenario.name().to_owned())
                .collect(),
            corpus,
        },
        scenarios: Vec::new(),
        began: Reading::Gap("not read".to_owned()),
        ended: Reading::Gap("not read".to_owned()),
        interrupted: false,
    };
    say(
        clock,
        &format!(
            "run {}, seed {seed}, {} documents",
            context.run,
            context.documents.len()
        ),
    );
    carry_out(&context, &scenarios, &mut facts).await?;
    conclude(&context, &facts).await
}

/// Runs the scenarios with the observer beside them, until the last or a signal.
async fn carry_out(context: &Context, scenarios: &[Scenario], facts: &mut Facts) -> Result<()> {
    let stop = CancellationToken::new();
    let _stops_in_any_case = stop.clone().drop_guard();
    let samples = context.folder.join(SAMPLES);
    let observer = tokio::spawn(observe::observe(
        context.fixture.clone(),
        context.board.clone(),
        context.clock,
        samples,
        stop.clone(),
    ));
    let lines = tokio::spawn(progress::report(
        context.board.clone(),
        context.clock,
        stop.clone(),
    ));
    let mut terminated = signal(SignalKind::terminate()).context("watching for SIGTERM")?;
    facts.interrupted = tokio::select! {
        () = all(context, scenarios, facts) => false,
        _ = tokio::signal::ctrl_c() => true,
        _ = terminated.recv() => true,
    };
    if facts.interrupted {
        say(
            context.clock,
            "interrupted: the load stops, the latency is taken away, what was seen is written",
        );
        if let Some(last) = facts.scenarios.last_mut().filter(|last| last.ended <= last.began) {
            last.ended = context.clock.now();
            last.error = Some("the run was interrupted".to_owned());
        }
    }
    scenarios::clear(context).await;
    facts.ended = survey(&context.fixture.kube).await.into();
    facts.run.seconds = context.clock.now();
    stop.cancel();
    lines.await.context("the progress lines")?;
    observer.await.context("the observer")?
}

async fn all(context: &Context, scenarios: &[Scenario], facts: &mut Facts) {
    facts.began = survey(&context.fixture.kube).await.into();
    for scenario in scenarios {
        facts
            .scenarios
            .push(scenarios::empty(*scenario, context.clock.now()));
        let Some(one) = facts.scenarios.last_mut() else {
            return;
        };
        if let Err(error) = scenarios::run(context, &mut one.detail).await {
            say(
                context.clock,
                &format!("{} did not come to its end: {error:#}", one.name),
            );
            one.error = Some(format!("{error:#}"));
        }
        one.ended = context.clock.now();
        context.board.enter("");
        scenarios::clear(context).await;
    }
}

/// Judges, writes everything, and collects evidence where the run did not pass.
async fn conclude(context: &Context, facts: &Facts) -> Result<u8> {
    let samples = context.board.samples();
    let path = context.folder.join(FACTS);
    let text = serde_json::to_string(facts).context("writing the facts")?;
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    let verdict = judge(facts, &samples);
    if verdict.outcome != Outcome::Pass && !facts.interrupted {
        let files = evidence::collect(&context.fixture, &context.folder).await?;
        say(
            context.clock,
            &format!(
                "{files} files of logs, events and objects in {}",
                context.folder.display()
            ),
        );
    }
    eprint!("{}", report::write(&context.folder, facts, &samples, &verdict)?);
    Ok(exit_code(facts, &verdict))
}

fn exit_code(facts: &Facts, verdict: &Verdict) -> u8 {
    if facts.interrupted {
        INTERRUPTED
    } else {
        verdict.outcome.exit_code()
    }
}

/// Makes verdict and report again from a run's folder, and returns the exit code of its verdict.
pub fn report_again(folder: &Path) -> Result<u8> {
    let (facts, samples) = facts::read(folder)?;
    let verdict = judge(&facts, &samples);
    eprint!("{}", report::write(folder, &facts, &samples, &verdict)?);
    Ok(exit_code(&facts, &verdict))
}

/// Compares the runs in two folders, figure by figure, and returns 0 where all agree, else 1.
///
/// # Errors
/// They are not two runs of the same load.
pub fn agree(folders: [&Path; 2]) -> Result<u8> {
    let rows = agreement::of_runs(folders)?;
    for row in &rows {
        println!("{}", row.line());
    }
    let differ = rows.iter().filter(|row| !row.agrees()).count();
    println!("{} of {} figures agree", rows.len() - differ, rows.len());
    Ok(u8::from(differ > 0))
}

/// The cores of the host as a node sees them: each kind node reports all of them.
async fn cores(client: &kube::Client) -> Result<usize> {
    let nodes = Api::<Node>::all(client.clone())
        .list(&ListParams::default())
        .await
        .context("listing nodes")?;
    let told = nodes
        .items
        .iter()
        .filter_map(|node| node.status.as_ref()?.capacity.as_ref()?.get("cpu"));
    told.filter_map(|cpu| cpu.0.parse().ok())
        .max()
        .context("no node tells how many cores it has")
}
