"""The event store, used alone: by a product that counts, and knows nothing of money."""
