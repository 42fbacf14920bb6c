//! The plan of the images in `bundle/images.toml`, checked against the pins. Parses and checks, and builds nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::{FILE, OURS};
use crate::debian::Recipe;
use crate::pins::Pins;
use crate::sysroot;

/// The start of the names of the labels.
const LABEL: &str = "org.opencontainers.image.";

/// The labels of every image: what it is called, and who made it.
pub(crate) fn labels(reference: &str) -> BTreeMap<String, String> {
    let name = reference.rsplit('/').next().unwrap_or(reference);
    let title = name.split(':').next().unwrap_or(name);
    [("title", title), ("vendor", "Slipway")].map(|(name, value)| (LABEL.to_owned() + name, value.to_owned())).into()
}

/// All images, their root filesystems, and the node image.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The packages of the C compiler and libraries that programs are built with.
    pub sysroot: Recipe,
    /// Root filesystems by name.
    pub rootfs: BTreeMap<String, Recipe>,
    /// The node image.
    pub node: NodeSpec,
    /// The images that the node image contains.
    #[serde(rename = "image")]
    pub images: Vec<ImageSpec>,
}

/// The configurable part of the node image. [`crate::node`] adds what every kind node has.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// Reference without a tag.
    pub name: String,
    /// Its root filesystem.
    pub rootfs: String,
    /// Programs by their paths in the image.
    pub programs: BTreeMap<String, ProgramRef>,
}

/// One image.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSpec {
    /// Full reference. `{version}` in it stands for the component's pinned version.
    pub name: String,
    /// The archive in the node image that contains it.
    pub set: ImageSet,
    /// The component that gives the version and whose module has the trees and sources.
    #[serde(default)]
    pub component: Option<String>,
    /// The module of the component, if it is not the main one.
    #[serde(default)]
    pub module: Option<String>,
    /// Its root filesystem. Without one the image contains only what is listed here.
    #[serde(default)]
    pub rootfs: Option<String>,
    /// Programs by their paths in the image.
    #[serde(default)]
    pub programs: BTreeMap<String, ProgramRef>,
    /// Folders of the component's module by their paths in the image.
    #[serde(default)]
    pub trees: BTreeMap<String, String>,
    /// Files copied from root filesystems: the path, which stays the same, and the name of the root filesystem.
    #[serde(default)]
    pub copies: BTreeMap<String, String>,
    /// C files of the component's module, by the paths of the static programs that they are compiled to.
    #[serde(default)]
    pub compile: BTreeMap<String, String>,
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// Numeric user and group. Empty means root, which some of kubeadm's manifests and containers require.
    #[serde(default)]
    pub user: String,
    /// Environment variables besides PATH.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Signal that stops a container, if not SIGTERM.
    #[serde(default)]
    pub stop_signal: String,
}

/// The archives of images in the node image, in the order in which a node needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageSet {
    /// The images that the kubelet needs before kubeadm can continue.
    ControlPlane,
    /// All other upstream images.
    Services,
    /// The images of this workspace, which change most often.
    Worker,
}

impl ImageSet {
    /// All of them, in order.
    pub const ALL: [Self; 3] = [Self::ControlPlane, Self::Services, Self::Worker];

    /// The name in [`FILE`]. It is also the archive's file name without its extension.
    pub fn name(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane",
            Self::Services => "services",
            Self::Worker => "worker",
        }
    }
}

/// A program of a component, written `component/program`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ProgramRef {
    /// The component.
    pub component: String,
    /// The program.
    pub program: String,
}

impl TryFrom<String> for ProgramRef {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.split_once('/') {
            Some((component, program)) => Ok(Self { component: component.into(), program: program.into() }),
            None => Err(format!("{text:?} is not component/program")),
        }
    }
}

impl Plan {
    /// Reads the plan of a checkout and checks it.
    ///
    /// # Errors
    /// When the file cannot be read, or the plan has faults. The error names all faults.
    pub fn load(root: &Path, pins: &Pins) -> Result<Self> {
        let path = root.join(FILE);
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let plan = Self::parse(&text)?;
        let faults = plan.faults(pins);
        if !faults.is_empty() {
            bail!("{FILE} has faults:\n  {}", faults.join("\n  "));
        }
        Ok(plan)
    }

