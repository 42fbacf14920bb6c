# The worker as an image for `docker load`: same name, user, port and program path as the one that `cargo xtask images`
# assembles, other bytes.
{
  lib,
  cacert,
  dockerTools,

  worker,
}:
dockerTools.buildLayeredImage {
  name = "slipway.local/temporal-worker";
  tag = worker.version;
  extraCommands = ''
    mkdir -p usr/local/bin
    ln -s ${lib.getExe worker} usr/local/bin/temporal-worker
  '';
  config = {
    Entrypoint = [ "/usr/local/bin/temporal-worker" ];
    Env = [
      "SSL_CERT_FILE=${cacert}/etc/ssl/certs/ca-bundle.crt"
      "MALLOC_ARENA_MAX=1"
      "MALLOC_MMAP_THRESHOLD_=65536"
      "MALLOC_TOP_PAD_=65536"
      "MALLOC_TRIM_THRESHOLD_=65536"
    ];
    ExposedPorts."9464/tcp" = { };
    User = "65532:65532";
  };
}
