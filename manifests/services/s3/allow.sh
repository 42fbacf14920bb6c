#!/usr/bin/env bash
# Gives the worker its rights in the bucket (policy.json), as the server's own user. It runs beside each start of the
# server, which is Ready after it. The keys go to curl by standard input: an argument would be seen by others.
set -euo pipefail
server=(--silent --show-error --fail --cacert /etc/s3-tls/ca.crt)

until curl "${server[@]}" --output /dev/null https://localhost:7070/health 2> /dev/null; do sleep 0.2; done
curl "${server[@]}" --aws-sigv4 aws:amz:us-east-1:s3 --header 'x-amz-content-sha256: UNSIGNED-PAYLOAD' --config - \
    --request PUT --data-binary @/etc/s3/policy.json 'https://localhost:7070/documents?policy=' \
    <<< "user = \"$ROOT_ACCESS_KEY_ID:$ROOT_SECRET_ACCESS_KEY\""
