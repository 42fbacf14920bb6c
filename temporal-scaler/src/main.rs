//! `temporal-scaler`: reads the backlogs of task queues and the slots of a fleet's workers, and serves how many workers
//! are wanted, and why. The decision itself is in the crate `scaler`, which does no I/O.

mod clock;
mod conditions;
mod config;
mod costs;
mod failures;
mod metrics;
mod page;
mod pages;
mod pods;
mod port;
mod queue;
mod round;
mod state;
mod temporal;
mod tls;

use std::{
    convert::Infallible,
    fmt::Display,
    io::{IsTerminal as _, stderr},
    process::ExitCode,
    sync::Arc,
    time::{Instant, SystemTime},
};

use anyhow::Context as _;
use axum::serve::Listener;
use clap::{Parser, Subcommand};
use temporalio_client::ClientOptions;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    clock::Clocks,
    config::{Config, SETTINGS, Variables},
    costs::Unwritten,
    pages::Pages,
    pods::Pods,
    round::{PodList, Round},
    state::Shared,
    temporal::Temporal,
    tls::{Door, Identity},
};

/// Exit code for an invalid configuration.
const USAGE: u8 = 2;

/// Serves how many workers a fleet needs, for KEDA's trigger metrics-api: GET /scale, `valueLocation: workers`.
///
/// It reads the backlogs of task queues from Temporal, the pods from the API server, and the slots from the pods. The
/// settings come from the environment; `temporal-scaler config` prints them.
#[derive(Debug, Parser)]
#[command(name = "temporal-scaler", version, after_long_help = variables())]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// Serve until a signal (the default)
    Run,
    /// Print the settings in force with their origins
    Config,
}

/// The list of variables, for the end of `--help`.
fn variables() -> String {
    let lines = SETTINGS.iter().map(|setting| format!("  {:<24} {}", setting.name, setting.about));
    let temporal = "  TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_TLS_*, TEMPORAL_API_KEY, …   as in every SDK";
    format!("Environment variables:\n{}\n{temporal}", lines.collect::<Vec<_>>().join("\n"))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // A variable that is no text has no meaning here.
    let variables: Variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    // An error means that a provider is installed already; no other code installs one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = match Config::load(&variables) {
        Ok(config) => config,
        Err(faults) => return fail(USAGE, &faults),
    };
    let temporal = match temporal::settings() {
        Ok((_, client)) => client,
        Err(error) => return fail(USAGE, &format!("{error:#}")),
    };
    let identity = match config.tls.as_ref().map(|tls| Identity::read(tls.files.clone())).transpose() {
        Ok(identity) => identity,
        Err(error) => return fail(USAGE, &format!("TLS of /scale (SCALER_TLS_*): {error:#}")),
    };
    if matches!(cli.command, Some(Command::Config)) {
        print!("{}", config::render(&variables));
        return ExitCode::SUCCESS;
    }
    // Two threads: one page of 10,000 must not hold up an answer.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let ended = runtime.context("starting the async runtime").and_then(|runtime| {
        let ended = runtime.block_on(run(config, identity, &temporal, &variables));
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &format!("{error:#}")),
    }
}

fn fail(code: u8, error: &dyn Display) -> ExitCode {
    eprintln!("temporal-scaler: {error}");
    ExitCode::from(code)
}

async fn run(
    config: Config,
    identity: Option<Identity>,
    temporal: &ClientOptions,
    variables: &Variables,
) -> anyhow::Result<()> {
    start_logs(&config)?;
    for name in config::unknown(variables) {
        warn!("{name} is not a setting: `temporal-scaler --help` lists them");
    }
    let shutdown = signals()?;
    let kubernetes = kube::Config::infer()
        .await
        .context("finding the API server: run in a pod with a service account's token, or set KUBECONFIG to a file")?;
    let namespace = config.pod_namespace.clone().unwrap_or_else(|| kubernetes.default_namespace.clone());
    let client = kube::Client::try_from(kubernetes).context("preparing the client of the API server")?;
    let pods = Pods::new(client, &namespace, &config.pod_selector, config.metrics_port.clone());
    let shared = Shared::new(&config, pods.clone());
    let listener = port::bind("SCALER_ADDRESS", config.address).await?;
    let door = match config.tls.as_ref().zip(identity) {
        None => None,
        Some((tls, identity)) => Some(Door::of(port::bind("SCALER_TLS_ADDRESS", tls.address).await?, identity)?),
    };
    let address = door.as_ref().map_or_else(|| listener.local_addr(), Listener::local_addr)?;
    info!(%address, tls = door.is_some(), namespace, selector = config.pod_selector, "serving /scale");
    let unwritten = Arc::new(Unwritten::default());
    if config.deletion_costs {
        tokio::spawn(costs::run(shared.clone(), unwritten.clone()));
    }
    tokio::spawn(pods.run());
    let pages = Pages::new(&config.queues, &temporal.namespace)?;
    tokio::select! {
        served = port::serve(listener, door, shared.clone(), shutdown) => served,
        never = rounds(config, pages, shared, unwritten) => match never {},
    }
}

/// Reads until the process exits.
async fn rounds(config: Config, pages: Pages, shared: Shared, unwritten: Arc<Unwritten>) -> Infallible {
    let mut temporal = Temporal::new(config.version.clone());
    let mut clocks = Clocks::default();
    let mut ticks = interval(config.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let at = Instant::now();
        let clock = clocks.check(at, SystemTime::now());
        let (list, pods) = {
            let known = shared.pods.known();
            (PodList { age: known.age(), error: known.error.clone() }, known.pods())
        };
        let (backlogs, pages) = tokio::join!(temporal.ask(&config.queues), pages.read(&pods));
        let round = Round { list, pods, pages, backlogs };
        let mut conditions = round.conditions(&config.queues, &config.pod_selector);
        conditions.extend(clock);
        conditions.extend(unwritten.get());
        shared.state().take(&round, at, conditions);
    }
}

fn start_logs(config: &Config) -> anyhow::Result<()> {
    let filter: EnvFilter = config.log_filter.parse()?;
    let lines = tracing_subscriber::fmt::layer().with_ansi(stderr().is_terminal()).with_writer(stderr);
    let lines =
        if config.log_json { lines.json().flatten_event(true).with_span_list(false).boxed() } else { lines.boxed() };
    let started = tracing_subscriber::registry().with(lines).with(filter).try_init();
    started.map_err(|error| anyhow::anyhow!("starting the logs: {error}"))
}

/// Cancels the token at SIGTERM or SIGINT.
fn signals() -> anyhow::Result<CancellationToken> {
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let token = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("shutting down");
        token.cancel();
    });
    Ok(shutdown)
}
