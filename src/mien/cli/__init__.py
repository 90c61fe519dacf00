"""The command line: verbs, progress, signals, exit codes."""
