//! What most commands need: the checkout, the pins, the cache and the host, then the engine and the builds.

use std::path::Path;

use anyhow::{Result, anyhow};
use bundle::assemble::{self, Assembly, Locking};
use bundle::cache::Cache;
use bundle::cluster;
use bundle::docker::{self, Engine};
use bundle::host::Host;
use bundle::packages::{self, Need};
use bundle::parts::Builder;
use bundle::pins::Pins;
use bundle::workspace::{Workspace, cache_root};
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
}

impl BuildArgs {
    /// What the build does about the locks, if the flag is absent and `strict` is the command's own way.
    pub(crate) fn locking(&self, strict: bool) -> Locking {
        let ci = || std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false");
        if self.locked.unwrap_or_else(|| strict || ci()) { Locking::Strict } else { Locking::Loose }
    }
}

/// The surroundings of a command. Reading them changes nothing.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) workspace: Workspace,
    pub(crate) pins: Pins,
    pub(crate) cache: Cache,
    pub(crate) host: Host,
    pub(crate) offline: bool,
}

impl Session {
    /// Reads the surroundings.
    pub(crate) fn begin() -> Result<Self> {
        let workspace = Workspace::here();
        let pins = Pins::load(&workspace.root).map_err(Unusable)?;
        let root = cache_root().map_err(Unusable)?;
        let host = Host::look(&root);
        Ok(Self { pins, cache: Cache::open(root)?, host, workspace, offline: false })
    }

    /// Reads the surroundings of a command that builds.
    pub(crate) fn of(args: &BuildArgs) -> Result<Self> {
        Ok(Self { offline: args.offline, ..Self::begin()? })
    }

    /// Refuses a host that is not able to do the work, before anything is changed.
    pub(crate) fn check_host(&self) -> Result<()> {
        let cold =
            self.builder(&self.workspace.target().join("logs")).missing().map_or(true, |missing| missing.len() > 3);
        let faults = self.host.faults(&self.pins, cold);
        if faults.is_empty() {
            return Ok(());
        }
        Err(Unusable(anyhow!("this host has faults:\n  - {}", faults.join("\n  - "))).into())
    }

    /// Refuses locks that are not valid or not for these pins, before anything is changed.
    pub(crate) fn check_locks(&self, locking: &Locking) -> Result<()> {
        Ok(assemble::check_locks(&self.workspace.root, &self.pins, locking).map_err(Unusable)?)
    }

    /// The builder of parts. Its logs go into this folder.
    pub(crate) fn builder(&self, logs: &Path) -> Builder<'_> {
        Builder {
            workspace: &self.workspace,
            pins: &self.pins,
            cache: &self.cache,
            logs: logs.to_owned(),
            offline: self.offline,
        }
    }

    /// Prints how the run adapts to the host.
    pub(crate) fn print_adaptations(&self) {
        for adaptation in self.host.adaptations() {
            progress::note(&format!("adapted: {}, because {}", adaptation.what, adaptation.why));
        }
    }

    /// Installs system packages, finds or starts an engine, and refuses a cluster that somebody else created.
    pub(crate) fn engine(&self, args: &BuildArgs) -> Result<Engine> {
        let mut needs = vec![Need::Images];
        if docker::running(self.cache.root()).is_none() {
            needs.push(Need::Engine);
        }
        packages::ensure(&needs, &self.pins, &self.host, args.yes).map_err(Unusable)?;
        let engine = docker::ensure(&self.host, self.cache.root())?;
        cluster::refuse_foreign(&engine, &self.workspace).map_err(Unusable)?;
        Ok(engine)
    }

    /// Builds every part, every image and the node image. After a failure, stops the idle private engine.
    pub(crate) fn build_for(&self, engine: &Engine, locking: &Locking, logs: &Path) -> Result<Assembly> {
        self.build(locking, logs).inspect_err(|_| {
            interrupt::start_cleaning();
            if let Err(error) = cluster::stop_idle_engine(engine, self.cache.root()) {
                eprintln!("error: stop the private Docker engine: {error:#}; try `cargo xtask down`");
            }
        })
    }

    /// Builds every part, every image and the node image.
    pub(crate) fn build(&self, locking: &Locking, logs: &Path) -> Result<Assembly> {
        assemble::assemble(&self.builder(logs), locking)
    }
}
