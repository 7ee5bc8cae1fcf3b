"""Files of weights: read without executing anything, and written."""
