//! The C compiler, the linker, and the C libraries that are linked into programs: Debian packages of the lock, unpacked
//! into the cache.
//!
//! They run from there with their own loader and C library. So nothing of this host is compiled in, linked, or decides
//! how that is done, and the host's compiler builds only what runs during a build.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use support::command::Cmd;
use support::progress;

use crate::action::Action;
use crate::cache::{Cache, files_below};
use crate::debian::{self, Change, Package, Recipe};

/// Its name in the lock of the packages.
pub const NAME: &str = "sysroot";
/// The folder of gcc's own programs and libraries.
const GCC: &str = "/usr/lib/gcc/x86_64-linux-gnu/12";
/// The programs by their names in `bin`, with their paths in the packages.
const PROGRAMS: [(&str, &str); 7] = [
    ("ar", "/usr/bin/x86_64-linux-gnu-ar"),
    ("as", "/usr/bin/x86_64-linux-gnu-as"),
    ("cc", "/usr/bin/x86_64-linux-gnu-gcc-12"),
    ("cc1", "{gcc}/cc1"),
    ("collect2", "{gcc}/collect2"),
    ("ld", "/usr/bin/x86_64-linux-gnu-ld.bfd"),
    ("pkg-config", "/usr/bin/pkgconf"),
];
/// The folders of the libraries that the programs need.
const LIBRARIES: &str = "$root/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu";

/// A program with headers and libraries of each kind.
const SOURCE: &str = "#include <linux/prctl.h>\n#include <math.h>\n#include <seccomp.h>\n#include <stddef.h>\n\
                      int main(int count, char **words) { return seccomp_api_get() + (int)sin(count) + !words; }\n";

/// Which packages the sysroot consists of, and what is left out of them.
#[derive(Debug, Clone)]
pub struct Sysroot {
    /// The packages in order of name.
    pub packages: Vec<Package>,
    /// The differences from the lock.
    pub drift: Vec<Change>,
    /// What is deleted.
    recipe: Recipe,
}

impl Sysroot {
    /// The sysroot of these packages.
    pub fn new(recipe: &Recipe, packages: Vec<Package>, drift: Vec<Change>) -> Self {
        Self { packages, drift, recipe: recipe.clone() }
    }

    /// How it is unpacked.
    ///
    /// # Errors
    /// When the recipe cannot be serialised.
    pub fn action(&self) -> Result<Action> {
        let recipe = Recipe { about: String::new(), ..self.recipe.clone() };
        let action = Action::new("dpkg-deb")
            .args(["--extract", "{deb}", "{out}"])
            .input("recipe", serde_json::to_string(&recipe).context("serialise the recipe")?)
            .code(&[include_str!("sysroot.rs")])
            .code_of("deletion", &[include_str!("debian/recipe.rs")]);
        let packages = self.packages.iter();
        Ok(packages.fold(action, |action, package| action.input(&package.to_string(), &package.sha256)))
    }

    /// Its folder in the cache. It is made if it is not there. `fetch` puts its packages into the cache.
    ///
    /// # Errors
    /// When a package cannot be fetched or unpacked.
    pub fn folder(&self, cache: &Cache, fetch: impl FnOnce() -> Result<()>) -> Result<PathBuf> {
        let action = self.action()?;
        match cache.get(NAME, NAME, &action) {
            Some(place) => Ok(place),
            None => {
                fetch()?;
                progress::step("unpack the C compiler and libraries", || {
                    cache.get_or_build(NAME, NAME, &action, |place| self.unpack(cache, &action, place))
                })
            }
        }
    }

    fn unpack(&self, cache: &Cache, action: &Action, place: &Path) -> Result<()> {
        let work = tempfile::tempdir().context("make a folder")?;
        let deb = work.path().join("package.deb");
        for package in &self.packages {
            debian::copy(cache, package, &deb)?;
            let extract: Cmd = action.clone().place("deb", &deb).place("out", place).command().quiet();
            extract.run().with_context(|| format!("unpack package {package}"))?;
        }
        for file in files_below(place)? {
            let path = Path::new("/").join(file.strip_prefix(place).unwrap_or(&file));
            if self.recipe.deletes(&path.to_string_lossy()) {
                fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))?;
            }
        }
        let bin = place.join("bin");
        fs::create_dir_all(&bin).with_context(|| format!("make {}", bin.display()))?;
        for (name, program) in PROGRAMS {
            let path = bin.join(name);
            fs::write(&path, script(name, &program.replace("{gcc}", GCC)))
                .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
                .with_context(|| format!("write {}", path.display()))?;
        }
        check(place)
    }
}

