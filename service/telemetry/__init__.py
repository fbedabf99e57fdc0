"""What a service tells of itself: its log and its metrics, without a word of any patient."""
