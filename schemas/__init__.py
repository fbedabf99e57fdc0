"""What data looks like at each boundary."""
