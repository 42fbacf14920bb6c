//! Collects what goes into a bundle from what was built. Reads from the programs what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;
use support::command::Cmd;

use super::provenance::{Commit, Origin, statement};
use super::sbom::{self, Component};
use super::{
    About, Bundle, CORPUS, CRANE, DRIVER, FACTS, FORMAT, KIND, KUBECTL, Named, PROVENANCE, SHARED_MANIFESTS, SLIPWAY,
    SUITES, licences, members, render, sbom_member,
};
use crate::assemble::Assembly;
use crate::cache::{SEAL, files_below, sha256_file};
use crate::corpus::default_corpus;
use crate::debian::LOCK_FILE;
use crate::images::{self, ImageSpec, Plan, ProgramRef};
use crate::oci::{self, Content};
use crate::outputs::OUTPUTS_FILE;
use crate::parts::audit::Crates;
use crate::parts::{ARCHITECTURE, Builder, cargo};
use crate::{pins, release};

/// The files that pin versions and hashes, beside go.mod and go.sum of each component.
const LOCKS: [&str; 5] = [pins::FILE, images::FILE, LOCK_FILE, OUTPUTS_FILE, "Cargo.lock"];

/// The programs for the host that are components: component and program.
const HOST_PROGRAMS: [(&str, &str); 3] = [("crane", "crane"), ("kind", "kind"), ("kubernetes", "kubectl")];

/// The packages that are linked into every static program with C code: the C library and gcc's runtime.
const LINKED: [&str; 2] = ["libc6-dev", "libgcc-12-dev"];
/// The packages that are linked into a static program in Go with cgo, which is runc.
const LINKED_BY_GO: [&str; 3] = [LINKED[0], LINKED[1], "libseccomp-dev"];

/// Members by name.
type Files = BTreeMap<String, Content>;

/// Collects images, manifests, programs and their files, SBOMs and provenance. Builds `slipway`.
///
/// # Errors
/// When `slipway` does not build, a manifest does not render, or Go or cargo does not answer.
pub fn collect(builder: &Builder<'_>, built: &Assembly, commit: &Commit) -> Result<Bundle> {
    let mut images: Vec<oci::Image> = built.images.iter().map(|image| image.image.clone()).collect();
    images.push(built.node.image()?.clone());
    images.sort_by(|one, two| one.name.cmp(&two.name));
    let named: Vec<Named> =
        images.iter().map(|image| Named { name: image.name.clone(), digest: image.digest() }).collect();
    let mut files = manifests(builder, built, &named)?;
    files.extend(programs(builder, built)?);
    files.extend(shared(builder, built)?);
    let subjects = files.iter().map(|(name, content)| Ok((name.clone(), members::sum(content)?)));
    let subjects = subjects.collect::<Result<BTreeMap<_, _>>>()?;
    let (toolchains, unlocked) = (&built.outputs.tools, built.unlocked.as_slice());
    let origin = Origin { commit, toolchains, unlocked, locks: locks(builder)? };
    insert_json(&mut files, PROVENANCE.to_owned(), &statement(&origin, &named, &subjects));
    let (sboms, components) = sboms(builder, built, &named)?;
    for (name, sbom) in sboms {
        insert_json(&mut files, name, &sbom);
    }
    files.extend(licences(builder, built, components)?);
    let about = About {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: commit.id.clone(),
        modified: commit.modified,
        architecture: ARCHITECTURE.to_owned(),
        node: built.node.reference.clone(),
        images: named,
    };
    Bundle::new(&about, &images, files)
}

fn insert_json(files: &mut Files, name: String, value: &Value) {
    files.insert(name, Content::Bytes(oci::to_bytes(value).into()));
}

/// The programs for the host.
fn programs(builder: &Builder<'_>, built: &Assembly) -> Result<Files> {
    let slipway = builder.cargo(&[cargo::SLIPWAY])?.remove(0);
    let programs = [
        (SLIPWAY, slipway),
        (DRIVER, built.driver.clone()),
        (KIND, built.parts.program("kind", "kind")?),
        (KUBECTL, built.parts.program("kubernetes", "kubectl")?),
        (CRANE, builder.some(&["crane"])?.program("crane", "crane")?),
    ];
    programs.into_iter().map(|(member, file)| Ok((member.to_owned(), Content::whole(file)?))).collect()
}

