"""A recurrent layer over time: its equations, and the ways to compute it."""
