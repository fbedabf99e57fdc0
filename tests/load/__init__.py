"""What the service does under load; each module prints its figures when it is run."""