/// What the programs read, beside the manifests: documents, names of scenarios, and facts for reports.
fn shared(builder: &Builder<'_>, built: &Assembly) -> Result<Files> {
    let mut files = tree(&default_corpus(builder.pins, &built.parts, builder.cache)?, CORPUS)?;
    for file in release::SUITE_FILES {
        let path = builder.workspace.root.join(release::SUITES).join(file);
        files.insert(format!("{SUITES}/{file}"), Content::whole(path)?);
    }
    insert_json(&mut files, FACTS.to_owned(), &release::facts(builder, built));
    Ok(files)
}

/// The rendered manifests, and those that they are rendered from.
fn manifests(builder: &Builder<'_>, built: &Assembly, images: &[Named]) -> Result<Files> {
    let copy = tempfile::tempdir().context("make a temporary folder")?;
    crate::manifests::copy(&built.parts, &builder.workspace.manifests(), copy.path())?;
    let kubectl = built.parts.program("kubernetes", "kubectl")?;
    let mut files = tree(copy.path(), SHARED_MANIFESTS)?;
    for content in files.values_mut() {
        // The copy is removed before the bundle is written.
        let mut bytes = Vec::new();
        content.copy(&mut bytes)?;
        *content = Content::Bytes(bytes.into());
    }
    for (member, folder) in render::FILES {
        let text = render::render(&kubectl, &copy.path().join(folder), images)?;
        files.insert(member.to_owned(), text.into());
    }
    Ok(files)
}

/// The files below a folder, as members below another. The cache's own files are left out.
fn tree(folder: &Path, member: &str) -> Result<Files> {
    let files = files_below(folder)?.into_iter().filter(|file| !file.ends_with(SEAL));
    files
        .map(|file| {
            let below = file.strip_prefix(folder).unwrap_or(&file);
            Ok((format!("{member}/{}", below.display()), Content::whole(&file)?))
        })
        .collect()
}

fn locks(builder: &Builder<'_>) -> Result<BTreeMap<String, String>> {
    let sums = builder
        .pins
        .components
        .keys()
        .flat_map(|name| ["go.mod", "go.sum"].map(|file| format!("bundle/components/{name}/{file}")));
    let files = LOCKS.iter().map(|file| (*file).to_owned()).chain(sums);
    files.map(|file| Ok((file.clone(), sha256_file(&builder.workspace.root.join(&file))?))).collect()
}

/// The licence texts of components, and of what is in the programs for the host.
fn licences(builder: &Builder<'_>, built: &Assembly, mut all: BTreeSet<Component>) -> Result<Files> {
    for program in builder.cargo(&[cargo::SLIPWAY])?.iter().chain([&built.driver]) {
        all.extend(crates(program)?);
    }
    for (component, program) in HOST_PROGRAMS {
        all.extend(go_modules(&builder.some(&[component])?.program(component, program)?)?);
    }
    all.extend(linked(built, &LINKED));
    let sysroot = builder.sysroot_folder()?;
    let (root, go) = (&builder.workspace.root, &builder.pins.toolchain.go);
    let sources = licences::Sources::find(root, go, &built.rootfs, (&sysroot, &LINKED_BY_GO))?;
    // The programs may be older than what Go's module cache has now.
    for component in &all {
        let absent = |folder: &PathBuf| !folder.is_dir();
        if sources.module(component).as_ref().is_some_and(absent) {
            builder.fetch_module(component.name(), component.version())?;
        }
    }
    licences::collect(&sources, &all)
}

