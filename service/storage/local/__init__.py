"""The local database: the server process of a data directory, who holds it, and how it ends."""
