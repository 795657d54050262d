"""The benchmark: every policy over every cell of the core grid, scored by the simulator's truth."""
