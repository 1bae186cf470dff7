"""Facts about the machine from the kernel's files: `parsing` is pure, `sysfs` reads. No program is run."""
