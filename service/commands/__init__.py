"""What operators run beside a service: reindexing, verifying, backup. Never part of an HTTP answer."""
