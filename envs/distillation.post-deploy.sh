#!/usr/bin/env bash
# MatterGen's own pins (torch 2.2, numpy 1) are years old; what hinpaint uses of it needs only the packages above.
set -euo pipefail
pip install --no-deps mattergen==1.0.3
