"""The machine under edgemm, as the kernel's files tell it: `parsing` is pure, `sysfs` reads. No tool is run."""
