"""Contention to look at: the demo on a real database, and the simulation without one. Imported only on use."""
