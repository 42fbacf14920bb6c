//! What most commands begin with: the checkout, the pins, the cache, the host; then, step by step, what they need.

use std::path::Path;

use anyhow::{Result, anyhow};
use bundle::assemble::{self, Assembly};
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

/// Flags that every building command has.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct BuildArgs {
    /// Install missing system packages without asking.
    #[arg(long, short)]
    pub(crate) yes: bool,

    /// Fail where the Debian packages are not those of bundle/debian.lock, instead of warning.
    #[arg(long)]
    pub(crate) locked: bool,
}

/// A command's surroundings, looked at but not changed.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) workspace: Workspace,
    pub(crate) pins: Pins,
    pub(crate) cache: Cache,
    pub(crate) host: Host,
}

impl Session {
    /// Looks around.
    pub(crate) fn begin() -> Result<Self> {
        let workspace = Workspace::here();
        let pins = Pins::load(&workspace.root).map_err(Unusable)?;
        let root = cache_root().map_err(Unusable)?;
        let host = Host::look(&root);
        Ok(Self {
            pins,
            cache: Cache::open(root)?,
            host,
            workspace,
        })
    }

    /// Refuses a host that cannot do the work, before anything is changed.
    pub(crate) fn check_host(&self) -> Result<()> {
        let cold = self
            .builder(&self.workspace.target().join("logs"))
            .missing()
            .map_or(true, |missing| missing.len() > 3);
        let faults = self.host.faults(&self.pins, cold);
        if faults.is_empty() {
            return Ok(());
        }
        Err(Unusable(anyhow!("this host cannot do it:\n  - {}", faults.join("\n  - "))).into())
    }

    /// The builder of parts; its logs go into this folder.
    pub(crate) fn builder(&self, logs: &Path) -> Builder<'_> {
        Builder {
            workspace: &self.workspace,
            pins: &self.pins,
            cache: &self.cache,
            logs: logs.to_owned(),
        }
    }

    /// Prints how the run adapts to the host.
    pub(crate) fn print_adaptations(&self) {
        for adaptation in self.host.adaptations() {
            progress::note(&format!(
                "adapted: {}, because {}",
                adaptation.what, adaptation.why
            ));
        }
    }

    /// System packages, the engine, and no foreign cluster in the way.
    pub(crate) fn engine(&self, args: &BuildArgs) -> Result<Engine> {
        let mut needs = vec![Need::Images];
        if docker::running(self.cache.root()).is_none() {
            needs.push(Need::Engine);
        }
        packages::ensure(&needs, &self.pins, &self.host, args.yes).map_err(Unusable)?;
        let engine = docker::ensure(&self.host, self.cache.root())?;
        cluster::refuse_foreign(&engine).map_err(Unusable)?;
        Ok(engine)
    }

    /// Every part, image and the node image, for an engine that is of no use if they cannot be built.
    pub(crate) fn build_for(&self, engine: &Engine, args: &BuildArgs, logs: &Path) -> Result<Assembly> {
        self.build(args, logs).inspect_err(|_| {
            interrupt::start_cleaning();
            if let Err(error) = cluster::release(engine, self.cache.root()) {
                eprintln!("error: stop the private Docker engine: {error:#}; try `cargo xtask down`");
            }
        })
    }

    /// Every part, image and the node image.
    pub(crate) fn build(&self, args: &BuildArgs, logs: &Path) -> Result<Assembly> {
        assemble::assemble(&self.builder(logs), args.locked)
    }
}