/// The SBOM of each image, by member, and everything that is in the images.
fn sboms(
    builder: &Builder<'_>,
    built: &Assembly,
    images: &[Named],
) -> Result<(BTreeMap<String, Value>, BTreeSet<Component>)> {
    let plan = Plan::load(&builder.workspace.root, builder.pins)?;
    let mut reader = Programs { builder, built, known: BTreeMap::new() };
    let mut sboms = BTreeMap::new();
    let mut all = BTreeSet::new();
    let mut add = |image: &Named, components: &BTreeSet<Component>| {
        sboms.insert(sbom_member(&image.name), sbom::render(image, components));
        all.extend(components.iter().filter(|component| !component.is_image()).cloned());
    };
    let find =
        |name: &str| images.iter().find(|image| image.name == name).with_context(|| format!("find image {name}"));
    for spec in &plan.images {
        let image = find(&spec.reference(builder.pins)?)?;
        let components = reader.image(spec).with_context(|| format!("list what is in {}", image.name))?;
        add(image, &components);
    }
    let node = find(&built.node.reference)?;
    let mut components = reader.programs(plan.node.programs.values())?;
    components.extend(packages(built, &plan.node.rootfs));
    components.extend(images.iter().filter(|image| image.name != node.name).map(Component::image));
    add(node, &components);
    Ok((sboms, all))
}

/// Reads what is in programs, each once.
struct Programs<'a> {
    builder: &'a Builder<'a>,
    built: &'a Assembly,
    known: BTreeMap<String, BTreeSet<Component>>,
}

impl Programs<'_> {
    fn image(&mut self, spec: &ImageSpec) -> Result<BTreeSet<Component>> {
        let mut components = self.programs(spec.programs.values())?;
        components.extend(spec.rootfs.iter().flat_map(|rootfs| packages(self.built, rootfs)));
        if !(spec.trees.is_empty() && spec.compile.is_empty()) {
            let (module, version) = spec.module(self.builder.pins)?;
            components.insert(Component::go(module, version));
        }
        if !spec.compile.is_empty() {
            components.extend(linked(self.built, &LINKED));
        }
        // A file that is copied from a root filesystem belongs to a package that is in it.
        for (path, rootfs) in &spec.copies {
            let owner = path.rsplit('/').next().and_then(|file| file.split('.').next());
            components.extend(packages(self.built, rootfs).filter(|package| Some(package.name()) == owner));
        }
        Ok(components)
    }

    fn programs<'p>(&mut self, programs: impl Iterator<Item = &'p ProgramRef>) -> Result<BTreeSet<Component>> {
        let mut components = BTreeSet::new();
        for ProgramRef { component, program } in programs {
            let key = format!("{component}/{program}");
            if !self.known.contains_key(&key) {
                let found = self.read(component, program).with_context(|| format!("list what is in {key}"))?;
                self.known.insert(key.clone(), found);
            }
            components.extend(self.known.get(&key).into_iter().flatten().cloned());
        }
        Ok(components)
    }

    fn read(&self, component: &str, program: &str) -> Result<BTreeSet<Component>> {
        let file = self.built.parts.program(component, program)?;
        let Some(pinned) = self.builder.pins.components.get(component) else {
            let mut components = crates(&file)?;
            components.extend(linked(self.built, &LINKED));
            return Ok(components);
        };
        let mut components = go_modules(&file)?;
        if pinned.cgo && pinned.link_static {
            components.extend(linked(self.built, &LINKED_BY_GO));
        }
        Ok(components)
    }
}

/// The crates in a program of the workspace.
fn crates(program: &Path) -> Result<BTreeSet<Component>> {
    let bytes = std::fs::read(program).with_context(|| format!("read {}", program.display()))?;
    let crates = Crates::read(&bytes).with_context(|| format!("list what is in {}", program.display()))?;
    Ok(crates.packages.iter().map(|it| Component::cargo(&it.name, &it.version)).collect())
}

fn go_modules(program: &Path) -> Result<BTreeSet<Component>> {
    let listing = Cmd::new("go").args(["version", "-m"]).arg(program).env("GOTOOLCHAIN", "local").quiet().read()?;
    Ok(sbom::go_modules(&listing))
}

/// Those of the packages of the C compiler and libraries that have these names.
fn linked(built: &Assembly, names: &[&str]) -> Vec<Component> {
    let lock = &built.packages;
    let found = built.sysroot.packages.iter().filter(|package| names.contains(&&*package.name));
    found.map(|it| Component::debian(&it.name, &it.version, &lock.architecture, &lock.suite)).collect()
}

fn packages<'a>(built: &'a Assembly, rootfs: &str) -> impl Iterator<Item = Component> + use<'a> {
    let lock = &built.packages;
    lock.of(rootfs).iter().map(|it| Component::debian(&it.name, &it.version, &lock.architecture, &lock.suite))
}
