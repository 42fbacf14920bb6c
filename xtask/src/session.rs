//! What most commands need: their folders, the cache and the host, then what a cluster is made from, and the engine.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use bundle::assemble::{self, Assembly, Locking};
use bundle::cache::Cache;
use bundle::docker::{self, Engine};
use bundle::host::{Host, Work, find_program};
use bundle::outputs::Outputs;
use bundle::packages::{self, Need};
use bundle::parts::Builder;
use bundle::pins::Pins;
use bundle::release::{self, Release};
use bundle::steps::steps;
use bundle::workspace::{Workspace, cache_root};
use bundle::{cluster, file, shared};
use support::{interrupt, progress};

use crate::Unusable;

/// The flags of every command that builds.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct BuildArgs {
    /// Install missing system packages without asking.
    #[arg(long, short)]
    pub(crate) yes: bool,

    /// Fail if an input or output differs from bundle/debian.lock or bundle/outputs.lock, and do not only say so.
    /// [default: true for `bundle save`, and for every command if the variable CI is set]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) locked: Option<bool>,

    /// Fetch nothing. What a build needs was fetched before, with `cargo xtask fetch`.
    #[arg(long)]
    pub(crate) offline: bool,

    #[command(flatten)]
    from: FromArgs,
}

/// The flag that says where built programs can be taken from.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct FromArgs {
    /// Take programs and root filesystems from this repository, as registry.example.com/slipway, and build only what it
    /// lacks. Each must have its digest of bundle/outputs.lock. The default is what `cargo xtask fetch --from` named
    /// last. An empty name is none.
    #[arg(long, value_name = "REGISTRY/NAME", env = "SLIPWAY_FROM")]
    pub(crate) from: Option<String>,
}

impl FromArgs {
    /// The repository, if there is one.
    pub(crate) fn repository(&self, cache: &Cache) -> Option<String> {
        let named = self.from.clone().or_else(|| shared::remembered(cache));
        named.filter(|name| !name.is_empty())
    }
}

impl BuildArgs {
    /// What the build does about the locks, if the flag is absent and `strict` is the command's own way.
    pub(crate) fn locking(&self, strict: bool) -> Locking {
        let ci = || std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false");
        if self.locked.unwrap_or_else(|| strict || ci()) { Locking::Strict } else { Locking::Loose }
    }
}

/// The flags that say where a cluster comes from.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SourceArgs {
    /// Take everything from this bundle, and build nothing. Without it, the checkout is built.
    #[arg(long, value_name = "FILE", conflicts_with = "locked")]
    bundle: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) build: BuildArgs,
}

/// Where a cluster comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// It is built in the checkout.
    Checkout { pins: Pins, locking: Locking },
    /// Everything is there.
    Bundle(Box<Release>),
}

impl Source {
    /// The folder with the names of scenarios and mutations.
    pub(crate) fn suites(&self, session: &Session) -> PathBuf {
        match self {
            Self::Checkout { .. } => session.workspace.root.join(release::SUITES),
            Self::Bundle(release) => release.suites.clone(),
        }
    }

    /// What the cluster is made from. In a checkout, builds what is missing.
    pub(crate) fn release(self, session: &Session, engine: &Engine, logs: &Path) -> Result<Release> {
        match self {
            Self::Bundle(release) => Ok(*release),
            Self::Checkout { pins, locking } => session.build_for(engine, &pins, &locking, logs),
        }
    }
}

/// The surroundings of a command. Reading them changes nothing.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) workspace: Workspace,
    pub(crate) cache: Cache,
    pub(crate) host: Host,
    pub(crate) offline: bool,
    /// The repository that has what others have built.
    pub(crate) from: Option<String>,
}

impl Session {
    /// Reads the surroundings.
    pub(crate) fn begin() -> Result<Self> {
        let root = cache_root().map_err(Unusable)?;
        let workspace = Workspace::checkout().unwrap_or_else(|| Workspace::of_cache(&root));
        let host = Host::look(&root);
        Ok(Self { cache: Cache::open(root)?, host, workspace, offline: false, from: None })
    }

    /// Reads the surroundings of a command that builds.
    pub(crate) fn of(args: &BuildArgs) -> Result<Self> {
        let begun = Self::begin()?;
        let from = args.from.repository(&begun.cache).filter(|_| !args.offline);
        Ok(Self { offline: args.offline, from, ..begun })
    }

    /// The pins of the checkout.
    pub(crate) fn pins(&self) -> Result<Pins> {
        if !self.workspace.is_checkout() {
            let error = "there is no checkout to build from: use --bundle FILE where a command has it, or run \
                         `cargo xtask` in a checkout of Slipway";
            return Err(Unusable(anyhow!(error)).into());
        }
        Ok(Pins::load(&self.workspace.root).map_err(Unusable)?)
    }

    /// Refuses a host that is not able to build, before anything is changed.
    pub(crate) fn check_build(&self, pins: &Pins) -> Result<()> {
        let missing = self.builder(pins, &self.workspace.target().join("logs")).missing();
        self.check_host(Work::Build { pins, cold: missing.map_or(true, |missing| missing.len() > 3) })
    }

    fn check_host(&self, work: Work<'_>) -> Result<()> {
        Self::refuse(&self.host.faults(work))
    }

