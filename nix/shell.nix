# The development shell: what `cargo xtask` would otherwise look for on the host.
#
# protoc is not here for the commands (a crate carries it) but for cargo run by hand. kubectl, kind and the rest of the
# cluster's programs are built from the pins, never taken from here.
{
  lib,
  stdenv,
  mkShell,

  cargo,
  cargo-deny,
  clippy,
  docker,
  docker-client,
  git,
  go,
  iproute2,
  iptables,
  mmdebstrap,
  nixfmt,
  pgbouncer,
  postgresql,
  protobuf,
  redis,
  rustc,
  rustfmt,
}:
let
  inherit (stdenv.hostPlatform) isLinux;
in
mkShell {
  # The C compiler comes with the shell itself: gcc on Linux, clang on macOS.
  packages = [
    cargo
    cargo-deny
    clippy
    git
    go
    nixfmt
    pgbouncer
    postgresql
    protobuf
    redis
    rustc
    rustfmt
  ]
  ++ lib.optionals isLinux [
    # The engine too: where no daemon runs, root gets a private one.
    docker
    iproute2
    iptables
    mmdebstrap
  ]
  ++ lib.optionals (!isLinux) [ docker-client ];

  env = {
    GOTOOLCHAIN = "local";
    PROTOC = lib.getExe' protobuf "protoc";
  };
}
