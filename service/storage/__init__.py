"""Everything at rest. The only code that knows the database driver."""
