"""Long work that survives its service: a book with leases, and what runs by it."""