    /// Refuses a host on which nothing can be built.
    pub(crate) fn check_platform(&self, pins: &Pins) -> Result<()> {
        Self::refuse(&self.host.platform_faults(Work::Build { pins, cold: false }))
    }

    fn refuse(faults: &[String]) -> Result<()> {
        if faults.is_empty() {
            return Ok(());
        }
        Err(Unusable(anyhow!("this host has faults:\n  - {}", faults.join("\n  - "))).into())
    }

    /// Refuses locks that are not valid or not for these pins, before anything is changed.
    pub(crate) fn check_locks(&self, pins: &Pins, locking: &Locking) -> Result<()> {
        assemble::check_locks(&self.workspace.root, pins, locking).map_err(Unusable)?;
        Ok(assemble::check_rustc(&self.workspace.root, pins, &self.cache, locking).map_err(Unusable)?)
    }

    /// Finds out where a cluster comes from. Refuses a bundle that does not fit, and then has nothing unpacked.
    pub(crate) fn source(&self, args: &SourceArgs) -> Result<Source> {
        let Some(file) = &args.bundle else {
            return Ok(Source::Checkout { pins: self.pins()?, locking: args.build.locking(false) });
        };
        self.check_host(Work::Run)?;
        Ok(Source::Bundle(Box::new(file::open(&self.cache, file).map_err(Unusable)?)))
    }

    /// Refuses a host or locks that a build does not fit, before anything is changed.
    pub(crate) fn check(&self, source: &Source) -> Result<()> {
        let Source::Checkout { pins, locking } = source else { return Ok(()) };
        self.check_build(pins)?;
        self.check_locks(pins, locking)
    }

    /// The builder of parts. Its logs go into this folder.
    pub(crate) fn builder<'a>(&'a self, pins: &'a Pins, logs: &Path) -> Builder<'a> {
        Builder {
            workspace: &self.workspace,
            pins,
            cache: &self.cache,
            logs: logs.to_owned(),
            offline: self.offline,
            sysroot: None,
        }
    }

    /// Prints how the run adapts to the host.
    pub(crate) fn print_adaptations(&self) {
        for adaptation in self.host.adaptations() {
            progress::note(&format!("adapted: {}, because {}", adaptation.what, adaptation.why));
        }
    }

    /// Installs system packages, finds or starts an engine, and refuses a cluster that somebody else created.
    pub(crate) fn engine(&self, args: &BuildArgs, source: &Source) -> Result<Engine> {
        let mut needs = Vec::new();
        if matches!(source, Source::Checkout { .. }) {
            needs.push(Need::Images);
        }
        if docker::running(self.cache.root()).is_none() {
            needs.push(Need::Engine);
        }
        packages::ensure(&needs, &self.host, args.yes).map_err(Unusable)?;
        let engine = docker::ensure(&self.host, self.cache.root())?;
        cluster::refuse_foreign(&engine, &self.workspace).map_err(Unusable)?;
        Ok(engine)
    }

    /// Builds what a cluster is made from. After a failure, stops the idle private engine.
    fn build_for(&self, engine: &Engine, pins: &Pins, locking: &Locking, logs: &Path) -> Result<Release> {
        let builder = self.builder(pins, logs);
        let built = self
            .take(&builder)
            .and_then(|()| assemble::assemble(&builder, locking))
            .and_then(|built| Release::of_checkout(&builder, built));
        built.inspect_err(|_| {
            interrupt::start_cleaning();
            if let Err(error) = cluster::stop_idle_engine(engine, self.cache.root()) {
                eprintln!("error: stop the private Docker engine: {error:#}; try `cargo xtask down`");
            }
        })
    }

    /// Builds every part, every image and the node image.
    pub(crate) fn build(&self, pins: &Pins, locking: &Locking, logs: &Path) -> Result<Assembly> {
        let builder = self.builder(pins, logs);
        self.take(&builder)?;
        assemble::assemble(&builder, locking)
    }

    /// Takes what the cache lacks from the registry, if one is named.
    pub(crate) fn take(&self, builder: &Builder<'_>) -> Result<()> {
        let Some(repository) = &self.from else { return Ok(()) };
        let (steps, lock) = (steps(builder)?, Outputs::load(&self.workspace.root)?);
        if shared::is_useful(&self.cache, &steps, &lock) {
            let taken = shared::take(&crane(self)?, &self.cache, &steps, &lock, repository)?;
            progress::note(&format!("taken from {repository}: {} of {} builds", taken.len(), steps.len()));
        }
        Ok(())
    }

    /// The folder of the results of runs, with its full path.
    pub(crate) fn results(&self) -> Result<PathBuf> {
        std::path::absolute(self.workspace.results()).context("find the folder of the results")
    }
}

/// The program that talks to registries. Without a checkout it is beside this program, or on PATH.
pub(crate) fn crane(session: &Session) -> Result<PathBuf> {
    if session.workspace.is_checkout() {
        let pins = session.pins()?;
        let logs = session.workspace.target().join("logs");
        return session.builder(&pins, &logs).some(&["crane"])?.program("crane", "crane");
    }
    let beside = std::env::current_exe().ok().map(|program| program.with_file_name("crane"));
    let found = beside.filter(|crane| crane.is_file()).or_else(|| find_program("crane"));
    let told = || Unusable(anyhow!("there is no crane: unpack bin/crane of the bundle beside this program"));
    Ok(found.ok_or_else(told)?)
}
