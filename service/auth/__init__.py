"""Who may come in: tokens, the keys they are verified with, and where keys are published."""