/// Compiles and links a program, and refuses a sysroot that reads a file of this host for it.
fn check(sysroot: &Path) -> Result<()> {
    let work = tempfile::tempdir().context("make a folder")?;
    let [source, program] = ["check.c", "check"].map(|name| work.path().join(name));
    fs::write(&source, SOURCE).with_context(|| format!("write {}", source.display()))?;
    let cc = Action::new("{sysroot}/bin/cc").args(["-static", "{source}", "-o", "{program}"]);
    let cc = cc.place("sysroot", sysroot).place("source", &source).place("program", &program);
    let headers = cc.clone().arg("-M").args(["-MF", "-"]).command().quiet().read().context("read C headers")?;
    let linked = cc.args(["-lseccomp", "-lm", "-Wl,--trace"]).command().quiet().read().context("link a C program")?;
    let foreign: Vec<&str> = files_read(&headers)
        .chain(files_read(&linked))
        .filter(|file| !ours(file, &[sysroot, work.path(), &std::env::temp_dir()]))
        .collect();
    ensure!(foreign.is_empty(), "the C compiler reads files outside {}: {}", sysroot.display(), foreign.join(", "));
    Ok(())
}

/// The absolute paths in what a compiler or a linker says that it reads.
fn files_read(said: &str) -> impl Iterator<Item = &str> {
    said.split_whitespace().map(|word| word.trim_start_matches('(')).filter(|word| word.starts_with('/'))
}

fn ours(file: &str, folders: &[&Path]) -> bool {
    folders.iter().any(|folder| Path::new(file).starts_with(folder))
}

/// A script that starts a program with the loader and the libraries beside it, wherever the folder is.
fn script(name: &str, program: &str) -> String {
    // The compiler looks into the system's folders by itself, so pkg-config does not name them.
    let settings = match name {
        "pkg-config" => {
            "export PKG_CONFIG_LIBDIR=\"$root/usr/lib/x86_64-linux-gnu/pkgconfig\" PKG_CONFIG_SYSROOT_DIR=\"$root\"\n\
             export PKG_CONFIG_SYSTEM_INCLUDE_PATH=\"$root/usr/include\"\n\
             export PKG_CONFIG_SYSTEM_LIBRARY_PATH=\"$root/usr/lib/x86_64-linux-gnu\"\n"
        }
        _ => "",
    };
    let arguments = match name {
        "cc" => "--sysroot=\"$root\" -B\"$root/bin/\" ",
        _ => "",
    };
    format!(
        "#!/bin/sh\nroot=${{0%/bin/*}}\n{settings}exec \"$root/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2\" \
         --inhibit-cache --library-path \"{LIBRARIES}\" \"$root{program}\" {arguments}\"$@\"\n"
    )
}

impl Action {
    /// Adds the C compiler, the linker and the C libraries of a sysroot. `{sysroot}` is its folder.
    ///
    /// # Errors
    /// When the sysroot's recipe cannot be serialised.
    pub fn c_compiler(self, sysroot: &Sysroot) -> Result<Self> {
        Ok(self.input(NAME, sysroot.action()?.key()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_host_are_found_in_what_a_linker_says() {
        let said = "/s/usr/bin/../lib/crt1.o\n/tmp/x.o\n(/s/usr/lib/libc.a)exit.o\n/usr/lib/libm.a\n\
                    x.o: x.c \\\n /usr/include/y.h\n";
        let folders = [Path::new("/s"), Path::new("/tmp")];
        let foreign: Vec<&str> = files_read(said).filter(|file| !ours(file, &folders)).collect();
        assert_eq!(foreign, ["/usr/lib/libm.a", "/usr/include/y.h"]);
    }

    #[test]
    fn script_runs_a_program_with_the_loader_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let loader = dir.path().join("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
        let write = |path: &Path, text: &str| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        write(&loader, "#!/bin/sh\necho \"$@\"\n");
        let cc = dir.path().join("bin/cc");
        write(&cc, &script("cc", "/usr/bin/gcc"));
        let root = dir.path().display();
        let expected = format!(
            "--inhibit-cache --library-path {root}/lib/x86_64-linux-gnu:{root}/usr/lib/x86_64-linux-gnu \
             {root}/usr/bin/gcc --sysroot={root} -B{root}/bin/ -c a b.c"
        );
        assert_eq!(Cmd::new(&cc).args(["-c", "a b.c"]).read().unwrap(), expected);
    }
}
