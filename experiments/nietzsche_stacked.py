"""nietzsche_stacked: the variant asked about in Keras issue 2701, two layers with dropout.

As experiments/nietzsche.py, with 200 units in the first layer, 512 in the second, and a dropout of 0.2
after each: sixteen times the parameters of the plain example.
"""

from jaxchar.config import Config
from jaxchar.train import main

CONFIG = Config(
    corpus="nietzsche",
    lowercase=True,
    val_fraction=0.0,  # the example holds nothing out
    batching="windows",
    seq_len=40,
    stride=3,
    shuffle=True,
    batch_size=128,
    return_sequences=False,
    cell="lstm",
    hidden_size=(200, 512),
    dropout=0.2,
    gate="hard_sigmoid",  # Keras 1's LSTM
    optimizer="rmsprop",
    learning_rate=1e-2,
    rms_decay=0.9,
    epochs=60,  # the example: at least 20 before it sounds coherent
    log_every=100,
    sample_length=400,
    sample_temperatures=(0.2, 0.5, 1.0, 1.2),
    sample_from="corpus",
)

if __name__ == "__main__":
    main(CONFIG, "nietzsche_stacked")
