"""The commands of `edgemm fleet`, grouped by subject."""
