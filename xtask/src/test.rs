//! `cargo xtask test`: every test that needs no cluster.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use bundle::checks::{self, supply};
use bundle::packages::{self, Need};
use bundle::parts::{Builder, Parts, cargo};
use support::interrupt::side_by_side;
use support::progress;

use crate::session::Session;

/// Run every test that needs no cluster.
///
/// These are the format check, the lints, the unit tests, the integration tests of the worker, the scaler and the
/// bundle, and the checks of the manifests, the flake, the workflows and the crates' licences and sources.
///
/// Installs missing system packages. The programs that check the manifests are kubectl, kubeconform, promtool and
/// helm. The integration tests start Temporal, versitygw, toxiproxy and a registry. All of these have pinned versions,
/// and are built from source if the cache lacks them. Postgres, Redis and Python are those of the system. pip installs
/// Temporal's SDK for Python once.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Install missing system packages without asking.
    #[arg(long, short)]
    yes: bool,

    /// Look for known vulnerabilities of all Go programs in this database, such as https://vuln.go.dev, or a copy of it
    /// as file:///… This builds all programs.
    #[arg(long, value_name = "URL", env = "SLIPWAY_VULNDB")]
    vulndb: Option<String>,
}

/// The programs of the tests that are built from the pins: component, program, and the variable with its path.
const SERVERS: [(&str, &str, &str); 8] = [
    ("crane", "crane", "SLIPWAY_CRANE"),
    ("govulncheck", "govulncheck", "SLIPWAY_GOVULNCHECK"),
    ("helm", "helm", "SLIPWAY_HELM"),
    ("jsonschema", "jv", "SLIPWAY_JSONSCHEMA"),
    ("registry", "registry", "SLIPWAY_REGISTRY"),
    ("temporal", "temporal-server", "SLIPWAY_TEMPORAL_SERVER"),
    ("toxiproxy", "toxiproxy-server", "SLIPWAY_TOXIPROXY"),
    ("versitygw", "versitygw", "SLIPWAY_VERSITYGW"),
];

/// The component and the module with CycloneDX' schemas, and the variable with the path of its folder.
const SCHEMAS: (&str, &str, &str) = ("jsonschema", "github.com/CycloneDX/cyclonedx-go", "SLIPWAY_CYCLONEDX");
/// The component and program that checks the workflows.
const WORKFLOWS: &str = "actionlint";

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let session = Session::begin()?;
    let pins = session.pins()?;
    session.check_build(&pins)?;
    let needs = [Need::Images, Need::Nix, Need::Servers];
    packages::ensure(&needs, &session.host, args.yes).map_err(crate::Unusable)?;
    let logs = session.workspace.target().join("logs");
    let builder = session.builder(&pins, &logs);
    let components = checks::COMPONENTS.into_iter().chain(SERVERS.map(|(name, ..)| name)).chain([WORKFLOWS]);
    let components: Vec<_> = components.collect();
    let ((), built) = side_by_side(|| rust(&session), || builder.some(&components))?;
    integration(&session, &built)?;
    progress::step("manifests: kustomize, kubeconform, promtool", || checks::manifests(&session.workspace, &built))?;
    progress::step("crates: bans, licences, sources", || supply::deny(&builder))?;
    let root = &session.workspace.root;
    progress::step("workflows: actionlint", || supply::workflows(root, &built.program(WORKFLOWS, WORKFLOWS)?))?;
    vulnerabilities(&session, &builder, &built, args.vulndb.as_deref())?;
    progress::step("flake: parse and evaluate", || crate::nix::check(&session.workspace.root))?;
    Ok(ExitCode::SUCCESS)
}

/// Looks for known vulnerabilities of every Go program, if there is a database.
fn vulnerabilities(session: &Session, builder: &Builder<'_>, tools: &Parts, database: Option<&str>) -> Result<()> {
    let Some(database) = database else {
        progress::note("known vulnerabilities: skipped, because no database is named (--vulndb)");
        return Ok(());
    };
    let built = builder.components()?;
    let programs =
        builder.pins.built().flat_map(|(name, component)| component.programs.iter().map(move |it| (name, it)));
    let programs = programs.map(|(name, program)| built.program(name, &program.name)).collect::<Result<Vec<_>>>()?;
    let govulncheck = tools.program("govulncheck", "govulncheck")?;
    progress::step(&format!("known vulnerabilities: {database}"), || {
        supply::vulnerabilities(&session.workspace.root, &govulncheck, database, &programs)
    })
}

/// Runs the format check, the lints and the unit tests of the workspace.
fn rust(session: &Session) -> Result<()> {
    let cargo = |args: &[&str]| anyhow::Ok(cargo::cargo(&session.workspace, &session.cache)?.args(args));
    progress::step("format: cargo fmt", || Ok(cargo(&["fmt", "--all", "--check"])?.run().map(drop)?))?;
    progress::step("lints: cargo clippy", || {
        let lints = cargo(&["clippy", "--workspace", "--all-targets", "--locked"])?.args(["--", "--deny", "warnings"]);
        Ok(lints.run().map(drop)?)
    })?;
    progress::step("unit tests: cargo test", || {
        let tests = cargo(&["test", "--workspace", "--locked"])?.passthrough()?;
        ensure!(tests.success(), "unit tests failed ({tests})");
        Ok(())
    })
}

/// Runs the integration tests of the worker, the scaler and the bundle. It names the whole workspace, though only these
/// have such tests, so that cargo reuses what it compiled for the unit tests.
fn integration(session: &Session, built: &Parts) -> Result<()> {
    let mut tests = cargo::cargo(&session.workspace, &session.cache)?.args(["test", "--workspace", "--locked"]);
    for (component, program, variable) in SERVERS {
        tests = tests.env(variable, built.program(component, program)?);
    }
    let (component, module, variable) = SCHEMAS;
    tests = tests.env(variable, built.module_dir(component, module)?);
    let suites: [(&str, &[&str]); 2] = [
        ("the worker and the scaler against real servers", &["--test", "integration", "--", "--include-ignored"]),
        ("the bundle, a real registry, Helm, schemas of SBOMs", &["--lib", "--", "--ignored"]),
    ];
    suites.into_iter().try_for_each(|(name, args)| {
        progress::step(&format!("integration tests: {name}"), || {
            let tests = tests.clone().args(args).passthrough()?;
            ensure!(tests.success(), "integration tests failed ({tests})");
            Ok(())
        })
    })
}
