"""MLPerf Tiny in an emulated arm64 userland, beside the same on this machine; `scripts/test-arm64` runs it."""
