"""Writing text: from a prompt to new characters."""
