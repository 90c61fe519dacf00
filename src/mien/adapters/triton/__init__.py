"""Triton from its wheel or elsewhere: repository, processes, canaries, replicas, rollouts."""
