# What `nix flake check` runs beside building the packages: clippy and the formatters.
#
# Imported, not called through callPackage: that would add `override` to the set, which is no check.
{ pkgs, src }:
let
  inherit (pkgs) lib;
in
{
  clippy = pkgs.stdenv.mkDerivation {
    name = "slipway-clippy";
    inherit src;
    cargoDeps = pkgs.rustPlatform.importCargoLock { lockFile = ../Cargo.lock; };
    nativeBuildInputs = [
      pkgs.cargo
      pkgs.clippy
      pkgs.protobuf
      pkgs.rustPlatform.cargoSetupHook
      pkgs.rustc
    ];
    env.PROTOC = lib.getExe' pkgs.protobuf "protoc";
    buildPhase = ''
      runHook preBuild
      cargo clippy --frozen --workspace --all-targets -- --deny warnings
      runHook postBuild
    '';
    installPhase = "touch $out";
    dontFixup = true;
  };

  rustfmt =
    pkgs.runCommand "slipway-rustfmt"
      {
        nativeBuildInputs = [
          pkgs.cargo
          pkgs.rustfmt
        ];
      }
      ''
        export CARGO_HOME=$TMPDIR
        cd ${src}
        cargo fmt --all --check
        touch $out
      '';

  nixfmt = pkgs.runCommand "slipway-nixfmt" { nativeBuildInputs = [ pkgs.nixfmt ]; } ''
    find ${../flake.nix} ${./.} -name '*.nix' -exec nixfmt --check {} +
    touch $out
  '';
}
