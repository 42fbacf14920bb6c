# Stands for nixpkgs where there is no network: `cargo xtask test` evaluates the flake against it.
#
# It has exactly the attributes that the flake may use, and each of them was looked up in public nixpkgs material, so a
# name that is missing here is a name that nobody has checked. It proves that the flake parses, that its outputs have the
# shape that Nix expects, and that no Linux package slips into a macOS output; it cannot prove that anything builds.
{
  description = "A stub of nixpkgs";

  outputs =
    { ... }:
    let
      lib = import ./lib.nix;
    in
    {
      inherit lib;
      legacyPackages = lib.genAttrs [
        "x86_64-linux"
        "aarch64-linux"
        "x86_64-darwin"
        "aarch64-darwin"
      ] (system: import ./packages.nix { inherit lib system; });
    };
}
