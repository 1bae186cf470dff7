"""The commands of `edgemm fleet`, grouped by what they are about."""
