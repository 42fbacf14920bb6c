//! Assembles images on this machine from built programs, folders of upstream modules and Debian root filesystems.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

use super::{ImageSource, ImageSpec, PartSource};
use crate::action::Action;
use crate::cache::Cache;
use crate::debian::Rootfs;
use crate::oci::{Config, Content, Image, Layer, ROOT, Tree};
use crate::pins::Pins;
use crate::sysroot::Sysroot;

/// The variable PATH of every image.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Assembles images from built programs and root filesystems.
pub struct LocalSource<'a> {
    /// The pins.
    pub pins: &'a Pins,
    /// Built programs.
    pub parts: &'a dyn PartSource,
    /// Root filesystems by name.
    pub rootfs: &'a BTreeMap<String, Rootfs>,
    /// The cache.
    pub cache: &'a Cache,
    /// Processor architecture, in Go's naming.
    pub architecture: &'a str,
    /// The folder of the C compiler and libraries, and what they are.
    pub sysroot: (PathBuf, Sysroot),
    /// Layers that several images share.
    pub shared: Shared,
}

/// Layers that are made once for several images.
#[derive(Debug, Default)]
pub struct Shared(RefCell<BTreeMap<String, Arc<Layer>>>);

impl Shared {
    fn get(&self, name: &str, make: impl FnOnce() -> Result<Layer>) -> Result<Arc<Layer>> {
        if let Some(layer) = self.0.borrow().get(name) {
            return Ok(Arc::clone(layer));
        }
        let layer = Arc::new(make()?);
        self.0.borrow_mut().insert(name.to_owned(), Arc::clone(&layer));
        Ok(layer)
    }
}

impl ImageSource for LocalSource<'_> {
    fn image(&self, spec: &ImageSpec) -> Result<Image> {
        let name = spec.reference(self.pins)?;
        self.assemble(&name, spec).with_context(|| format!("make image {name}"))
    }
}

impl LocalSource<'_> {
    fn assemble(&self, name: &str, spec: &ImageSpec) -> Result<Image> {
        let mut layers = vec![self.base(spec.rootfs.as_deref())?];
        let files = self.files(spec)?;
        if files.iter().next().is_some() {
            layers.push(Arc::new(Layer::cached(self.cache, &layer_name(name), files)?));
        }
        let mut env = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
        env.extend(spec.env.clone());
        let config = Config {
            architecture: self.architecture.to_owned(),
            entrypoint: spec.entrypoint.clone(),
            env: env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            user: spec.user.clone(),
            stop_signal: spec.stop_signal.clone(),
            labels: spec.labels(self.pins)?,
            ..Config::default()
        };
        Ok(Image::new(name, &config, layers))
    }

    fn base(&self, rootfs: Option<&str>) -> Result<Arc<Layer>> {
        match rootfs {
            Some(name) => {
                let rootfs = self.rootfs(name)?;
                self.shared.get(name, || Layer::of_tar(self.cache, &format!("rootfs-{name}"), &rootfs.tar))
            }
            None => self.shared.get("static", || Layer::cached(self.cache, "static", static_base()?)),
        }
    }

    fn rootfs(&self, name: &str) -> Result<&Rootfs> {
        self.rootfs.get(name).with_context(|| format!("root filesystem {name} was not made"))
    }

    fn files(&self, spec: &ImageSpec) -> Result<Tree> {
        let mut files = Tree::default();
        for (path, program) in &spec.programs {
            let built = self.parts.program(&program.component, &program.program)?;
            files.file(path, 0o755, Content::whole(built)?)?;
        }
        for (path, folder) in &spec.trees {
            files.copy_dir(&self.module_dir(spec)?.join(folder), path, 0o644)?;
        }
        for (path, rootfs) in &spec.copies {
            files.file(path, 0o644, Content::Bytes(self.rootfs(rootfs)?.read(path)?.into()))?;
        }
        for (path, source) in &spec.compile {
            files.file(path, 0o755, Content::whole(self.compile(&self.module_dir(spec)?.join(source))?)?)?;
        }
        Ok(files)
    }

    fn module_dir(&self, spec: &ImageSpec) -> Result<PathBuf> {
        let component = spec.component.as_deref().context("no component is named")?;
        let (module, _) = spec.module(self.pins)?;
        self.parts.module_dir(component, module)
    }

    /// Compiles a C file to a static program.
    fn compile(&self, source: &Path) -> Result<PathBuf> {
        let name = source.file_stem().map_or_else(|| "program".to_owned(), |stem| stem.to_string_lossy().into_owned());
        let action = Action::new("{sysroot}/bin/cc")
            .args(["-Os", "-Wall", "-static", "-s", "-Wl,--build-id=none", "-o", "{out}"])
            // Without its folder, so that the program contains no path of this machine.
            .arg(source.file_name().unwrap_or(source.as_os_str()).to_string_lossy())
            .file("source", source)?
            .c_compiler(&self.sysroot.1)?
            .place("sysroot", &self.sysroot.0);
        let place = self.cache.get_or_build("c", &name, &action, |place| {
            let compile = action.clone().place("out", place.join(&name)).command();
            let compile = compile.cwd(source.parent().unwrap_or(Path::new("."))).run().map(drop);
            compile.with_context(|| format!("compile {}", source.display()))
        })?;
        Ok(place.join(name))
    }
}

