"""What can be counted of a text: what followed each context in it, mixed with the network's predictions."""
