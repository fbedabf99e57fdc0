"""What callers do, one use case a module, without HTTP and without a driver."""
