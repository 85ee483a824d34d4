"""Mutants of the core: one line of it is made wrong at a time, and its tests must notice."""
