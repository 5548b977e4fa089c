"""Statistics of evaluation: arrays in, NamedTuples out; numpy and scipy only."""
