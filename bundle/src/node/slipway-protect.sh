#!/bin/sh
# Makes the key by which the API server encrypts Secrets, once in the life of a node: it never leaves the node. And lets
# root alone read the kubelet's settings, which kubeadm writes for everybody.
set -eu
umask 077
config=/etc/kubernetes/api-server/encryption.yaml
if [ ! -e "$config" ]; then
    key=$(head -c 32 /dev/urandom | base64)
    cat > "$config.new" << END
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - secretbox: {keys: [{name: node, secret: "$key"}]}
END
    mv "$config.new" "$config"
fi
for file in /var/lib/kubelet/config.yaml /etc/systemd/system/kubelet.service.d/*.conf; do
    [ ! -e "$file" ] || chmod 600 "$file"
done
