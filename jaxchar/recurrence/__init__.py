"""A recurrent layer over time: its equations, and its implementations."""
