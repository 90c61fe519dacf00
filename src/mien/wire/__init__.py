"""The wire: messages to domain words and back, the error table, clients."""
