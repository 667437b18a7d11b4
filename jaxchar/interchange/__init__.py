"""Models of other frameworks: read from their files, and written for them."""
