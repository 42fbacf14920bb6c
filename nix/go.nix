# Go, at least as new as bundle/pins.toml asks: the components' go.mod files refuse an older one, and GOTOOLCHAIN=local
# (see shell.nix) keeps Go from fetching a newer one by itself.
{
  lib,
  fetchurl,
  go_1_26,
}:
let
  pinned = (builtins.fromTOML (builtins.readFile ../bundle/pins.toml)).toolchain.go;
  # Of go<version>.src.tar.gz. Only used while nixpkgs is behind the pin.
  sources = {
    "1.26.8" = "sha256-Tjm5jkL5RvoFrIvFtxh335fb23y7Gnd7VBZnrXEX/S4=";
  };
in
if lib.versionAtLeast go_1_26.version pinned then
  go_1_26
else
  go_1_26.overrideAttrs {
    version = pinned;
    src = fetchurl {
      url = "https://go.dev/dl/go${pinned}.src.tar.gz";
      hash =
        sources.${pinned}
          or (throw "bundle/pins.toml asks for Go ${pinned}, nixpkgs has ${go_1_26.version}: add its source's hash to nix/go.nix");
    };
  }