/// The files under a static program: a folder for temporary files, and the names of its users.
fn static_base() -> Result<Tree> {
    let mut tree = Tree::default();
    tree.dir("/tmp", 0o1777, ROOT)?;
    tree.file(
        "/etc/passwd",
        0o644,
        "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n".into(),
    )?;
    tree.file("/etc/group", 0o644, "root:x:0:\nnonroot:x:65532:\n".into())?;
    Ok(tree)
}

/// The short name of an image: `temporal-server` for `slipway.local/temporal-server:v1`.
fn layer_name(reference: &str) -> String {
    let last = reference.rsplit('/').next().unwrap_or(reference);
    last.split(':').next().unwrap_or(last).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::{Plan, build};
    use crate::workspace::Workspace;

    /// Every program is a small file of its own. Every module is the same folder.
    struct Fake(tempfile::TempDir);

    impl PartSource for Fake {
        fn program(&self, component: &str, name: &str) -> Result<PathBuf> {
            let path = self.0.path().join(format!("{component}-{name}"));
            if !path.exists() {
                std::fs::write(&path, format!("{component} {name}"))?;
            }
            Ok(path)
        }

        fn module_dir(&self, _component: &str, _module: &str) -> Result<PathBuf> {
            let schema = self.0.path().join("module/schema/postgresql/v12");
            std::fs::create_dir_all(&schema)?;
            std::fs::write(schema.join("schema.sql"), "create table x();")?;
            Ok(self.0.path().join("module"))
        }
    }

    fn digests(mut plan: Plan, pins: &Pins) -> Vec<(String, String)> {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        // The test has neither root filesystems nor a C compiler.
        plan.images.retain(|image| image.compile.is_empty());
        for image in &mut plan.images {
            image.rootfs = None;
            image.copies.clear();
        }
        let parts = Fake(tempfile::tempdir().unwrap());
        let source = LocalSource {
            pins,
            parts: &parts,
            rootfs: &BTreeMap::new(),
            cache: &cache,
            architecture: "amd64",
            sysroot: (PathBuf::new(), Sysroot::new(&plan.sysroot, Vec::new(), Vec::new())),
            shared: Shared::default(),
        };
        let images = build(&plan, &source).unwrap();
        images.into_iter().map(|image| (image.name, image.digest)).collect()
    }

    #[test]
    fn two_machines_make_the_same_images() {
        let root = Workspace::here().root;
        let pins = Pins::load(&root).unwrap();
        let plan = Plan::load(&root, &pins).unwrap();
        let first = digests(plan.clone(), &pins);
        assert!(first.len() > 10, "{first:?}");
        assert_eq!(first, digests(plan, &pins), "the same digests in other folders");
    }

    #[test]
    fn short_names_are_cut_out_of_references() {
        assert_eq!(layer_name("registry.k8s.io/coredns/coredns:v1.14.2"), "coredns");
    }
}