    /// Parses a plan.
    ///
    /// # Errors
    /// When the text is not a valid plan.
    pub fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).with_context(|| format!("parse {FILE}"))
    }

    /// Every recipe for which Debian packages are chosen, by its name in their lock.
    pub fn recipes(&self) -> BTreeMap<String, Recipe> {
        let sysroot = (sysroot::NAME.to_owned(), self.sysroot.clone());
        self.rootfs.clone().into_iter().chain([sysroot]).collect()
    }

    /// All faults of the plan, given the pins.
    pub fn faults(&self, pins: &Pins) -> Vec<String> {
        let mut faults = Vec::new();
        let mut names = BTreeSet::new();
        let mut used = BTreeSet::from([self.node.rootfs.as_str()]);
        for program in self.node.programs.values() {
            faults.extend(program_fault(pins, program).map(|fault| format!("{}: {fault}", self.node.name)));
        }
        for image in &self.images {
            used.extend(image.rootfs.as_deref());
            used.extend(image.copies.values().map(String::as_str));
            faults.extend(image.faults(pins).into_iter().map(|fault| format!("{}: {fault}", image.name)));
            if !names.insert(&image.name) {
                faults.push(format!("{}: two images have this name", image.name));
            }
        }
        if self.rootfs.contains_key(sysroot::NAME) {
            faults.push(format!("a root filesystem is named {}", sysroot::NAME));
        }
        for rootfs in used.iter().filter(|name| !self.rootfs.contains_key(**name)) {
            faults.push(format!("there is no root filesystem {rootfs}"));
        }
        for rootfs in self.rootfs.keys().filter(|name| !used.contains(name.as_str())) {
            faults.push(format!("no image uses root filesystem {rootfs}"));
        }
        faults
    }
}

impl ImageSpec {
    /// The full reference, with the version in it.
    ///
    /// # Errors
    /// When the name has `{version}` and the pins have none.
    pub fn reference(&self, pins: &Pins) -> Result<String> {
        if !self.name.contains("{version}") {
            return Ok(self.name.clone());
        }
        let component = self.component.as_deref().context("{version} needs a component")?;
        if OURS.contains(&component) {
            return Ok(self.name.replace("{version}", env!("CARGO_PKG_VERSION")));
        }
        let (_, version) = self.module(pins)?;
        Ok(self.name.replace("{version}", version))
    }

    /// The module that the image is made from, and its version.
    ///
    /// # Errors
    /// When no component is named, or it does not pin the module.
    pub fn module<'a>(&self, pins: &'a Pins) -> Result<(&'a str, &'a str)> {
        let name = self.component.as_deref().context("no component is named")?;
        let mut modules = pins.component(name)?.modules();
        match &self.module {
            None => modules.next().with_context(|| format!("component {name} pins no module")),
            Some(module) => modules
                .find(|(path, _)| path == module)
                .with_context(|| format!("component {name} does not pin {module}")),
        }
    }

    /// The labels that scanners and registries show, by the names of the OCI image specification. They follow from the
    /// pins alone: a commit among them would give every commit other images of the same programs.
    ///
    /// # Errors
    /// When the pins do not have the image's component.
    pub fn labels(&self, pins: &Pins) -> Result<BTreeMap<String, String>> {
        let reference = self.reference(pins)?;
        let mut labels = labels(&reference);
        match self.component.as_deref() {
            Some(component) if OURS.contains(&component) => {
                labels.insert(LABEL.to_owned() + "version", env!("CARGO_PKG_VERSION").to_owned());
                labels.insert(LABEL.to_owned() + "licenses", env!("CARGO_PKG_LICENSE").to_owned());
            }
            Some(component) => {
                let (module, version) = self.module(pins)?;
                labels.insert(LABEL.to_owned() + "version", version.to_owned());
                labels.insert(LABEL.to_owned() + "source", format!("https://pkg.go.dev/{module}@{version}"));
                labels.insert(LABEL.to_owned() + "licenses", pins.component(component)?.license.clone());
            }
            None => {}
        }
        Ok(labels)
    }

    fn faults(&self, pins: &Pins) -> Vec<String> {
        let mut faults: Vec<String> =
            self.programs.values().filter_map(|program| program_fault(pins, program)).collect();
        match self.reference(pins) {
            Err(error) => faults.push(format!("{error:#}")),
            Ok(name) if name.contains(['{', '}']) => {
                faults.push("the name has a placeholder other than {version}".into());
            }
            Ok(name) if !name.rsplit('/').next().is_some_and(|last| last.contains(':')) => {
                faults.push("the name has no tag".into());
            }
            Ok(_) => {}
        }
        if !(self.trees.is_empty() && self.compile.is_empty())
            && let Err(error) = self.module(pins)
        {
            faults.push(format!("{error:#}"));
        }
        if !self.user.chars().all(|letter| letter.is_ascii_digit() || letter == ':') {
            faults.push(format!("user {:?} is not numeric", self.user));
        }
        if self.entrypoint.first().is_none_or(|program| !program.starts_with('/')) {
            faults.push("the entrypoint is not an absolute path".into());
        }
        faults
    }
}

