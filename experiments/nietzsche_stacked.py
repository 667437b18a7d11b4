"""nietzsche_stacked: the variant asked about in Keras issue 2701, two layers with dropout.

As experiments/nietzsche.py, with 200 units in the first layer, 512 in the second, and a dropout of 0.2
after each. It does seventeen times the arithmetic of the plain example.
"""

from experiments.nietzsche import CONFIG as NIETZSCHE
from jaxchar.train import main

CONFIG = NIETZSCHE.replace(hidden_size=(200, 512), dropout=0.2)

if __name__ == "__main__":
    main(CONFIG, "nietzsche_stacked")
