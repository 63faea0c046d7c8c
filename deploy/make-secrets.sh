#!/usr/bin/env bash
# Makes the secrets that compose.yaml reads, in deploy/secrets. What is there already stays.
#
# Only you may enter the folder. The files themselves can be read by all: in the containers they belong to nobody there.
set -euo pipefail
umask 077
cd "$(dirname "${BASH_SOURCE[0]}")"
mkdir -p secrets
cd secrets

if [ -e envelope_key ]; then
    echo "deploy/secrets is there already; remove it to make new ones, and with it the volumes that they open" >&2
    exit 1
fi

random() {
    head -c 24 /dev/urandom | base64 | tr '+/' '-_'
}

admin=$(random) migrate=$(random) serve=$(random) redis=$(random) broker=$(random)
printf '%s' "$admin" >postgres_password
printf '%s' "$migrate" >postgres_migrate_password
printf '%s' "$serve" >postgres_serve_password
printf 'postgres://convene_migrate:%s@postgres/convene' "$migrate" >database_migrate_url
printf 'postgres://convene_serve:%s@postgres/convene' "$serve" >database_url
printf 'requirepass %s\n' "$redis" >redis.conf
printf 'redis://:%s@redis:6379' "$redis" >redis_url
printf 'default_user = convene\ndefault_pass = %s\n' "$broker" >rabbitmq.conf
printf 'amqp://convene:%s@rabbitmq:5672/%%2f' "$broker" >broker_url
head -c 32 /dev/urandom | base64 | tr -d '\n' >envelope_key
chmod 444 -- *
echo "made $(find . -type f | wc -l) secrets in deploy/secrets"
