"""The ports Tracker and Models.

Runs, registered models, the pages; a spool for when the server is away.
"""
