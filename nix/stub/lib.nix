# The functions of nixpkgs' lib that the flake uses, with the same results for the arguments it gives them.
rec {
  genAttrs =
    names: make:
    builtins.listToAttrs (
      map (name: {
        inherit name;
        value = make name;
      }) names
    );
  optionals = condition: list: if condition then list else [ ];
  optionalAttrs = condition: set: if condition then set else { };
  getExe = package: "${package}/bin/${package.meta.mainProgram}";
  getExe' = package: program: "${package}/bin/${program}";
  versionAtLeast = version: least: builtins.compareVersions version least >= 0;

  licenses.asl20 = {
    spdxId = "Apache-2.0";
  };

  # nixpkgs copies the chosen files to the store; here it is enough that each of them is there.
  fileset = {
    unions = builtins.concatMap (
      path: if builtins.pathExists path then [ path ] else throw "${toString path} does not exist"
    );
    toSource = { root, fileset }: builtins.seq (builtins.length fileset) root;
  };
}