fn program_fault(pins: &Pins, wanted: &ProgramRef) -> Option<String> {
    let ProgramRef { component, program } = wanted;
    if OURS.contains(&component.as_str()) {
        return None;
    }
    match pins.component(component) {
        Err(error) => Some(format!("{error:#}")),
        Ok(found) if found.programs.iter().any(|known| known.name == *program) => None,
        Ok(_) => Some(format!("component {component} has no program {program}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Workspace;

    fn shipped() -> (Plan, Pins) {
        let root = Workspace::here().root;
        let pins = Pins::load(&root).unwrap();
        (Plan::load(&root, &pins).unwrap(), pins)
    }

    #[test]
    fn shipped_plan_fits_the_pins() {
        let (plan, pins) = shipped();
        assert_eq!(plan.faults(&pins), Vec::<String>::new());
    }

    #[test]
    fn versions_come_from_the_pins() {
        let (plan, pins) = shipped();
        let names: Vec<String> = plan.images.iter().map(|image| image.reference(&pins).unwrap()).collect();
        let kubernetes = &pins.components["kubernetes"];
        for name in [
            format!("registry.k8s.io/kube-apiserver:{}", kubernetes.version),
            format!("slipway.local/metrics-server:{}", kubernetes.also[0].version),
            format!("slipway.local/temporal-worker:{}", env!("CARGO_PKG_VERSION")),
            format!("slipway.local/temporal-scaler:{}", env!("CARGO_PKG_VERSION")),
        ] {
            assert!(names.contains(&name), "{name} is not among {names:?}");
        }
    }

    #[test]
    fn labels_name_version_source_and_licences_of_the_program() {
        let (plan, pins) = shipped();
        let labels = |part: &str| {
            let image = plan.images.iter().find(|image| image.name.contains(part)).unwrap();
            let labels = image.labels(&pins).unwrap();
            ["title", "version", "source", "licenses"].map(|it| labels.get(&(LABEL.to_owned() + it)).cloned())
        };
        let some = |text: &str| Some(text.to_owned());
        let temporal = &pins.components["temporal"].version;
        let source = format!("https://pkg.go.dev/go.temporal.io/server@{temporal}");
        assert_eq!(labels("temporal-server"), [some("temporal-server"), some(temporal), some(&source), some("MIT")]);
        let ours = [some("temporal-worker"), some(env!("CARGO_PKG_VERSION")), None, some("Apache-2.0")];
        assert_eq!(labels("temporal-worker"), ours);
        assert_eq!(labels("redis"), [some("redis"), None, None, None], "its packages are many programs");
    }

    #[test]
    fn every_fault_is_reported_at_once() {
        let (mut plan, pins) = shipped();
        let image = &mut plan.images[0];
        image.user = "nobody".into();
        image.entrypoint.clear();
        image.name = "x/{release}".into();
        image.programs.insert("/x".into(), ProgramRef { component: "kubernetes".into(), program: "kubed".into() });
        image.rootfs = Some("gone".into());
        let twice = plan.images[1].clone();
        plan.images.push(twice);
        let faults = plan.faults(&pins).join("\n");
        for part in [
            "\"nobody\" is not numeric",
            "entrypoint",
            "{version}",
            "no program kubed",
            "filesystem gone",
            "two images have this name",
        ] {
            assert!(faults.contains(part), "{part:?} is not in:\n{faults}");
        }
    }

    #[test]
    fn unknown_fields_are_refused() {
        let error =
            Plan::parse("[sysroot]\nabout=''\nway='extract'\npackages=[]\n[rootfs]\n[node]\nname='n'\nrootfs='r'\n[node.programs]\n[[image]]\nnmae='x'").unwrap_err();
        assert!(format!("{error:#}").contains("nmae"), "{error:#}");
    }
}
