#!/bin/sh
# Bounds the ingest log's queues. Run it where rabbitmqctl reaches the node, once and after a change;
# it is safe to repeat. A virtual host other than / is its argument.
#
#   docker compose exec rabbitmq sh /etc/swiftreplies/policies.sh
#
# Policies, not arguments of the queues: these can be changed on queues that exist.
set -eu

VHOST=${1:-/}
# Of one queue. A full one refuses, the ingress answers 503, and Meta comes again for days; without
# a bound it fills the disk, and RabbitMQ stops taking anything at all. 16 lanes, statuses and others
# of 2 GB each are 36 GB at the very worst: set MAX_BYTES to what the disk has, divided by 18.
MAX_BYTES=${MAX_BYTES:-2000000000}

case $MAX_BYTES in
    '' | *[!0-9]*) echo "policies.sh: MAX_BYTES is not a number of bytes: $MAX_BYTES" >&2; exit 2 ;;
esac

# overflow is an argument of the queues, reject-publish: a bound never drops what was taken.
# The dead-letter queues have none: what is there was taken, and workers empty them.
rabbitmqctl set_policy --vhost "$VHOST" --apply-to queues --priority 10 \
    swiftreplies-in '^wa\.(in\.[0-9]+|status|other)$' \
    "{\"max-length-bytes\":$MAX_BYTES}"
rabbitmqctl list_policies --vhost "$VHOST"
