"""Ready observers, each in a module of its own so that nothing is imported before it is used."""
