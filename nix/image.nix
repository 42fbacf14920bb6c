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
    Env = [ "SSL_CERT_FILE=${cacert}/etc/ssl/certs/ca-bundle.crt" ];
    ExposedPorts."9464/tcp" = { };
    User = "65532:65532";
  };
}
