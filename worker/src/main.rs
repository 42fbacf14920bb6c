//! `temporal-worker`: reads its configuration, then runs the worker, migrates the schema, or prints the configuration.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use worker::{
    config::{Config, Environment, LogFormat, Sources, VARIABLES, render},
    lifecycle, logs,
    traces::Traces,
};

/// Exit code for an invalid configuration.
const USAGE: u8 = 2;

/// Processes documents for Temporal: three task queues, one process.
///
/// Settings come from defaults, then temporal.toml, then the file of --config, then the environment, then flags.
/// `temporal-worker config` prints each setting in force and its origin.
///
/// The first SIGTERM or SIGINT starts a graceful shutdown: tasks in flight finish, and the worker exits with code
/// 0. The second exits at once, with code 143 or 130.
#[derive(Debug, Parser)]
#[command(name = "temporal-worker", version, after_long_help = variables())]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// Serve the queues until a signal (the default)
    Run,
    /// Migrate the schema of the database and exit: needs only Postgres
    Migrate,
    /// Print the settings in force with their origins, secrets masked
    Config,
}

#[derive(Debug, Args)]
struct Settings {
    /// A TOML file of settings, as `temporal-worker config` prints them
    #[arg(long, value_name = "FILE", env = "WORKER_CONFIG", global = true)]
    config: Option<PathBuf>,
    /// Temporal's frontend
    #[arg(long, value_name = "HOST:PORT", global = true)]
    temporal_address: Option<String>,
    /// Temporal's namespace
    #[arg(long, value_name = "NAME", global = true)]
    temporal_namespace: Option<String>,
    /// Root of the documents: s3://bucket or file:///folder
    #[arg(long, value_name = "URL", global = true)]
    document_store_url: Option<String>,
    /// Address of /metrics, /livez and /readyz
    #[arg(long, value_name = "ADDRESS:PORT", global = true)]
    metrics_address: Option<String>,
    /// How log lines are written
    #[arg(long, value_enum, global = true)]
    log_format: Option<LogFormat>,
    /// Any setting by its section and key, for example concurrency.io_slots=8; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE", value_parser = assignment, global = true)]
    set: Vec<(String, String)>,
}

impl Settings {
    /// The flags as pairs of key and value.
    fn flags(&self) -> Vec<(String, String)> {
        let log_format = self.log_format.map(|format| if format == LogFormat::Json { "json" } else { "text" });
        let named = [
            ("temporal.address", self.temporal_address.as_deref()),
            ("temporal.namespace", self.temporal_namespace.as_deref()),
            ("documents.store_url", self.document_store_url.as_deref()),
            ("service.metrics_address", self.metrics_address.as_deref()),
            ("service.log_format", log_format),
        ];
        let named = named.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())));
        named.chain(self.set.iter().cloned()).collect()
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("use SECTION.KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

/// The list of environment variables, for the end of `--help`.
fn variables() -> String {
    let lines = VARIABLES.iter().map(|variable| format!("  {:<34} {}", variable.name, variable.key));
    let tls = "  TEMPORAL_TLS_*, TEMPORAL_API_KEY, …   as in every Temporal SDK";
    format!("Environment variables and the settings that they set:\n{}\n{tls}", lines.collect::<Vec<_>>().join("\n"))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let sources = Sources {
        file: cli.settings.config.as_deref(),
        environment: Environment::of_process(),
        flags: cli.settings.flags(),
        temporal_toml: true,
    };
    let warnings = sources.environment.warnings();
    let (config, origins) = match Config::load(&sources) {
        Ok(loaded) => loaded,
        Err(faults) => return fail(USAGE, &faults),
    };
    match cli.command.unwrap_or(Command::Run) {
        Command::Config => {
            warnings.iter().for_each(|warning| eprintln!("temporal-worker: {warning}"));
            print!("{}", render(&config, &origins));
            ExitCode::SUCCESS
        }
        Command::Run => ended(run(config, &warnings)),
        Command::Migrate => ended(migrate(config, &warnings)),
    }
}

fn ended(code: anyhow::Result<ExitCode>) -> ExitCode {
    code.unwrap_or_else(|error| fail(1, &format!("{error:#}")))
}

fn run(config: Config, warnings: &[String]) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(config.pools.io_threads)
        .thread_name("async")
        .enable_all()
        .build()?;
    let code = runtime.block_on(async {
        let traces = Traces::start(&config.traces)?;
        logs::start(&config.service, traces.as_ref())?;
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let code = lifecycle::run(config).await;
        if let Some(traces) = traces
            && let Err(error) = traces.end().await
        {
            tracing::warn!(error = format!("{error:#}"), "some spans were not exported");
        }
        code
    });
    // Threads that still block must not delay the exit.
    runtime.shutdown_background();
    code
}

/// Nothing in a migration creates a span, so there are no traces.
fn migrate(config: Config, warnings: &[String]) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(async {
        logs::start(&config.service, None)?;
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        lifecycle::migrate(config).await
    });
    runtime.shutdown_background();
    code
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("temporal-worker: {error}");
    ExitCode::from(code)
}
