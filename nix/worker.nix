# The worker's one program, temporal-worker, with its own tests.
{
  lib,
  rustPlatform,
  protobuf,

  src,
  version,
}:
rustPlatform.buildRustPackage {
  pname = "temporal-worker";
  inherit src version;

  # Every dependency is on crates.io (deny.toml sees to it), so the lock file's own checksums are enough.
  cargoLock.lockFile = ../Cargo.lock;

  cargoBuildFlags = [ "--package=worker" ];
  cargoTestFlags = [ "--package=worker" ];

  # The Temporal SDK compiles protocol buffers as it is built.
  env.PROTOC = lib.getExe' protobuf "protoc";

  meta = {
    description = "Serves the three Temporal task queues of the document workflow";
    license = lib.licenses.asl20;
    mainProgram = "temporal-worker";
  };
}
