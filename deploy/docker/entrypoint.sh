#!/bin/sh
# Starts what is asked for. An option or a configuration file alone means a server, as in the images of Redis.
set -e
case "${1:-}" in
    -* | *.conf) set -- redis-server "$@" ;;
    server | sentinel | status | top | dashboard | handover | cluster | demo | lock) set -- quorate "$@" ;;
esac
exec "$@"
