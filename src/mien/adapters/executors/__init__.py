"""The port Executor.

This process, workers, the training service; tasks carried to machines without a shared disk.
"""
