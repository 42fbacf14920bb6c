# The tools that the commands need, and the worker, from one pinned nixpkgs.
#
# Nothing here is needed by those who have Rust and Go: `cargo xtask` gets the rest. `cargo xtask test` evaluates this
# file against nix/stub, which stands for nixpkgs where there is no network.
{
  description = "Slipway: a Temporal document worker, scaled by KEDA, verified on a cluster built from source";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { nixpkgs, ... }:
    let
      inherit (nixpkgs) lib;
      # 26.05 is the last nixpkgs that has x86_64-darwin.
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "x86_64-darwin"
        "aarch64-darwin"
      ];
      forEach = make: lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});

      manifest = builtins.fromTOML (builtins.readFile ./Cargo.toml);

      # Cargo reads every member of the workspace, so every crate takes part in building one. Nothing else does, but
      # for the pages that are generated from them: a change to other docs or to manifests rebuilds nothing.
      src = lib.fileset.toSource {
        root = ./.;
        fileset = lib.fileset.unions [
          ./Cargo.lock
          ./Cargo.toml
          ./bundle
          ./capacity
          ./clippy.toml
          # The worker's tests hold these pages to its source.
          ./docs/reference
          ./kind-e2e
          ./rustfmt.toml
          ./scaler
          ./support
          ./worker
          ./xtask
        ];
      };

      packagesFor =
        pkgs:
        let
          worker = pkgs.callPackage ./nix/worker.nix {
            inherit src;
            inherit (manifest.workspace.package) version;
          };
        in
        {
          inherit worker;
          default = worker;
        }
        // lib.optionalAttrs pkgs.stdenv.hostPlatform.isLinux {
          image = pkgs.callPackage ./nix/image.nix { inherit worker; };
        };

      checksFor =
        pkgs: removeAttrs (packagesFor pkgs) [ "default" ] // import ./nix/checks.nix { inherit pkgs src; };
    in
    {
      packages = forEach packagesFor;
      checks = forEach checksFor;
      devShells = forEach (pkgs: {
        default = pkgs.callPackage ./nix/shell.nix { go = pkgs.callPackage ./nix/go.nix { }; };
      });
      formatter = forEach (pkgs: pkgs.nixfmt-tree);
    };
}
