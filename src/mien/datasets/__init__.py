"""Readers, one a database, and the demo databases: the only room that reads faces from disk."""
