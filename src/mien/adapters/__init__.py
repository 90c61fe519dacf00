"""What the ports stand for in the world: tracker, executors, assets."""
