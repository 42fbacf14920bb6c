# The attributes of nixpkgs that the flake uses, for one system. A package is a derivation that never builds; one that
# nixpkgs has for Linux alone is an error elsewhere.
{ lib, system }:
let
  isLinux = builtins.match ".*-linux" system != null;

  # What nixpkgs' mkDerivation does, as far as evaluation goes: every attribute ends up in the derivation, so all of
  # them are evaluated.
  mkDerivation =
    {
      env ? { },
      meta ? { },
      ...
    }@attributes:
    let
      named = {
        name = attributes.name or "${attributes.pname}-${attributes.version}";
        builder = "stub";
        inherit system;
      };
      plain = removeAttrs attributes [
        "cargoLock"
        "env"
        "meta"
        "passthru"
      ];
    in
    derivation (named // plain // env)
    // {
      inherit meta;
      overrideAttrs = more: mkDerivation (attributes // more);
    }
    // (if attributes ? version then { inherit (attributes) version; } else { })
    // (attributes.passthru or { });

  package = pname: version: mkDerivation { inherit pname version; };
  any = pname: package pname "0";
  linux =
    pname:
    if isLinux then any pname else throw "${pname} is in nixpkgs for Linux alone, not for ${system}";

  json =
    name: value:
    mkDerivation {
      inherit name;
      value = builtins.toJSON value;
    };

  pkgs = {
    inherit lib;
    stdenv = {
      hostPlatform = {
        inherit isLinux system;
      };
      inherit mkDerivation;
    };
    callPackage =
      path: arguments:
      let
        function = import path;
      in
      # As in nixpkgs, what comes back can be overridden, so it is more than the function's own set.
      function (builtins.intersectAttrs (builtins.functionArgs function) pkgs // arguments)
      // {
        override = more: pkgs.callPackage path (arguments // more);
      };
    mkShell =
      {
        packages ? [ ],
        ...
      }@attributes:
      mkDerivation (
        {
          name = "nix-shell";
        }
        // removeAttrs attributes [ "packages" ]
        // {
          nativeBuildInputs = packages;
        }
      );
    runCommand =
      name: attributes: buildCommand:
      mkDerivation ({ inherit name buildCommand; } // attributes);
    fetchurl = { url, hash }: json (baseNameOf url) { inherit url hash; };

    rustPlatform = {
      buildRustPackage =
        { cargoLock, ... }@attributes:
        mkDerivation (attributes // { cargoDeps = pkgs.rustPlatform.importCargoLock cargoLock; });
      importCargoLock = { lockFile }: json "cargo-vendor-dir" (builtins.readFile lockFile);
      cargoSetupHook = any "cargo-setup-hook.sh";
    };
    dockerTools.buildLayeredImage =
      {
        name,
        tag,
        extraCommands,
        config,
      }:
      if isLinux then
        json "${baseNameOf name}.tar.gz" {
          inherit
            tag
            extraCommands
            config
            ;
        }
      else
        throw "an image is built on Linux";

    cacert = any "nss-cacert";
    cargo = any "cargo";
    cargo-deny = any "cargo-deny";
    clippy = any "clippy";
    docker = linux "docker";
    docker-client = any "docker";
    git = any "git";
    # Older than the pin, so that the other branch of nix/go.nix is the one that is evaluated.
    go_1_26 = package "go" "1.26";
    iproute2 = linux "iproute2";
    iptables = linux "iptables";
    mmdebstrap = linux "mmdebstrap";
    nixfmt = any "nixfmt";
    nixfmt-tree = any "nixfmt-tree";
    pgbouncer = any "pgbouncer";
    postgresql = any "postgresql";
    protobuf = any "protobuf";
    redis = any "redis";
    rustc = any "rustc";
    rustfmt = any "rustfmt";
  };
in
pkgs
