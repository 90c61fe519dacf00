"""The port Executor on a cluster: tasks as Jobs."""
