//! Programs of Go and cargo, built on a host whose settings would change every program if a build read them. Each build
//! runs in a process of its own, because variables belong to a process.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bundle::cache::{Cache, files_below, sha256_file};
use bundle::debian::Recipe;
use bundle::parts::cargo::CargoProgram;
use bundle::parts::{Builder, go_version};
use bundle::pins::Pins;
use bundle::sysroot::Sysroot;
use bundle::workspace::Workspace;
use support::command::Cmd;

/// The variable that tells the child where the checkout and the cache are.
const FOLDER: &str = "SLIPWAY_TEST_FOLDER";
const APP: CargoProgram = CargoProgram { package: "app", binary: "app" };
const FILES: [(&str, &str); 6] = [
    (
        "Cargo.toml",
        "[workspace]\nmembers = ['app']\nresolver = '3'\n[profile.release]\nopt-level = 's'\nstrip = true\n",
    ),
    ("Cargo.lock", "version = 4\n\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\n"),
    ("app/Cargo.toml", "[package]\nname = 'app'\nversion = '0.1.0'\nedition = '2024'\n"),
    (
        "app/src/main.rs",
        "fn main() {\n    let all: Vec<u64> = std::env::args().map(|arg| arg.len() as u64).collect();\n    \
         println!(\"{} {}\", all.iter().map(|n| n.count_ones()).sum::<u32>(), cfg!(hostile));\n    \
         assert!(all[0] > 0, \"at {}\", file!());\n}\n",
    ),
    ("bundle/components/hello/go.mod", "module example.com/hello\n\ngo 1.21\n"),
    (
        "bundle/components/hello/main.go",
        "package main\n\nimport \"math/bits\"\n\nfunc main() { println(bits.OnesCount(uint(len(tag)))) }\n",
    ),
];
/// Two files of Go, of which a tag chooses one.
const TAGGED: [(&str, &str); 2] = [
    ("bundle/components/hello/plain.go", "//go:build !hostile\n\npackage main\n\nconst tag = \"plain\"\n"),
    ("bundle/components/hello/hostile.go", "//go:build hostile\n\npackage main\n\nconst tag = \"other\"\n"),
];
const HOSTILE_CARGO: &str = "[build]\nrustflags = ['--cfg', 'hostile', '-Copt-level=0']\nrustc-wrapper = '/bin/false'\n\
                             [profile.release]\nopt-level = 0\nstrip = false\n";
const HOSTILE_GO: &str = "GOAMD64=v3\nGOFLAGS=-tags=hostile\nCGO_ENABLED=1\n";
const HOSTILE: [(&str, &str); 7] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"),
    ("CC", "/bin/false"),
    ("GOAMD64", "v3"),
    ("GOFLAGS", "-tags=hostile"),
    ("RUSTC_WRAPPER", "/bin/false"),
    ("RUSTFLAGS", "--cfg hostile"),
    ("TZ", "Pacific/Chatham"),
];

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Builds in a folder with this name, and answers the files of the entries by their paths in the cache.
fn build(parent: &Path, name: &str, hostile: bool) -> BTreeMap<PathBuf, String> {
    let folder = parent.join(name);
    for (file, text) in FILES.iter().chain(&TAGGED) {
        write(&folder.join("checkout").join(file), text);
    }
    write(&folder.join("checkout/bundle/components/hello/go.sum"), "");
    let mut child = Cmd::new(std::env::current_exe().unwrap());
    child = child.args(["--exact", "child", "--ignored", "--nocapture"]).env(FOLDER, &folder);
    if hostile {
        // The checkout is below the home, where cargo finds the user's settings as those of a folder above it.
        write(&folder.join(".cargo/config.toml"), HOSTILE_CARGO);
        write(&folder.join(".config/go/env"), HOSTILE_GO);
        child = HOSTILE.into_iter().fold(child, |child, (name, value)| child.env(name, value));
        let rustup = Path::new(&std::env::var_os("HOME").unwrap()).join(".rustup");
        if std::env::var_os("RUSTUP_HOME").is_none() && rustup.is_dir() {
            child = child.env("RUSTUP_HOME", rustup);
        }
        child = child.env("HOME", &folder).env_remove("CARGO_HOME").env_remove("XDG_CONFIG_HOME").env_remove("GOENV");
    }
    child.run().unwrap();
    let parts = folder.join("cache/parts");
    let programs = files_below(&parts).unwrap().into_iter().filter(|path| !path.ends_with(".sealed"));
    programs.map(|path| (path.strip_prefix(&parts).unwrap().to_owned(), sha256_file(&path).unwrap())).collect()
}

#[test]
fn settings_of_the_host_change_neither_keys_nor_programs() {
    let dir = tempfile::tempdir().unwrap();
    let plain = build(dir.path(), "plain", false);
    assert_eq!(plain.len(), 2, "{plain:?}");
    // The paths have the keys, so keys and bytes are compared at once.
    assert_eq!(build(dir.path(), "another-folder", true), plain);
}

/// The host's own compiler in the place of the sysroot, so that the test needs no package.
fn hosts(cache: &Cache) -> Sysroot {
    let recipe: Recipe = toml::from_str("about = ''\nway = 'extract'\npackages = []").unwrap();
    let sysroot = Sysroot::new(&recipe, Vec::new(), Vec::new());
    let fill = |place: &Path| {
        let cc = place.join("bin/cc");
        write(&cc, "#!/bin/sh\nexec cc \"$@\"\n");
        Ok(std::fs::set_permissions(cc, std::os::unix::fs::PermissionsExt::from_mode(0o755))?)
    };
    cache.get_or_build("sysroot", "sysroot", &sysroot.action().unwrap(), fill).unwrap();
    sysroot
}

#[test]
#[ignore = "the other test runs it in a process of its own"]
fn child() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let workspace = Workspace::at(folder.join("checkout"));
    let cache = Cache::open(folder.join("cache")).unwrap();
    let pins = format!(
        "[toolchain]\ngo = '{}'\nrust = 'x'\n[debian]\nsuite = 'x'\n[components.hello]\nabout = ''\n\
         module = 'example.com/hello'\nversion = 'v0'\nlicense = 'MIT'\nprograms = [{{ package = 'example.com/hello', name = 'hi' }}]",
        go_version().unwrap()
    );
    let pins = Pins::parse(&pins).unwrap();
    let builder = Builder {
        workspace: &workspace,
        pins: &pins,
        cache: &cache,
        logs: folder.join("logs"),
        offline: true,
        sysroot: Some(hosts(&cache)),
    };
    builder.component("hello").unwrap();
    builder.cargo(&[APP]).unwrap();
}
