"""The demo: writers and turns race on one session in a real database. Imported only on use."""
