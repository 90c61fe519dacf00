"""The server halves. Each service is a thin package of its own."""
