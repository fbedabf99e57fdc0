"""What a search asks, as data; how it is read, becomes a filter of the index, and is tried on a tree."""
