#!/bin/sh
# One answer from a model that `edgemm run BUNDLE` serves, by one line of curl.
#
#   examples/predict.sh '[[0.1, 0.2, 0.3, 0.4]]' [http://127.0.0.1:8080/predict/NAME]
set -eu
curl --silent --show-error --fail-with-body "${2:-http://127.0.0.1:8080/predict}" --data "$1"
